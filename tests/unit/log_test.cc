#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <string>
#include <sys/prctl.h>
#include <vector>

#include "tests/unit/helpers.h"

/* Level and program name belong to the whole process: every test begins with the same ones. */
class Log : public TimeLimited
{
  protected:
    void SetUp() override
    {
        TimeLimited::SetUp();
        log_name_program("unit_tests");
        log_set_level(LOG_NORMAL);
    }
    void TearDown() override
    {
        log_set_level(LOG_NORMAL);
        TimeLimited::TearDown();
    }
};

/* "[unit_tests(12), main(12)] ", as the calling thread should have it. */
static std::string prefix(const std::string &thread_name, const std::string &program = "unit_tests")
{
    return "[" + program + "(" + std::to_string(getpid()) + "), " + thread_name + "(" +
           std::to_string(own_thread_id()) + ")] ";
}

static void in_thread(const std::function<void()> &body)
{
    Thread thread(body);
}

/* What log_bytes() says of these bytes, without the prefix. */
static std::string said_of(const std::string &bytes)
{
    CapturedStderr captured;

    log_bytes("sent", bytes.data(), bytes.size());
    std::vector<std::string> lines = messages(captured.text());
    EXPECT_EQ(lines.size(), 1U) << captured.text();
    return lines.empty() ? "" : lines[0];
}

TEST_F(Log, ALineHasProgramProcessThreadAndText)
{
    CapturedStderr captured;

    log_info("%s is %d", "the answer", 42);
    log_error("%s", "50% of it");
    EXPECT_EQ(captured.text(),
              prefix("main") + "the answer is 42\n" + prefix("main") + "50% of it\n");
}

TEST_F(Log, AnEmptyTextIsALineToo)
{
    CapturedStderr captured;

    log_info("%s", "");
    EXPECT_EQ(captured.text(), prefix("main") + "\n");
}

TEST_F(Log, TheProgramIsTheLastPartOfItsPath)
{
    const std::vector<std::pair<const char *, const char *>> names = {
        {"server", "server"},
        {"./server", "server"},
        {"/usr/local/bin/client", "client"},
        {"build/01-basic/server", "server"},
    };

    for (const auto &[path, name] : names) {
        CapturedStderr captured;
        log_name_program(path);
        log_info("text");
        EXPECT_EQ(captured.text(), prefix("main", name) + "text\n");
    }
}

TEST_F(Log, AVeryLongProgramNameIsCut)
{
    CapturedStderr captured;

    log_name_program(std::string(5000, 'p').c_str());
    log_info("text");
    EXPECT_EQ(captured.text().rfind("[pppppppp", 0), 0U);
    ASSERT_EQ(messages(captured.text()).size(), 1U);
    EXPECT_EQ(messages(captured.text())[0], "text");
}

TEST_F(Log, EachThreadHasItsOwnNameAndId)
{
    CapturedStderr captured;
    std::string expected;

    in_thread([&] {
        log_name_thread("client-%d", 17);
        log_info("hello");
        expected += prefix("client-17") + "hello\n";
    });
    in_thread([&] {
        log_name_thread("%s", "stop");
        log_info("hello");
        expected += prefix("stop") + "hello\n";
    });
    log_info("hello");
    expected += prefix("main") + "hello\n";
    EXPECT_EQ(captured.text(), expected);
}

TEST_F(Log, TheKernelLearnsTheNameOfAThread)
{
    in_thread([] {
        char name[16] = "";
        log_name_thread("client-%d", 17);
        ASSERT_EQ(prctl(PR_GET_NAME, name), 0);
        EXPECT_STREQ(name, "client-17");
    });
}

TEST_F(Log, TheNameOfAThreadIsCutAt15Bytes)
{
    CapturedStderr captured;

    in_thread([&] {
        char name[16] = "";
        log_name_thread("%s", "0123456789abcdef-and-more");
        ASSERT_EQ(prctl(PR_GET_NAME, name), 0);
        EXPECT_STREQ(name, "0123456789abcde");
        log_info("text");
        EXPECT_EQ(captured.text(), prefix("0123456789abcde") + "text\n");
    });
}

TEST_F(Log, EachLevelShowsWhatTheOnesBeforeItShow)
{
    const std::vector<std::pair<log_level, std::vector<std::string>>> shown = {
        {LOG_ERRORS, {"error"}},
        {LOG_NORMAL, {"error", "info"}},
        {LOG_BYTES, {"error", "info", "bytes 2 bytes b'ab'"}},
    };

    for (const auto &[level, lines] : shown) {
        CapturedStderr captured;
        log_set_level(level);
        log_error("error");
        log_info("info");
        log_bytes("bytes", "ab", 2);
        EXPECT_EQ(messages(captured.text()), lines) << "level " << level;
        EXPECT_TRUE(log_shows(LOG_ERRORS));
        EXPECT_EQ(log_shows(LOG_NORMAL), lines.size() >= 2) << "level " << level;
        EXPECT_EQ(log_shows(LOG_BYTES), lines.size() >= 3) << "level " << level;
    }
}

TEST_F(Log, TheLevelHoldsForAllThreads)
{
    CapturedStderr captured;

    log_set_level(LOG_ERRORS);
    in_thread([] { log_info("info"); });
    log_set_level(LOG_BYTES);
    in_thread([] { log_bytes("sent", "a", 1); });
    EXPECT_EQ(messages(captured.text()), std::vector<std::string>{"sent 1 byte b'a'"});
}

/* Asked before main() begins, where nobody has set a level yet. */
static const bool normal_at_first = log_shows(LOG_NORMAL);
static const bool bytes_at_first = log_shows(LOG_BYTES);

TEST_F(Log, TheLevelIsNormalUntilItIsSet)
{
    EXPECT_TRUE(normal_at_first);
    EXPECT_FALSE(bytes_at_first);
}

TEST_F(Log, ControlCharactersBecomeQuestionMarks)
{
    CapturedStderr captured;
    std::string all_controls;

    for (char c = 1; c < ' '; c++)
        all_controls += c;
    all_controls += '\x7f';
    log_info("a%sb", all_controls.c_str());
    log_error("one\ntwo\r\n\x1b[31mred");
    EXPECT_EQ(captured.text(), prefix("main") + "a" + std::string(32, '?') + "b\n" +
                                   prefix("main") + "one?two???[31mred\n");
}

TEST_F(Log, ControlCharactersInNamesBecomeQuestionMarksToo)
{
    CapturedStderr captured;

    in_thread([&] {
        log_name_program("ser\nver");
        log_name_thread("%s", "cli\tent");
        log_info("text");
        EXPECT_EQ(captured.text(), prefix("cli?ent", "ser?ver") + "text\n");
    });
}

TEST_F(Log, TextBeyondAsciiIsLeftAlone)
{
    CapturedStderr captured;

    log_info("gr\xc3\xbc\xc3\x9f \xff ~");
    EXPECT_EQ(captured.text(), prefix("main") + "gr\xc3\xbc\xc3\x9f \xff ~\n");
}

TEST_F(Log, ATextOfAThousandBytesIsWhole)
{
    CapturedStderr captured;
    std::string text = std::string(999, 'a') + 'z';

    log_info("%s", text.c_str());
    EXPECT_EQ(captured.text(), prefix("main") + text + "\n");
}

TEST_F(Log, ALongerTextIsCutAndTheLineStillEnds)
{
    for (size_t size = 1050; size <= 1300; size++) {
        CapturedStderr captured;
        std::string text(size, 'a');
        log_info("%s", text.c_str());
        std::vector<std::string> lines = messages(captured.text());
        ASSERT_EQ(lines.size(), 1U);
        ASSERT_EQ(lines[0], text.substr(0, lines[0].size()));
        ASSERT_GE(lines[0].size(), 1000U) << size;
        ASSERT_LE(lines[0].size(), 1200U) << size;
    }
}

TEST_F(Log, AVeryLongTextIsCutToo)
{
    CapturedStderr captured;

    log_error("%s", std::string(1000000, 'a').c_str());
    ASSERT_EQ(messages(captured.text()).size(), 1U);
    EXPECT_LE(captured.text().size(), 1200U);
}

/* A pipe passes on what one write(2) wrote as one piece (pipe(7), O_DIRECT). */
TEST_F(Log, ALineIsOneWrite)
{
    Ended ended = in_child([] {
        int ends[2];
        char piece[4096];
        ASSERT_EQ(pipe2(ends, O_DIRECT), 0);
        ASSERT_GE(dup2(ends[1], STDERR_FILENO), 0);
        log_info("%s", std::string(2000, 'a').c_str());
        log_info("two");
        ssize_t size = read(ends[0], piece, sizeof piece);
        ASSERT_GT(size, 1000);
        EXPECT_EQ(piece[size - 1], '\n');
        size = read(ends[0], piece, sizeof piece);
        ASSERT_GT(size, 0);
        EXPECT_EQ(messages(std::string(piece, (size_t)size)), std::vector<std::string>{"two"});
    });

    EXPECT_TRUE(exited(ended, 0));
}

TEST_F(Log, ErrnoIsLeftAsItWas)
{
    CapturedStderr captured;

    log_set_level(LOG_BYTES);
    errno = EMSGSIZE;
    log_error("error");
    EXPECT_EQ(errno, EMSGSIZE);
    log_info("info");
    EXPECT_EQ(errno, EMSGSIZE);
    log_bytes("sent", "\0\n", 2);
    EXPECT_EQ(errno, EMSGSIZE);
}

TEST_F(Log, ErrnoIsLeftAsItWasWhereStderrIsClosed)
{
    Ended ended = in_child([] {
        close(STDERR_FILENO);
        log_set_level(LOG_BYTES);
        errno = EMSGSIZE;
        log_error("error");
        EXPECT_EQ(errno, EMSGSIZE);
        log_info("info");
        EXPECT_EQ(errno, EMSGSIZE);
        log_bytes("sent", "a", 1);
        EXPECT_EQ(errno, EMSGSIZE);
    });

    EXPECT_TRUE(exited(ended, 0));
}

/* Sends stderr into a pipe; read_pipe() reads until restore_stderr() is called. */
class LogIntoPipe : public Log
{
  protected:
    LogIntoPipe() : saved(dup(STDERR_FILENO))
    {
    }
    ~LogIntoPipe() override
    {
        restore_stderr();
    }
    void begin()
    {
        ASSERT_GE(dup2(pipe.in, STDERR_FILENO), 0);
        pipe.in.reset();
    }
    void restore_stderr()
    {
        dup2(saved, STDERR_FILENO);
    }
    std::string read_pipe()
    {
        std::string all;
        std::vector<char> some(65536);
        ssize_t size;
        while ((size = read(pipe.out, some.data(), some.size())) > 0)
            all.append(some.data(), (size_t)size);
        return all;
    }

    Descriptor saved;
    Pipe pipe;
};

/* The thread logs into a full pipe; the signals end its write(2) before a byte has gone. */
TEST_F(LogIntoPipe, ALineSurvivesSignals)
{
    Interruptions interruptions;
    std::string some(65536, '#');

    ASSERT_EQ(fcntl(pipe.in, F_SETFL, O_NONBLOCK), 0);
    while (write(pipe.in, some.data(), some.size()) > 0 || write(pipe.in, "#", 1) > 0)
        continue;
    ASSERT_EQ(errno, EAGAIN);
    ASSERT_EQ(fcntl(pipe.in, F_SETFL, 0), 0);

    begin();
    Thread logger([&] {
        log_info("whole");
        restore_stderr();
    });
    interruptions.send(logger, 20);
    EXPECT_FALSE(logger.has_ended());
    std::string all = read_pipe();
    size_t line = all.find('[');
    ASSERT_NE(line, std::string::npos) << "the line is lost";
    EXPECT_EQ(messages(all.substr(line)), std::vector<std::string>{"whole"});
}

TEST_F(LogIntoPipe, LinesOfManyThreadsNeverMix)
{
    const int threads = 8;
    const int lines_each = 500;
    std::vector<std::unique_ptr<Thread>> loggers;
    std::atomic<int> running{threads};

    begin();
    for (int number = 0; number < threads; number++)
        loggers.push_back(std::make_unique<Thread>([&, number] {
            log_name_thread("t-%d", number);
            std::string filler((size_t)(100 * number + 50), (char)('a' + number));
            for (int line = 0; line < lines_each; line++)
                log_info("%d %s", line, filler.c_str());
            if (--running == 0)
                restore_stderr();
        }));
    std::string all = read_pipe();
    loggers.clear();

    /* Each thread's lines came whole, and in the order in which it wrote them. */
    std::map<char, int> next;
    for (size_t start = 0; start < all.size(); start = all.find('\n', start) + 1) {
        std::string line = all.substr(start, all.find('\n', start) - start);
        size_t name = line.find(", t-");
        ASSERT_NE(name, std::string::npos) << line;
        char digit = line[name + 4];
        size_t number = (size_t)(digit - '0');
        ASSERT_LT(number, (size_t)threads) << line;
        ASSERT_EQ(messages(line + "\n").size(), 1U) << line;
        ASSERT_EQ(messages(line + "\n")[0],
                  std::to_string(next[digit]++) + " " +
                      std::string(100 * number + 50, (char)('a' + number)))
            << line;
    }
    EXPECT_EQ(next.size(), (size_t)threads);
    for (const auto &[digit, count] : next)
        EXPECT_EQ(count, lines_each) << "thread " << digit;
}

/* The expected texts are what Python prints for bytes(range(0, 64)) and so on. */
TEST_F(Log, EveryByteIsShownAsPythonShowsIt)
{
    const char *const shown[] = {
        R"(b'\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16)"
        R"(\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !"#$%&\'()*+,-./0123456789:;<=>?')",
        R"(b'@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f')",
        R"(b'\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f)"
        R"(\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f)"
        R"(\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf)"
        R"(\xb0\xb1\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xbb\xbc\xbd\xbe\xbf')",
        R"(b'\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7\xc8\xc9\xca\xcb\xcc\xcd\xce\xcf)"
        R"(\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xdb\xdc\xdd\xde\xdf)"
        R"(\xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef)"
        R"(\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff')",
    };

    log_set_level(LOG_BYTES);
    for (int quarter = 0; quarter < 4; quarter++) {
        std::string bytes;
        for (int i = 0; i < 64; i++)
            bytes += (char)(64 * quarter + i);
        EXPECT_EQ(said_of(bytes), std::string("sent 64 bytes ") + shown[quarter]);
    }
}

TEST_F(Log, BytesAreCountedAndTheFirst64Shown)
{
    log_set_level(LOG_BYTES);
    EXPECT_EQ(said_of(""), "sent 0 bytes b''");
    EXPECT_EQ(said_of("H"), "sent 1 byte b'H'");
    EXPECT_EQ(said_of("Hello\n"), "sent 6 bytes b'Hello\\n'");
    EXPECT_EQ(said_of(std::string(63, 'a')), "sent 63 bytes b'" + std::string(63, 'a') + "'");
    EXPECT_EQ(said_of(std::string(64, 'a')), "sent 64 bytes b'" + std::string(64, 'a') + "'");
    EXPECT_EQ(said_of(std::string(64, 'a') + "b"),
              "sent 65 bytes b'" + std::string(64, 'a') + "'...");
    EXPECT_EQ(said_of(std::string(100000, 'a')),
              "sent 100000 bytes b'" + std::string(64, 'a') + "'...");
}

TEST_F(Log, BytesThatAllNeedFourCharactersFit)
{
    std::string escaped;

    log_set_level(LOG_BYTES);
    for (int i = 0; i < 64; i++)
        escaped += "\\xff";
    EXPECT_EQ(said_of(std::string(65, '\xff')), "sent 65 bytes b'" + escaped + "'...");
}

TEST_F(Log, ErrorTextIsThatOfStrerror)
{
    for (int error : {0, EPERM, EINTR, EPIPE, EADDRINUSE, ECONNREFUSED, ECONNRESET, ETIMEDOUT})
        EXPECT_STREQ(error_text(error).text, strerror(error));
}

/* Not every C library has words with the number. */
TEST_F(Log, ErrorTextOfAnUnknownErrorHasItsNumberOrTheWordsOfStrerror)
{
    for (int error : {12345, -1, INT_MAX, INT_MIN}) {
        std::string text = error_text(error).text;
        EXPECT_TRUE(text.find(std::to_string(error)) != std::string::npos ||
                    text == strerror(error))
            << text;
    }
}

TEST_F(Log, ErrorTextsOfTwoErrorsDoNotShareMemory)
{
    struct error_text pipe = error_text(EPIPE);
    struct error_text unknown = error_text(12345);
    std::string pipe_words = strerror(EPIPE);

    EXPECT_EQ(pipe.text, pipe_words);
    EXPECT_NE(unknown.text, pipe_words);
}

TEST_F(Log, ErrorTextIsRightInManyThreadsAtOnce)
{
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<std::pair<int, std::string>> expected;
    std::atomic<int> wrong{0};

    for (int error : {EPIPE, EINTR, ECONNRESET, EMFILE, 12345, 54321, -17, ENOMEM})
        expected.emplace_back(error, error_text(error).text);
    for (const auto &one : expected)
        threads.push_back(std::make_unique<Thread>([&] {
            for (int i = 0; i < 2000; i++)
                wrong += one.second != error_text(one.first).text;
        }));
    threads.clear();
    EXPECT_EQ(wrong, 0);
}

TEST_F(Log, DieSaysWhatFailedAndWhyAndExitsWith1)
{
    Ended ended = in_child([] {
        errno = EADDRINUSE;
        die("bind %s:%d", "127.0.0.1", 9999);
    });

    EXPECT_TRUE(exited(ended, 1));
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(messages(ended.err), std::vector<std::string>{std::string("bind 127.0.0.1:9999: ") +
                                                            strerror(EADDRINUSE)});
}

TEST_F(Log, DieIsHeardWhereOnlyErrorsAreShown)
{
    Ended ended = in_child([] {
        log_set_level(LOG_ERRORS);
        errno = EMFILE;
        die("socket");
    });

    EXPECT_TRUE(exited(ended, 1));
    EXPECT_EQ(messages(ended.err),
              std::vector<std::string>{std::string("socket: ") + strerror(EMFILE)});
}

TEST_F(Log, DieWithAVeryLongTextStillSaysWhy)
{
    Ended ended = in_child([] {
        errno = ENOENT;
        die("open %s", std::string(100000, 'a').c_str());
    });

    EXPECT_TRUE(exited(ended, 1));
    ASSERT_EQ(messages(ended.err).size(), 1U);
    std::string line = messages(ended.err)[0];
    std::string why = std::string(": ") + strerror(ENOENT);
    ASSERT_GT(line.size(), why.size());
    EXPECT_EQ(line.substr(line.size() - why.size()), why);
}

TEST_F(Log, HowAConnectionEnded)
{
    errno = ECONNRESET;
    EXPECT_STREQ(end_text(0).text, "end of file");
    EXPECT_STREQ(end_text(-1).text, strerror(ECONNRESET));
    errno = EAGAIN;
    EXPECT_STREQ(end_text(-1).text, "timed out");
    errno = EMSGSIZE;
    EXPECT_STREQ(end_text(-1).text, strerror(EMSGSIZE));
}
