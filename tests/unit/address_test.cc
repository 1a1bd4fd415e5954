#include <arpa/inet.h>
#include <cstdio>
#include <gtest/gtest.h>
#include <string>

#include "tests/unit/helpers.h"

static std::string resolved(const char *host)
{
    char text[INET_ADDRSTRLEN] = "";
    in_addr address = resolve_ipv4(host);

    return inet_ntop(AF_INET, &address, text, sizeof text);
}

static sockaddr_in address_of(const char *host, in_port_t port)
{
    sockaddr_in address = {};

    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    EXPECT_EQ(inet_pton(AF_INET, host, &address.sin_addr), 1);
    return address;
}

TEST(Address, AnEmptyHostMeansEveryInterface)
{
    EXPECT_EQ(resolve_ipv4("").s_addr, htonl(INADDR_ANY));
}

TEST(Address, DottedHostsAreTakenAsTheyAre)
{
    for (const char *host : {"0.0.0.0", "127.0.0.1", "192.0.2.3", "255.255.255.255"})
        EXPECT_EQ(resolved(host), host);
}

TEST(Address, LocalhostIsTheLoopbackAddress)
{
    EXPECT_EQ(resolved("localhost"), "127.0.0.1");
}

TEST(Address, CanBeConnected)
{
    Descriptor listener = loopback_listener();
    sockaddr_in address = local_address(listener);

    address.sin_addr = resolve_ipv4("localhost");
    EXPECT_GE(connect_to(address), 0);
}

/* Both hosts fail without a question to a name server: a test does not depend on one. */
TEST(Address, AHostWithoutAnIpv4AddressEndsTheProgramWith1)
{
    std::string long_label = std::string(64, 'a') + ".example";

    for (const std::string &host : {std::string("::1"), long_label}) {
        Ended ended = in_child([&] { resolve_ipv4(host.c_str()); });
        EXPECT_TRUE(exited(ended, 1));
        EXPECT_EQ(ended.out, "");
        std::vector<std::string> lines = messages(ended.err);
        ASSERT_EQ(lines.size(), 1U) << ended.err;
        EXPECT_EQ(lines[0].rfind("resolve " + host + ": ", 0), 0U) << lines[0];
        EXPECT_GT(lines[0].size(), ("resolve " + host + ": ").size()) << "no reason is given";
    }
}

TEST(Address, TextIsHostColonPort)
{
    sockaddr_in address = address_of("10.20.30.40", 80);
    EXPECT_STREQ(address_text(&address).text, "10.20.30.40:80");

    address = address_of("0.0.0.0", 0);
    EXPECT_STREQ(address_text(&address).text, "0.0.0.0:0");
}

TEST(Address, TheLongestTextFits)
{
    sockaddr_in address = address_of("255.255.255.255", 65535);

    EXPECT_STREQ(address_text(&address).text, "255.255.255.255:65535");
}

TEST(Address, TextsOfTwoAddressesDoNotShareMemory)
{
    sockaddr_in first = address_of("10.0.0.1", 1);
    sockaddr_in second = address_of("10.0.0.2", 2);
    struct address_text first_text = address_text(&first);
    struct address_text second_text = address_text(&second);

    EXPECT_STREQ(first_text.text, "10.0.0.1:1");
    EXPECT_STREQ(second_text.text, "10.0.0.2:2");
}

/* The child ends without the flush of exit(3): what is there was flushed before. */
TEST(Address, TheReadyLineIsOnStdoutAtOnce)
{
    Ended ended = in_child([] {
        sockaddr_in address = address_of("127.0.0.1", 9999);
        announce_address(&address);
    });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.out, "listening on 127.0.0.1:9999\n");
    EXPECT_EQ(ended.err, "");
}

TEST(Address, AReadyLineThatCannotBeWrittenEndsTheProgramWith1)
{
    Ended ended = in_child([] {
        sockaddr_in address = address_of("127.0.0.1", 9999);
        ASSERT_NE(freopen("/dev/full", "w", stdout), nullptr);
        announce_address(&address);
    });

    EXPECT_TRUE(exited(ended, 1));
    ASSERT_EQ(messages(ended.err).size(), 1U) << ended.err;
    EXPECT_EQ(messages(ended.err)[0], "stdout: No space left on device");
}
