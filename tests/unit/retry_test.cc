#include "common/retry.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "common/clock.h"
#include "tests/unit/helpers.h"

/* One call of accept_failed() after this error: how long it took, and what it logged. */
struct Call {
    double seconds;
    std::vector<std::string> lines;
};

static Call accept_failed_with(int error)
{
    CapturedStderr captured;
    int64_t start = clock_ns();

    errno = error;
    accept_failed();
    double seconds = clock_seconds_since(start);
    return {seconds, messages(captured.text())};
}

/* A machine with much to do can stop a call that does not wait at any place, for as long as a
   wait would take; but hardly each of several calls. */
static double quickest_of_several(int error)
{
    double quickest = 1e9;

    for (int i = 0; i < 20 && quickest > 0.05; i++)
        quickest = std::min(quickest, accept_failed_with(error).seconds);
    return quickest;
}

static std::string words(int error)
{
    return strerror(error);
}

TEST(Retry, RetryLaterLogsTheErrorAndWaitsATenthOfASecond)
{
    CapturedStderr captured;
    int64_t start = clock_ns();

    retry_later("pthread_create", EAGAIN);
    EXPECT_GE(clock_seconds_since(start), 0.09);
    EXPECT_LT(clock_seconds_since(start), 30);
    std::vector<std::string> lines = messages(captured.text());
    ASSERT_EQ(lines.size(), 1U) << captured.text();
    EXPECT_EQ(lines[0], "pthread_create: " + words(EAGAIN) + "; trying again in 0.1 s");
}

TEST(Retry, WhatTheSystemLacksIsLoggedAndWaitedFor)
{
    for (int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
        Call call = accept_failed_with(error);
        EXPECT_GE(call.seconds, 0.09) << words(error);
        ASSERT_EQ(call.lines.size(), 1U) << words(error);
        EXPECT_EQ(call.lines[0], "accept: " + words(error) + "; trying again in 0.1 s");
    }
}

TEST(Retry, AnErrorThatNobodyExpectedDoesNotSpin)
{
    Call call = accept_failed_with(EBADF);

    EXPECT_GE(call.seconds, 0.09);
    EXPECT_EQ(call.lines.size(), 1U);
}

TEST(Retry, LackIsSaidEvenWhereOnlyErrorsAreShown)
{
    log_set_level(LOG_ERRORS);
    Call call = accept_failed_with(EMFILE);
    log_set_level(LOG_NORMAL);
    EXPECT_EQ(call.lines.size(), 1U);
}

/* All of those that accept(2) lists. */
static const int lost_connection[] = {
    ECONNABORTED, EPROTO, EPERM,        ENETDOWN,   ENOPROTOOPT,
    EHOSTDOWN,    ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH,
};

TEST(Retry, ALostConnectionIsOneLine)
{
    for (int error : lost_connection) {
        Call call = accept_failed_with(error);
        ASSERT_EQ(call.lines.size(), 1U) << words(error);
        EXPECT_EQ(call.lines[0], "accept: " + words(error) + "; waiting for the next");
    }
}

TEST(Retry, ALostConnectionDoesNotHoldUpTheNext)
{
    for (int error : lost_connection)
        EXPECT_LT(quickest_of_several(error), 0.05) << words(error);
}

TEST(Retry, AnInterruptedAcceptIsSilentAndAtOnce)
{
    EXPECT_EQ(accept_failed_with(EINTR).lines, std::vector<std::string>());
    EXPECT_LT(quickest_of_several(EINTR), 0.05);
}

TEST(Retry, AServerThatMustNotSleepIsToldWhetherToWait)
{
    struct {
        int error;
        bool go_on;
        std::vector<std::string> lines;
    } cases[] = {
        {EINTR, true, {}},
        {ECONNABORTED, true, {"accept: " + words(ECONNABORTED) + "; waiting for the next"}},
        {EMFILE, false, {"accept: " + words(EMFILE) + "; trying again in 0.1 s"}},
        {ENOMEM, false, {"accept: " + words(ENOMEM) + "; trying again in 0.1 s"}},
    };

    for (const auto &expected : cases) {
        double quickest = 1e9;
        for (int i = 0; i < 20 && quickest > 0.05; i++) {
            CapturedStderr captured;
            int64_t start = clock_ns();
            errno = expected.error;
            EXPECT_EQ(accept_may_go_on(), expected.go_on) << words(expected.error);
            quickest = std::min(quickest, clock_seconds_since(start));
            EXPECT_EQ(messages(captured.text()), expected.lines);
        }
        EXPECT_LT(quickest, 0.05) << words(expected.error);
    }
}
