#include "common/stream.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/time.h>
#include <vector>

#include "common/clock.h"
#include "tests/unit/helpers.h"

class Stream : public TimeLimited
{
  protected:
    void TearDown() override
    {
        log_set_level(LOG_NORMAL);
        TimeLimited::TearDown();
    }
};

/* Bytes in which every place looks different from its neighbours, so that a lost, doubled or
   moved piece shows. */
static std::string pattern(size_t size)
{
    std::string bytes(size, '\0');
    uint32_t number = 1;

    for (char &byte : bytes) {
        number = number * 1664525 + 1013904223;
        byte = (char)(number >> 24);
    }
    return bytes;
}

static void write_all(int socket, const std::string &bytes)
{
    ASSERT_EQ(send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), (ssize_t)bytes.size());
}

/* Reads until the end of the stream, a little at a time. */
static std::string drain(int socket, size_t piece_size)
{
    std::string all;
    std::vector<char> piece(piece_size);
    ssize_t size;

    while ((size = recv(socket, piece.data(), piece_size, 0)) > 0)
        all.append(piece.data(), (size_t)size);
    EXPECT_EQ(size, 0) << strerror(errno);
    return all;
}

static void set_timeout(int socket, int name, int milliseconds)
{
    timeval time = {0, milliseconds * 1000};

    ASSERT_EQ(setsockopt(socket, SOL_SOCKET, name, &time, sizeof time), 0);
}

/* Two sockets that keep what was sent in one piece in one piece: one send(2) is one recv(2) on
   the other side, so a test says exactly how its bytes come apart. */
struct PiecePair {
    PiecePair()
    {
        int ends[2] = {-1, -1};
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
        ours.reset(ends[0]);
        theirs.reset(ends[1]);
    }
    Descriptor ours, theirs;
};

/* ---- send_all ---- */

TEST_F(Stream, SendAllSendsEveryByte)
{
    TcpPair pair;
    std::string bytes = pattern(1000);
    char got[1000];

    EXPECT_EQ(send_all(pair.ours, bytes.data(), bytes.size()), 0);
    ASSERT_EQ(recv(pair.theirs, got, sizeof got, MSG_WAITALL), 1000);
    EXPECT_EQ(std::string(got, sizeof got), bytes);
}

TEST_F(Stream, SendAllOfNothingDoesNothing)
{
    TcpPair pair;
    char byte;

    EXPECT_EQ(send_all(pair.ours, "", 0), 0);
    EXPECT_EQ(send_all(-1, nullptr, 0), 0);
    EXPECT_EQ(recv(pair.theirs, &byte, 1, MSG_DONTWAIT), -1);
    EXPECT_EQ(errno, EAGAIN);
}

/* The reader begins only when nothing more fits: all that is sent after that waits for it. */
TEST_F(Stream, SendAllWaitsForASlowReader)
{
    TcpPair pair(8192);
    std::string bytes = pattern(1000000);
    int result = 1;

    Thread sender([&] {
        result = send_all(pair.ours, bytes.data(), bytes.size());
        shutdown(pair.ours, SHUT_WR);
    });
    sender.wait_until_asleep();
    EXPECT_TRUE(drain(pair.theirs, 3001) == bytes) << "what came is not what was sent";
    sender.join();
    EXPECT_EQ(result, 0);
}

/* A signal ends a send(2) that waits with EINTR, or with a short count if some bytes have
   gone. The log of bytes, a line for each send, shows that there were short counts. */
TEST_F(Stream, SendAllGoesOnAfterSignalsAndShortCounts)
{
    TcpPair pair(8192);
    Interruptions interruptions;
    CapturedStderr captured;
    std::string bytes = pattern(400000);
    int result = 1;
    std::string got;
    char piece[20000];

    log_set_level(LOG_BYTES);
    Thread sender([&] {
        result = send_all(pair.ours, bytes.data(), bytes.size());
        shutdown(pair.ours, SHUT_WR);
    });
    interruptions.send(sender, 20);
    EXPECT_FALSE(sender.has_ended());
    for (int i = 0; i < 5; i++) {
        ssize_t size = recv(pair.theirs, piece, sizeof piece, 0);
        ASSERT_GT(size, 0);
        got.append(piece, (size_t)size);
        interruptions.send(sender, 3);
    }
    got += drain(pair.theirs, 20000);
    sender.join();

    EXPECT_EQ(result, 0);
    EXPECT_TRUE(got == bytes) << "what came is not what was sent";
    size_t sum = 0;
    std::vector<std::string> lines = messages(captured.text());
    for (const std::string &line : lines) {
        ASSERT_EQ(line.rfind("sent ", 0), 0U) << line;
        sum += std::stoul(line.substr(5));
    }
    EXPECT_EQ(sum, bytes.size());
    EXPECT_GE(lines.size(), 2U) << "there was no short count";
}

TEST_F(Stream, SendAllToAPeerThatIsGoneIsEpipeAndNoSignal)
{
    Ended ended = in_child([] {
        TcpPair pair;
        signal(SIGPIPE, SIG_DFL);
        ASSERT_EQ(shutdown(pair.ours, SHUT_WR), 0);
        EXPECT_EQ(send_all(pair.ours, "x", 1), -1);
        EXPECT_EQ(errno, EPIPE);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST_F(Stream, SendAllAfterAResetIsEconnresetThenEpipeAndNoSignal)
{
    Ended ended = in_child([] {
        TcpPair pair;
        signal(SIGPIPE, SIG_DFL);
        reset_connection(pair.theirs);
        wait_for_event(pair.ours, POLLHUP);
        EXPECT_EQ(send_all(pair.ours, "x", 1), -1);
        EXPECT_EQ(errno, ECONNRESET);
        EXPECT_EQ(send_all(pair.ours, "x", 1), -1);
        EXPECT_EQ(errno, EPIPE);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST_F(Stream, SendAllThatWaitsIsEndedByAReset)
{
    TcpPair pair(8192);
    std::string bytes = pattern(1000000);
    int result = 1;
    int error = 0;

    Thread sender([&] {
        result = send_all(pair.ours, bytes.data(), bytes.size());
        error = errno;
    });
    sender.wait_until_asleep();
    reset_connection(pair.theirs);
    sender.join();
    EXPECT_EQ(result, -1);
    EXPECT_TRUE(error == ECONNRESET || error == EPIPE) << strerror(error);
}

/* The first send(2) sends a part when the time is up, the next one nothing. */
TEST_F(Stream, SendAllIsEagainWhereTheTimeIsUp)
{
    TcpPair pair(8192);
    std::string bytes = pattern(1000000);

    set_timeout(pair.ours, SO_SNDTIMEO, 60);
    int64_t start = clock_ns();
    EXPECT_EQ(send_all(pair.ours, bytes.data(), bytes.size()), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_GE(clock_seconds_since(start), 0.03); /* the kernel counts in ticks, not by this clock */

    ASSERT_EQ(shutdown(pair.ours, SHUT_WR), 0);
    std::string got = drain(pair.theirs, 65536);
    EXPECT_GT(got.size(), 0U);
    EXPECT_LT(got.size(), bytes.size());
    EXPECT_TRUE(got == bytes.substr(0, got.size())) << "what came is not what was sent";
}

/* ---- receive_exactly ---- */

TEST_F(Stream, ReceiveExactlyTakesNoMoreThanItsSize)
{
    TcpPair pair;
    char got[5] = {0, 0, 0, 0, '#'};

    write_all(pair.theirs, "abcdefgh");
    EXPECT_EQ(receive_exactly(pair.ours, got, 4), 4);
    EXPECT_EQ(std::string(got, 5), "abcd#");
    EXPECT_EQ(receive_exactly(pair.ours, got, 4), 4);
    EXPECT_EQ(std::string(got, 5), "efgh#");
}

TEST_F(Stream, ReceiveExactlyPutsPiecesTogether)
{
    PiecePair pair;
    char got[6] = {};

    for (const char *piece : {"a", "bc", "d", "e"})
        write_all(pair.theirs, piece);
    EXPECT_EQ(receive_exactly(pair.ours, got, 5), 5);
    EXPECT_STREQ(got, "abcde");
}

TEST_F(Stream, ReceiveExactlyWaitsForALargeMessage)
{
    TcpPair pair;
    std::string bytes = pattern(3000000);
    std::string got(bytes.size(), '\0');

    Thread sender([&] { EXPECT_EQ(send_all(pair.theirs, bytes.data(), bytes.size()), 0); });
    EXPECT_EQ(receive_exactly(pair.ours, got.data(), got.size()), (ssize_t)bytes.size());
    sender.join();
    EXPECT_TRUE(got == bytes) << "what came is not what was sent";
}

TEST_F(Stream, ReceiveExactlyNothingDoesNotWait)
{
    TcpPair pair;

    EXPECT_EQ(receive_exactly(pair.ours, nullptr, 0), 0);
}

TEST_F(Stream, ReceiveExactlyIsZeroAtTheEndOfTheStream)
{
    TcpPair pair;
    char got[8];

    ASSERT_EQ(shutdown(pair.theirs, SHUT_WR), 0);
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), 0);
}

TEST_F(Stream, ReceiveExactlyIsShortWhereTheStreamEndsInTheMiddle)
{
    TcpPair pair;
    char got[8];

    write_all(pair.theirs, "abc");
    ASSERT_EQ(shutdown(pair.theirs, SHUT_WR), 0);
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), 3);
    EXPECT_EQ(std::string(got, 3), "abc");
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), 0);
}

TEST_F(Stream, ReceiveExactlyIsWholeWhereTheStreamEndsJustBehind)
{
    TcpPair pair;
    char got[8];

    write_all(pair.theirs, "abcdefgh");
    ASSERT_EQ(shutdown(pair.theirs, SHUT_WR), 0);
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), 8);
    EXPECT_EQ(std::string(got, 8), "abcdefgh");
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), 0);
}

TEST_F(Stream, ReceiveExactlyIsEagainWhereTheTimeIsUp)
{
    TcpPair pair;
    char got[8];

    set_timeout(pair.ours, SO_RCVTIMEO, 60);
    int64_t start = clock_ns();
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_GE(clock_seconds_since(start), 0.03); /* the kernel counts in ticks, not by this clock */

    write_all(pair.theirs, "abc");
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), -1);
    EXPECT_EQ(errno, EAGAIN);
}

TEST_F(Stream, ReceiveExactlyIsEconnresetAfterAReset)
{
    TcpPair pair;
    char got[8];

    write_all(pair.theirs, "abc");
    reset_connection(pair.theirs);
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), -1);
    EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(Stream, ReceiveExactlyGoesOnAfterSignals)
{
    TcpPair pair;
    Interruptions interruptions;
    ssize_t size = -2;
    char got[8] = {};

    Thread receiver([&] { size = receive_exactly(pair.ours, got, sizeof got); });
    interruptions.send(receiver, 20);
    write_all(pair.theirs, "abc");
    interruptions.send(receiver, 20);
    write_all(pair.theirs, "defgh");
    receiver.join();
    EXPECT_EQ(size, 8) << strerror(errno);
    EXPECT_EQ(std::string(got, 8), "abcdefgh");
}

TEST_F(Stream, WhatIsSentAndReceivedIsLoggedAsBytes)
{
    PiecePair pair;
    CapturedStderr captured;
    char got[4];

    log_set_level(LOG_BYTES);
    EXPECT_EQ(send_all(pair.theirs, "ab", 2), 0);
    EXPECT_EQ(send_all(pair.theirs, "c\n", 2), 0);
    EXPECT_EQ(receive_exactly(pair.ours, got, 4), 4);
    pair.theirs.reset();
    EXPECT_EQ(receive_exactly(pair.ours, got, 4), 0);
    EXPECT_EQ(messages(captured.text()),
              (std::vector<std::string>{"sent 2 bytes b'ab'", "sent 2 bytes b'c\\n'",
                                        "received 2 bytes b'ab'", "received 2 bytes b'c\\n'"}));
}
