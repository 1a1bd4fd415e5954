#include "tests/labs/wire/segment.h"

#include <cstring>
#include <gtest/gtest.h>
#include <optional>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

using Bytes = std::vector<uint8_t>;

enum { ETHERNET = 14, IP = 20, TCP = 20 };

/* What a frame is made of; the lengths and the header sizes follow from it. */
struct Parts {
    uint8_t flags = SEGMENT_ACK;
    Bytes ip_options = {}, tcp_options = {};
    Bytes data = {};
    Bytes padding = {}; /* behind the packet, as in a frame shorter than Ethernet allows */
};

static void add_16(Bytes &bytes, size_t number)
{
    bytes.push_back(static_cast<uint8_t>(number >> 8));
    bytes.push_back(static_cast<uint8_t>(number));
}

static void add_32(Bytes &bytes, uint32_t number)
{
    add_16(bytes, number >> 16);
    add_16(bytes, number & 0xffff);
}

static void add_all(Bytes &bytes, const Bytes &more)
{
    bytes.insert(bytes.end(), more.begin(), more.end());
}

static Bytes make(const Parts &parts)
{
    Bytes frame(12, 0xee); /* the hardware addresses */
    size_t ip_header = IP + parts.ip_options.size(), tcp_header = TCP + parts.tcp_options.size();

    add_16(frame, 0x0800);
    frame.push_back(static_cast<uint8_t>(4 << 4 | ip_header / 4));
    frame.push_back(0);
    add_16(frame, ip_header + tcp_header + parts.data.size());
    add_16(frame, 0x1234);
    add_16(frame, 0x4000); /* not to be fragmented, as TCP sends it */
    frame.push_back(64);
    frame.push_back(6);
    add_16(frame, 0);
    add_32(frame, 0x0a000001);
    add_32(frame, 0x0a000002);
    add_all(frame, parts.ip_options);
    add_16(frame, 40001);
    add_16(frame, 9999);
    add_32(frame, 0xfedcba98);
    add_32(frame, 0x89abcdef);
    frame.push_back(static_cast<uint8_t>(tcp_header / 4 << 4));
    frame.push_back(parts.flags);
    add_16(frame, 64240);
    add_32(frame, 0);
    add_all(frame, parts.tcp_options);
    add_all(frame, parts.data);
    add_all(frame, parts.padding);
    return frame;
}

/* Reads a frame of which size bytes are there. They end where the memory ends, so that reading
   beyond them ends the process. */
static std::optional<segment> read_part(const Bytes &frame, size_t size)
{
    auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void *pages =
        mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    segment segment;

    if (pages == MAP_FAILED || mprotect(static_cast<uint8_t *>(pages) + page, page, PROT_NONE) < 0)
        ADD_FAILURE() << "no page to read from";
    uint8_t *start = static_cast<uint8_t *>(pages) + page - size;
    if (size > 0)
        std::memcpy(start, frame.data(), size);
    bool read = segment_read(start, size, &segment);
    munmap(pages, 2 * page);
    return read ? std::optional(segment) : std::nullopt;
}

static std::optional<segment> read(const Bytes &frame)
{
    return read_part(frame, frame.size());
}

static Bytes changed(Bytes frame, size_t at, uint8_t byte)
{
    frame.at(at) = byte;
    return frame;
}

/* As Linux sends them with a SYN: MSS 1460, SACK permitted, timestamps, window scale 7. */
static const Bytes SYN_OPTIONS = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0,
                                  0, 1, 0,    0,    0, 0, 1, 3,  3, 7};

TEST(Segment, ASynWithItsOptions)
{
    std::optional<segment> found = read(make({SEGMENT_SYN, {}, SYN_OPTIONS, {}, {}}));

    ASSERT_TRUE(found);
    EXPECT_EQ(found->source_port, 40001);
    EXPECT_EQ(found->destination_port, 9999);
    EXPECT_EQ(found->sequence, 0xfedcba98U);
    EXPECT_EQ(found->acknowledgement, 0x89abcdefU);
    EXPECT_EQ(found->window, 64240);
    EXPECT_EQ(found->flags, SEGMENT_SYN);
    EXPECT_EQ(found->scale, 7);
    EXPECT_EQ(found->payload, 0);
    EXPECT_EQ(found->data_start, ETHERNET + IP + TCP + 20);
}

TEST(Segment, Data)
{
    std::optional<segment> found =
        read(make({SEGMENT_PSH | SEGMENT_ACK, {}, {}, {'H', 'e', 'l', 'l', 'o'}, {}}));

    ASSERT_TRUE(found);
    EXPECT_EQ(found->flags, SEGMENT_PSH | SEGMENT_ACK);
    EXPECT_EQ(found->payload, 5);
    EXPECT_EQ(found->data_start, ETHERNET + IP + TCP);
    EXPECT_EQ(found->scale, 0);
}

TEST(Segment, EachFlagIsItself)
{
    for (uint8_t flag :
         {SEGMENT_FIN, SEGMENT_SYN, SEGMENT_RST, SEGMENT_PSH, SEGMENT_ACK, SEGMENT_URG}) {
        std::optional<segment> found = read(make({flag, {}, {}, {}, {}}));
        ASSERT_TRUE(found);
        EXPECT_EQ(found->flags, flag);
    }
}

/* ECE and CWR (RFC 3168) are none of the flags that are named. */
TEST(Segment, OtherFlagsAreLeftOut)
{
    std::optional<segment> found = read(make({0xc0 | SEGMENT_SYN, {}, {}, {}, {}}));

    ASSERT_TRUE(found);
    EXPECT_EQ(found->flags, SEGMENT_SYN);
}

/* RFC 7413: an empty option asks for a cookie, one with 4 to 16 bytes is a cookie. */
TEST(Segment, FastOpenCookie)
{
    std::optional<segment> asks = read(make({SEGMENT_SYN, {}, {34, 2, 1, 1}, {}, {}}));
    std::optional<segment> has =
        read(make({SEGMENT_SYN, {}, {34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}, {}, {}}));
    std::optional<segment> later = read(make({SEGMENT_ACK, {}, {34, 2, 1, 1}, {}, {}}));

    ASSERT_TRUE(asks && has && later);
    EXPECT_EQ(asks->cookie, 1);
    EXPECT_EQ(has->cookie, 9);
    EXPECT_EQ(later->cookie, 0) << "only a SYN has one";
}

TEST(Segment, IpOptionsMoveTheSegment)
{
    Bytes options(40, 1);
    std::optional<segment> found = read(make({SEGMENT_SYN, options, SYN_OPTIONS, {1, 2, 3}, {}}));

    ASSERT_TRUE(found);
    EXPECT_EQ(found->source_port, 40001);
    EXPECT_EQ(found->scale, 7);
    EXPECT_EQ(found->payload, 3);
    EXPECT_EQ(found->data_start, ETHERNET + 60 + TCP + 20);
}

TEST(Segment, PaddingBehindThePacketIsNoData)
{
    std::optional<segment> found = read(make({SEGMENT_ACK, {}, {}, {}, Bytes(6, 0)}));

    ASSERT_TRUE(found);
    EXPECT_EQ(found->payload, 0);
}

TEST(Segment, AFragmentIsNoSegment)
{
    Bytes frame = make({SEGMENT_ACK, {}, {}, {1, 2, 3}, {}});

    ASSERT_TRUE(read(changed(frame, ETHERNET + 6, 0))) << "without \"do not fragment\"";
    EXPECT_FALSE(read(changed(frame, ETHERNET + 6, 0x20))) << "the first fragment";
    EXPECT_FALSE(read(changed(changed(frame, ETHERNET + 6, 0), ETHERNET + 7, 1))) << "the last";
    EXPECT_FALSE(read(changed(frame, ETHERNET + 6, 0x10))) << "a large offset";
}

TEST(Segment, OtherProtocolsAreNoSegments)
{
    Bytes frame = make({SEGMENT_ACK, {}, {}, {}, {}});

    EXPECT_FALSE(read(changed(frame, ETHERNET + 9, 17))) << "UDP";
    EXPECT_FALSE(read(changed(frame, ETHERNET + 9, 1))) << "ICMP";
    EXPECT_FALSE(read(changed(frame, 13, 0x06))) << "ARP";
    EXPECT_FALSE(read(changed(changed(frame, 12, 0x86), 13, 0xdd))) << "IPv6 by its type";
    EXPECT_FALSE(read(changed(frame, ETHERNET, 6 << 4 | 5))) << "IPv6 by its version";
}

TEST(Segment, BrokenHeaderSizesAreNoSegment)
{
    /* With so much data that even the wrong place for the TCP header looks like one. */
    Bytes frame = make({SEGMENT_ACK, {}, {}, Bytes(20, 0x50), {}});

    for (uint8_t words = 0; words < 5; words++) {
        EXPECT_FALSE(read(changed(frame, ETHERNET, static_cast<uint8_t>(4 << 4 | words))));
        EXPECT_FALSE(read(changed(frame, ETHERNET + IP + 12, static_cast<uint8_t>(words << 4))));
    }
    EXPECT_FALSE(read(changed(frame, ETHERNET, 4 << 4 | 15))) << "an IP header beyond the frame";
    EXPECT_FALSE(read(changed(frame, ETHERNET + IP + 12, 0xf0))) << "a TCP header beyond it";
}

TEST(Segment, APacketShorterThanItsHeadersIsNoSegment)
{
    Bytes frame = make({SEGMENT_ACK, {}, {}, {}, {}});

    ASSERT_TRUE(read(frame));
    EXPECT_FALSE(read(changed(frame, ETHERNET + 3, IP + TCP - 1)));
    EXPECT_FALSE(read(changed(frame, ETHERNET + 3, 0)));
}

TEST(Segment, CutAnywhereInItsHeadersItIsNoSegment)
{
    Bytes frame = make({SEGMENT_SYN, Bytes(8, 1), SYN_OPTIONS, {1, 2, 3, 4}, {}});
    size_t headers = frame.size() - 4;

    for (size_t size = 0; size < headers; size++)
        EXPECT_FALSE(read_part(frame, size)) << size << " bytes";
    for (size_t size = headers; size <= frame.size(); size++) {
        std::optional<segment> found = read_part(frame, size);
        ASSERT_TRUE(found) << size << " bytes";
        EXPECT_EQ(found->payload, 4) << "the data that was sent, not what was kept of it";
        EXPECT_EQ(found->scale, 7);
    }
}

/* The scale that is found in a list of options, which is filled up to whole words. */
static int scale_of(Bytes options)
{
    while (options.size() % 4 != 0)
        options.push_back(0);
    std::optional<segment> found = read(make({SEGMENT_SYN, {}, options, {}, {}}));

    return found ? found->scale : -1;
}

TEST(Segment, TheWindowScaleIsFoundAnywhere)
{
    EXPECT_EQ(scale_of({3, 3, 14, 0}), 14);
    EXPECT_EQ(scale_of({1, 3, 3, 14}), 14);
    EXPECT_EQ(scale_of({1, 1, 1, 1, 1, 3, 3, 9}), 9);
    EXPECT_EQ(scale_of({2, 4, 3, 3, 3, 3, 5}), 5) << "an MSS that looks like the option";
}

TEST(Segment, OptionsBehindTheEndOfTheListAreNone)
{
    EXPECT_EQ(scale_of({0, 3, 3, 7}), 0);
    EXPECT_EQ(scale_of({1, 1, 1, 0, 3, 3, 7}), 0);
    EXPECT_EQ(scale_of({0, 2, 3, 3, 7}), 0) << "the end has no length";
}

TEST(Segment, BrokenOptionsAreNone)
{
    EXPECT_EQ(scale_of({8, 0, 3, 3, 7, 0, 0, 0}), 0) << "a length of 0 does not end";
    EXPECT_EQ(scale_of({8, 1, 3, 3, 7, 0, 0, 0}), 0) << "shorter than its own head";
    EXPECT_EQ(scale_of({1, 8, 4, 0}), 0) << "longer than the list";
    EXPECT_EQ(scale_of({1, 1, 3, 3}), 0) << "the value is not there";
    EXPECT_EQ(scale_of({1, 1, 1, 3}), 0) << "the length is not there";
    EXPECT_EQ(scale_of({3, 2, 7, 0}), 0) << "a window scale of the wrong length";
    EXPECT_EQ(scale_of({3, 4, 7, 7}), 0) << "a window scale of the wrong length";
}

static std::string options_text(const Bytes &options, size_t size = 256)
{
    Parts parts;
    char text[256];

    parts.tcp_options = options;
    Bytes frame = make(parts);
    std::optional<segment> segment = read_part(frame, frame.size());
    if (!segment)
        return "no segment";
    segment_options_text(frame.data(), &*segment, text, size);
    return text;
}

TEST(Segment, OptionsInWords)
{
    EXPECT_EQ(options_text({}), "");
    EXPECT_EQ(options_text({2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}),
              "MSS 1460, SACK permitted, time stamps 1 0, window scale 7");
    EXPECT_EQ(options_text({1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2}), "SACK, blocks: 1");
    EXPECT_EQ(options_text({34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0}), "Fast Open cookie, 8 bytes");
    EXPECT_EQ(options_text({99, 4, 0, 0}), "option 99");
    EXPECT_EQ(options_text({99, 1, 0, 0}), "") << "broken";
    EXPECT_EQ(options_text({2, 4, 0x05, 0xb4, 4, 2, 1, 1}, 9), "MSS 1460") << "cut";
}

TEST(Segment, FlagsInWords)
{
    char text[32];

    segment_flags_text(SEGMENT_ACK | SEGMENT_PSH, text, sizeof text);
    EXPECT_STREQ(text, "PSH ACK");
    segment_flags_text(0, text, sizeof text);
    EXPECT_STREQ(text, "");
    segment_flags_text(0x3f, text, 8);
    EXPECT_STREQ(text, "SYN FIN");
}
