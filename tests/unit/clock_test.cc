#include "common/clock.h"

#include <ctime>
#include <gtest/gtest.h>

static int64_t kernel_ns()
{
    timespec now = {};

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

TEST(Clock, NeverGoesBack)
{
    int64_t last = clock_ns();

    for (int i = 0; i < 100000; i++) {
        int64_t now = clock_ns();
        ASSERT_GE(now, last);
        last = now;
    }
}

TEST(Clock, GoesForward)
{
    int64_t start = clock_ns();

    while (clock_ns() == start)
        continue;
    EXPECT_GT(clock_ns(), start);
}

TEST(Clock, CountsTheNanosecondsOfTheMonotonicClock)
{
    for (int i = 0; i < 1000; i++) {
        int64_t before = kernel_ns();
        int64_t shown = clock_ns();
        int64_t after = kernel_ns();
        ASSERT_LE(before, shown);
        ASSERT_LE(shown, after);
    }
}

TEST(Clock, SecondsSinceAStartAreCountedFromThere)
{
    double seconds = clock_seconds_since(clock_ns() - 2500000000);

    EXPECT_GE(seconds, 2.5);
    EXPECT_LT(seconds, 62.5);
}

TEST(Clock, SecondsSinceNeverFallShortOfASleep)
{
    int64_t start = clock_ns();
    timespec pause = {0, 20000000};

    nanosleep(&pause, nullptr);
    EXPECT_GE(clock_seconds_since(start), 0.02);
}
