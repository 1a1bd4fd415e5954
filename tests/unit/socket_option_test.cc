#include "common/socket_option.h"

#include <cerrno>
#include <climits>
#include <cstring>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <string>
#include <sys/time.h>

#include "common/sysctl.h"
#include "tests/unit/helpers.h"

/* A TCP socket, and what is logged while it has its options set. */
class SocketOption : public testing::Test
{
  protected:
    SocketOption() : tcp(socket(AF_INET, SOCK_STREAM, 0))
    {
        log_set_level(LOG_NORMAL);
    }
    ~SocketOption() override
    {
        log_set_level(LOG_NORMAL);
    }

    int get(int level, int name)
    {
        int value = -1;
        socklen_t size = sizeof value;
        EXPECT_EQ(getsockopt(tcp, level, name, &value, &size), 0) << strerror(errno);
        return value;
    }

    double get_seconds(int name)
    {
        timeval time = {-1, -1};
        socklen_t size = sizeof time;
        EXPECT_EQ(getsockopt(tcp, SOL_SOCKET, name, &time, &size), 0) << strerror(errno);
        return (double)time.tv_sec + (double)time.tv_usec / 1e6;
    }

    std::vector<std::string> lines() const
    {
        return messages(captured.text());
    }

    std::vector<std::string> one_line(const std::string &line) const
    {
        return {line};
    }

    Descriptor tcp;
    CapturedStderr captured;
};

/* As printf(3) has it. */
static std::string general(double number)
{
    char text[64];

    snprintf(text, sizeof text, "%g", number);
    return text;
}

TEST_F(SocketOption, ASwitchIsSetAndReported)
{
    ASSERT_EQ(get(IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_EQ(set_option(tcp, IPPROTO_TCP, TCP_NODELAY, 1), 0);
    EXPECT_EQ(get(IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(lines(), one_line("TCP_NODELAY: asked 1, got 1"));
}

TEST_F(SocketOption, ASwitchIsTakenBack)
{
    ASSERT_EQ(set_option(tcp, SOL_SOCKET, SO_REUSEADDR, 1), 0);
    ASSERT_EQ(get(SOL_SOCKET, SO_REUSEADDR), 1);
    EXPECT_EQ(set_option(tcp, SOL_SOCKET, SO_REUSEADDR, 0), 0);
    EXPECT_EQ(get(SOL_SOCKET, SO_REUSEADDR), 0);
    EXPECT_EQ(lines()[1], "SO_REUSEADDR: asked 0, got 0");
}

TEST_F(SocketOption, ANumberIsSetAndReported)
{
    EXPECT_EQ(set_option(tcp, IPPROTO_TCP, TCP_KEEPIDLE, 1800), 0);
    EXPECT_EQ(get(IPPROTO_TCP, TCP_KEEPIDLE), 1800);
    EXPECT_EQ(lines(), one_line("TCP_KEEPIDLE: asked 1800, got 1800"));
}

TEST_F(SocketOption, WhatTheKernelMadeOfTheValueIsReported)
{
    EXPECT_EQ(set_option(tcp, IPPROTO_TCP, TCP_NODELAY, 7), 0);
    EXPECT_EQ(lines(), one_line("TCP_NODELAY: asked 7, got 1"));
}

TEST_F(SocketOption, AnOptionThatTheSystemLacksIsALineAndNotAnError)
{
    EXPECT_EQ(set_named_option(tcp, IPPROTO_TCP, NO_SUCH_OPTION, "TCP_MAGIC", 3), 0);
    EXPECT_EQ(lines(), one_line("TCP_MAGIC: asked 3, but this system does not have it"));
}

TEST_F(SocketOption, AnErrorIsReturnedWithoutALine)
{
    EXPECT_EQ(set_option(-1, IPPROTO_TCP, TCP_NODELAY, 1), -1);
    EXPECT_EQ(errno, EBADF);
    EXPECT_EQ(set_option(tcp, IPPROTO_TCP, TCP_KEEPIDLE, 1000000), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(set_named_option(tcp, SOL_SOCKET, 9999, "SO_MAGIC", 1), -1);
    EXPECT_EQ(errno, ENOPROTOOPT);
    EXPECT_EQ(set_time_option(-1, SO_RCVTIMEO, 1), -1);
    EXPECT_EQ(errno, EBADF);
    EXPECT_EQ(set_buffer_option(-1, SO_RCVBUF, 4096), -1);
    EXPECT_EQ(errno, EBADF);
    EXPECT_EQ(captured.text(), "");
}

TEST_F(SocketOption, OptionsAreSetInSilenceWhereOnlyErrorsAreShown)
{
    log_set_level(LOG_ERRORS);
    EXPECT_EQ(set_option(tcp, IPPROTO_TCP, TCP_NODELAY, 1), 0);
    EXPECT_EQ(set_time_option(tcp, SO_RCVTIMEO, 2), 0);
    EXPECT_EQ(set_buffer_option(tcp, SO_SNDBUF, 32768), 0);
    EXPECT_EQ(set_named_option(tcp, IPPROTO_TCP, NO_SUCH_OPTION, "TCP_MAGIC", 3), 0);
    EXPECT_EQ(get(IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(get_seconds(SO_RCVTIMEO), 2);
    EXPECT_EQ(get(SOL_SOCKET, SO_SNDBUF), 65536);
    EXPECT_EQ(captured.text(), "");
}

TEST_F(SocketOption, ATimeInWholeSecondsIsTakenAsItIs)
{
    EXPECT_EQ(set_time_option(tcp, SO_RCVTIMEO, 3), 0);
    EXPECT_EQ(get_seconds(SO_RCVTIMEO), 3);
    EXPECT_EQ(get_seconds(SO_SNDTIMEO), 0) << "the other time was set too";
    EXPECT_EQ(set_time_option(tcp, SO_SNDTIMEO, 1000000), 0);
    EXPECT_EQ(get_seconds(SO_SNDTIMEO), 1000000);
    EXPECT_EQ(get_seconds(SO_RCVTIMEO), 3);
    EXPECT_EQ(lines(), (std::vector<std::string>{"SO_RCVTIMEO: asked 3 s, got 3 s",
                                                 "SO_SNDTIMEO: asked 1e+06 s, got 1e+06 s"}));
}

/* A tick of the kernel is at most a hundredth of a second. */
TEST_F(SocketOption, AFractionIsRoundedUpByLessThanATick)
{
    for (double seconds : {0.25, 0.001, 0.3, 0.000001, 0.999999, 1.000001, 1.75, 123.456789}) {
        ASSERT_EQ(set_time_option(tcp, SO_RCVTIMEO, seconds), 0) << seconds;
        EXPECT_GE(get_seconds(SO_RCVTIMEO), seconds - 1e-9);
        EXPECT_LE(get_seconds(SO_RCVTIMEO), seconds + 0.010002);
        EXPECT_EQ(lines().back(), "SO_RCVTIMEO: asked " + general(seconds) + " s, got " +
                                      general(get_seconds(SO_RCVTIMEO)) + " s");
    }
}

TEST_F(SocketOption, ATinyTimeDoesNotBecomeForEver)
{
    for (double seconds : {1e-7, 1e-12, 5e-324}) {
        ASSERT_EQ(set_time_option(tcp, SO_SNDTIMEO, 0), 0);
        ASSERT_EQ(set_time_option(tcp, SO_SNDTIMEO, seconds), 0);
        EXPECT_GT(get_seconds(SO_SNDTIMEO), 0) << seconds;
        EXPECT_LE(get_seconds(SO_SNDTIMEO), 0.010002) << seconds;
    }
}

TEST_F(SocketOption, AFractionThatRoundsUpToASecondIsASecond)
{
    ASSERT_EQ(set_time_option(tcp, SO_RCVTIMEO, 1.9999999), 0);
    EXPECT_EQ(get_seconds(SO_RCVTIMEO), 2);
}

TEST_F(SocketOption, ZeroSecondsAreForEver)
{
    ASSERT_EQ(set_time_option(tcp, SO_RCVTIMEO, 3), 0);
    ASSERT_EQ(set_time_option(tcp, SO_RCVTIMEO, 0), 0);
    EXPECT_EQ(get_seconds(SO_RCVTIMEO), 0);
    EXPECT_EQ(lines().back(), "SO_RCVTIMEO: asked 0 s, got 0 s");
}

TEST_F(SocketOption, ATimeThatIsSetEndsAReceive)
{
    TcpPair pair;
    char byte;

    ASSERT_EQ(set_time_option(pair.ours, SO_RCVTIMEO, 0.02), 0);
    EXPECT_EQ(recv(pair.ours, &byte, 1, 0), -1);
    EXPECT_EQ(errno, EAGAIN);
}

/* The kernel's limit, of which a test needs twice as much without leaving the range of int. */
static bool read_limit(const char *name, long *limit)
{
    return sysctl_read(name, limit) == 0 && *limit >= 65536 && *limit < INT_MAX / 4;
}

TEST_F(SocketOption, ABufferIsDoubledAndTheLimitSaid)
{
    long receive_limit = 0;
    long send_limit = 0;

    if (!read_limit("net.core.rmem_max", &receive_limit) ||
        !read_limit("net.core.wmem_max", &send_limit))
        GTEST_SKIP() << "the limits of buffers cannot be read here, or are unusual";
    EXPECT_EQ(set_buffer_option(tcp, SO_RCVBUF, 16384), 0);
    EXPECT_EQ(get(SOL_SOCKET, SO_RCVBUF), 32768);
    EXPECT_EQ(set_buffer_option(tcp, SO_SNDBUF, 65536), 0);
    EXPECT_EQ(get(SOL_SOCKET, SO_SNDBUF), 131072);
    EXPECT_EQ(lines(), (std::vector<std::string>{
                           "SO_RCVBUF: asked 16384, got 32768 (the kernel doubles it); limit "
                           "net.core.rmem_max = " +
                               std::to_string(receive_limit),
                           "SO_SNDBUF: asked 65536, got 131072 (the kernel doubles it); limit "
                           "net.core.wmem_max = " +
                               std::to_string(send_limit)}));
}

TEST_F(SocketOption, ABufferAtTheLimitIsNotWarnedOf)
{
    long limit = 0;

    if (!read_limit("net.core.rmem_max", &limit))
        GTEST_SKIP() << "the limit of the receive buffer cannot be read here, or is unusual";
    EXPECT_EQ(set_buffer_option(tcp, SO_RCVBUF, (int)limit), 0);
    EXPECT_EQ(get(SOL_SOCKET, SO_RCVBUF), 2 * limit);
    EXPECT_EQ(lines(), one_line("SO_RCVBUF: asked " + std::to_string(limit) + ", got " +
                                std::to_string(2 * limit) +
                                " (the kernel doubles it); limit net.core.rmem_max = " +
                                std::to_string(limit)));
}

TEST_F(SocketOption, ABufferOverTheLimitIsCutWithAWarning)
{
    for (int name : {SO_RCVBUF, SO_SNDBUF}) {
        bool receive = name == SO_RCVBUF;
        std::string limit_name = receive ? "net.core.rmem_max" : "net.core.wmem_max";
        long limit = 0;
        if (!read_limit(limit_name.c_str(), &limit))
            GTEST_SKIP() << limit_name << " cannot be read here, or is unusual";
        std::string twice = std::to_string(2 * limit);
        for (int asked : {(int)limit + 1, 2 * (int)limit, INT_MAX}) {
            EXPECT_EQ(receive ? set_buffer_option(tcp, SO_RCVBUF, asked)
                              : set_buffer_option(tcp, SO_SNDBUF, asked),
                      0);
            EXPECT_EQ(get(SOL_SOCKET, name), 2 * limit);
            EXPECT_EQ(lines().back(), std::string(receive ? "SO_RCVBUF" : "SO_SNDBUF") +
                                          ": asked " + std::to_string(asked) + ", got " + twice +
                                          " (warning: cut to the limit, then doubled); limit " +
                                          limit_name + " = " + std::to_string(limit));
        }
    }
}

TEST_F(SocketOption, ATinyBufferIsRaisedToTheKernelsLeast)
{
    for (int name : {SO_RCVBUF, SO_SNDBUF}) {
        bool receive = name == SO_RCVBUF;
        EXPECT_EQ(set_named_buffer_option(tcp, name, "SO_BUF", 1), 0);
        int got = get(SOL_SOCKET, name);
        EXPECT_GT(got, 2);
        EXPECT_EQ(lines().back().rfind("SO_BUF: asked 1, got " + std::to_string(got) +
                                           " (the least the kernel gives); limit net.core." +
                                           (receive ? "rmem_max" : "wmem_max") + " = ",
                                       0),
                  0U)
            << lines().back();
    }
}
