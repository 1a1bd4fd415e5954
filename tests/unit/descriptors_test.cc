#include "common/descriptors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/unit/helpers.h"

/* The limits are those of a process, and the hard one can only go down: every test runs in a
   child. */
static void set_limits(rlim_t soft, rlim_t hard)
{
    struct rlimit limits = {soft, hard};

    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limits), 0);
}

static void expect_limits(rlim_t soft, rlim_t hard)
{
    struct rlimit limits = {};

    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limits), 0);
    EXPECT_EQ(limits.rlim_cur, soft);
    EXPECT_EQ(limits.rlim_max, hard);
}

static void expect_silent_success(const Ended &ended)
{
    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.err, "");
}

TEST(Descriptors, ALimitThatIsHighEnoughStays)
{
    expect_silent_success(in_child([] {
        set_limits(100, 200);
        EXPECT_EQ(allow_sockets(10), 10);
        expect_limits(100, 200);
        EXPECT_EQ(allow_sockets(0), 0);
        expect_limits(100, 200);
    }));
}

TEST(Descriptors, TheSoftLimitIsRaisedForAllSocketsAndAFewFiles)
{
    expect_silent_success(in_child([] {
        set_limits(32, 400);
        EXPECT_EQ(allow_sockets(150), 150);

        struct rlimit limits = {};
        ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limits), 0);
        EXPECT_GE(limits.rlim_cur, 150U + 3U);
        EXPECT_LT(limits.rlim_cur, 400U) << "more than was asked for";
        EXPECT_EQ(limits.rlim_max, 400U);
    }));
}

TEST(Descriptors, SoManySocketsCanThenBeOpened)
{
    expect_silent_success(in_child([] {
        for (int number = STDERR_FILENO + 1; number < 1000; number++)
            close(number);
        set_limits(8, 400);
        ASSERT_EQ(allow_sockets(150), 150);
        for (int i = 0; i < 150; i++)
            ASSERT_GE(socket(AF_INET, SOCK_STREAM, 0), 0) << "socket " << i;
    }));
}

TEST(Descriptors, TheHardLimitIsReachedInSilence)
{
    expect_silent_success(in_child([] {
        set_limits(20, 400);
        long most = 400;
        /* The room beside the sockets is not part of the contract: found here by asking for
           what the soft limit becomes. */
        EXPECT_EQ(allow_sockets(100), 100);
        struct rlimit limits = {};
        ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limits), 0);
        long others = (long)limits.rlim_cur - 100;
        EXPECT_EQ(allow_sockets(most - others), most - others);
        expect_limits(400, 400);
    }));
}

TEST(Descriptors, WhereTheHardLimitIsTooLowTheLogSaysSoAndTheRoomIsReturned)
{
    Ended ended = in_child([] {
        set_limits(20, 400);
        EXPECT_EQ(allow_sockets(1000), 384);
        expect_limits(400, 400);
    });

    EXPECT_TRUE(exited(ended, 0));
    ASSERT_EQ(messages(ended.err).size(), 1U) << ended.err;
    EXPECT_EQ(messages(ended.err)[0], "warning: room for 384 sockets, not 1000: the limit of open "
                                      "files (ulimit -Hn) is 400");
}

TEST(Descriptors, OneSocketTooManyIsToldFromJustEnough)
{
    Ended ended = in_child([] {
        set_limits(20, 400);
        EXPECT_EQ(allow_sockets(384), 384);
        EXPECT_EQ(allow_sockets(385), 384);
        expect_limits(400, 400);
    });

    EXPECT_TRUE(exited(ended, 0));
    ASSERT_EQ(messages(ended.err).size(), 1U) << ended.err;
    EXPECT_NE(messages(ended.err)[0].find("room for 384 sockets, not 385"), std::string::npos)
        << ended.err;
}

TEST(Descriptors, ThereIsNeverRoomForLessThanNothing)
{
    Ended ended = in_child([] {
        set_limits(10, 10);
        EXPECT_EQ(allow_sockets(5), 0);
    });

    EXPECT_TRUE(exited(ended, 0));
}
