#include <arpa/inet.h>
#include <cstdio>
#include <gtest/gtest.h>
#include <string>

#include "tests/unit/helpers.h"

static std::string resolved(const char *host, int port)
{
    sockaddr_in address = resolve_ipv4(host, port);

    EXPECT_EQ(address.sin_family, AF_INET);
    return address_text(&address).text;
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
    sockaddr_in address = resolve_ipv4("", 9999);

    EXPECT_EQ(address.sin_family, AF_INET);
    EXPECT_EQ(address.sin_addr.s_addr, htonl(INADDR_ANY));
    EXPECT_EQ(ntohs(address.sin_port), 9999);
}

TEST(Address, DottedHostsAreTakenAsTheyAre)
{
    EXPECT_EQ(resolved("0.0.0.0", 9999), "0.0.0.0:9999");
    EXPECT_EQ(resolved("127.0.0.1", 9999), "127.0.0.1:9999");
    EXPECT_EQ(resolved("192.0.2.3", 9999), "192.0.2.3:9999");
    EXPECT_EQ(resolved("255.255.255.255", 9999), "255.255.255.255:9999");
}

TEST(Address, LocalhostIsTheLoopbackAddress)
{
    EXPECT_EQ(resolved("localhost", 9999), "127.0.0.1:9999");
}

TEST(Address, PortsAreInNetworkByteOrder)
{
    EXPECT_EQ(resolve_ipv4("127.0.0.1", 0x1234).sin_port, htons(0x1234));
    EXPECT_EQ(resolve_ipv4("127.0.0.1", 0).sin_port, 0);
    EXPECT_EQ(resolve_ipv4("127.0.0.1", 65535).sin_port, 0xffff);
    EXPECT_EQ(resolve_ipv4("", 65535).sin_port, 0xffff);
}

TEST(Address, CanBeBoundAndConnected)
{
    Descriptor listener = loopback_listener();
    sockaddr_in address = resolve_ipv4("localhost", ntohs(local_address(listener).sin_port));

    EXPECT_GE(connect_to(address), 0);
}

/* Both hosts fail without a question to a name server: a test does not depend on one. */
TEST(Address, AHostWithoutAnIpv4AddressEndsTheProgramWith1)
{
    std::string long_label = std::string(64, 'a') + ".example";

    for (const std::string &host : {std::string("::1"), long_label}) {
        Ended ended = in_child([&] { resolve_ipv4(host.c_str(), 9999); });
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
