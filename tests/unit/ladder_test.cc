#include "tests/labs/wire/ladder.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <iomanip>
#include <sstream>
#include <string>
#include <vector>

using Strings = std::vector<std::string>;

constexpr int64_t MS = 1000000;
constexpr uint32_t CLIENT_ISN = 0xfffffffa; /* so that the numbers wrap around soon */
constexpr uint32_t SERVER_ISN = 5000;
enum { SYN = SEGMENT_SYN, ACK = SEGMENT_ACK, FIN = SEGMENT_FIN, RST = SEGMENT_RST };
enum { PSH = SEGMENT_PSH };

/* All that a function writes to a file. */
template <typename Function> static std::string written(const Function &write)
{
    char *memory = nullptr;
    size_t size = 0;
    FILE *file = open_memstream(&memory, &size);

    write(file);
    fclose(file);
    std::string text(memory, size);
    free(memory);
    return text;
}

/* A capture made by hand. Numbers are relative: 0 is the one of the SYN. */
class Frames
{
  public:
    /* 1 ms after the one before, and half of that in the cable: they arrive in this order too. */
    frame &add(host from, uint8_t flags, uint32_t sequence, uint32_t acknowledgement,
               uint16_t bytes = 0, uint16_t client_port = 40001)
    {
        bool client = from == HOST_CLIENT;
        frame next = {};
        next.sent_ns = 7000 * MS + MS * static_cast<int64_t>(frames.size());
        next.delivered_ns = next.sent_ns + MS / 2;
        next.from = from;
        next.fate = FRAME_DELIVERED;
        next.tcp = true;
        next.segment.source_port = client ? client_port : 9999;
        next.segment.destination_port = client ? 9999 : client_port;
        next.segment.sequence = sequence + (client ? CLIENT_ISN : SERVER_ISN);
        next.segment.acknowledgement = acknowledgement + (client ? SERVER_ISN : CLIENT_ISN);
        next.segment.window = 1000;
        next.segment.flags = flags;
        next.segment.payload = bytes;
        frames.push_back(next);
        return frames.back();
    }
    frame &client(int flags, uint32_t sequence, uint32_t acknowledgement, uint16_t bytes = 0)
    {
        return add(HOST_CLIENT, static_cast<uint8_t>(flags), sequence, acknowledgement, bytes);
    }
    frame &server(int flags, uint32_t sequence, uint32_t acknowledgement, uint16_t bytes = 0)
    {
        return add(HOST_SERVER, static_cast<uint8_t>(flags), sequence, acknowledgement, bytes);
    }
    Frames &handshake()
    {
        client(SYN, 0, 0);
        server(SYN | ACK, 0, 1);
        client(ACK, 1, 1);
        return *this;
    }
    std::string text(const ladder &how = {}) const
    {
        capture capture = all();
        return written([&](FILE *file) { ladder_text(file, &how, &capture); });
    }
    std::string live() const
    {
        static const ladder how = {};
        return written([&](FILE *file) {
            live_ladder *ladder = ladder_begin(file, &how);
            for (const frame &frame : frames)
                ladder_add(ladder, &frame);
            ladder_end(ladder);
        });
    }
    std::string svg(ladder how = {}) const
    {
        capture capture = all();
        if (how.title == nullptr)
            how.title = "title";
        return written([&](FILE *file) { ladder_svg(file, &how, &capture); });
    }
    size_t count() const
    {
        return frames.size();
    }

  private:
    capture all() const
    {
        capture capture = {};
        capture.frames = const_cast<frame *>(frames.data());
        capture.count = frames.size();
        return capture;
    }
    std::vector<frame> frames;
};

/* A frame that does not arrive. */
static void lose(frame &frame, frame_fate fate)
{
    frame.fate = fate;
    frame.delivered_ns = 0;
}

static Strings lines(const std::string &text)
{
    std::istringstream stream(text);
    Strings found;

    for (std::string line; std::getline(stream, line);)
        found.push_back(line);
    return found;
}

/* The labels of the arrows: what stands between the lines they are made of. */
static Strings labels(const std::string &text)
{
    const std::string dash = "─";
    Strings found;

    for (const std::string &line : lines(text)) {
        size_t first = line.find(dash + " ");
        if (first == std::string::npos)
            continue;
        first += dash.size() + 1;
        size_t last = line.find(" " + dash, first);
        found.push_back(line.substr(first, last - first));
    }
    return found;
}

/* The labels of the arrows of a picture, without the names of the two hosts. */
static Strings svg_labels(const std::string &svg)
{
    Strings found;

    for (const std::string &line : lines(svg))
        if (line.find("class=\"label\"") != std::string::npos &&
            line.find("\"middle\"") == std::string::npos) {
            size_t first = line.find('>') + 1;
            found.push_back(line.substr(first, line.find('<', first) - first));
        }
    return found;
}

static size_t times(const std::string &text, const std::string &part)
{
    size_t count = 0;

    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
        count++;
    return count;
}

/* In which column of a line a text begins: letters of several bytes take one column. */
static size_t column(const std::string &line, const std::string &part)
{
    size_t at = line.find(part), columns = 0;

    if (at == std::string::npos)
        return at;
    for (size_t i = 0; i < at; i++)
        columns += (line[i] & 0xc0) != 0x80;
    return columns;
}

TEST(Ladder, AConnectionFromItsSynToItsEnd)
{
    Frames frames;

    frames.handshake();
    frames.client(PSH | ACK, 1, 1, 5);
    frames.server(ACK, 1, 6);
    frames.server(PSH | ACK, 1, 6, 1);
    frames.client(ACK, 6, 2);
    frames.client(FIN | ACK, 6, 2);
    frames.server(FIN | ACK, 2, 7);
    frames.client(ACK, 7, 3);
    EXPECT_EQ(labels(frames.text()),
              (Strings{"SYN", "SYN ACK", "ACK 1", "PSH ACK, 5 bytes: 1 to 5", "ACK 6",
                       "PSH ACK, 1 byte: 1", "ACK 2", "FIN ACK", "FIN ACK", "ACK 3"}));
    EXPECT_EQ(svg_labels(frames.svg()), labels(frames.text()));
}

TEST(Ladder, Resets)
{
    Frames frames;

    frames.client(SYN, 0, 0);
    frames.server(RST | ACK, 0, 1);
    EXPECT_EQ(labels(frames.text()), (Strings{"SYN", "RST ACK"}));
    frames.client(RST, 1, 0);
    EXPECT_EQ(labels(frames.text()).back(), "RST");
}

TEST(Ladder, FlagsBesidesData)
{
    Frames frames;

    frames.handshake();
    frames.client(FIN | PSH | ACK | SEGMENT_URG, 1, 1, 3);
    EXPECT_EQ(labels(frames.text()).back(), "FIN PSH URG ACK, 3 bytes: 1 to 3");
}

/* The client's first number is 6 below the end of the number space. */
TEST(Ladder, NumbersWrapAround)
{
    Frames frames;

    frames.handshake();
    frames.client(ACK, 1, 1, 1000);
    frames.client(ACK, 1001, 1, 1000);
    frames.server(ACK, 1, 2001);
    EXPECT_EQ(labels(frames.text()),
              (Strings{"SYN", "SYN ACK", "ACK 1", "ACK, 1000 bytes: 1 to 1000",
                       "ACK, 1000 bytes: 1001 to 2000", "ACK 2001"}));
}

TEST(Ladder, WhatFollowsAfterFourGigabytesIsNotSentAgain)
{
    Frames frames;

    frames.client(SYN, 0, 0);
    for (uint32_t sequence : {0x70000000U, 0xe0000000U, 0xffffff00U})
        frames.client(ACK, sequence, 1, 1000);
    frames.client(ACK, 744, 1, 1000);
    frames.client(ACK, 744, 1, 1000);
    std::string text = frames.text();
    EXPECT_EQ(times(text, "(again)"), 1U) << text;
    EXPECT_EQ(labels(text).back(), "ACK, 1000 bytes: 744 to 1743 (again)");
}

TEST(Ladder, AConnectionThatIsSeenFromItsMiddleBeginsAt1)
{
    Frames frames;

    frames.client(ACK, 777001, 1, 10);
    frames.server(ACK, 4321, 777011);
    frames.client(ACK, 777011, 4321, 10);
    EXPECT_EQ(labels(frames.text()),
              (Strings{"ACK, 10 bytes: 1 to 10", "ACK 11", "ACK, 10 bytes: 11 to 20"}));
}

TEST(Ladder, TheSamePortsAgainBeginAt1Again)
{
    Frames frames;

    frames.handshake();
    frames.client(ACK, 1, 1, 10);
    frames.client(SYN, 80000, 0);
    frames.client(ACK, 80001, 1, 10);
    EXPECT_EQ(labels(frames.text()), (Strings{"SYN", "SYN ACK", "ACK 1", "ACK, 10 bytes: 1 to 10",
                                              "SYN", "ACK, 10 bytes: 1 to 10"}));
}

TEST(Ladder, WhatIsSentAgain)
{
    Frames frames;

    lose(frames.client(SYN, 0, 0), FRAME_LOST);
    frames.handshake();
    frames.client(ACK, 1, 1, 100);
    frames.client(ACK, 101, 1, 100);
    frames.client(ACK, 1, 1, 100);
    frames.client(ACK, 101, 1, 200);
    frames.server(ACK, 1, 301);
    frames.server(ACK, 1, 301);
    frames.server(FIN | ACK, 1, 301);
    frames.server(FIN | ACK, 1, 301);
    EXPECT_EQ(
        labels(frames.text()),
        (Strings{"SYN", "SYN (again)", "SYN ACK", "ACK 1", "ACK, 100 bytes: 1 to 100",
                 "ACK, 100 bytes: 101 to 200", "ACK, 100 bytes: 1 to 100 (again)",
                 "ACK, 200 bytes: 101 to 300", "ACK 301", "ACK 301", "FIN ACK", "FIN ACK (again)"}))
        << "a SYN, data, a FIN; not what reaches further than before, and not an ACK alone";
}

/* A keep-alive probe has a sequence number that was acknowledged long since. */
TEST(Ladder, KeepAliveProbes)
{
    Frames frames;

    frames.handshake();
    frames.client(ACK, 0, 1);
    frames.server(ACK, 1, 1);
    frames.client(ACK, 1, 1, 10);
    frames.client(ACK, 10, 1);
    frames.server(ACK, 1, 11);
    frames.server(ACK, 0, 11);
    EXPECT_EQ(labels(frames.text()),
              (Strings{"SYN", "SYN ACK", "ACK 1", "ACK 1 (probe)", "ACK 1",
                       "ACK, 10 bytes: 1 to 10", "ACK 1 (probe)", "ACK 11", "ACK 11 (probe)"}));
}

TEST(Ladder, ATextThatIsExact)
{
    Frames frames;

    frames.client(SYN, 0, 0);
    lose(frames.server(SYN | ACK, 0, 1), FRAME_LOST);
    frames.server(SYN | ACK, 0, 1);
    lose(frames.client(ACK, 1, 1), FRAME_CUT);
    EXPECT_EQ(frames.text(),
              "       client 10.0.0.1                                   server 10.0.0.2\n"
              "     0.000 ms  ── SYN ────────────────────────────────────────────▶     0.500 ms\n"
              "                                 lost ✕───────────────── SYN ACK ──     1.000 ms\n"
              "     2.500 ms  ◀──────────────────────────────── SYN ACK (again) ──     2.000 ms\n"
              "     3.000 ms  ── ACK 1 ────────────────✕ cable cut\n");
}

TEST(Ladder, EveryArrowBeginsAndEndsInTheSameColumns)
{
    Frames frames;

    frames.handshake();
    frames.client(PSH | ACK, 1, 1, 65000);
    frames.server(PSH | ACK, 1, 65001, 1);
    for (const std::string &line : lines(frames.text())) {
        if (line.find("client") != std::string::npos)
            continue;
        bool client = column(line, "▶") != std::string::npos;
        EXPECT_EQ(column(line, client ? "──" : "◀"), 15U) << line;
        EXPECT_EQ(column(line + "|", "|"), 80U) << line;
        if (client) {
            EXPECT_EQ(column(line, "▶"), 66U) << line;
        }
    }
}

TEST(Ladder, WhatIsLostEndsInACrossAndSaysWhy)
{
    const struct {
        frame_fate fate;
        const char *reason;
    } fates[] = {{FRAME_LOST, "lost"},          {FRAME_QUEUE_FULL, "queue full"},
                 {FRAME_CUT, "cable cut"},      {FRAME_DROPPED, "dropped"},
                 {FRAME_TOO_LONG, "too long"},  {FRAME_HELD, "held back"},
                 {FRAME_UNDER_WAY, "under way"}};

    for (const auto &each : fates) {
        Frames frames;
        frames.handshake();
        lose(frames.client(ACK, 1, 1, 10), each.fate);
        lose(frames.server(ACK, 1, 1, 10), each.fate);
        std::string text = frames.text();
        Strings found = lines(text);
        ASSERT_EQ(found.size(), 6U) << text;
        EXPECT_NE(found[4].find("─✕ " + std::string(each.reason)), std::string::npos) << text;
        EXPECT_NE(found[5].find(" " + std::string(each.reason) + " ✕─"), std::string::npos) << text;
        EXPECT_LT(column(found[4], each.reason) + std::string(each.reason).size(), 67U)
            << "reaches the server's line\n"
            << text;
        EXPECT_EQ(column(found[5] + "|", "|"), 80U) << text;
        EXPECT_EQ(times(text, " ms"), 8U) << "a time for each end that was reached\n" << text;

        std::string svg = frames.svg();
        EXPECT_EQ(times(svg, "<line class=\"lost\""), 2U) << svg;
        EXPECT_EQ(times(svg, "<path class=\"lost\""), 2U) << svg;
        EXPECT_EQ(times(svg, ">" + std::string(each.reason) + "</text>"), 2U) << svg;
        EXPECT_EQ(times(svg, "-head\" d="), 3U) << "heads of what arrived\n" << svg;
    }
}

TEST(Ladder, ALabelThatNeedsAllTheRoomIsWhole)
{
    Frames frames;

    frames.handshake();
    lose(frames.client(FIN | PSH | SEGMENT_URG | ACK, 2000000001, 1, 60000), FRAME_QUEUE_FULL);
    lose(frames.server(FIN | PSH | SEGMENT_URG | ACK, 2000000001, 1, 60000), FRAME_QUEUE_FULL);
    std::string label = "FIN PSH URG ACK, 60000 bytes: 2000000001 to 2000060000";
    std::string text = frames.text();
    EXPECT_EQ(times(text, "── " + label + " ✕ queue full\n"), 1U) << text;
    EXPECT_EQ(times(text, "queue full ✕ " + label + " ──"), 1U) << text;
}

static ladder together(int64_t ns)
{
    ladder how = {};

    how.together_ns = ns;
    return how;
}

TEST(Ladder, SegmentsThatAreAlikeAreDrawnAsOne)
{
    Frames frames;

    frames.handshake();
    for (uint32_t i = 0; i < 10; i++) {
        frames.client(i == 9 ? PSH | ACK : ACK, 1 + i * 1448, 1, 1448);
        frames.server(ACK, 1, 1 + (i + 1) * 1448);
    }
    EXPECT_EQ(labels(frames.text(together(2 * MS))),
              (Strings{"SYN", "SYN ACK", "ACK 1", "10 segments, 14480 bytes", "10 ACKs"}));
    EXPECT_EQ(labels(frames.text()).size(), 23U) << "without together_ns: each for itself";
    EXPECT_EQ(labels(frames.text(together(2 * MS - 1))).size(), 23U) << "2 ms apart";
}

TEST(Ladder, AWindowOfZeroIsTold)
{
    Frames frames;

    frames.handshake();
    frames.client(ACK, 1, 1, 10);
    frames.server(ACK, 1, 11);
    frames.server(ACK, 1, 11).segment.window = 0;
    frames.server(ACK, 1, 11).segment.window = 0;
    frames.client(ACK, 0, 1);
    frames.server(RST, 1, 0).segment.window = 0;
    EXPECT_EQ(labels(frames.text()),
              (Strings{"SYN", "SYN ACK", "ACK 1", "ACK, 10 bytes: 1 to 10", "ACK 11",
                       "ACK 11, window 0", "ACK 11, window 0", "ACK 1", "RST"}));
    EXPECT_EQ(labels(frames.text(together(10 * MS)))[5], "2 ACKs, window 0")
        << "an open window and a closed one are not alike";
}

TEST(Ladder, WhatComesBetweenDoesNotPartThem)
{
    Frames frames;

    frames.add(HOST_CLIENT, ACK, 1, 1, 10, 40001);
    frames.add(HOST_CLIENT, ACK, 1, 1, 20, 40002);
    frames.add(HOST_CLIENT, ACK, 11, 1, 0, 40001);
    frames.add(HOST_CLIENT, ACK, 11, 1, 10, 40001);
    frames.add(HOST_CLIENT, ACK, 21, 1, 20, 40002);
    EXPECT_EQ(labels(frames.text(together(10 * MS))),
              (Strings{"a: 2 segments, 20 bytes", "b: 2 segments, 40 bytes", "a: ACK"}))
        << "neither another connection nor, between data, an ACK alone";
}

/* The arrow that stands for several starts where the first was sent. */
TEST(Ladder, SeveralTogetherHaveTheTimesOfTheFirst)
{
    Frames frames;

    frames.client(ACK, 1, 1, 10);
    frames.client(ACK, 11, 1, 10);
    frames.client(ACK, 21, 1, 10);
    Strings found = lines(frames.text(together(MS)));
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(column(found[1], "0.000 ms"), 5U) << found[1];
    EXPECT_NE(found[1].find("0.500 ms"), std::string::npos) << found[1];
    EXPECT_NE(found[1].find("3 segments, 30 bytes"), std::string::npos) << found[1];
}

TEST(Ladder, OneThatIsSentAgainIsNotLikeTheFirst)
{
    Frames frames;

    frames.handshake();
    frames.client(ACK, 1, 1, 10);
    frames.client(ACK, 1, 1, 10);
    frames.client(ACK, 1, 1, 10);
    EXPECT_EQ(labels(frames.text(together(10 * MS))),
              (Strings{"SYN", "SYN ACK", "ACK 1", "ACK, 10 bytes: 1 to 10",
                       "2 segments, 20 bytes (again)"}));
}

/* As the client sees it: what is on its way for long stands where it arrives. */
TEST(Ladder, RowsAreInTheOrderOfTheClientsTime)
{
    Frames frames;

    frames.client(SYN, 0, 0);
    frames.server(SYN | ACK, 0, 1).delivered_ns += 5 * MS;
    frames.client(SYN, 0, 0);
    EXPECT_EQ(labels(frames.text()), (Strings{"SYN", "SYN (again)", "SYN ACK"}));
}

TEST(Ladder, FastOpenCookies)
{
    Frames frames;

    frames.client(SYN, 0, 0).segment.cookie = 1;
    frames.server(SYN | ACK, 0, 1).segment.cookie = 9;
    EXPECT_EQ(labels(frames.text()),
              (Strings{"SYN (asks for a cookie)", "SYN ACK (with a cookie)"}));
}

TEST(Ladder, WhatIsNotAlikeIsDrawnForItself)
{
    Frames frames;

    frames.handshake();
    frames.client(ACK, 1, 1, 10);
    lose(frames.client(ACK, 11, 1, 10), FRAME_LOST);
    frames.client(ACK, 21, 1, 10);
    frames.client(FIN | ACK, 31, 1, 10);
    frames.client(FIN | ACK, 31, 1, 10);
    frames.server(RST, 1, 0);
    frames.server(RST, 1, 0);
    EXPECT_EQ(
        labels(frames.text(together(1000 * MS))),
        (Strings{"SYN", "SYN ACK", "ACK 1", "ACK, 10 bytes: 1 to 10", "ACK, 10 bytes: 11 to 20",
                 "ACK, 10 bytes: 21 to 30", "FIN ACK, 10 bytes: 31 to 40",
                 "FIN ACK, 10 bytes: 31 to 40 (again)", "2 RSTs"}));
}

TEST(Ladder, OfTooManyTheLastAreCounted)
{
    Frames frames;
    ladder how = {};

    frames.handshake();
    for (uint32_t i = 0; i < 7; i++)
        frames.client(ACK, 1 + i * 10, 1, 10);
    how.at_most = 4;
    Strings found = labels(frames.text(how));
    EXPECT_EQ(found, (Strings{"SYN", "SYN ACK", "ACK 1", "ACK, 10 bytes: 1 to 10"}));
    EXPECT_EQ(lines(frames.text(how)).back(), "               … and 6 segments more");
    EXPECT_EQ(svg_labels(frames.svg(how)), found);
    EXPECT_EQ(times(frames.svg(how), ">… and 6 segments more</text>"), 1U);

    how.at_most = frames.count();
    EXPECT_EQ(labels(frames.text(how)).size(), frames.count());
    EXPECT_EQ(frames.text(how).find("more"), std::string::npos);
    EXPECT_EQ(frames.svg(how).find("more"), std::string::npos);
}

/* What joins an arrow that is drawn is not left out. */
TEST(Ladder, AtMostCountsArrows)
{
    Frames frames;
    ladder how = together(10 * MS);

    frames.handshake();
    for (uint32_t i = 0; i < 7; i++)
        frames.client(ACK, 1 + i * 10, 1, 10);
    frames.server(ACK, 1, 71);
    frames.client(FIN | ACK, 71, 1);
    how.at_most = 4;
    EXPECT_EQ(labels(frames.text(how)),
              (Strings{"SYN", "SYN ACK", "ACK 1", "7 segments, 70 bytes"}));
    EXPECT_NE(frames.text(how).find("… and 2 segments more\n"), std::string::npos);
}

TEST(Ladder, SeveralConnectionsHaveLetters)
{
    Frames frames;

    frames.add(HOST_CLIENT, SYN, 0, 0, 0, 40001);
    frames.add(HOST_CLIENT, SYN, 0, 0, 0, 40002);
    frames.add(HOST_SERVER, SYN | ACK, 0, 1, 0, 40002);
    frames.add(HOST_SERVER, SYN | ACK, 0, 1, 0, 40001);
    frames.add(HOST_CLIENT, ACK, 1, 1, 3, 40002);
    frames.add(HOST_CLIENT, ACK, 1, 1, 4, 40001);
    Strings expected = {"a: SYN",
                        "b: SYN",
                        "b: SYN ACK",
                        "a: SYN ACK",
                        "b: ACK, 3 bytes: 1 to 3",
                        "a: ACK, 4 bytes: 1 to 4"};
    EXPECT_EQ(labels(frames.text()), expected);
    EXPECT_EQ(svg_labels(frames.svg()), expected);
    EXPECT_EQ(labels(frames.text(together(10 * MS))), expected) << "joined over connections";
}

static bool from_host(const frame *frame, void *context)
{
    return frame->from == *static_cast<host *>(context);
}

TEST(Ladder, OnlyWhatIsToBeKeptIsDrawn)
{
    Frames frames;
    host wanted = HOST_SERVER;
    ladder how = {};

    frames.handshake();
    how.keep = from_host;
    how.context = &wanted;
    EXPECT_EQ(labels(frames.text(how)), Strings{"SYN ACK"});
    EXPECT_NE(frames.text(how).find(" 0.000 ms"), std::string::npos)
        << "time counts from the first that is drawn";
}

TEST(Ladder, WhatIsNotTcpIsLeftOut)
{
    Frames frames;

    frames.handshake();
    frames.client(ACK, 1, 1, 10).tcp = false;
    EXPECT_EQ(labels(frames.text()), (Strings{"SYN", "SYN ACK", "ACK 1"}));
}

TEST(Ladder, ALongLadderCountsInSeconds)
{
    Frames frames;

    frames.client(SYN, 0, 0);
    frames.client(SYN, 0, 0).sent_ns = 7000 * MS + 999 * MS;
    EXPECT_NE(frames.text().find("999.000 ms"), std::string::npos) << frames.text();
    frames.client(SYN, 0, 0).sent_ns = 7000 * MS + 1000 * MS;
    EXPECT_NE(frames.text().find(" 0.999 s "), std::string::npos) << frames.text();
    EXPECT_NE(frames.text().find(" 1.000 s "), std::string::npos) << frames.text();
}

TEST(Ladder, NamesOfTheHosts)
{
    Frames frames;
    ladder how = {};

    EXPECT_NE(frames.text().find("client 10.0.0.1"), std::string::npos);
    EXPECT_NE(frames.text().find("server 10.0.0.2"), std::string::npos);
    how.client = "left";
    how.server = "right & wrong";
    EXPECT_EQ(lines(frames.text(how))[0],
              "       left" + std::string(61 - 13, ' ') + "right & wrong");
    EXPECT_NE(frames.svg(how).find(">left</text>"), std::string::npos);
    EXPECT_NE(frames.svg(how).find(">right &amp; wrong</text>"), std::string::npos);
}

TEST(Ladder, AnEmptyCaptureHasTwoHostsAndNoArrow)
{
    Frames nothing;
    ladder how = together(MS);

    how.at_most = 1;
    EXPECT_EQ(lines(nothing.text(how)).size(), 1U);
    std::string svg = nothing.svg(how);
    EXPECT_EQ(times(svg, "<line class=\"host\""), 2U);
    EXPECT_EQ(times(svg, "<line "), 2U);
    EXPECT_EQ(svg.find("</svg>\n"), svg.size() - 7);
}

/* What shows when the pointer is on the arrow with this number. */
static std::string title_of(const std::string &svg, size_t number)
{
    size_t at = svg.find("<g>");

    for (size_t i = 0; i < number && at != std::string::npos; i++)
        at = svg.find("<g>", at + 1);
    if (at == std::string::npos)
        return "no such arrow";
    at = svg.find("<title>", at) + 7;
    return svg.substr(at, svg.find("</title>", at) - at);
}

TEST(Ladder, APictureShowsTheHeader)
{
    Frames frames;
    frame &syn = frames.client(SYN, 0, 0);
    syn.segment.window = 64240;
    syn.segment.scales = true;
    syn.segment.scale = 7;
    /* An IPv4 header of 20 bytes, a TCP header of 24, and in it the option MSS. */
    const uint8_t mss[] = {2, 4, 0x05, 0xb4};
    syn.bytes[14] = 0x45;
    std::copy(std::begin(mss), std::end(mss), syn.bytes + 14 + 20 + 20);
    syn.segment.data_start = 14 + 20 + 24;
    frame &syn_ack = frames.server(SYN | ACK, 0, 1);
    syn_ack.segment.window = 65160;
    syn_ack.segment.scales = true;
    frames.client(PSH | ACK, 1, 1, 5).segment.window = 502;
    frames.server(ACK, 1, 6).segment.window = 509;
    std::string svg = frames.svg();
    EXPECT_EQ(title_of(svg, 0), "SYN, port 40001 to 9999\nsequence number 0 (4294967290)\n"
                                "0 bytes of data\nwindow 64240\noptions: MSS 1460");
    EXPECT_EQ(title_of(svg, 1), "SYN ACK, port 9999 to 40001\nsequence number 0 (5000)\n"
                                "acknowledgement number 1 (4294967291)\n0 bytes of data\n"
                                "window 65160\noptions: none");
    EXPECT_EQ(title_of(svg, 2), "PSH ACK, port 40001 to 9999\nsequence number 1 (4294967291)\n"
                                "acknowledgement number 1 (5001)\n5 bytes of data\n"
                                "window 502 × 128 = 64256 bytes\noptions: none");
    EXPECT_NE(title_of(svg, 3).find("\nwindow 509\n"), std::string::npos) << "its scale is 0";
    EXPECT_EQ(times(svg, "<line class=\"hover\""), 4U);
}

TEST(Ladder, AWindowIsScaledOnlyWhereBothOfferedIt)
{
    Frames frames;
    frame &syn = frames.client(SYN, 0, 0);
    syn.segment.scales = true;
    syn.segment.scale = 7;
    frames.server(SYN | ACK, 0, 1);
    frames.client(ACK, 1, 1).segment.window = 502;
    EXPECT_NE(title_of(frames.svg(), 2).find("\nwindow 502\n"), std::string::npos);

    Frames middle;
    middle.client(ACK, 1, 1).segment.window = 502;
    EXPECT_NE(title_of(middle.svg(), 0).find("\nwindow 502, with a scale that was not seen\n"),
              std::string::npos);
}

TEST(Ladder, ALabelHasABackgroundOfItsOwn)
{
    Frames frames;
    Strings picture = lines(frames.handshake().svg());
    int labels = 0;

    for (size_t i = 1; i < picture.size(); i++)
        if (picture[i].find("<text class=\"label\"") == 0 &&
            picture[i].find("\"middle\"") == std::string::npos) {
            EXPECT_EQ(picture[i - 1].find("<rect class=\"page\" x="), 0U) << picture[i];
            labels++;
        }
    EXPECT_EQ(labels, 3);
}

TEST(Ladder, AsItHappens)
{
    Frames frames;
    frames.handshake();
    lose(frames.client(PSH | ACK, 1, 1, 5), FRAME_LOST);
    frames.client(PSH | ACK, 1, 1, 5);
    std::string text = frames.live();
    EXPECT_EQ(lines(text), lines(frames.text()));

    /* A letter as soon as there is more than one connection. */
    frames.add(HOST_CLIENT, SYN, 0, 0, 0, 40002);
    Strings live = labels(frames.live());
    EXPECT_EQ(live.front(), "SYN");
    EXPECT_EQ(live.back(), "b: SYN");
}

TEST(Ladder, ATitleIsEscaped)
{
    Frames frames;
    ladder how = {};

    how.title = "a < b && c > \"d\"";
    std::string svg = frames.handshake().svg(how);
    EXPECT_EQ(times(svg, ">a &lt; b &amp;&amp; c &gt; \"d\"</"), 2U) << svg;
}

/* Time runs downwards, for both hosts: what happens later, anywhere, is drawn lower. */
TEST(Ladder, LaterIsLower)
{
    Frames frames;
    struct Arrow {
        double start, end;
    };
    std::vector<Arrow> arrows;

    frames.handshake();
    frames.client(ACK, 1, 1, 10).sent_ns += 5000 * MS;
    std::string svg = frames.svg();
    for (const std::string &line : lines(svg)) {
        Arrow arrow;
        size_t at = line.find("y1=");
        if (line.find("<line class=\"host\"") == 0 || line.find("<line class=\"hover\"") == 0 ||
            at == std::string::npos)
            continue;
        ASSERT_EQ(
            sscanf(line.c_str() + at, "y1=\"%lf\" x2=\"%*f\" y2=\"%lf\"", &arrow.start, &arrow.end),
            2)
            << line;
        arrows.push_back(arrow);
    }
    ASSERT_EQ(arrows.size(), 4U) << svg;
    for (size_t i = 0; i < 3; i++) {
        EXPECT_LT(arrows[i].start, arrows[i + 1].start) << svg;
        EXPECT_LT(arrows[i].end, arrows[i + 1].end) << svg;
        std::ostringstream head;
        head << " d=\"M" << (i == 1 ? "110.0 " : "650.0 ") << std::fixed << std::setprecision(1)
             << arrows[i].end << " l";
        EXPECT_EQ(times(svg, head.str()), 1U) << "no head at its end: " << head.str() << svg;
    }
}
