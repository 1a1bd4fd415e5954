#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/prctl.h>
#include <vector>

#include "common/clock.h"
#include "common/descriptors.h"
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

TEST_F(Log, LinesSayWhomTheyAreAboutUntilThatIsEnded)
{
    CapturedStderr captured;

    log_about("127.0.0.1:5000");
    log_info("connected");
    in_thread([] { log_info("not I"); });
    log_about("");
    log_info("alone");
    EXPECT_EQ(messages(captured.text()),
              (std::vector<std::string>{"127.0.0.1:5000 connected", "not I", "alone"}));
}

TEST_F(Log, AVeryLongTextOfWhomTheyAreAboutIsCut)
{
    CapturedStderr captured;
    std::string about(5000, 'x');

    log_about(about.c_str());
    log_info("%s", std::string(5000, 'y').c_str());
    log_about("");
    EXPECT_EQ(messages(captured.text())[0].substr(0, 103), std::string(99, 'x') + " yyy");
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

static void fill(int pipe)
{
    std::string some(65536, '#');
    int flags = fcntl(pipe, F_GETFL);

    ASSERT_EQ(fcntl(pipe, F_SETFL, flags | O_NONBLOCK), 0);
    while (write(pipe, some.data(), some.size()) > 0 || write(pipe, "#", 1) > 0)
        continue;
    ASSERT_EQ(errno, EAGAIN);
    ASSERT_EQ(fcntl(pipe, F_SETFL, flags), 0);
}

/* The thread logs into a full pipe; the signals end its system call before a byte has gone. On a
   busy machine it may take so long that the line is given up: then it is tried again. */
TEST_F(LogIntoPipe, ALineSurvivesSignals)
{
    Interruptions interruptions;
    int64_t start;

    begin();
    do {
        fill(STDERR_FILENO);
        start = clock_ns();
        Thread logger([] { log_info("whole"); });
        interruptions.send(logger, 5);
        char some[65536];
        ASSERT_GT(read(pipe.out, some, sizeof some), 0);
    } while (clock_seconds_since(start) > 0.9);
    restore_stderr();
    std::string all = read_pipe();
    size_t line = all.rfind('[');
    ASSERT_NE(line, std::string::npos) << "the line is lost";
    EXPECT_EQ(messages(all.substr(line)), std::vector<std::string>{"whole"});
}

/* What stands in a log, and how many lines it says were lost. */
struct Told {
    explicit Told(const std::string &log)
    {
        for (const std::string &message : messages(log)) {
            unsigned long some = 0;
            if (sscanf(message.c_str(), "lines lost: %lu", &some) == 1)
                lost += some;
            else
                lines.push_back(message);
        }
    }
    std::vector<std::string> lines;
    unsigned long lost = 0;
};

/* What is written to the slave comes out of the master, with "\r\n" at the end of a line. */
struct Terminal {
    Terminal() : master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC))
    {
        EXPECT_GE(master, 0);
        EXPECT_EQ(grantpt(master), 0);
        EXPECT_EQ(unlockpt(master), 0);
        slave.reset(open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC));
        EXPECT_GE(slave, 0);
    }
    void type(char key)
    {
        EXPECT_EQ(write(master, &key, 1), 1);
    }
    /* All that has come; it is there as soon as it was written, or nearly. */
    std::string screen()
    {
        std::string all;
        char some[4096];
        pollfd readable = {master, POLLIN, 0};
        while (poll(&readable, 1, 200) == 1) {
            ssize_t size = read(master, some, sizeof some);
            for (ssize_t i = 0; i < size; i++)
                if (some[i] != '\r')
                    all += some[i];
        }
        return all;
    }
    Descriptor master, slave;
};

/* A log that nobody reads changes what later lines do: each of these tests is in a child. */
class LogThatNobodyReads : public Log
{
  protected:
    /* Seconds that body takes. */
    static double seconds(const std::function<void()> &body)
    {
        int64_t start = clock_ns();
        body();
        return clock_seconds_since(start);
    }
    static std::string all_of(int pipe)
    {
        std::string all;
        std::vector<char> some(65536);
        ssize_t size;
        EXPECT_EQ(fcntl(pipe, F_SETFL, O_NONBLOCK), 0);
        while ((size = read(pipe, some.data(), some.size())) > 0)
            all.append(some.data(), (size_t)size);
        return all.substr(all.find_last_of('#') + 1);
    }
    static void on(int stderr_to_be, bool guarded)
    {
        ASSERT_GE(dup2(stderr_to_be, STDERR_FILENO), 0);
        if (guarded)
            guard_standard_streams();
    }
};

/* Also where guard_standard_streams() could not open stderr again. */
TEST_F(LogThatNobodyReads, HoldsTheProgramForASecondAndThenNoMore)
{
    Ended ended = in_child([&] {
        Pipe pipe;
        on(pipe.in, false);
        fill(STDERR_FILENO);
        double first = seconds([] { log_info("lost"); });
        EXPECT_GT(first, 0.9);
        EXPECT_LT(first, 5);
        double others = seconds([] {
            for (int i = 0; i < 2000; i++)
                log_error("lost");
        });
        EXPECT_LT(others, 0.9);

        all_of(pipe.out);
        log_info("seen");
        log_info("seen too");
        Told told(all_of(pipe.out));
        EXPECT_EQ(told.lines, (std::vector<std::string>{"seen", "seen too"}));
        EXPECT_EQ(told.lost, 2001U);
    });
    EXPECT_TRUE(exited(ended, 0));
}

TEST_F(LogThatNobodyReads, HoldsManyThreadsForOneSecondTogether)
{
    Ended ended = in_child([&] {
        const int threads = 100;
        Pipe pipe;
        on(pipe.in, true);
        fill(STDERR_FILENO);
        double all_lines = seconds([] {
            std::vector<std::unique_ptr<Thread>> loggers;
            for (int number = 0; number < threads; number++)
                loggers.push_back(std::make_unique<Thread>([] {
                    for (int i = 0; i < 20; i++)
                        log_info("lost");
                }));
        });
        EXPECT_LT(all_lines, 10) << "they waited one after another";
        all_of(pipe.out);
        log_info("seen");
        EXPECT_EQ(Told(all_of(pipe.out)).lost, 20U * threads);
    });
    EXPECT_TRUE(exited(ended, 0));
}

TEST_F(LogThatNobodyReads, LosesNothingIfItIsReadInTime)
{
    Ended ended = in_child([&] {
        double waited;
        do {
            Pipe pipe;
            on(pipe.in, true);
            fill(STDERR_FILENO);
            int64_t start = clock_ns();
            Thread logger([] { log_info("kept"); });
            logger.wait_until_asleep();
            std::string all = all_of(pipe.out);
            waited = clock_seconds_since(start);
            logger.join();
            if (waited < 0.9) {
                EXPECT_EQ(messages(all + all_of(pipe.out)), std::vector<std::string>{"kept"});
            }
        } while (waited >= 0.9);
    });
    EXPECT_TRUE(exited(ended, 0));
}

/* Twice: a line that was written makes it as patient as it was at first. */
TEST_F(LogThatNobodyReads, IsATerminalAfterControlS)
{
    if (!terminals_work())
        GTEST_SKIP() << "no terminal can be made here: is /dev/pts there?";
    Ended ended = in_child([&] {
        Terminal terminal;
        on(terminal.slave, true);
        for (int turn = 0; turn < 2; turn++) {
            pollfd writable = {terminal.slave, POLLOUT, 0};
            terminal.type('\x13');
            wait_until([&] { return poll(&writable, 1, 0) == 0; });
            double lines = seconds([] {
                for (int i = 0; i < 100; i++)
                    log_info("lost");
            });
            EXPECT_GT(lines, 0.9);
            EXPECT_LT(lines, 5);
            terminal.type('\x11');
            wait_until([&] { return poll(&writable, 1, 0) == 1; });
            log_info("seen");
            Told told(terminal.screen());
            EXPECT_EQ(told.lines, std::vector<std::string>{"seen"});
            EXPECT_EQ(told.lost, 100U);
        }
    });
    EXPECT_TRUE(exited(ended, 0));
}

/* A terminal takes a part of a line where there is no room for all of it. It is filled with lines
   of several lengths, left unread for so long that some are lost, and read: no line is cut. */
TEST_F(LogThatNobodyReads, HasNoLineThatIsCut)
{
    if (!terminals_work())
        GTEST_SKIP() << "no terminal can be made here: is /dev/pts there?";
    Ended ended = in_child([&] {
        Terminal terminal;
        std::string screen;
        unsigned long lines = 0;
        auto log_one = [&](size_t size) {
            return seconds([&] { log_info("%zu %s", size, std::string(size, 'x').c_str()); });
        };

        on(terminal.slave, true);
        for (size_t size : {37, 1000}) {
            bool waited = false;
            while (!waited) {
                waited = log_one(size) > 0.5;
                lines++;
            }
            for (int i = 0; i < 10; i++)
                log_one(size);
            lines += 10;
            screen += terminal.screen();
        }
        log_one(1);
        Told told(screen + terminal.screen());
        for (const std::string &line : told.lines) {
            size_t size = std::stoul(line);
            ASSERT_EQ(line, std::to_string(size) + " " + std::string(size, 'x'));
        }
        EXPECT_GT(told.lost, 0U);
        EXPECT_EQ(told.lost + told.lines.size(), lines + 1);
    });
    EXPECT_TRUE(exited(ended, 0));
}

/* Where stderr cannot be opened again, a terminal without room for a whole line blocks whoever
   writes it. The others go on. */
TEST_F(LogThatNobodyReads, HoldsOnlyOneThreadWhereWritingBlocks)
{
    if (!terminals_work())
        GTEST_SKIP() << "no terminal can be made here: is /dev/pts there?";
    Ended ended = in_child([&] {
        Terminal terminal;
        on(terminal.slave, false);
        auto blocked = std::make_unique<Thread>([] {
            for (;;)
                log_info("%s", std::string(100, 'x').c_str());
        });
        pollfd writable = {terminal.slave, POLLOUT, 0};
        wait_until([&] { return poll(&writable, 1, 0) == 0; });
        blocked->wait_until_asleep();
        double lines = seconds([] {
            for (int i = 0; i < 1000; i++)
                log_info("lost");
        });
        EXPECT_LT(lines, 5);
        _exit(HasFailure() ? 99 : 0); /* the thread does not end */
    });
    EXPECT_TRUE(exited(ended, 0));
}

TEST_F(LogThatNobodyReads, CannotBeWrittenAndThenCan)
{
    Ended ended = in_child([&] {
        Descriptor file = memory_file(), full(open("/dev/full", O_WRONLY));
        on(full, true);
        double lines = seconds([] {
            for (int i = 0; i < 100; i++)
                log_info("lost");
        });
        EXPECT_LT(lines, 0.9) << "it waits for a disk that is full";
        on(file, true);
        log_info("seen");
        EXPECT_EQ(messages(contents(file)),
                  (std::vector<std::string>{
                      "lines lost: 100; nobody read the log, or it could not be written", "seen"}));
    });
    EXPECT_TRUE(exited(ended, 0));
}

TEST_F(LogThatNobodyReads, IsAPipeWithoutAReader)
{
    Ended ended = in_child([&] {
        Pipe pipe;
        on(pipe.in, true);
        pipe.in.reset();
        pipe.out.reset();
        double lines = seconds([] {
            for (int i = 0; i < 100; i++)
                log_info("lost");
        });
        EXPECT_LT(lines, 0.9);
    });
    EXPECT_TRUE(exited(ended, 0));
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
            std::string filler((size_t)(100 * number + 50), (char)('a' + number));
            for (int line = 0; line < lines_each; line++)
                log_info("%d %s", line, filler.c_str());
            if (--running == 0)
                restore_stderr();
        }));
    std::string all = read_pipe();
    loggers.clear();

    /* Each thread's lines came whole, and in the order in which it wrote them; none is missing but
       those that a busy machine was too slow to read. */
    Told told(all);
    std::map<char, int> next;
    for (const std::string &line : told.lines) {
        char letter = line.back();
        int number = std::stoi(line);
        ASSERT_TRUE(letter >= 'a' && letter < 'a' + threads) << line;
        ASSERT_GE(number, next[letter]) << line;
        next[letter] = number + 1;
        size_t size = 100 * (size_t)(letter - 'a') + 50;
        ASSERT_EQ(line, std::to_string(number) + " " + std::string(size, letter));
    }
    EXPECT_EQ(told.lines.size() + told.lost, (size_t)(threads * lines_each));
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
