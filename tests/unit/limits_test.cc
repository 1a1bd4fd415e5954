#include "common/limits.h"

#include <cerrno>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>

#include "common/sysctl.h"
#include "tests/unit/helpers.h"

/* What a report logs. */
template <typename Report> static std::vector<std::string> lines_of(Report report)
{
    CapturedStderr captured;

    report();
    return messages(captured.text());
}

TEST(Limits, ABacklogBelowTheSettingIsWhatItSays)
{
    long most = sysctl_or("net.core.somaxconn", SOMAXCONN);
    std::vector<std::string> lines = lines_of([] { report_limits(3); });

    ASSERT_EQ(lines.size(), 3U);
    EXPECT_EQ(lines[0],
              "backlog: asked 3, effective 3; limit net.core.somaxconn = " + std::to_string(most));
    EXPECT_EQ(lines[1], "accept queue: limit 3, and one more");
    EXPECT_EQ(lines[2].find("SYN queue: limit 3; net.ipv4.tcp_max_syn_backlog = "), 0U) << lines[2];
}

TEST(Limits, ABacklogAboveTheSettingIsCutWithAWarning)
{
    long most = sysctl_or("net.core.somaxconn", SOMAXCONN);
    std::string effective = std::to_string(most);
    std::vector<std::string> lines = lines_of([=] { report_limits((int)most + 1); });

    ASSERT_EQ(lines.size(), 4U);
    EXPECT_EQ(lines[0], "backlog: asked " + std::to_string(most + 1) + ", effective " + effective +
                            "; limit net.core.somaxconn = " + effective);
    EXPECT_EQ(lines[1], "warning: the backlog is above net.core.somaxconn, and cut to it");
    EXPECT_EQ(lines[2], "accept queue: limit " + effective + ", and one more");
}

TEST(Limits, TheQueueOfAListenerIsCounted)
{
    Descriptor listener = loopback_listener();
    Descriptor first = connect_to(local_address(listener));
    Descriptor second = connect_to(local_address(listener));
    std::vector<std::string> lines = lines_of([&] { report_queue(listener); });

    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].find("accept queue: 2 waiting, backlog "), 0U) << lines[0];
}

TEST(Limits, WhatIsNoListenerHasNoQueueAndErrnoStays)
{
    errno = 42;
    EXPECT_EQ(lines_of([] { report_queue(-1); }), std::vector<std::string>());
    EXPECT_EQ(errno, 42);
}

TEST(Limits, TheLongestHandshakeIsThatOfTheRetries)
{
    long retries = sysctl_or("net.ipv4.tcp_synack_retries", 5);
    std::vector<std::string> lines = lines_of(report_handshake);

    if (retries > 6)
        GTEST_SKIP() << "here the waits reach the most there is between two of them";
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0], "longest handshake: " + std::to_string((2L << retries) - 1) +
                            " s; net.ipv4.tcp_synack_retries = " + std::to_string(retries));
}

TEST(Limits, FastOpenIsForServersWhereTheSecondBitIsSet)
{
    long allowed = sysctl_or("net.ipv4.tcp_fastopen", 0);
    std::vector<std::string> lines = lines_of(report_fastopen_limit);

    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].find("warning") == std::string::npos, (allowed & 2) != 0) << lines[0];
}

TEST(Limits, NothingIsSaidWhereOnlyErrorsAreShown)
{
    Descriptor listener = loopback_listener();

    log_set_level(LOG_ERRORS);
    std::vector<std::string> lines = lines_of([&] {
        report_limits(3);
        report_queue(listener);
        report_handshake();
        report_fastopen_limit();
    });
    log_set_level(LOG_NORMAL);
    EXPECT_EQ(lines, std::vector<std::string>());
}
