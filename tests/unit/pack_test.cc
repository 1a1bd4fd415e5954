#include "common/pack.h"

#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

/* ---- values, and calls that keep the message ---- */

static pack_value signed_value(char code, int64_t number)
{
    pack_value value = {};

    value.code = code;
    value.as.i = number;
    return value;
}

static pack_value unsigned_value(char code, uint64_t number)
{
    pack_value value = {};

    value.code = code;
    value.as.u = number;
    return value;
}

static pack_value float_value(float number)
{
    pack_value value = {};

    value.code = 'f';
    value.as.f = number;
    return value;
}

static pack_value double_value(double number)
{
    pack_value value = {};

    value.code = 'd';
    value.as.d = number;
    return value;
}

/* bytes must outlive the value. */
static pack_value text_value(char code, const std::string &bytes)
{
    pack_value value = {};

    value.code = code;
    value.as.text.bytes = bytes.data();
    value.as.text.size = bytes.size();
    return value;
}

/* What a call returned, and its bytes or its message. */
struct Outcome {
    ssize_t result;
    std::string bytes, message;
};

/* Packs to an odd address with room for exactly what the format needs: what is written beside
   it shows. */
static Outcome packed(const std::string &format, const std::vector<pack_value> &values)
{
    pack_error error = {};
    ssize_t size = pack_size(format.c_str(), &error);
    if (size < 0)
        return {size, "", error.text};

    std::vector<char> room((size_t)size + 2, '#');
    ssize_t result =
        pack(format.c_str(), values.data(), values.size(), room.data() + 1, (size_t)size, &error);
    EXPECT_EQ(room.front(), '#') << format;
    EXPECT_EQ(room.back(), '#') << format;
    if (result < 0)
        return {result, "", error.text};
    EXPECT_EQ(result, size) << format;
    return {result, std::string(room.data() + 1, (size_t)size), ""};
}

/* What is wrong with packing these values; "" where nothing is. */
static std::string pack_complaint(const std::string &format, const std::vector<pack_value> &values)
{
    return packed(format, values).message;
}

/* Bytes at an odd address, which texts that are unpacked point into. */
class Message
{
  public:
    explicit Message(const std::string &bytes) : room("#" + bytes)
    {
    }
    std::vector<pack_value> unpacked(const std::string &format, size_t count) const
    {
        std::vector<pack_value> values(count);
        pack_error error = {};
        EXPECT_EQ(
            unpack(format.c_str(), room.data() + 1, room.size() - 1, values.data(), count, &error),
            (ssize_t)room.size() - 1)
            << format << ": " << error.text;
        return values;
    }

  private:
    std::string room;
};

static std::string unpack_complaint(const std::string &format, size_t size, size_t count)
{
    std::string bytes(size, '\0');
    std::vector<pack_value> values(count + 1);
    pack_error error = {};

    ssize_t result = unpack(format.c_str(), bytes.data(), size, values.data(), count, &error);
    return result < 0 ? error.text : "";
}

static std::string size_complaint(const std::string &format)
{
    pack_error error = {};

    return pack_size(format.c_str(), &error) < 0 ? error.text : "";
}

static ssize_t size_of(const std::string &format)
{
    pack_error error = {};
    ssize_t size = pack_size(format.c_str(), &error);

    EXPECT_GE(size, 0) << format << ": " << error.text;
    return size;
}

static std::string parse_complaint(const std::string &format,
                                   const std::vector<const char *> &words)
{
    std::vector<pack_value> values(words.size() + 1);
    pack_error error = {};

    int result = pack_parse(format.c_str(), words.data(), words.size(), values.data(), &error);
    EXPECT_TRUE(result == 0 || result == -1);
    return result < 0 ? error.text : "";
}

static pack_value parsed(const std::string &format, const char *word)
{
    pack_value value = {};
    pack_error error = {};

    EXPECT_EQ(pack_parse(format.c_str(), &word, 1, &value, &error), 0) << word << error.text;
    return value;
}

static std::string words_of(const std::vector<pack_value> &values)
{
    char text[1000];

    pack_words(values.data(), values.size(), text, sizeof text);
    return text;
}

static std::string bytes_of(std::initializer_list<int> bytes)
{
    std::string text;

    for (int byte : bytes)
        text += (char)byte;
    return text;
}

static std::string reversed(const std::string &bytes)
{
    return std::string(bytes.rbegin(), bytes.rend());
}

template <typename Number> static std::string native_bytes(Number number)
{
    std::string bytes(sizeof number, '\0');

    memcpy(bytes.data(), &number, sizeof number);
    return bytes;
}

/* The same value: also for floats, where NaN is not equal to itself. */
static void expect_same(const pack_value &got, const pack_value &expected, const std::string &where)
{
    ASSERT_EQ(got.code, expected.code) << where;
    switch (got.code) {
    case 'f':
        EXPECT_EQ(memcmp(&got.as.f, &expected.as.f, sizeof(float)), 0) << where;
        break;
    case 'd':
        EXPECT_EQ(memcmp(&got.as.d, &expected.as.d, sizeof(double)), 0) << where;
        break;
    case 'c':
    case 's':
        EXPECT_EQ(std::string((const char *)got.as.text.bytes, got.as.text.size),
                  std::string((const char *)expected.as.text.bytes, expected.as.text.size))
            << where;
        break;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
        EXPECT_EQ(got.as.i, expected.as.i) << where;
        break;
    default:
        EXPECT_EQ(got.as.u, expected.as.u) << where;
    }
}

/* ---- each code, in each byte order ---- */

/* A value for each code, its bytes in network byte order, and as the C compiler has them. No
   two bytes of a number are the same, so that a wrong order shows. */
struct Sample {
    pack_value value;
    std::string big_endian, native;
};

static const std::string LETTER = "A";

static std::vector<Sample> samples()
{
    return {
        {text_value('c', LETTER), "A", "A"},
        {signed_value('b', -2), "\xfe", native_bytes((signed char)-2)},
        {unsigned_value('B', 0xfe), "\xfe", native_bytes((unsigned char)0xfe)},
        {unsigned_value('?', 1), "\x01", native_bytes(true)},
        {unsigned_value('?', 0), bytes_of({0}), native_bytes(false)},
        {signed_value('h', 0x0102), "\x01\x02", native_bytes((short)0x0102)},
        {signed_value('h', -2), "\xff\xfe", native_bytes((short)-2)},
        {unsigned_value('H', 0xfedc), "\xfe\xdc", native_bytes((unsigned short)0xfedc)},
        {signed_value('i', 0x01020304), "\x01\x02\x03\x04", native_bytes(0x01020304)},
        {signed_value('i', -0x01020304), "\xfe\xfd\xfc\xfc", native_bytes(-0x01020304)},
        {unsigned_value('I', 0xfedcba98), "\xfe\xdc\xba\x98", native_bytes(0xfedcba98U)},
        {signed_value('l', 0x01020304), "\x01\x02\x03\x04", native_bytes(0x01020304L)},
        {signed_value('l', -0x01020304), "\xfe\xfd\xfc\xfc", native_bytes(-0x01020304L)},
        {unsigned_value('L', 0xfedcba98), "\xfe\xdc\xba\x98", native_bytes(0xfedcba98UL)},
        {signed_value('q', 0x0102030405060708), "\x01\x02\x03\x04\x05\x06\x07\x08",
         native_bytes(0x0102030405060708LL)},
        {signed_value('q', -2), "\xff\xff\xff\xff\xff\xff\xff\xfe", native_bytes(-2LL)},
        {unsigned_value('Q', 0xfedcba9876543210), "\xfe\xdc\xba\x98\x76\x54\x32\x10",
         native_bytes(0xfedcba9876543210ULL)},
        /* IEEE 754: 1.5 is 0 01111111 1000..., -2.5 is 1 10000000 0100... */
        {float_value(1.5F), bytes_of({0x3f, 0xc0, 0, 0}), native_bytes(1.5F)},
        {float_value(-2.5F), bytes_of({0xc0, 0x20, 0, 0}), native_bytes(-2.5F)},
        {double_value(1.5), bytes_of({0x3f, 0xf8, 0, 0, 0, 0, 0, 0}), native_bytes(1.5)},
        {double_value(-2.5), bytes_of({0xc0, 0x04, 0, 0, 0, 0, 0, 0}), native_bytes(-2.5)},
        {text_value('s', LETTER), "A", "A"},
    };
}

/* Packs and unpacks each sample with a prefix; expected says which bytes it should have. */
static void expect_samples(const std::string &prefix,
                           const std::function<std::string(const Sample &)> &expected)
{
    for (const Sample &sample : samples()) {
        std::string format = prefix + sample.value.code;
        std::string bytes = expected(sample);
        EXPECT_EQ(size_of(format), (ssize_t)bytes.size()) << format;
        Outcome outcome = packed(format, {sample.value});
        EXPECT_EQ(outcome.bytes, bytes) << format << " " << outcome.message;
        Message message(bytes);
        expect_same(message.unpacked(format, 1)[0], sample.value, format);
    }
}

static bool machine_is_big_endian()
{
    return native_bytes((uint16_t)1)[0] == 0;
}

TEST(Pack, EveryCodeInNetworkByteOrder)
{
    expect_samples("!", [](const Sample &sample) { return sample.big_endian; });
    expect_samples(">", [](const Sample &sample) { return sample.big_endian; });
}

TEST(Pack, EveryCodeInLittleEndian)
{
    expect_samples("<", [](const Sample &sample) { return reversed(sample.big_endian); });
}

TEST(Pack, EveryCodeInTheOrderOfTheMachineWithTheSameSizes)
{
    expect_samples("=", [](const Sample &sample) {
        return machine_is_big_endian() ? sample.big_endian : reversed(sample.big_endian);
    });
}

TEST(Pack, EveryCodeAsTheCompilerLaysItOut)
{
    expect_samples("@", [](const Sample &sample) { return sample.native; });
    expect_samples("", [](const Sample &sample) { return sample.native; });
}

TEST(Pack, EachCodeHasItsOwnCodeInTheValue)
{
    const std::string codes = "cb?BhHiIlLqQfds";

    for (char code : codes) {
        std::string format = std::string("!") + code;
        std::string zeros((size_t)size_of(format), '\0');
        Message message(zeros);
        EXPECT_EQ(message.unpacked(format, 1)[0].code, code);
    }
}

/* ---- a whole message ---- */

static std::vector<pack_value> record()
{
    static const std::string text = "ab";

    return {unsigned_value('I', 1), text_value('s', text),     unsigned_value('Q', 2),
            signed_value('h', -1),  signed_value('h', 0x0304), float_value(1.0F)};
}

static const std::string RECORD =
    bytes_of({0, 0, 0, 1, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 3, 4, 0x3f, 0x80, 0, 0});

TEST(Pack, TheRecordOfTheCourseHas22KnownBytes)
{
    EXPECT_EQ(size_of("! I 2s Q 2h f"), 22);
    EXPECT_EQ(packed("! I 2s Q 2h f", record()).bytes, RECORD);
}

TEST(Pack, TheRecordOfTheCourseIsUnpackedAgain)
{
    Message message(RECORD);
    std::vector<pack_value> values = message.unpacked("! I 2s Q 2h f", 6);

    for (size_t i = 0; i < values.size(); i++)
        expect_same(values[i], record()[i], "value " + std::to_string(i));
}

TEST(Pack, BlanksMeanNothingBetweenFields)
{
    for (const char *format : {"!I2sQ2hf", "! I 2s Q 2h f", "!  I\t2s\nQ\r2h f  ", "!I2sQhhf"}) {
        EXPECT_EQ(size_of(format), 22) << format;
        EXPECT_EQ(packed(format, record()).bytes, RECORD) << format;
    }
}

TEST(Pack, AnEmptyFormatIsAnEmptyMessage)
{
    for (const char *format : {"", "!", "@", "  ", "! ", "0x", "!0h", "0I0q"}) {
        EXPECT_EQ(size_of(format), 0) << format;
        EXPECT_EQ(packed(format, {}).result, 0) << format;
        EXPECT_EQ(unpack_complaint(format, 0, 0), "") << format;
    }
}

TEST(Pack, ACountRepeatsItsCode)
{
    std::vector<pack_value> values = {unsigned_value('H', 1), unsigned_value('H', 2),
                                      unsigned_value('H', 3)};
    std::string bytes = bytes_of({0, 1, 0, 2, 0, 3});

    for (const char *format : {"!3H", "!HHH", "!2HH", "!1H2H", "!0H3H", "!003H"}) {
        EXPECT_EQ(packed(format, values).bytes, bytes) << format;
        Message message(bytes);
        EXPECT_EQ(message.unpacked(format, 3)[2].as.u, 3U) << format;
    }
}

TEST(Pack, ACountBeforeCIsSoManyValues)
{
    const std::string letters[] = {"a", "b", "c"};
    std::vector<pack_value> values;

    for (const std::string &letter : letters)
        values.push_back(text_value('c', letter));
    EXPECT_EQ(packed("!3c", values).bytes, "abc");
    Message message("abc");
    EXPECT_EQ(words_of(message.unpacked("!3c", 3)), "a b c");
}

TEST(Pack, ACountBeforeSIsTheSizeOfOneValue)
{
    const std::string text = "hello";

    EXPECT_EQ(packed("!5s", {text_value('s', text)}).bytes, "hello");
    EXPECT_EQ(size_of("!1000s"), 1000);
    EXPECT_EQ(size_of("!2s3s"), 5);
    Message message("hello");
    EXPECT_EQ(words_of(message.unpacked("!5s", 1)), "hello");
}

TEST(Pack, AShorterTextIsFilledUpWithZeroBytes)
{
    const std::string text = "hi";
    const std::string nothing;

    EXPECT_EQ(packed("!5s", {text_value('s', text)}).bytes, std::string("hi\0\0\0", 5));
    EXPECT_EQ(packed("!2s", {text_value('s', nothing)}).bytes, std::string(2, '\0'));

    pack_value null_text = {};
    null_text.code = 's';
    EXPECT_EQ(packed("!2s", {null_text}).bytes, std::string(2, '\0'));
}

TEST(Pack, ATextOfNoBytesIsAValueAllTheSame)
{
    const std::string nothing;

    EXPECT_EQ(size_of("!0s"), 0);
    EXPECT_EQ(packed("!0sB", {text_value('s', nothing), unsigned_value('B', 7)}).bytes, "\x07");
    Message message("\x07");
    std::vector<pack_value> values = message.unpacked("!0sB", 2);
    EXPECT_EQ(values[0].code, 's');
    EXPECT_EQ(values[0].as.text.size, 0U);
    EXPECT_EQ(values[1].as.u, 7U);
}

TEST(Pack, ATextMayHoldAnyByte)
{
    const std::string text = bytes_of({0, 0xff, 'a', 0, '\n'});

    EXPECT_EQ(packed("!5s", {text_value('s', text)}).bytes, text);
    Message message(text);
    expect_same(message.unpacked("!5s", 1)[0], text_value('s', text), "5s");
}

TEST(Pack, AnUnpackedTextPointsIntoTheMessage)
{
    const char bytes[] = "..ab";
    pack_value values[2];
    pack_error error;

    ASSERT_EQ(unpack("!2s2s", bytes, 4, values, 2, &error), 4);
    EXPECT_EQ(values[1].as.text.bytes, bytes + 2);
    EXPECT_EQ(values[1].as.text.size, 2U);
}

TEST(Pack, PaddingIsZeroBytesAndNoValue)
{
    EXPECT_EQ(size_of("!3x"), 3);
    EXPECT_EQ(packed("!x2xBx", {unsigned_value('B', 7)}).bytes, bytes_of({0, 0, 0, 7, 0}));
    EXPECT_EQ(packed("!0xB", {unsigned_value('B', 7)}).bytes, "\x07");
}

TEST(Pack, PaddingIsNotLookedAtWhenUnpacked)
{
    Message message("\xff\x07\xff");

    EXPECT_EQ(message.unpacked("!xBx", 1)[0].as.u, 7U);
}

TEST(Pack, AnyByteButZeroUnpacksAsTrue)
{
    for (int byte = 0; byte < 256; byte++) {
        Message message(bytes_of({byte}));
        EXPECT_EQ(message.unpacked("!?", 1)[0].as.u, byte == 0 ? 0U : 1U) << byte;
    }
}

/* ---- ranges ---- */

struct IntegerCode {
    char code;
    size_t size;
};

static const IntegerCode signed_codes[] = {{'b', 1}, {'h', 2}, {'i', 4}, {'l', 4}, {'q', 8}};
static const IntegerCode unsigned_codes[] = {{'B', 1}, {'H', 2}, {'I', 4}, {'L', 4}, {'Q', 8}};

TEST(Pack, SignedNumbersFitFromTheirLeastToTheirMost)
{
    for (const auto &[code, size] : signed_codes) {
        std::string format = std::string("!") + code;
        int64_t most = INT64_MAX >> (64 - 8 * size);
        int64_t least = -most - 1;
        std::string most_bytes = "\x7f" + std::string(size - 1, '\xff');
        std::string least_bytes = "\x80" + std::string(size - 1, '\0');
        EXPECT_EQ(packed(format, {signed_value(code, most)}).bytes, most_bytes) << format;
        EXPECT_EQ(packed(format, {signed_value(code, least)}).bytes, least_bytes) << format;
        EXPECT_EQ(packed(format, {signed_value(code, -1)}).bytes, std::string(size, '\xff'));
        EXPECT_EQ(Message(most_bytes).unpacked(format, 1)[0].as.i, most) << format;
        EXPECT_EQ(Message(least_bytes).unpacked(format, 1)[0].as.i, least) << format;
        EXPECT_EQ(Message(std::string(size, '\xff')).unpacked(format, 1)[0].as.i, -1) << format;
        if (size == 8)
            continue;
        std::string range = " is not from " + std::to_string(least) + " to " + std::to_string(most);
        for (int64_t beyond : {least - 1, most + 1, INT64_MIN, INT64_MAX})
            EXPECT_EQ(pack_complaint(format, {signed_value(code, beyond)}),
                      std::string("field 1 (") + code + "): " + std::to_string(beyond) + range);
    }
}

TEST(Pack, UnsignedNumbersFitFromZeroToTheirMost)
{
    for (const auto &[code, size] : unsigned_codes) {
        std::string format = std::string("!") + code;
        uint64_t most = UINT64_MAX >> (64 - 8 * size);
        EXPECT_EQ(packed(format, {unsigned_value(code, most)}).bytes, std::string(size, '\xff'));
        EXPECT_EQ(packed(format, {unsigned_value(code, 0)}).bytes, std::string(size, '\0'));
        EXPECT_EQ(Message(std::string(size, '\xff')).unpacked(format, 1)[0].as.u, most) << format;
        if (size == 8)
            continue;
        for (uint64_t beyond : {most + 1, UINT64_MAX})
            EXPECT_EQ(pack_complaint(format, {unsigned_value(code, beyond)}),
                      std::string("field 1 (") + code + "): " + std::to_string(beyond) +
                          " is not from 0 to " + std::to_string(most));
    }
}

TEST(Pack, ATruthValueIsZeroOrOne)
{
    EXPECT_EQ(pack_complaint("!?", {unsigned_value('?', 2)}), "field 1 (?): 2 is not from 0 to 1");
    EXPECT_EQ(pack_complaint("@?", {unsigned_value('?', UINT64_MAX)}),
              "field 1 (?): 18446744073709551615 is not from 0 to 1");
}

TEST(Pack, ALongHasTheRangeOfTheMachineOnlyInNativeOrder)
{
    EXPECT_EQ(pack_complaint("@l", {signed_value('l', LONG_MIN)}), "");
    EXPECT_EQ(pack_complaint("@L", {unsigned_value('L', ULONG_MAX)}), "");
    for (const char *prefix : {"!", ">", "<", "="})
        EXPECT_EQ(pack_complaint(std::string(prefix) + "l", {signed_value('l', 2147483648)}),
                  "field 1 (l): 2147483648 is not from -2147483648 to 2147483647");
}

/* ---- floats ---- */

/* Zero, one, the smallest, the largest, infinite, quiet and signalling NaN, each with its
   sign. A signalling NaN that went through a floating-point register could come out quiet. */
TEST(Pack, TheBitsOfAFloatSurvive)
{
    for (uint32_t bits : {0x00000000U, 0x3f800000U, 0x00000001U, 0x007fffffU, 0x7f7fffffU,
                          0x7f800000U, 0x7fc00000U, 0x7f800001U, 0x7fa12345U, 0x7fbfffffU}) {
        for (uint32_t sign : {0U, 0x80000000U}) {
            uint32_t all = bits | sign;
            std::string bytes = bytes_of({(int)(all >> 24), (int)(all >> 16 & 255),
                                          (int)(all >> 8 & 255), (int)(all & 255)});
            Message message(bytes);
            std::vector<pack_value> values = message.unpacked("!f", 1);
            EXPECT_EQ(packed("!f", values).bytes, bytes) << std::hex << all;
            EXPECT_EQ(packed("<f", values).bytes, reversed(bytes)) << std::hex << all;
        }
    }
}

TEST(Pack, TheBitsOfADoubleSurvive)
{
    for (uint64_t bits : {0x0000000000000000ULL, 0x3ff0000000000000ULL, 0x0000000000000001ULL,
                          0x7fefffffffffffffULL, 0x7ff0000000000000ULL, 0x7ff8000000000000ULL,
                          0x7ff0000000000001ULL, 0x7ff4123456789abcULL, 0x7ff7ffffffffffffULL}) {
        for (uint64_t sign : {0ULL, 0x8000000000000000ULL}) {
            uint64_t all = bits | sign;
            std::string bytes;
            for (int shift = 56; shift >= 0; shift -= 8)
                bytes += (char)(all >> shift & 255);
            Message message(bytes);
            std::vector<pack_value> values = message.unpacked("!d", 1);
            EXPECT_EQ(packed("!d", values).bytes, bytes) << std::hex << all;
            EXPECT_EQ(packed("<d", values).bytes, reversed(bytes)) << std::hex << all;
        }
    }
}

/* ---- as the C compiler lays it out ---- */

TEST(Pack, NativeFieldsStandWhereAStructHasThem)
{
    struct {
        char c;
        short h;
        char c2;
        int i;
        bool truth;
        long l;
        char s[3];
        long long q;
        float f;
        double d;
    } layout = {};
    const std::string letter = "c";
    const std::string text = "txt";

    layout.c = 'c';
    layout.h = 0x0102;
    layout.c2 = 'c';
    layout.i = 0x03040506;
    layout.truth = true;
    layout.l = -7;
    memcpy(layout.s, "txt", 3);
    layout.q = 0x0102030405060708;
    layout.f = 1.5F;
    layout.d = -2.5;
    EXPECT_EQ(size_of("@c"), 1);
    EXPECT_EQ(size_of("@ch0c"), (ssize_t)offsetof(decltype(layout), c2));
    EXPECT_EQ(size_of("@chc0i"), (ssize_t)offsetof(decltype(layout), i));
    EXPECT_EQ(size_of("@chci?0l"), (ssize_t)offsetof(decltype(layout), l));
    EXPECT_EQ(size_of("@chci?l3s0q"), (ssize_t)offsetof(decltype(layout), q));
    EXPECT_EQ(size_of("@chci?l3sqf0d"), (ssize_t)offsetof(decltype(layout), d));

    std::vector<pack_value> values = {text_value('c', letter), signed_value('h', 0x0102),
                                      text_value('c', letter), signed_value('i', layout.i),
                                      unsigned_value('?', 1),  signed_value('l', -7),
                                      text_value('s', text),   signed_value('q', layout.q),
                                      float_value(1.5F),       double_value(-2.5)};
    for (const char *format : {"@chci?l3sqfd", "chci?l3sqfd", " c h c i ? l 3s q f d"}) {
        Outcome outcome = packed(format, values);
        ASSERT_EQ(outcome.bytes.size(), sizeof layout) << format << outcome.message;
        EXPECT_EQ(memcmp(outcome.bytes.data(), &layout, sizeof layout), 0) << format;
        std::vector<pack_value> again = Message(outcome.bytes).unpacked(format, values.size());
        EXPECT_EQ(again[3].as.i, layout.i);
        EXPECT_EQ(again[9].as.d, -2.5);
    }
}

TEST(Pack, ANativeFormatHasNoPaddingAtItsEndUnlessACountOfZeroAsksForIt)
{
    struct tailed {
        long long q;
        char c;
    };

    EXPECT_EQ(size_of("@qc"), (ssize_t)(offsetof(tailed, c) + 1));
    EXPECT_EQ(size_of("@qc0q"), (ssize_t)sizeof(tailed));
    EXPECT_EQ(size_of("@c0q"), (ssize_t)alignof(long long));
}

TEST(Pack, OnlyNativeFieldsAreAligned)
{
    struct aligned {
        char c;
        double d;
    };

    EXPECT_EQ(size_of("@cd"), (ssize_t)sizeof(aligned));
    for (const char *prefix : {"!", ">", "<", "="}) {
        EXPECT_EQ(size_of(std::string(prefix) + "cd"), 9);
        EXPECT_EQ(size_of(std::string(prefix) + "c0q"), 1);
        EXPECT_EQ(size_of(std::string(prefix) + "lL"), 8);
    }
    EXPECT_EQ(size_of("@lL"), (ssize_t)(2 * sizeof(long)));
}

TEST(Pack, TheBytesOfNativePaddingAreZero)
{
    const std::string letter = "c";
    Outcome outcome = packed("@ci", {text_value('c', letter), signed_value('i', -1)});

    ASSERT_EQ(outcome.bytes.size(), alignof(int) + sizeof(int)) << outcome.message;
    EXPECT_EQ(outcome.bytes.substr(1, alignof(int) - 1), std::string(alignof(int) - 1, '\0'));
}

/* ---- formats that are wrong ---- */

TEST(Pack, AnUnknownCodeIsNamed)
{
    EXPECT_EQ(size_complaint("!Iz"), "format: 'z' is no code");
    EXPECT_EQ(size_complaint("!2y"), "format: 'y' is no code");
    EXPECT_EQ(size_complaint("!-1h"), "format: '-' is no code");
    EXPECT_EQ(size_complaint("!h,h"), "format: ',' is no code");
    EXPECT_EQ(size_complaint("p"), "format: 'p' is no code");
    EXPECT_EQ(size_complaint("P"), "format: 'P' is no code");
    EXPECT_EQ(size_complaint("n"), "format: 'n' is no code");
    EXPECT_EQ(size_complaint("\xe9"), "format: '\xe9' is no code");
}

TEST(Pack, OnlyKnownLettersAreCodes)
{
    const std::string known = "xcbB?hHiIlLqQfds";

    for (int letter = 1; letter < 256; letter++) {
        std::string format = std::string("!") + (char)letter;
        bool is_code = known.find((char)letter) != std::string::npos;
        bool is_blank = strchr(" \t\n\v\f\r", letter) != nullptr;
        EXPECT_EQ(size_complaint(format) == "", is_code || is_blank) << letter;
    }
}

TEST(Pack, AByteOrderStandsOnlyAtTheBeginning)
{
    EXPECT_EQ(size_complaint("!!h"), "format: '!' is no code");
    EXPECT_EQ(size_complaint("h<h"), "format: '<' is no code");
    EXPECT_EQ(size_complaint(" !h"), "format: '!' is no code");
    EXPECT_EQ(size_complaint("!@h"), "format: '@' is no code");
}

TEST(Pack, ACountNeedsACodeRightBehindIt)
{
    const std::string complaint = "format: a count without a code behind it";

    EXPECT_EQ(size_complaint("!2"), complaint);
    EXPECT_EQ(size_complaint("!h2"), complaint);
    EXPECT_EQ(size_complaint("!2 h"), complaint);
    EXPECT_EQ(size_complaint("!2\th"), complaint);
    EXPECT_EQ(size_complaint("!0"), complaint);
}

TEST(Pack, HugeFormatsAreRefused)
{
    EXPECT_EQ(size_of("!2147483647x"), 2147483647);
    EXPECT_EQ(size_of("!2147483647s"), 2147483647);
    EXPECT_EQ(size_of("!2147483646sx"), 2147483647);
    for (const char *format :
         {"!2147483648x", "!2147483648s", "!4294967296x", "!4294967297h", "!18446744073709551616x",
          "!18446744073709551617B", "!99999999999999999999999999999999999999999s", "!2147483648h"})
        EXPECT_EQ(size_complaint(format), "format: a count over 2147483647") << format;
    for (const char *format :
         {"!2147483647sx", "!2147483647xB", "!2147483647x2147483647x", "!1073741824h",
          "!2147483647q", "!268435456q", "@2147483647x0h", "@2147483645xi"})
        EXPECT_EQ(size_complaint(format), "format: over 2147483647 bytes") << format;
}

TEST(Pack, AWrongFormatIsToldByEveryFunction)
{
    pack_value value = signed_value('h', 1);
    const char *word = "1";
    char bytes[8] = {};
    pack_error error = {};

    EXPECT_EQ(pack("!hz", &value, 1, bytes, sizeof bytes, &error), -1);
    EXPECT_STREQ(error.text, "format: 'z' is no code");
    error = {};
    EXPECT_EQ(unpack("!hz", bytes, 2, &value, 1, &error), -1);
    EXPECT_STREQ(error.text, "format: 'z' is no code");
    error = {};
    EXPECT_EQ(pack_parse("!hz", &word, 1, &value, &error), -1);
    EXPECT_STREQ(error.text, "format: 'z' is no code");
}

/* ---- values and buffers that do not suit the format ---- */

TEST(Pack, TheNumberOfValuesMustBeThatOfTheFormat)
{
    std::vector<pack_value> two = {unsigned_value('B', 1), unsigned_value('B', 2)};

    EXPECT_EQ(pack_complaint("!B", two), "the format has 1 values, not 2");
    EXPECT_EQ(pack_complaint("!3B", two), "the format has 3 values, not 2");
    EXPECT_EQ(pack_complaint("!2x", two), "the format has 0 values, not 2");
    EXPECT_EQ(pack_complaint("!B", {}), "the format has 1 values, not 0");
    EXPECT_EQ(unpack_complaint("!3B", 3, 2), "the format has 3 values, not 2");
    EXPECT_EQ(unpack_complaint("!3B", 3, 4), "the format has 3 values, not 4");
    EXPECT_EQ(unpack_complaint("!2s", 2, 2), "the format has 1 values, not 2");
    EXPECT_EQ(parse_complaint("!3B", {"1", "2"}), "the format has 3 values, not 2");
    EXPECT_EQ(parse_complaint("!B", {"1", "2"}), "the format has 1 values, not 2");
    EXPECT_EQ(parse_complaint("!B", {}), "the format has 1 values, not 0");
}

TEST(Pack, AValueOfAnotherCodeIsRefused)
{
    const std::vector<Sample> all = samples();

    for (const Sample &field : all)
        for (const Sample &value : all) {
            std::string format = std::string("!") + field.value.code;
            std::string complaint = pack_complaint(format, {value.value});
            if (field.value.code == value.value.code)
                EXPECT_EQ(complaint, "");
            else
                EXPECT_EQ(complaint, std::string("field 1 (") + field.value.code +
                                         "): the value is of another kind")
                    << "given " << value.value.code;
        }
}

TEST(Pack, FieldsAreCountedFrom1WithoutPadding)
{
    std::vector<pack_value> values(4, signed_value('h', 1));

    values[2].as.i = 40000;
    for (const char *format : {"!4h", "!hhhh", "!2h2h", "!xhxhxhxh", "!2x 3h 0h h"})
        EXPECT_EQ(pack_complaint(format, values), "field 3 (h): 40000 is not from -32768 to 32767")
            << format;
    EXPECT_EQ(parse_complaint("!B2xbH", {"1", "2", "-3"}), "field 3 (H): it cannot be negative");
}

TEST(Pack, ATextThatIsTooLongIsRefused)
{
    const std::string text = "abc";
    const std::string nothing;

    EXPECT_EQ(pack_complaint("!2s", {text_value('s', text)}),
              "field 1 (s): the text is longer than the field");
    EXPECT_EQ(pack_complaint("!0s", {text_value('s', text)}),
              "field 1 (s): the text is longer than the field");
    EXPECT_EQ(pack_complaint("!c", {text_value('c', text)}),
              "field 1 (c): the text is longer than the field");
    EXPECT_EQ(pack_complaint("!c", {text_value('c', nothing)}),
              "field 1 (c): it takes exactly one byte");
}

TEST(Pack, ABufferThatIsTooSmallIsRefusedAndNotTouched)
{
    pack_error error = {};
    std::vector<pack_value> values = record();

    for (size_t size = 0; size < 22; size++) {
        std::string buffer(22, '#');
        EXPECT_EQ(pack("!I2sQ2hf", values.data(), values.size(), buffer.data(), size, &error), -1);
        EXPECT_EQ(error.text,
                  "the buffer has " + std::to_string(size) + " bytes, the format needs 22");
        EXPECT_EQ(buffer, std::string(22, '#'));
    }
}

TEST(Pack, ABufferMayBeLargerThanTheMessage)
{
    pack_error error = {};
    std::vector<pack_value> values = record();
    std::string buffer(30, '#');

    EXPECT_EQ(pack("!I2sQ2hf", values.data(), values.size(), buffer.data(), 30, &error), 22);
    EXPECT_EQ(buffer, RECORD + std::string(8, '#'));
}

TEST(Pack, BytesToUnpackMustBeExactlyAsManyAsTheFormatNeeds)
{
    EXPECT_EQ(unpack_complaint("!I2sQ2hf", 21, 6), "there are 21 bytes, the format needs 22");
    EXPECT_EQ(unpack_complaint("!I2sQ2hf", 23, 6), "there are 23 bytes, the format needs 22");
    EXPECT_EQ(unpack_complaint("!I2sQ2hf", 0, 6), "there are 0 bytes, the format needs 22");
    EXPECT_EQ(unpack_complaint("!", 1, 0), "there are 1 bytes, the format needs 0");
    EXPECT_EQ(unpack_complaint("!I2sQ2hf", 22, 6), "");
}

TEST(Pack, EveryAddressIsGoodEnoughForABuffer)
{
    pack_error error = {};
    std::vector<pack_value> values = record();
    std::vector<pack_value> again(values.size());
    char room[64];

    for (size_t offset = 0; offset < 16; offset++) {
        ASSERT_EQ(pack("!I2sQ2hf", values.data(), 6, room + offset, 22, &error), 22);
        EXPECT_EQ(std::string(room + offset, 22), RECORD);
        ASSERT_EQ(unpack("!I2sQ2hf", room + offset, 22, again.data(), 6, &error), 22);
        for (size_t i = 0; i < 6; i++)
            expect_same(again[i], values[i], "offset " + std::to_string(offset));
    }
}

TEST(Pack, AnyBytesUnpackAndPackToTheSameBytes)
{
    const std::vector<std::pair<const char *, size_t>> formats = {
        {"!cbBhHiIqQ10sf", 11},
        {"<cbBhHiIqQ10sf", 11},
        {"=cbBhHiIqQ10sf", 11},
        {">s12sd4H2q", 9},
        {"!45s", 1},
        {"!45b", 45},
        {"!45B", 45},
        {"!c22H", 23},
    };
    std::mt19937_64 random(4711);

    for (int round = 0; round < 2000; round++) {
        std::string bytes;
        for (int i = 0; i < 45; i++)
            bytes += (char)random();
        Message message(bytes);
        for (const auto &[format, count] : formats)
            ASSERT_EQ(packed(format, message.unpacked(format, count)).bytes, bytes) << format;
    }
}

/* ---- words ---- */

TEST(Pack, WordsAreParsedByTheirField)
{
    EXPECT_EQ(parsed("!b", "-128").as.i, -128);
    EXPECT_EQ(parsed("!h", "+7").as.i, 7);
    EXPECT_EQ(parsed("!i", "-2147483648").as.i, -2147483648);
    EXPECT_EQ(parsed("!q", "-9223372036854775808").as.i, INT64_MIN);
    EXPECT_EQ(parsed("!q", "9223372036854775807").as.i, INT64_MAX);
    EXPECT_EQ(parsed("!B", "255").as.u, 255U);
    EXPECT_EQ(parsed("!I", "0").as.u, 0U);
    EXPECT_EQ(parsed("!H", "007").as.u, 7U);
    EXPECT_EQ(parsed("!Q", "18446744073709551615").as.u, UINT64_MAX);
    EXPECT_EQ(parsed("!?", "1").as.u, 1U);
    EXPECT_EQ(parsed("!?", "0").as.u, 0U);
    EXPECT_EQ(parsed("!f", "1.5").as.f, 1.5F);
    EXPECT_EQ(parsed("!f", "-1e-3").as.f, -1e-3F);
    EXPECT_EQ(parsed("!d", "1e308").as.d, 1e308);
    EXPECT_EQ(parsed("!d", ".5").as.d, 0.5);
    EXPECT_EQ(parsed("!h", "5").code, 'h');
    EXPECT_EQ(parsed("!d", "5").code, 'd');
}

TEST(Pack, AnInfiniteFloatOrNoNumberMayBeAskedFor)
{
    EXPECT_EQ(parsed("!f", "inf").as.f, std::numeric_limits<float>::infinity());
    EXPECT_EQ(parsed("!d", "-inf").as.d, -std::numeric_limits<double>::infinity());
    EXPECT_TRUE(std::isnan(parsed("!d", "nan").as.d));
}

TEST(Pack, AFloatThatIsTooSmallBecomesTheNearest)
{
    EXPECT_EQ(parsed("!f", "1e-60").as.f, 0.0F);
    EXPECT_EQ(parsed("!d", "1e-400").as.d, 0.0);
    EXPECT_EQ(parsed("!f", "1e-45").as.f, std::numeric_limits<float>::denorm_min());
}

TEST(Pack, WordsOfATextPointToTheWord)
{
    const char *words[] = {"ab", "", "c"};
    pack_value values[3];
    pack_error error;

    ASSERT_EQ(pack_parse("!4s2sc", words, 3, values, &error), 0);
    EXPECT_EQ(values[0].as.text.bytes, words[0]);
    EXPECT_EQ(values[0].as.text.size, 2U);
    EXPECT_EQ(values[1].as.text.size, 0U);
    EXPECT_EQ(values[2].code, 'c');
    EXPECT_EQ(packed("!4s2sc", {values[0], values[1], values[2]}).bytes,
              std::string("ab\0\0\0\0c", 7));
}

TEST(Pack, WordsBeyondTheRangeOfTheirFieldAreRefused)
{
    EXPECT_EQ(parse_complaint("!b", {"128"}), "field 1 (b): 128 is not from -128 to 127");
    EXPECT_EQ(parse_complaint("!b", {"-129"}), "field 1 (b): -129 is not from -128 to 127");
    EXPECT_EQ(parse_complaint("!B", {"256"}), "field 1 (B): 256 is not from 0 to 255");
    EXPECT_EQ(parse_complaint("!h", {"32768"}), "field 1 (h): 32768 is not from -32768 to 32767");
    EXPECT_EQ(parse_complaint("!H", {"65536"}), "field 1 (H): 65536 is not from 0 to 65535");
    EXPECT_EQ(parse_complaint("!i", {"2147483648"}),
              "field 1 (i): 2147483648 is not from -2147483648 to 2147483647");
    EXPECT_EQ(parse_complaint("!I", {"4294967296"}),
              "field 1 (I): 4294967296 is not from 0 to 4294967295");
    EXPECT_EQ(parse_complaint("!?", {"2"}), "field 1 (?): 2 is not from 0 to 1");
    EXPECT_EQ(parse_complaint("!q", {"9223372036854775808"}),
              "field 1 (q): the number does not fit into 64 bits");
    EXPECT_EQ(parse_complaint("!q", {"-9223372036854775809"}),
              "field 1 (q): the number does not fit into 64 bits");
    EXPECT_EQ(parse_complaint("!Q", {"18446744073709551616"}),
              "field 1 (Q): the number does not fit into 64 bits");
    EXPECT_EQ(parse_complaint("!f", {"1e39"}), "field 1 (f): the number is too large for a float");
    EXPECT_EQ(parse_complaint("!f", {"-3.5e38"}),
              "field 1 (f): the number is too large for a float");
    EXPECT_EQ(parse_complaint("!d", {"1e309"}),
              "field 1 (d): the number is too large for a double");
}

TEST(Pack, ANegativeWordIsNoUnsignedNumber)
{
    for (const char *code : {"B", "H", "I", "L", "Q", "?"})
        for (const char *word : {"-1", "-18446744073709551615"})
            EXPECT_EQ(parse_complaint(std::string("!") + code, {word}),
                      std::string("field 1 (") + code + "): it cannot be negative");
}

TEST(Pack, WordsThatAreNoNumberAreRefused)
{
    for (const char *code : {"b", "B", "?", "h", "H", "i", "I", "l", "L", "q", "Q", "f", "d"})
        for (const char *word :
             {"", " ", " 5", "\t5", "\n5", "5 ", "5x", "x", "+", "five", "5,5", "1e", "++5", " -5"})
            EXPECT_EQ(parse_complaint(std::string("!") + code, {word}),
                      std::string("field 1 (") + code + "): that is not a number")
                << "'" << word << "'";
    for (const char *code : {"b", "H", "i", "Q", "?"})
        for (const char *word : {"1.0", "1e1", "0x10", "inf", "nan"})
            EXPECT_EQ(parse_complaint(std::string("!") + code, {word}),
                      std::string("field 1 (") + code + "): that is not a number")
                << "'" << word << "'";
}

TEST(Pack, WordsThatAreTooLongForTheirTextAreRefused)
{
    EXPECT_EQ(parse_complaint("!2s", {"ab"}), "");
    EXPECT_EQ(parse_complaint("!2s", {"abc"}), "field 1 (s): the text is longer than the field");
    EXPECT_EQ(parse_complaint("!c", {"ab"}), "field 1 (c): the text is longer than the field");
    EXPECT_EQ(parse_complaint("!c", {""}), "field 1 (c): it takes exactly one byte");
    EXPECT_EQ(parse_complaint("!0s", {""}), "");
}

TEST(Pack, ValuesAreWrittenAsWords)
{
    EXPECT_EQ(words_of({}), "");
    EXPECT_EQ(words_of({signed_value('h', -7)}), "-7");
    EXPECT_EQ(words_of(record()), "1 ab 2 -1 772 1");
    EXPECT_EQ(words_of({signed_value('q', INT64_MIN), unsigned_value('Q', UINT64_MAX),
                        unsigned_value('?', 1)}),
              "-9223372036854775808 18446744073709551615 1");
    EXPECT_EQ(words_of({float_value(0.1F), double_value(0.1), double_value(-1e300)}),
              "0.100000001 0.10000000000000001 -1.0000000000000001e+300");
}

TEST(Pack, BytesThatCannotBePrintedAreEscaped)
{
    const std::string text = bytes_of({'a', 0, '\n', 0x7f, 0x80, 0xff, ' ', '~', '%'});

    EXPECT_EQ(words_of({text_value('s', text)}), "a\\x00\\x0a\\x7f\\x80\\xff ~%");
    EXPECT_EQ(words_of({text_value('c', "\x01")}), "\\x01");
    EXPECT_EQ(words_of({text_value('s', ""), signed_value('b', 1), text_value('s', "")}), " 1 ");
}

/* Any size: what fits is written, ended by '\0', and nothing behind it is touched. */
TEST(Pack, WordsAreCutToTheirRoom)
{
    const std::string text = bytes_of({'a', 0, 0xff, 'b'});
    std::vector<pack_value> values = {
        signed_value('q', INT64_MIN), text_value('s', text), double_value(0.1),
        float_value(-1.5F),           text_value('s', text), unsigned_value('B', 255)};
    const std::string whole =
        "-9223372036854775808 a\\x00\\xffb 0.10000000000000001 -1.5 a\\x00\\xffb 255";

    ASSERT_EQ(words_of(values), whole);
    for (size_t size = 1; size <= whole.size() + 3; size++) {
        std::string room(whole.size() + 10, '#');
        pack_words(values.data(), values.size(), room.data(), size);
        size_t length = strlen(room.c_str());
        ASSERT_EQ(length, std::min(size - 1, whole.size()));
        ASSERT_EQ(room.substr(0, length), whole.substr(0, length));
        ASSERT_EQ(room.substr(size), std::string(room.size() - size, '#')) << "size " << size;
    }

    char none = '#';
    pack_words(values.data(), values.size(), &none, 0);
    EXPECT_EQ(none, '#');
}

/* Splits at blanks: for words without any. */
static std::vector<std::string> split(const std::string &text)
{
    std::istringstream stream(text);
    std::vector<std::string> found;
    std::string word;

    while (stream >> word)
        found.push_back(word);
    return found;
}

TEST(Pack, WordsBringBackTheSameBits)
{
    std::mt19937_64 random(4711);
    const std::string format = "!bBhHiIlLqQ?fd2s";

    for (int round = 0; round < 2000; round++) {
        std::string bytes;
        for (int i = 0; i < 51; i++)
            bytes += (char)random();
        bytes += "ab";
        bytes[38] &= 1;          /* a truth value packs as 0 or 1 */
        bytes[39] &= (char)0xbf; /* not NaN: its word does not tell one from another */
        bytes[43] &= (char)0xbf;
        Message message(bytes);
        std::vector<pack_value> values = message.unpacked(format, 14);
        std::vector<std::string> words = split(words_of(values));
        ASSERT_EQ(words.size(), 14U);

        std::vector<const char *> pointers;
        for (const std::string &word : words)
            pointers.push_back(word.c_str());
        std::vector<pack_value> again(14);
        pack_error error = {};
        ASSERT_EQ(pack_parse(format.c_str(), pointers.data(), 14, again.data(), &error), 0)
            << error.text;
        Outcome outcome = packed(format, again);
        ASSERT_EQ(outcome.bytes, bytes) << outcome.message;
    }
}
