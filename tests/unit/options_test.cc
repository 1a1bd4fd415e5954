#include "common/options.h"

#include <climits>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "tests/unit/helpers.h"

static const char *const colours[] = {"red", "green", "dark-blue", nullptr};

/* A command line with an option of each kind, read anew by every test. */
class Options : public testing::Test
{
  protected:
    Options()
    {
        log_set_level(LOG_NORMAL);
    }
    ~Options() override
    {
        log_set_level(LOG_NORMAL);
    }

    /* What parse_options() returns for these words behind the program's name. */
    int parse(const std::vector<std::string> &line, const char *operands = nullptr)
    {
        words = line;
        words.insert(words.begin(), "build/server");
        argv.clear();
        for (std::string &word : words)
            argv.push_back(word.data());
        argv.push_back(nullptr);
        optind = 0; /* getopt(3) then begins afresh */
        return parse_options((int)words.size(), argv.data(), table, operands);
    }

    /* The words from an index on, in the order in which parse_options() left them. */
    std::vector<std::string> operands_from(int index) const
    {
        std::vector<std::string> found;
        for (size_t i = (size_t)index; argv[i] != nullptr; i++)
            found.emplace_back(argv[i]);
        return found;
    }

    void expect_int(const std::vector<std::string> &line, int expected)
    {
        number = 50;
        parse(line);
        EXPECT_EQ(number, expected) << testing::PrintToString(line);
    }

    void expect_seconds(const std::vector<std::string> &line, double expected)
    {
        seconds = 50;
        parse(line);
        EXPECT_EQ(seconds, expected) << testing::PrintToString(line);
    }

    /* The command line ends the program with status 2, this line in the log, and nothing else. */
    void expect_rejected(const std::vector<std::string> &line, const std::string &message,
                         const char *operands = nullptr)
    {
        Ended ended = in_child([&] { parse(line, operands); });
        EXPECT_TRUE(exited(ended, 2)) << testing::PrintToString(line);
        EXPECT_EQ(messages(ended.err), std::vector<std::string>{message});
        EXPECT_EQ(ended.err.rfind("[server(", 0), 0U) << ended.err;
        EXPECT_EQ(ended.out, "");
    }

    const char *text = "localhost";
    int number = 50;
    int least = 0;
    int most = 0;
    int backlog = -1;
    double seconds = 1.5;
    double never = 0;
    bool on = true;
    bool off = false;
    int colour = 1;
    const char *pair[2] = {};
    const char *triple[3] = {};

    const option_spec table[13] = {
        OPTION_TEXT("text", &text, "a name"),
        OPTION_INT("number", &number, -5, 100, "how many"),
        OPTION_INT("least", &least, INT_MIN, INT_MAX, "any of them"),
        OPTION_INT("most", &most, 0, INT_MAX, "not below zero"),
        OPTION_INT_OR("backlog", &backlog, 0, 4096, "the kernel's", "how many may wait"),
        OPTION_SECONDS("seconds", &seconds, nullptr, "how long"),
        OPTION_SECONDS("never", &never, "for ever", "how long, or for ever"),
        OPTION_SWITCH("on", &on, "a switch that is on"),
        OPTION_SWITCH("off", &off, "a switch that is off"),
        OPTION_CHOICE("colour", &colour, colours, "which colour"),
        OPTION_VALUES("pair", pair, 2, "X Y", "a place"),
        OPTION_VALUES("triple", triple, 3, "I 2s h", "a record"),
        OPTION_END,
    };

    std::vector<std::string> words;
    std::vector<char *> argv;
};

static const std::string NUMBER_TAKES = ": not allowed; it takes a whole number from -5 to 100";
static const std::string SECONDS_TAKE =
    ": not allowed; it takes seconds from 0 to 1000000, with a fraction if need be";

TEST_F(Options, WithoutWordsTheDefaultsStay)
{
    EXPECT_EQ(parse({}), 1);
    EXPECT_STREQ(text, "localhost");
    EXPECT_EQ(number, 50);
    EXPECT_EQ(backlog, -1);
    EXPECT_EQ(seconds, 1.5);
    EXPECT_EQ(never, 0);
    EXPECT_TRUE(on);
    EXPECT_FALSE(off);
    EXPECT_EQ(colour, 1);
    EXPECT_EQ(pair[0], nullptr);
    EXPECT_EQ(triple[2], nullptr);
}

TEST_F(Options, EachKindTakesAValueBehindABlank)
{
    EXPECT_EQ(parse({"--text", "example", "--number", "7", "--backlog", "128", "--seconds", "0.25",
                     "--never", "2", "--on", "off", "--off", "on", "--colour", "dark-blue",
                     "--pair", "a", "b"}),
              20);
    EXPECT_STREQ(text, "example");
    EXPECT_EQ(number, 7);
    EXPECT_EQ(backlog, 128);
    EXPECT_EQ(seconds, 0.25);
    EXPECT_EQ(never, 2);
    EXPECT_FALSE(on);
    EXPECT_TRUE(off);
    EXPECT_EQ(colour, 2);
    EXPECT_STREQ(pair[0], "a");
    EXPECT_STREQ(pair[1], "b");
}

TEST_F(Options, EachKindTakesAValueBehindAnEqualsSign)
{
    EXPECT_EQ(parse({"--text=example", "--number=7", "--backlog=128", "--seconds=0.25", "--never=2",
                     "--on=off", "--off=on", "--colour=red", "--pair=a", "b"}),
              11);
    EXPECT_STREQ(text, "example");
    EXPECT_EQ(number, 7);
    EXPECT_EQ(backlog, 128);
    EXPECT_EQ(seconds, 0.25);
    EXPECT_EQ(never, 2);
    EXPECT_FALSE(on);
    EXPECT_TRUE(off);
    EXPECT_EQ(colour, 0);
    EXPECT_STREQ(pair[0], "a");
    EXPECT_STREQ(pair[1], "b");
}

TEST_F(Options, TheLastOfTwoValuesHolds)
{
    parse({"--number=7", "--pair", "a", "b", "--number", "8", "--pair=c", "d"});
    EXPECT_EQ(number, 8);
    EXPECT_STREQ(pair[0], "c");
    EXPECT_STREQ(pair[1], "d");
}

TEST_F(Options, ATextIsAnything)
{
    for (const char *value : {"", " ", "0.0.0.0", "--number", "-v", "a=b", "two words"}) {
        parse({"--text", value});
        EXPECT_STREQ(text, value);
        parse({std::string("--text=") + value});
        EXPECT_STREQ(text, value);
    }
}

TEST_F(Options, ATextPointsIntoTheCommandLine)
{
    parse({"--text", "example"});
    EXPECT_EQ(text, argv[2]);
}

TEST_F(Options, ANumberMayBeAnywhereInItsRange)
{
    expect_int({"--number", "-5"}, -5);
    expect_int({"--number=-5"}, -5);
    expect_int({"--number", "-1"}, -1);
    expect_int({"--number", "0"}, 0);
    expect_int({"--number", "-0"}, 0);
    expect_int({"--number", "+7"}, 7);
    expect_int({"--number", "007"}, 7);
    expect_int({"--number", "100"}, 100);
}

TEST_F(Options, ANumberOutsideOfItsRangeIsRejected)
{
    for (const char *value : {"-6", "101", "2147483648", "-2147483649", "4294967296", "4294967303",
                              "9223372036854775807", "9223372036854775808", "-9223372036854775809",
                              "99999999999999999999999999999999"}) {
        expect_rejected({"--number", value}, std::string("--number ") + value + NUMBER_TAKES);
        expect_rejected({std::string("--number=") + value},
                        std::string("--number ") + value + NUMBER_TAKES);
    }
}

TEST_F(Options, WhatIsNoWholeNumberIsRejected)
{
    for (const char *value : {" ", " 5", "\t5", "5 ", "5x", "x5", "1e1", "0x10", "5.0", ".5", "5.",
                              "--5", "+-5", "+", "-", ".", "five", "nan", "inf"}) {
        std::string shown = value[0] == '\t' ? "?5" : value;
        expect_rejected({"--number", value}, "--number " + shown + NUMBER_TAKES);
    }
    expect_rejected({"--number", "1e3"}, "--number 1e3" + NUMBER_TAKES);
    expect_rejected({"--number", ""}, "--number ''" + NUMBER_TAKES);
    expect_rejected({"--number="}, "--number ''" + NUMBER_TAKES);
}

TEST_F(Options, ARangeMayReachToTheEndsOfAnInt)
{
    parse({"--least", "-2147483648", "--most", "2147483647"});
    EXPECT_EQ(least, INT_MIN);
    EXPECT_EQ(most, INT_MAX);
    expect_rejected({"--least", "-2147483649"},
                    "--least -2147483649: not allowed; it takes a whole number from -2147483648 to "
                    "2147483647");
    expect_rejected({"--most", "2147483648"},
                    "--most 2147483648: not allowed; it takes a whole number from 0 to 2147483647");
    expect_rejected({"--most", "-1"},
                    "--most -1: not allowed; it takes a whole number from 0 to 2147483647");
}

TEST_F(Options, ADefaultOutsideOfTheRangeCannotBeAskedFor)
{
    expect_rejected({"--backlog", "-1"},
                    "--backlog -1: not allowed; it takes a whole number from 0 to 4096");
}

TEST_F(Options, SecondsMayHaveAFraction)
{
    expect_seconds({"--seconds", "0"}, 0);
    expect_seconds({"--seconds", "0.0"}, 0);
    expect_seconds({"--seconds", "5"}, 5);
    expect_seconds({"--seconds=0.001"}, 0.001);
    expect_seconds({"--seconds", ".5"}, 0.5);
    expect_seconds({"--seconds", "5."}, 5);
    expect_seconds({"--seconds", "+1.5"}, 1.5);
    expect_seconds({"--seconds", "1e3"}, 1000);
    expect_seconds({"--seconds", "25e-2"}, 0.25);
    expect_seconds({"--seconds", "1000000"}, 1000000);
}

TEST_F(Options, SecondsOutsideOfTheirRangeAreRejected)
{
    for (const char *value : {"-1", "-0.001", "-1e-300", "1000000.001", "1000001", "1e7", "1e308",
                              "1e309", "-1e309", "1e999999999"})
        expect_rejected({"--seconds", value}, std::string("--seconds ") + value + SECONDS_TAKE);
}

TEST_F(Options, WhatAreNoSecondsIsRejected)
{
    for (const char *value :
         {" ",         " 1",  "1 ",   "1s",    "1,5",    "0x10", "0X1p3", "+0x10",
          "nan",       "NaN", "-nan", "+nan",  "nan(1)", "inf",  "INF",   "-inf",
          "+infinity", "e3",  "1e",   "1.5.5", "+",      "-",    ".",     "one"})
        expect_rejected({"--seconds", value}, std::string("--seconds ") + value + SECONDS_TAKE);
    expect_rejected({"--seconds", ""}, "--seconds ''" + SECONDS_TAKE);
    expect_rejected({"--seconds="}, "--seconds ''" + SECONDS_TAKE);
}

TEST_F(Options, ASwitchIsOnOrOffAndNothingElse)
{
    parse({"--on", "on", "--off", "off"});
    EXPECT_TRUE(on);
    EXPECT_FALSE(off);
    for (const char *value : {"ON", "Off", "true", "yes", "1", "0", "on ", " on", "o", "onoff"})
        expect_rejected({"--on", value},
                        std::string("--on ") + value + ": not allowed; it takes on or off");
    expect_rejected({"--on="}, "--on '': not allowed; it takes on or off");
}

TEST_F(Options, AChoiceIsOneOfItsWords)
{
    const std::vector<const char *> names = {"red", "green", "dark-blue"};

    for (int place = 0; place < 3; place++) {
        colour = -1;
        parse({"--colour", names[(size_t)place]});
        EXPECT_EQ(colour, place);
    }
    for (const char *value : {"RED", "re", "reds", "dark", "1", "red,green", " red"})
        expect_rejected({"--colour", value}, std::string("--colour ") + value +
                                                 ": not allowed; it takes red, green, dark-blue");
    expect_rejected({"--colour="}, "--colour '': not allowed; it takes red, green, dark-blue");
}

TEST_F(Options, ALongListOfChoicesIsCutInTheMessage)
{
    std::vector<std::string> names(100, "a-rather-long-word");
    std::vector<const char *> list;
    for (const std::string &name : names)
        list.push_back(name.c_str());
    list.push_back(nullptr);
    const option_spec many[] = {OPTION_CHOICE("colour", &colour, list.data(), "which"), OPTION_END};
    char program[] = "server";
    char option[] = "--colour=red";
    char *line[] = {program, option, nullptr};

    Ended ended = in_child([&] {
        optind = 0;
        parse_options(2, line, many, nullptr);
    });
    EXPECT_TRUE(exited(ended, 2));
    ASSERT_EQ(messages(ended.err).size(), 1U);
    EXPECT_EQ(
        messages(ended.err)[0].rfind("--colour red: not allowed; it takes a-rather-long-word, "
                                     "a-rather-long-word, ",
                                     0),
        0U)
        << ended.err;
}

TEST_F(Options, ValuesTakeTheirWordsWhateverTheyBeginWith)
{
    EXPECT_EQ(parse({"--triple", "-1", "--", "--help", "--pair", "-v", "-"}), 8);
    EXPECT_STREQ(triple[0], "-1");
    EXPECT_STREQ(triple[1], "--");
    EXPECT_STREQ(triple[2], "--help");
    EXPECT_STREQ(pair[0], "-v");
    EXPECT_STREQ(pair[1], "-");
    EXPECT_FALSE(log_shows(LOG_BYTES)) << "-v is one of the words";
}

TEST_F(Options, TheFirstValueMayStandBehindAnEqualsSign)
{
    EXPECT_EQ(parse({"--triple=-1", "-2", "", "--pair=", "--number", "--number", "7"}), 8);
    EXPECT_STREQ(triple[0], "-1");
    EXPECT_STREQ(triple[1], "-2");
    EXPECT_STREQ(triple[2], "");
    EXPECT_STREQ(pair[0], "");
    EXPECT_STREQ(pair[1], "--number");
    EXPECT_EQ(number, 7);
}

TEST_F(Options, ValuesPointIntoTheCommandLine)
{
    parse({"--pair", "a", "b"});
    EXPECT_EQ(pair[0], argv[2]);
    EXPECT_EQ(pair[1], argv[3]);
}

TEST_F(Options, ValuesDoNotDisturbTheOperands)
{
    int index = parse(
        {"one", "--pair", "-a", "-b", "two", "--triple=-1", "-2", "-3", "three", "-q"}, "WORD");

    EXPECT_EQ(operands_from(index), (std::vector<std::string>{"one", "two", "three"}));
    EXPECT_STREQ(pair[0], "-a");
    EXPECT_STREQ(pair[1], "-b");
    EXPECT_STREQ(triple[0], "-1");
    EXPECT_STREQ(triple[1], "-2");
    EXPECT_STREQ(triple[2], "-3");
    EXPECT_FALSE(log_shows(LOG_NORMAL));
}

TEST_F(Options, TooFewValuesAreRejected)
{
    expect_rejected({"--pair", "a"}, "--pair a: not allowed; it takes 2 words: X Y");
    expect_rejected({"--pair=a"}, "--pair a: not allowed; it takes 2 words: X Y");
    expect_rejected({"--triple", "a"}, "--triple a: not allowed; it takes 3 words: I 2s h");
    expect_rejected({"--triple", "a", "b"}, "--triple a: not allowed; it takes 3 words: I 2s h");
    expect_rejected({"--triple"}, "--triple: needs a value: 3 words: I 2s h");
}

TEST_F(Options, AMissingValueIsNamedWithWhatIsAllowed)
{
    expect_rejected({"--text"}, "--text: needs a value: a text");
    expect_rejected({"--number"}, "--number: needs a value: a whole number from -5 to 100");
    expect_rejected({"--number=7", "--seconds"},
                    "--seconds: needs a value: seconds from 0 to 1000000, with a fraction if need "
                    "be");
    expect_rejected({"--on"}, "--on: needs a value: on or off");
    expect_rejected({"--colour"}, "--colour: needs a value: red, green, dark-blue");
}

TEST_F(Options, AnUnknownOptionIsNamed)
{
    const std::string no_such = ": no such option, or it takes no value; --help lists them all";

    expect_rejected({"--magic"}, "--magic" + no_such);
    expect_rejected({"--magic=7"}, "--magic=7" + no_such);
    expect_rejected({"--number", "7", "--magic", "--text", "a"}, "--magic" + no_such);
    expect_rejected({"one", "--magic", "two"}, "--magic" + no_such, "WORD");
}

/* One dash instead of two is a common slip. getopt(3) takes the word for several short options,
   and the message may name the word or the letter, but nothing that stands before it. */
TEST_F(Options, AnUnknownLetterIsNamed)
{
    const std::vector<std::pair<std::vector<std::string>, std::string>> lines = {
        {{"-x"}, "-x"},           {{"-x", "one"}, "-x"},
        {{"-number", "7"}, "-n"}, {{"--text", "a", "-xv"}, "-x"},
        {{"one", "-xv"}, "-x"},
    };

    for (const auto &one : lines) {
        Ended ended = in_child([&] { parse(one.first, "WORD"); });
        EXPECT_TRUE(exited(ended, 2)) << testing::PrintToString(one.first);
        ASSERT_EQ(messages(ended.err).size(), 1U);
        EXPECT_EQ(messages(ended.err)[0].rfind(one.second, 0), 0U) << ended.err;
    }
}

TEST_F(Options, AValueForHelpIsRejected)
{
    expect_rejected({"--help=me"},
                    "--help=me: no such option, or it takes no value; --help lists them all");
}

TEST_F(Options, AWordTooManyIsRejectedWhereNoneIsAllowed)
{
    const std::string nothing = ": not allowed; there is nothing to say but options, see --help";

    expect_rejected({"one"}, "one" + nothing);
    expect_rejected({"--number", "7", "8"}, "8" + nothing);
    expect_rejected({"one", "--number", "7"}, "one" + nothing);
    expect_rejected({"--", "--number"}, "--number" + nothing);
    expect_rejected({"-"}, "-" + nothing);
    expect_rejected({""}, nothing);
}

TEST_F(Options, OperandsAreMovedBehindTheOptions)
{
    EXPECT_EQ(parse({}, "WORD"), 1);

    int index = parse({"one", "--number", "7", "two", "--text=a", "-", "three"}, "WORD");
    EXPECT_EQ(index, 4);
    EXPECT_EQ(operands_from(index), (std::vector<std::string>{"one", "two", "-", "three"}));
    EXPECT_EQ(number, 7);
}

TEST_F(Options, BehindTwoDashesAllIsOperand)
{
    int index = parse({"--number", "7", "--", "--number", "8", "-v", "--"}, "WORD");

    EXPECT_EQ(operands_from(index), (std::vector<std::string>{"--number", "8", "-v", "--"}));
    EXPECT_EQ(number, 7);
    EXPECT_FALSE(log_shows(LOG_BYTES));
}

TEST_F(Options, VShowsBytesAndQOnlyErrors)
{
    parse({"-v"});
    EXPECT_TRUE(log_shows(LOG_BYTES));
    parse({"-q"});
    EXPECT_FALSE(log_shows(LOG_NORMAL));
    EXPECT_TRUE(log_shows(LOG_ERRORS));
}

TEST_F(Options, TheLastOfVAndQHolds)
{
    parse({"-vq"});
    EXPECT_FALSE(log_shows(LOG_NORMAL));
    parse({"-qv"});
    EXPECT_TRUE(log_shows(LOG_BYTES));
    parse({"-v", "--number=7", "-q"});
    EXPECT_FALSE(log_shows(LOG_NORMAL));
    EXPECT_EQ(number, 7);
}

TEST_F(Options, AMistakeIsSaidEvenBehindQ)
{
    expect_rejected({"-q", "--number=x"}, "--number x" + NUMBER_TAKES);
}

TEST_F(Options, TheProgramIsNamedInTheLog)
{
    CapturedStderr captured;

    parse({});
    log_error("text");
    log_name_program("unit_tests");
    EXPECT_EQ(captured.text().rfind("[server(", 0), 0U) << captured.text();
}

static const char *const HELP = R"(
  --text TEXT
      a name
      (a text; default: localhost)
  --number N
      how many
      (a whole number from -5 to 100; default: 50)
  --least N
      any of them
      (a whole number from -2147483648 to 2147483647; default: 0)
  --most N
      not below zero
      (a whole number from 0 to 2147483647; default: 0)
  --backlog N
      how many may wait
      (a whole number from 0 to 4096; default: the kernel's)
  --seconds S
      how long
      (seconds from 0 to 1000000, with a fraction if need be; default: 1.5 s)
  --never S
      how long, or for ever
      (seconds from 0 to 1000000, with a fraction if need be; default: for ever)
  --on on|off
      a switch that is on
      (on or off; default: on)
  --off on|off
      a switch that is off
      (on or off; default: off)
  --colour WORD
      which colour
      (red, green, dark-blue; default: green)
  --pair X Y
      a place
      (2 words: X Y; default: none)
  --triple I 2s h
      a record
      (3 words: I 2s h; default: none)
  -v
      show every send and receive with its bytes
  -q
      show only errors
  --help
      show this
)";

TEST_F(Options, HelpPrintsEveryOptionAndExitsWith0)
{
    Ended ended = in_child([&] { parse({"--help"}); });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.out, std::string("usage: build/server [OPTION...]\n") + HELP);
    EXPECT_EQ(ended.err, "");
}

TEST_F(Options, HelpNamesTheOperands)
{
    Ended ended = in_child([&] { parse({"one", "--help"}, "[MESSAGE...]"); });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_EQ(ended.out, std::string("usage: build/server [OPTION...] [MESSAGE...]\n") + HELP);
}

TEST_F(Options, HelpShowsANumberThatIsNoSpecialDefault)
{
    backlog = 0;
    seconds = 0;
    never = 0.25;
    Ended ended = in_child([&] { parse({"--help"}); });

    EXPECT_TRUE(exited(ended, 0));
    EXPECT_NE(ended.out.find("(a whole number from 0 to 4096; default: 0)"), std::string::npos)
        << ended.out;
    EXPECT_NE(ended.out.find("if need be; default: 0 s)"), std::string::npos) << ended.out;
    EXPECT_NE(ended.out.find("if need be; default: 0.25 s)"), std::string::npos) << ended.out;
}

TEST_F(Options, HelpThatCannotBeWrittenIsAnError)
{
    const std::vector<std::pair<const char *, std::string>> outputs = {
        {"/dev/full", "stdout: No space left on device"},
        {nullptr, "stdout: Bad file descriptor"},
    };

    for (const auto &[path, said] : outputs) {
        Ended ended = in_child([&, path = path] {
            if (path != nullptr) {
                ASSERT_NE(freopen(path, "w", stdout), nullptr);
            } else {
                close(STDOUT_FILENO);
            }
            parse({"--help"});
        });
        EXPECT_TRUE(exited(ended, 1));
        EXPECT_EQ(messages(ended.err), std::vector<std::string>{said});
    }
}

TEST_F(Options, TheStandardStreamsAreGuarded)
{
    Ended ended = in_child([&] {
        signal(SIGPIPE, SIG_DFL);
        close(STDIN_FILENO);
        parse({});
        EXPECT_EQ(signal(SIGPIPE, SIG_DFL), SIG_IGN);
        EXPECT_GE(fcntl(STDIN_FILENO, F_GETFD), 0);
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST_F(Options, ATableMayHoldManyOptions)
{
    std::vector<std::string> names;
    std::vector<option_spec> many;
    std::vector<int> numbers(40, 0);
    for (size_t i = 0; i < numbers.size(); i++)
        names.push_back("option-" + std::to_string(100 + i));
    for (size_t i = 0; i < numbers.size(); i++)
        many.push_back(OPTION_INT(names[i].c_str(), &numbers[i], 0, 1000, "a number"));
    many.push_back(OPTION_END);
    std::string program = "server";
    std::string first = "--option-100=17";
    std::string last = "--option-139=42";
    char *line[] = {program.data(), first.data(), last.data(), nullptr};

    optind = 0;
    EXPECT_EQ(parse_options(3, line, many.data(), nullptr), 3);
    EXPECT_EQ(numbers.front(), 17);
    EXPECT_EQ(numbers.back(), 42);
}
