#include "common/descriptors.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* What stays when every combination of the three is closed. */
TEST(StandardStreams, OnesThatAreClosedCanBeNeitherReadNorWritten)
{
    for (int closed = 0; closed < 8; closed++) {
        Ended ended = in_child([&] {
            char byte;
            Descriptor report(dup(STDOUT_FILENO));
            for (int number = 0; number <= STDERR_FILENO; number++)
                if (closed & 1 << number)
                    close(number);
            guard_standard_streams();
            Descriptor next(socket(AF_INET, SOCK_STREAM, 0));
            EXPECT_GT(next, STDERR_FILENO);
            for (int number = 0; number <= STDERR_FILENO; number++) {
                if (!(closed & 1 << number))
                    continue;
                errno = 0;
                ssize_t done =
                    number == STDIN_FILENO ? read(number, &byte, 1) : write(number, "x", 1);
                EXPECT_EQ(done, -1) << "descriptor " << number;
                EXPECT_EQ(errno, EBADF) << "descriptor " << number;
            }
            dup2(report, STDOUT_FILENO);
        });
        EXPECT_TRUE(exited(ended, 0)) << "closed, as bits: " << closed;
    }
}

TEST(StandardStreams, OnesThatAreOpenStay)
{
    Ended ended = in_child([] {
        Pipe pipe;
        ASSERT_EQ(dup2(pipe.out, STDIN_FILENO), STDIN_FILENO);
        guard_standard_streams();
        ASSERT_EQ(write(pipe.in, "a", 1), 1);
        char byte = 0;
        EXPECT_EQ(read(STDIN_FILENO, &byte, 1), 1);
        EXPECT_EQ(byte, 'a');
        ASSERT_EQ(write(STDOUT_FILENO, "out", 3), 3);
        ASSERT_EQ(write(STDERR_FILENO, "err", 3), 3);
    });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.out, "out");
    EXPECT_EQ(ended.err, "err");
}

TEST(StandardStreams, AClosedPipeIsAnErrorAndNoSignal)
{
    Ended ended = in_child([] {
        Pipe pipe;
        signal(SIGPIPE, SIG_DFL);
        guard_standard_streams();
        pipe.out.reset();
        EXPECT_EQ(write(pipe.in, "x", 1), -1);
        EXPECT_EQ(errno, EPIPE);
    });

    EXPECT_TRUE(exited(ended, 0));
}

/* Whoever has the same pipe as stderr finds it as it was: a write to it waits. */
TEST(StandardStreams, AStderrThatIsAPipeIsOpenedAgain)
{
    Ended ended = in_child([] {
        Pipe pipe;
        char byte = 0;
        ASSERT_GE(dup2(pipe.in, STDERR_FILENO), 0);
        int next = dup(STDOUT_FILENO);
        close(next);
        guard_standard_streams();
        EXPECT_TRUE(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
        EXPECT_FALSE(fcntl(pipe.in, F_GETFL) & O_NONBLOCK);
        ASSERT_EQ(write(STDERR_FILENO, "x", 1), 1);
        EXPECT_EQ(read(pipe.out, &byte, 1), 1);
        EXPECT_EQ(dup(STDOUT_FILENO), next) << "a descriptor is left";
        /* The pipe ends with this process's own end and the other one, not later. */
        pipe.in.reset();
        close(STDERR_FILENO);
        EXPECT_EQ(read(pipe.out, &byte, 1), 0);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(StandardStreams, AStderrThatIsATerminalIsOpenedAgain)
{
    if (!terminals_work())
        GTEST_SKIP() << "no terminal can be made here: is /dev/pts there?";
    Ended ended = in_child([] {
        Descriptor master(posix_openpt(O_RDWR | O_NOCTTY));
        ASSERT_EQ(grantpt(master), 0);
        ASSERT_EQ(unlockpt(master), 0);
        Descriptor slave(open(ptsname(master), O_RDWR | O_NOCTTY));
        ASSERT_GE(dup2(slave, STDERR_FILENO), 0);
        guard_standard_streams();
        EXPECT_TRUE(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
        EXPECT_FALSE(fcntl(slave, F_GETFL) & O_NONBLOCK);
        EXPECT_EQ(fcntl(STDERR_FILENO, F_GETFL) & O_ACCMODE, O_RDWR);
        EXPECT_TRUE(isatty(STDERR_FILENO));
    });

    EXPECT_TRUE(exited(ended, 0));
}

/* It would lose its place in the file, which stdout may share (2>&1). */
TEST(StandardStreams, AStderrThatIsAFileIsNotOpenedAgain)
{
    Ended ended = in_child([] {
        ASSERT_GE(dup2(STDOUT_FILENO, STDERR_FILENO), 0);
        guard_standard_streams();
        ASSERT_EQ(write(STDOUT_FILENO, "one ", 4), 4);
        ASSERT_EQ(write(STDERR_FILENO, "two ", 4), 4);
        ASSERT_EQ(write(STDOUT_FILENO, "three", 5), 5);
    });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.out, "one two three");
}

TEST(StandardStreams, AProgramThatIsExecutedFindsThemAsEver)
{
    Ended ended = in_child([] {
        Pipe pipe;
        ASSERT_GE(dup2(pipe.in, STDERR_FILENO), 0);
        guard_standard_streams();
        restore_standard_streams();
        EXPECT_FALSE(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
        EXPECT_EQ(signal(SIGPIPE, SIG_IGN), SIG_DFL);
    });

    EXPECT_TRUE(exited(ended, 0));
}
