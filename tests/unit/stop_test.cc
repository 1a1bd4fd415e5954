#include "common/stop.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <poll.h>
#include <pthread.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <vector>

#include "common/clock.h"
#include "common/stream.h"
#include "tests/unit/helpers.h"

/* A process is stopped once: every test runs in a child. Where the grace is LONG it cannot be
   what ends a call: the child is ended before, and the test fails. */
static const double LONG = 1000 * TIME_LIMIT_SECONDS;

static void signal_myself(int number)
{
    ASSERT_EQ(kill(getpid(), number), 0);
}

/* What recv(2) returns, with what it read: "abc", "" at the end of the stream. */
static std::string received(int socket)
{
    char bytes[100];
    ssize_t size;

    do /* the thread that accepts is woken by a signal */
        size = recv(socket, bytes, sizeof bytes, 0);
    while (size < 0 && errno == EINTR);
    EXPECT_GE(size, 0) << strerror(errno);
    return std::string(bytes, size > 0 ? (size_t)size : 0);
}

/* Asked for the way a program would see it: a connection that is idle ends. It is to have the
   largest descriptor of those watched: then all the others have been dealt with, too. */
static void wait_for_the_stop(int idle_connection)
{
    wait_for_event(idle_connection, POLLRDHUP);
    EXPECT_EQ(received(idle_connection), "");
}

/* The same for the end of the grace. */
static void wait_for_the_end_of_grace(int connection)
{
    wait_for_event(connection, POLLHUP);
}

static void send_text(int socket, const std::string &text)
{
    ASSERT_EQ(send_all(socket, text.data(), text.size()), 0) << strerror(errno);
}

TEST(Stop, IsNotRequestedBeforeASignal)
{
    Ended ended = in_child([] {
        EXPECT_FALSE(stop_requested());
        Descriptor listener = loopback_listener();
        stop_on_signals(listener, LONG);
        EXPECT_FALSE(stop_requested());
    });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.err, "");
}

TEST(Stop, EitherSignalEndsAccept)
{
    for (int number : {SIGINT, SIGTERM}) {
        Ended ended = in_child([=] {
            Descriptor listener = loopback_listener();
            stop_on_signals(listener, LONG);
            signal_myself(number);
            EXPECT_EQ(accept(listener, nullptr, nullptr), -1);
            EXPECT_TRUE(stop_requested());
        });
        EXPECT_TRUE(exited(ended, 0));
        EXPECT_EQ(
            messages(ended.err),
            std::vector<std::string>{number == SIGINT ? "SIGINT: stopping" : "SIGTERM: stopping"});
    }
}

TEST(Stop, TheThreadThatStopsHasAName)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        stop_on_signals(listener, LONG);
        signal_myself(SIGTERM);
        EXPECT_EQ(accept(listener, nullptr, nullptr), -1);
    });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_NE(ended.err.find(", stop("), std::string::npos) << ended.err;
}

/* EINTR, or EAGAIN where the signal was taken before the call. */
TEST(Stop, AnAcceptThatAlreadyWaitsIsEnded)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        pid_t thread = gettid();
        stop_on_signals(listener, LONG);
        Thread killer([=] {
            wait_until([=] { return is_asleep(getpid(), thread); });
            signal_myself(SIGTERM);
        });
        EXPECT_EQ(accept(listener, nullptr, nullptr), -1);
        EXPECT_TRUE(stop_requested());
        EXPECT_EQ(accept(listener, nullptr, nullptr), -1);
        EXPECT_EQ(errno, EAGAIN);
        killer.join();
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, WhoWaitsInTheQueueIsStillAccepted)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        sockaddr_in address = local_address(listener);
        TcpPair idle;
        stop_on_signals(listener, LONG);
        ASSERT_EQ(stop_watch(idle.ours), 0);
        Descriptor first = connect_to(address), second = connect_to(address);
        signal_myself(SIGTERM);
        wait_for_the_stop(idle.ours);
        for (int i = 0; i < 2; i++) {
            Descriptor accepted(accept(listener, nullptr, nullptr));
            EXPECT_GE(accepted, 0) << strerror(errno);
        }
        EXPECT_EQ(accept(listener, nullptr, nullptr), -1);
        EXPECT_EQ(errno, EAGAIN);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, AfterTheGraceNobodyNewCanConnect)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        sockaddr_in address = local_address(listener);
        TcpPair idle;
        stop_on_signals(listener, 0);
        ASSERT_EQ(stop_watch(idle.ours), 0);
        signal_myself(SIGTERM);
        wait_for_the_end_of_grace(idle.ours);

        Descriptor late(socket(AF_INET, SOCK_STREAM, 0));
        EXPECT_EQ(connect(late, reinterpret_cast<sockaddr *>(&address), sizeof address), -1);
        EXPECT_EQ(errno, ECONNREFUSED);
        EXPECT_EQ(accept(listener, nullptr, nullptr), -1);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, AnIdleConnectionEndsAtOnce)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair pair;
        stop_on_signals(listener, LONG);
        ASSERT_EQ(stop_watch(pair.ours), 0);
        signal_myself(SIGTERM);
        EXPECT_EQ(received(pair.ours), "");
        EXPECT_TRUE(stop_requested());
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, AReceiveThatAlreadyWaitsIsEnded)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair pair;
        std::string got = "nothing";
        stop_on_signals(listener, LONG);
        ASSERT_EQ(stop_watch(pair.ours), 0);
        Thread receiver([&] { got = received(pair.ours); });
        receiver.wait_until_asleep();
        signal_myself(SIGTERM);
        receiver.join();
        EXPECT_EQ(got, "");
    });

    EXPECT_TRUE(exited(ended, 0));
}

/* Far more than the table of connections begins with, so that it grows several times. */
TEST(Stop, ManyConnectionsEnd)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        std::vector<TcpPair> pairs(100);
        stop_on_signals(listener, LONG);
        for (const TcpPair &pair : pairs)
            ASSERT_EQ(stop_watch(pair.ours), 0);
        signal_myself(SIGTERM);
        for (const TcpPair &pair : pairs)
            EXPECT_EQ(received(pair.ours), "");
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, WhatHasComeIsStillRead)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair busy;
        TcpPair idle;
        stop_on_signals(listener, LONG);
        ASSERT_EQ(stop_watch(busy.ours), 0);
        ASSERT_EQ(stop_watch(idle.ours), 0);
        send_text(busy.theirs, "request");
        wait_for_event(busy.ours, POLLIN);
        signal_myself(SIGTERM);
        wait_for_the_stop(idle.ours);
        EXPECT_EQ(received(busy.ours), "request");
        EXPECT_EQ(received(busy.ours), "");
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, WithinTheGraceAnAnswerIsStillSent)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair busy;
        TcpPair idle;
        stop_on_signals(listener, LONG);
        ASSERT_EQ(stop_watch(busy.ours), 0);
        ASSERT_EQ(stop_watch(idle.ours), 0);
        signal_myself(SIGTERM);
        wait_for_the_stop(idle.ours);
        send_text(busy.ours, "answer");
        EXPECT_EQ(received(busy.theirs), "answer");
    });

    EXPECT_TRUE(exited(ended, 0));
}

/* Whole seconds and a fraction, and neither may be lost. */
TEST(Stop, AConnectionStuckInSendIsCutAfterTheGrace)
{
    Ended ended = in_child([] {
        const double grace = 1.05;
        Descriptor listener = loopback_listener();
        TcpPair pair(8192);
        std::string answer(1000000, 'a');
        stop_on_signals(listener, grace);
        ASSERT_EQ(stop_watch(pair.ours), 0);
        int64_t start = clock_ns();
        signal_myself(SIGTERM);
        EXPECT_EQ(send_all(pair.ours, answer.data(), answer.size()), -1);
        EXPECT_EQ(errno, EPIPE);
        EXPECT_GE(clock_seconds_since(start), grace);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, WithoutGraceAConnectionStuckInSendIsCutAtOnce)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair pair(8192);
        std::string answer(1000000, 'a');
        stop_on_signals(listener, 0);
        ASSERT_EQ(stop_watch(pair.ours), 0);
        signal_myself(SIGTERM);
        EXPECT_EQ(send_all(pair.ours, answer.data(), answer.size()), -1);
        EXPECT_EQ(errno, EPIPE);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, AConnectionWatchedAfterTheStopEndsAtOnceButMayAnswer)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair early;
        TcpPair late;
        stop_on_signals(listener, LONG);
        ASSERT_EQ(stop_watch(early.ours), 0);
        signal_myself(SIGTERM);
        wait_for_the_stop(early.ours);
        ASSERT_EQ(stop_watch(late.ours), 0);
        EXPECT_EQ(received(late.ours), "");
        send_text(late.ours, "answer");
        EXPECT_EQ(received(late.theirs), "answer");
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, AConnectionWatchedAfterTheGraceIsCut)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair early;
        TcpPair late;
        stop_on_signals(listener, 0);
        ASSERT_EQ(stop_watch(early.ours), 0);
        signal_myself(SIGTERM);
        wait_for_the_end_of_grace(early.ours);
        ASSERT_EQ(stop_watch(late.ours), 0);
        EXPECT_EQ(received(late.ours), "");
        EXPECT_EQ(send_all(late.ours, "x", 1), -1);
        EXPECT_EQ(errno, EPIPE);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, AForgottenConnectionIsLeftAlone)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair forgotten;
        TcpPair never_watched;
        TcpPair watched;
        stop_on_signals(listener, 0);
        ASSERT_EQ(stop_watch(forgotten.ours), 0);
        ASSERT_EQ(stop_watch(watched.ours), 0);
        stop_forget(forgotten.ours);
        signal_myself(SIGTERM);
        wait_for_the_end_of_grace(watched.ours);
        for (const TcpPair *pair : {&forgotten, &never_watched}) {
            send_text(pair->theirs, "request");
            EXPECT_EQ(received(pair->ours), "request");
            send_text(pair->ours, "answer");
            EXPECT_EQ(received(pair->theirs), "answer");
        }
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, AForgottenNumberCanBeWatchedAgain)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair pair;
        stop_on_signals(listener, LONG);
        stop_forget(pair.ours); /* before any was watched */
        ASSERT_EQ(stop_watch(pair.ours), 0);
        stop_forget(pair.ours);
        stop_forget(pair.ours);
        ASSERT_EQ(stop_watch(pair.ours), 0);
        signal_myself(SIGTERM);
        EXPECT_EQ(received(pair.ours), "");
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, ThreadsMayWatchAndForgetWhileTheServerStops)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        std::vector<std::unique_ptr<Thread>> threads;
        std::atomic<int> rounds{0};
        stop_on_signals(listener, LONG);
        for (int i = 0; i < 4; i++)
            threads.push_back(std::make_unique<Thread>([&] {
                TcpPair pair;
                while (!stop_requested()) {
                    ASSERT_EQ(stop_watch(pair.ours), 0);
                    stop_forget(pair.ours);
                    rounds++;
                }
                ASSERT_EQ(stop_watch(pair.ours), 0);
                EXPECT_EQ(received(pair.ours), "");
                stop_forget(pair.ours);
            }));
        wait_until([&] { return rounds > 1000; });
        signal_myself(SIGTERM);
        threads.clear(); /* joins them */
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, ASecondSignalEndsTheProgramAtOnce)
{
    for (int first : {SIGINT, SIGTERM})
        for (int second : {SIGINT, SIGTERM}) {
            Ended ended = in_child([=] {
                Descriptor listener = loopback_listener();
                TcpPair idle;
                stop_on_signals(listener, LONG);
                ASSERT_EQ(stop_watch(idle.ours), 0);
                signal_myself(first);
                wait_for_the_stop(idle.ours);
                signal_myself(second);
                for (;;)
                    pause();
            });
            EXPECT_TRUE(exited(ended, 0));
        }
}

TEST(Stop, TwoSignalsTogetherEndTheProgramAtOnce)
{
    for (int i = 0; i < 50; i++) {
        Ended ended = in_child([=] {
            Descriptor listener = loopback_listener();
            stop_on_signals(listener, LONG);
            signal_myself(SIGTERM);
            signal_myself(SIGINT);
            for (;;)
                pause();
        });
        ASSERT_TRUE(exited(ended, 0));
    }
}

TEST(Stop, ASecondSignalEndsTheProgramAlsoAfterTheGrace)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair idle;
        stop_on_signals(listener, 0);
        ASSERT_EQ(stop_watch(idle.ours), 0);
        signal_myself(SIGINT);
        wait_for_the_end_of_grace(idle.ours);
        signal_myself(SIGINT);
        for (;;)
            pause();
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, SoonAfterTheGraceTheProgramEndsWhateverItWaitsFor)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        stop_on_signals(listener, 0.1);
        signal_myself(SIGTERM);
        for (;;)
            pause();
    });

    EXPECT_TRUE(exited(ended, 0));
}

/* A shell starts what it runs in the background with SIGINT ignored. */
TEST(Stop, AnInterruptIsTakenEvenWhereItWasIgnored)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair idle;
        signal(SIGINT, SIG_IGN);
        stop_on_signals(listener, LONG);
        ASSERT_EQ(stop_watch(idle.ours), 0);
        signal_myself(SIGINT);
        wait_for_the_stop(idle.ours);
    });

    EXPECT_TRUE(exited(ended, 0));
}

/* Threads that are started later inherit what stop_on_signals() has blocked. */
TEST(Stop, OtherSystemCallsAreNotInterrupted)
{
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        TcpPair idle;
        TcpPair unwatched;
        std::string got;
        stop_on_signals(listener, LONG);
        ASSERT_EQ(stop_watch(idle.ours), 0);
        Thread receiver([&] { got = received(unwatched.ours); });
        receiver.wait_until_asleep();
        signal_myself(SIGTERM);
        wait_for_the_stop(idle.ours);
        send_text(unwatched.theirs, "late");
        receiver.join();
        EXPECT_EQ(got, "late");
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, AThreadThatCannotBeStartedEndsTheProgramWith1)
{
    const size_t too_much = SIZE_MAX / 4 * 3;
    pthread_attr_t attributes;
    pthread_attr_t before;
    size_t stack_size = 0;

    ASSERT_EQ(pthread_attr_init(&attributes), 0);
    ASSERT_EQ(pthread_getattr_default_np(&before), 0);
    ASSERT_EQ(pthread_attr_setstacksize(&attributes, too_much), 0);
    ASSERT_EQ(pthread_setattr_default_np(&attributes), 0);
    ASSERT_EQ(pthread_getattr_default_np(&attributes), 0);
    ASSERT_EQ(pthread_attr_getstacksize(&attributes, &stack_size), 0);
    Ended ended = in_child([] {
        Descriptor listener = loopback_listener();
        stop_on_signals(listener, LONG);
    });
    ASSERT_EQ(pthread_setattr_default_np(&before), 0);

    if (stack_size < too_much)
        GTEST_SKIP() << "this C library gives no thread a stack that is too large to get";
    EXPECT_TRUE(exited(ended, 1));
    EXPECT_EQ(messages(ended.err),
              std::vector<std::string>{std::string("pthread_create: ") + strerror(EAGAIN)});
}

/* A server as the stages have it, one client at a time. */
static void serve(int listener)
{
    for (;;) {
        Descriptor client(accept(listener, nullptr, nullptr));
        if (client < 0 && stop_requested())
            break;
        ASSERT_GE(client, 0) << strerror(errno);
        ASSERT_EQ(stop_watch(client), 0);
        while (!received(client).empty())
            continue;
        stop_forget(client);
    }
}

/* The signal is sent at a different moment of a connection each time: before accept(2), in it,
   between it and recv(2), in that. Without a client it meets the server in or before its
   accept(2). A server that misses it once is stuck, and is ended by its alarm. */
TEST(Stop, ASignalAtAnyMomentEndsAServer)
{
    for (int i = 0; i < 200; i++) {
        Descriptor listener = loopback_listener();
        Pipe ready;
        fflush(nullptr);
        pid_t server = fork();
        ASSERT_GE(server, 0);
        if (server == 0) {
            limit_time();
            log_set_level(LOG_ERRORS);
            stop_on_signals(listener, LONG);
            if (write(ready.in, "", 1) == 1)
                serve(listener);
            _exit(HasFailure() ? 99 : 0);
        }

        char byte;
        int status = 0;
        ready.in.reset();
        ASSERT_EQ(read(ready.out, &byte, 1), 1);
        Descriptor client;
        if (i % 4 != 0)
            client = connect_to(local_address(listener));
        int64_t start = clock_ns();
        while (clock_ns() - start < i * 1000)
            continue;
        ASSERT_EQ(kill(server, i % 2 == 0 ? SIGINT : SIGTERM), 0);
        ASSERT_EQ(waitpid(server, &status, 0), server);
        ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
            << "server " << i << " ended with status " << status;
    }
}

/* ---- exit_on_signals ---- */

TEST(Stop, ExitOnSignalsEndsTheProgramWith0)
{
    for (int number : {SIGINT, SIGTERM}) {
        Ended ended = in_child([=] {
            signal(number, SIG_IGN); /* as a shell does for what it runs in the background */
            exit_on_signals();
            signal_myself(number);
            FAIL() << "still here";
        });
        EXPECT_TRUE(exited(ended, 0));
        EXPECT_EQ(ended.err, "");
    }
}

TEST(Stop, ExitOnSignalsTakesASignalThatWasBlocked)
{
    Ended ended = in_child([] {
        sigset_t both;
        sigemptyset(&both);
        sigaddset(&both, SIGINT);
        sigaddset(&both, SIGTERM);
        sigprocmask(SIG_BLOCK, &both, nullptr);
        exit_on_signals();
        signal_myself(SIGTERM);
        FAIL() << "still here";
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, ExitOnSignalsEndsACallThatBlocks)
{
    Ended ended = in_child([] {
        TcpPair idle;
        pid_t thread = gettid();
        exit_on_signals();
        Thread killer([=] {
            wait_until([=] { return is_asleep(getpid(), thread); });
            signal_myself(SIGTERM);
        });
        received(idle.ours);
        FAIL() << "still here";
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, TheDescriptorIsReadableFromTheSignalOn)
{
    for (int number : {SIGINT, SIGTERM}) {
        Ended ended = in_child([=] {
            int descriptor = stop_descriptor();
            wake_on_signals();
            struct pollfd waiting = {descriptor, POLLIN, 0};
            EXPECT_EQ(poll(&waiting, 1, 0), 0);
            EXPECT_FALSE(stop_requested());
            signal_myself(number);
            wait_for_event(descriptor, POLLIN);
            EXPECT_TRUE(stop_requested());
            EXPECT_EQ(stop_descriptor(), descriptor);
            wait_for_event(stop_descriptor(), POLLIN); /* it stays so, for all who wait */
        });
        EXPECT_TRUE(exited(ended, 0));
        EXPECT_EQ(ended.err, "");
    }
}

TEST(Stop, ASignalBeforeAnybodyIsToBeTold)
{
    Ended ended = in_child([] {
        exit_on_signals();
        stop_descriptor();
        signal_myself(SIGTERM);
        FAIL() << "still here";
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, TheDescriptorIsToldOfInEveryThread)
{
    Ended ended = in_child([] {
        int descriptor = stop_descriptor();
        wake_on_signals();
        Thread first([=] { wait_for_event(descriptor, POLLIN); });
        Thread second([=] { wait_for_event(descriptor, POLLIN); });
        first.wait_until_asleep();
        second.wait_until_asleep();
        signal_myself(SIGTERM);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST(Stop, ASecondSignalEndsAProgramWithADescriptorAtOnce)
{
    for (int number : {SIGINT, SIGTERM}) {
        Ended ended = in_child([=] {
            wake_on_signals();
            signal_myself(SIGTERM);
            signal_myself(number);
            FAIL() << "not ended by the second signal";
        });
        EXPECT_TRUE(exited(ended, 0));
    }
}
