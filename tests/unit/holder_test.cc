#include "common/holder.h"

#include <arpa/inet.h>
#include <cerrno>
#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>

#include "tests/unit/helpers.h"

/* What a child says about an address whose holder is this process, which is another one to it;
   it inherits the listener, and must not name itself. */
static std::vector<std::string> said(sockaddr_in address, int error = EADDRINUSE)
{
    Ended ended = in_child([&] {
        log_set_level(LOG_ERRORS);
        errno = error;
        report_holder(&address);
        EXPECT_EQ(errno, error);
    });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.out, "");
    return messages(ended.err);
}

static const std::vector<std::string> nothing;

static std::vector<std::string> this_process()
{
    return {"unit/unit_tests, pid " + std::to_string(getpid()) + ", is listening there"};
}

static sockaddr_in with_host(sockaddr_in address, const char *host)
{
    EXPECT_EQ(inet_pton(AF_INET, host, &address.sin_addr), 1);
    return address;
}

/* Listens on every interface, and by that for IPv4 too; or on ::1. */
static Descriptor ipv6_listener(bool only_loopback = false)
{
    Descriptor listener(socket(AF_INET6, SOCK_STREAM, 0));
    sockaddr_in6 address = {};
    int off = 0;

    address.sin6_family = AF_INET6;
    address.sin6_addr = only_loopback ? in6addr_loopback : in6addr_any;
    if (setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0 ||
        bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) < 0 ||
        listen(listener, 1) < 0)
        listener.reset();
    return listener;
}

static sockaddr_in ipv4_address_of(int ipv6_socket)
{
    sockaddr_in6 address = {};
    socklen_t size = sizeof address;
    sockaddr_in result = {};

    EXPECT_EQ(getsockname(ipv6_socket, reinterpret_cast<sockaddr *>(&address), &size), 0);
    result.sin_family = AF_INET;
    result.sin_port = address.sin6_port;
    result.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return result;
}

TEST(Holder, AListenerOnTheSameAddressIsNamed)
{
    Descriptor listener = loopback_listener();

    EXPECT_EQ(said(local_address(listener)), this_process());
}

TEST(Holder, AListenerOnOneAddressIsInTheWayOfEveryInterface)
{
    Descriptor listener = loopback_listener();

    EXPECT_EQ(said(with_host(local_address(listener), "0.0.0.0")), this_process());
}

TEST(Holder, AListenerOnEveryInterfaceIsInTheWayOfOneAddress)
{
    Descriptor listener(socket(AF_INET, SOCK_STREAM, 0));

    ASSERT_EQ(listen(listener, 1), 0);
    EXPECT_EQ(said(with_host(local_address(listener), "127.0.0.1")), this_process());
}

TEST(Holder, AListenerOnAnotherAddressIsNotInTheWay)
{
    Descriptor listener = loopback_listener();

    EXPECT_EQ(said(with_host(local_address(listener), "127.0.0.2")), nothing);
}

TEST(Holder, AListenerOnAnotherPortIsNotInTheWay)
{
    Descriptor listener = loopback_listener(), other = loopback_listener();
    sockaddr_in address = local_address(listener);

    listener.reset();
    EXPECT_EQ(said(address), nothing);
}

TEST(Holder, AnIpv6ListenerOnEveryInterfaceIsNamed)
{
    Descriptor listener = ipv6_listener();

    if (listener < 0)
        GTEST_SKIP() << "no IPv6 here";
    EXPECT_EQ(said(ipv4_address_of(listener)), this_process());
}

TEST(Holder, AnIpv6ListenerOnAnIpv6AddressIsNotInTheWay)
{
    Descriptor listener = ipv6_listener(true);

    if (listener < 0)
        GTEST_SKIP() << "no IPv6 loopback here";
    EXPECT_EQ(said(with_host(ipv4_address_of(listener), "0.0.0.0")), nothing);
}

/* A connection has the port of its listener too, as one in TIME_WAIT has. */
TEST(Holder, AConnectionIsNoListener)
{
    TcpPair pair;

    EXPECT_EQ(said(local_address(pair.theirs)), nothing);
    EXPECT_EQ(said(local_address(pair.ours)), nothing);
}

TEST(Holder, ASocketThatIsOnlyBoundIsNotListening)
{
    Descriptor bound(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = {};

    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(bind(bound, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
    EXPECT_EQ(said(local_address(bound)), nothing);
}

TEST(Holder, OtherErrorsAreNotAboutAHolder)
{
    Descriptor listener = loopback_listener();

    EXPECT_EQ(said(local_address(listener), EACCES), nothing);
    EXPECT_EQ(said(local_address(listener), 0), nothing);
}

TEST(Holder, ThisProcessItselfIsNotNamed)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        sockaddr_in address = local_address(listener);
        errno = EADDRINUSE;
        report_holder(&address);
    });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.err, "");
}
