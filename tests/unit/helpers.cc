#include "tests/unit/helpers.h"

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ThreadSanitizer asks for its settings here. It would have every child with a thread wait for
   a second at its end, and there are hundreds. */
extern "C" const char *__tsan_default_options();
extern "C" const char *__tsan_default_options()
{
    return "atexit_sleep_ms=0";
}

Pipe::Pipe()
{
    int ends[2] = {-1, -1};

    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
}

Descriptor memory_file()
{
    Descriptor file(memfd_create("test", MFD_CLOEXEC));

    EXPECT_GE(file, 0);
    return file;
}

bool terminals_work()
{
    Descriptor master(posix_openpt(O_RDWR | O_NOCTTY));

    return master >= 0 && grantpt(master) == 0;
}

std::string contents(int file)
{
    std::string text;
    char some[4096];
    ssize_t size;

    while ((size = pread(file, some, sizeof some, (off_t)text.size())) > 0)
        text.append(some, (size_t)size);
    EXPECT_EQ(size, 0);
    return text;
}

CapturedStderr::CapturedStderr() : file(memory_file()), saved(dup(STDERR_FILENO))
{
    EXPECT_GE(saved, 0);
    EXPECT_GE(dup2(file, STDERR_FILENO), 0);
}

CapturedStderr::~CapturedStderr()
{
    dup2(saved, STDERR_FILENO);
}

std::string CapturedStderr::text() const
{
    return contents(file);
}

std::vector<std::string> messages(const std::string &log)
{
    std::vector<std::string> found;
    size_t start = 0;

    while (start < log.size()) {
        size_t end = log.find('\n', start);
        size_t prefix_end = log.find(")] ", start);
        EXPECT_NE(end, std::string::npos) << "no line end: " << log.substr(start);
        EXPECT_TRUE(log[start] == '[' && prefix_end < end) << "no prefix: " << log.substr(start);
        if (end == std::string::npos || prefix_end >= end)
            break;
        found.push_back(log.substr(prefix_end + 3, end - prefix_end - 3));
        start = end + 1;
    }
    return found;
}

Ended in_child(const std::function<void()> &body)
{
    Descriptor out = memory_file();
    Descriptor err = memory_file();
    Ended ended = {};

    fflush(nullptr);
    pid_t child = fork();
    if (child == 0) {
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        limit_time();
        body();
        _exit(testing::Test::HasFailure() ? 99 : 0);
    }
    EXPECT_GT(child, 0);
    while (waitpid(child, &ended.status, 0) < 0 && errno == EINTR)
        continue;
    ended.out = contents(out);
    ended.err = contents(err);
    return ended;
}

static testing::AssertionResult ended_as_said(const Ended &ended, bool as_said)
{
    if (as_said)
        return testing::AssertionSuccess();

    testing::AssertionResult result = testing::AssertionFailure();
    if (WIFSIGNALED(ended.status))
        result << "the child was killed by signal " << WTERMSIG(ended.status);
    else
        result << "the child exited with " << WEXITSTATUS(ended.status);
    return result << "; its stdout:\n" << ended.out << "its stderr:\n" << ended.err;
}

testing::AssertionResult exited(const Ended &ended, int code)
{
    return ended_as_said(ended, WIFEXITED(ended.status) && WEXITSTATUS(ended.status) == code);
}

testing::AssertionResult killed(const Ended &ended, int signal_number)
{
    return ended_as_said(ended,
                         WIFSIGNALED(ended.status) && WTERMSIG(ended.status) == signal_number);
}

static Descriptor listener_with(int receive_buffer)
{
    Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};

    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_GE(listener, 0);
    if (receive_buffer > 0) {
        EXPECT_EQ(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(int)), 0);
    }
    EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener, SOMAXCONN), 0);
    return listener;
}

Descriptor loopback_listener()
{
    return listener_with(0);
}

sockaddr_in local_address(int socket)
{
    sockaddr_in address = {};
    socklen_t size = sizeof address;

    EXPECT_EQ(getsockname(socket, reinterpret_cast<sockaddr *>(&address), &size), 0);
    return address;
}

Descriptor connect_to(const sockaddr_in &address)
{
    Descriptor connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

    EXPECT_GE(connection, 0);
    EXPECT_EQ(connect(connection, reinterpret_cast<const sockaddr *>(&address), sizeof address), 0)
        << strerror(errno);
    return connection;
}

TcpPair::TcpPair(int buffer_size)
{
    Descriptor listener = listener_with(buffer_size);

    ours = connect_to(local_address(listener));
    theirs.reset(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_GE(theirs, 0);
    if (buffer_size > 0) {
        EXPECT_EQ(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &buffer_size, sizeof(int)), 0);
    }
}

void reset_connection(Descriptor &socket)
{
    struct linger at_once = {1, 0};

    EXPECT_EQ(setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    socket.reset();
}

static double now()
{
    timespec time = {};

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

void wait_until(const std::function<bool()> &condition)
{
    double start = now();

    while (!condition()) {
        if (now() - start > TIME_LIMIT_SECONDS)
            FAIL() << "waited " << TIME_LIMIT_SECONDS << " s in vain";
        usleep(100);
    }
}

void wait_for_event(int socket, short events)
{
    pollfd event = {socket, events, 0};
    int count;

    while ((count = poll(&event, 1, TIME_LIMIT_SECONDS * 1000)) < 0 && errno == EINTR)
        continue;
    EXPECT_EQ(count, 1) << "no event on socket " << socket;
}

bool is_asleep(pid_t process, pid_t thread)
{
    std::ifstream file("/proc/" + std::to_string(process) + "/task/" + std::to_string(thread) +
                       "/stat");
    std::string stat;

    /* "1234 (name) S ...", and the name may hold anything (proc(5)). */
    std::getline(file, stat);
    size_t name_end = stat.rfind(") ");
    return name_end != std::string::npos && stat[name_end + 2] == 'S';
}

pid_t own_thread_id()
{
    return (pid_t)syscall(SYS_gettid);
}

Thread::Thread(const std::function<void()> &body)
    : thread([this, body] {
          id = own_thread_id();
          body();
          ended = true;
      })
{
}

Thread::~Thread()
{
    join();
}

void Thread::join()
{
    if (thread.joinable())
        thread.join();
}

void Thread::wait_until_asleep() const
{
    wait_until([this] { return ended || (id != 0 && is_asleep(getpid(), id)); });
}

void Thread::interrupt(int signal_number, const std::atomic<int> &taken)
{
    int taken_before = taken;

    wait_until_asleep();
    if (ended)
        return;
    ASSERT_EQ(pthread_kill(thread.native_handle(), signal_number), 0);
    wait_until([&] { return ended || taken != taken_before; });
}

static std::atomic<int> taken;

static void take(int)
{
    taken++;
}

Interruptions::Interruptions() : before()
{
    struct sigaction action = {};

    action.sa_handler = take;
    sigemptyset(&action.sa_mask);
    EXPECT_EQ(sigaction(SIGUSR1, &action, &before), 0);
}

Interruptions::~Interruptions()
{
    sigaction(SIGUSR1, &before, nullptr);
}

void Interruptions::send(Thread &thread, int times)
{
    for (int i = 0; i < times; i++)
        thread.interrupt(SIGUSR1, taken);
}

static char stuck_text[200];

static void end_stuck_process(int number)
{
    ssize_t written = write(STDERR_FILENO, stuck_text, strlen(stuck_text));

    (void)written;
    signal(number, SIG_DFL);
    raise(number);
}

void limit_time()
{
    const testing::TestInfo *test = testing::UnitTest::GetInstance()->current_test_info();

    snprintf(stuck_text, sizeof stuck_text, "%s.%s is stuck since %d s\n", test->test_suite_name(),
             test->name(), TIME_LIMIT_SECONDS);
    signal(SIGALRM, end_stuck_process);
    alarm(TIME_LIMIT_SECONDS);
}
