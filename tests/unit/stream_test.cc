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

static std::unique_ptr<line_reader> reader_of(int socket)
{
    auto reader = std::make_unique<line_reader>();

    memset(reader->bytes, '#', sizeof reader->bytes);
    reader->socket = socket;
    reader->start = reader->end = 0;
    return reader;
}

/* The next line; where there is none, the test fails. */
static std::string next_line(line_reader *reader)
{
    char *line = nullptr;
    ssize_t size = read_line(reader, &line);

    EXPECT_GT(size, 0) << (size < 0 ? strerror(errno) : "the stream is at its end");
    return size > 0 ? std::string(line, (size_t)size) : "";
}

static void expect_end(line_reader *reader)
{
    char *line = nullptr;

    EXPECT_EQ(read_line(reader, &line), 0);
}

static void expect_error(line_reader *reader, int error)
{
    char *line = nullptr;

    errno = 0;
    EXPECT_EQ(read_line(reader, &line), -1);
    EXPECT_EQ(errno, error) << strerror(errno);
}

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

    set_timeout(pair.ours, SO_SNDTIMEO, 30);
    int64_t start = clock_ns();
    EXPECT_EQ(send_all(pair.ours, bytes.data(), bytes.size()), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_GE(clock_seconds_since(start), 0.029);

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

    set_timeout(pair.ours, SO_RCVTIMEO, 20);
    int64_t start = clock_ns();
    EXPECT_EQ(receive_exactly(pair.ours, got, sizeof got), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_GE(clock_seconds_since(start), 0.019);

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
    auto reader = reader_of(pair.ours);
    char got[4];

    log_set_level(LOG_BYTES);
    EXPECT_EQ(send_all(pair.theirs, "ab", 2), 0);
    EXPECT_EQ(send_all(pair.theirs, "c\n", 2), 0);
    EXPECT_EQ(receive_exactly(pair.ours, got, 4), 4);
    EXPECT_EQ(send_all(pair.theirs, "line\n", 5), 0);
    EXPECT_EQ(next_line(reader.get()), "line\n");
    pair.theirs.reset();
    EXPECT_EQ(receive_exactly(pair.ours, got, 4), 0);
    EXPECT_EQ(messages(captured.text()),
              (std::vector<std::string>{"sent 2 bytes b'ab'", "sent 2 bytes b'c\\n'",
                                        "received 2 bytes b'ab'", "received 2 bytes b'c\\n'",
                                        "sent 5 bytes b'line\\n'", "received 5 bytes b'line\\n'"}));
}

/* ---- read_line ---- */

TEST_F(Stream, LinesThatCameInOnePieceAreReadOneByOne)
{
    PiecePair pair;
    auto reader = reader_of(pair.ours);

    write_all(pair.theirs, "one\ntwo\nthree\n");
    pair.theirs.reset();
    EXPECT_EQ(next_line(reader.get()), "one\n");
    EXPECT_EQ(next_line(reader.get()), "two\n");
    EXPECT_EQ(next_line(reader.get()), "three\n");
    expect_end(reader.get());
}

TEST_F(Stream, ALineThatHasComeNeedsNoMoreFromTheSocket)
{
    PiecePair pair;
    auto reader = reader_of(pair.ours);

    write_all(pair.theirs, "one\ntwo\nthr");
    EXPECT_EQ(next_line(reader.get()), "one\n");
    pair.ours.reset();
    EXPECT_EQ(next_line(reader.get()), "two\n");
    expect_error(reader.get(), EBADF);
}

TEST_F(Stream, LinesThatComeByteByByteAreWhole)
{
    PiecePair pair;
    auto reader = reader_of(pair.ours);

    for (char byte : std::string("one\n\ntwo\n"))
        write_all(pair.theirs, std::string(1, byte));
    pair.theirs.reset();
    EXPECT_EQ(next_line(reader.get()), "one\n");
    EXPECT_EQ(next_line(reader.get()), "\n");
    EXPECT_EQ(next_line(reader.get()), "two\n");
    expect_end(reader.get());
}

TEST_F(Stream, ALineMayEndAndTheNextBeginInOnePiece)
{
    PiecePair pair;
    auto reader = reader_of(pair.ours);

    for (const char *piece : {"o", "ne\ntw", "o\nthree", "\n"})
        write_all(pair.theirs, piece);
    EXPECT_EQ(next_line(reader.get()), "one\n");
    EXPECT_EQ(next_line(reader.get()), "two\n");
    EXPECT_EQ(next_line(reader.get()), "three\n");
}

TEST_F(Stream, LinesCanBeEmpty)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);

    write_all(pair.theirs, "\n\n\r\n\n");
    pair.theirs.reset();
    EXPECT_EQ(next_line(reader.get()), "\n");
    EXPECT_EQ(next_line(reader.get()), "\n");
    EXPECT_EQ(next_line(reader.get()), "\r\n");
    EXPECT_EQ(next_line(reader.get()), "\n");
    expect_end(reader.get());
}

TEST_F(Stream, LinesMayHoldAnyByte)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);
    std::string odd("a\0b\0\0\r\xff\x80\n", 9);

    write_all(pair.theirs, odd + std::string("\0\n", 2));
    EXPECT_EQ(next_line(reader.get()), odd);
    EXPECT_EQ(next_line(reader.get()), std::string("\0\n", 2));
}

TEST_F(Stream, TheLastLineMayLackItsLineEnd)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);

    write_all(pair.theirs, "one\ntwo");
    pair.theirs.reset();
    EXPECT_EQ(next_line(reader.get()), "one\n");
    EXPECT_EQ(next_line(reader.get()), "two");
    expect_end(reader.get());
    expect_end(reader.get());
}

TEST_F(Stream, AnEmptyStreamHasNoLine)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);

    pair.theirs.reset();
    expect_end(reader.get());
    expect_end(reader.get());
}

TEST_F(Stream, ALineOfTheLimitIsRead)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);
    std::string longest = std::string(LINE_LIMIT - 1, 'a') + "\n";

    write_all(pair.theirs, longest + longest + "next\n");
    EXPECT_TRUE(next_line(reader.get()) == longest);
    EXPECT_TRUE(next_line(reader.get()) == longest);
    EXPECT_EQ(next_line(reader.get()), "next\n");
}

TEST_F(Stream, ALastLineOneByteBelowTheLimitIsRead)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);
    std::string text(LINE_LIMIT - 1, 'a');

    write_all(pair.theirs, text);
    pair.theirs.reset();
    EXPECT_TRUE(next_line(reader.get()) == text);
    expect_end(reader.get());
}

TEST_F(Stream, ALineOverTheLimitIsEmsgsizeAlsoWhenAskedAgain)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);

    write_all(pair.theirs, std::string(LINE_LIMIT, 'a') + "\n");
    expect_error(reader.get(), EMSGSIZE);
    expect_error(reader.get(), EMSGSIZE);
}

/* The peer waits for an answer: more than the limit never comes. */
TEST_F(Stream, SoManyBytesWithoutALineEndAreEmsgsizeAtOnce)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);

    write_all(pair.theirs, std::string(LINE_LIMIT, 'a'));
    expect_error(reader.get(), EMSGSIZE);
}

TEST_F(Stream, ALineOverTheLimitDoesNotHarmTheOnesBeforeIt)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);

    write_all(pair.theirs, "one\ntwo\n" + std::string(2 * LINE_LIMIT, 'a'));
    EXPECT_EQ(next_line(reader.get()), "one\n");
    EXPECT_EQ(next_line(reader.get()), "two\n");
    expect_error(reader.get(), EMSGSIZE);
}

/* The long line's first part stands behind the short ones, with too little room for the rest. */
TEST_F(Stream, ALineOfTheLimitIsReadAfterShortOnes)
{
    PiecePair pair;
    auto reader = reader_of(pair.ours);
    std::string longest = pattern(LINE_LIMIT);

    std::replace(longest.begin(), longest.end(), '\n', 'n');
    longest.back() = '\n';
    write_all(pair.theirs, "one\ntwo\n" + longest.substr(0, LINE_LIMIT - 8));
    write_all(pair.theirs, longest.substr(LINE_LIMIT - 8));
    write_all(pair.theirs, "next\n");
    EXPECT_EQ(next_line(reader.get()), "one\n");
    EXPECT_EQ(next_line(reader.get()), "two\n");
    EXPECT_TRUE(next_line(reader.get()) == longest);
    EXPECT_EQ(next_line(reader.get()), "next\n");
}

TEST_F(Stream, LinesOfEveryLengthComeWholeThroughManyFillingsOfTheBuffer)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);
    std::vector<std::string> lines;
    std::string all;

    for (size_t size = 0; size < 1500; size += 3) {
        std::string line = pattern(size % 700);
        std::replace(line.begin(), line.end(), '\n', 'n');
        lines.push_back(line + "\n");
        all += lines.back();
    }
    Thread sender([&] {
        EXPECT_EQ(send_all(pair.theirs, all.data(), all.size()), 0);
        pair.theirs.reset();
    });
    for (const std::string &line : lines)
        ASSERT_TRUE(next_line(reader.get()) == line);
    expect_end(reader.get());
    sender.join();
}

TEST_F(Stream, ALineMayBeChangedWithoutHarmToTheNext)
{
    PiecePair pair;
    auto reader = reader_of(pair.ours);
    char *line = nullptr;

    write_all(pair.theirs, "one\ntwo\nthr");
    write_all(pair.theirs, "ee\n");
    ASSERT_EQ(read_line(reader.get(), &line), 4);
    memset(line, '\n', 4);
    EXPECT_EQ(next_line(reader.get()), "two\n");
    EXPECT_EQ(next_line(reader.get()), "three\n");
}

TEST_F(Stream, ALineThatATimeoutInterruptsIsReadLater)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);

    set_timeout(pair.ours, SO_RCVTIMEO, 20);
    expect_error(reader.get(), EAGAIN);
    write_all(pair.theirs, "one\ntw");
    EXPECT_EQ(next_line(reader.get()), "one\n");
    expect_error(reader.get(), EAGAIN);
    write_all(pair.theirs, "o\n");
    EXPECT_EQ(next_line(reader.get()), "two\n");
}

TEST_F(Stream, ALineThatAResetCutsIsEconnreset)
{
    TcpPair pair;
    auto reader = reader_of(pair.ours);

    write_all(pair.theirs, "one\ntw");
    EXPECT_EQ(next_line(reader.get()), "one\n");
    reset_connection(pair.theirs);
    expect_error(reader.get(), ECONNRESET);
}

TEST_F(Stream, ReadLineGoesOnAfterSignals)
{
    TcpPair pair;
    Interruptions interruptions;
    std::string got;
    auto reader = reader_of(pair.ours);

    Thread receiver([&] { got = next_line(reader.get()); });
    interruptions.send(receiver, 20);
    write_all(pair.theirs, "ab");
    interruptions.send(receiver, 20);
    write_all(pair.theirs, "cd\n");
    receiver.join();
    EXPECT_EQ(got, "abcd\n");
}
