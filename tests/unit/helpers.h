/* helpers: what several unit tests need: the text a piece of code writes, a child process for
   code that ends its process or takes signals, and TCP connections over loopback. */
#ifndef TESTS_UNIT_HELPERS_H
#define TESTS_UNIT_HELPERS_H

#include <atomic>
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <string>
#include <sys/types.h>
#include <thread>
#include <unistd.h>
#include <vector>

/* C keeps the names of structs and of functions apart, and common/ gives one name to both. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#include "common/address.h"
#include "common/log.h"
#pragma GCC diagnostic pop

/* No test waits this long, on however busy a machine; what does is stuck, and is ended. */
constexpr int TIME_LIMIT_SECONDS = 30;

/* A descriptor that is closed with its scope. */
class Descriptor
{
  public:
    explicit Descriptor(int descriptor = -1) : number(descriptor)
    {
    }
    Descriptor(Descriptor &&other) noexcept : number(other.release())
    {
    }
    Descriptor &operator=(Descriptor &&other) noexcept
    {
        reset(other.release());
        return *this;
    }
    ~Descriptor()
    {
        reset();
    }
    operator int() const
    {
        return number;
    }
    int release()
    {
        int released = number;
        number = -1;
        return released;
    }
    void reset(int other = -1)
    {
        if (number >= 0)
            close(number);
        number = other;
    }

  private:
    int number;
};

/* The two ends of a pipe: in is written to, out is read from. */
struct Pipe {
    Pipe();
    Descriptor out, in;
};

/* A file without a name, in memory. */
Descriptor memory_file();

/* Whether a terminal can be made here (pty(7)): in a chroot there may be no /dev/pts. */
bool terminals_work();

/* All that stands in a file, whatever its offset. */
std::string contents(int file);

/* Sends what this process writes to stderr into a file, until the end of the scope. */
class CapturedStderr
{
  public:
    CapturedStderr();
    ~CapturedStderr();
    /* What has come so far. */
    std::string text() const;

  private:
    Descriptor file, saved;
};

/* The lines of a log without "[program(pid), thread(tid)] " before them. A line that does not
   begin like that fails the test. */
std::vector<std::string> messages(const std::string &log);

/* How a child process ended, and what it wrote. */
struct Ended {
    int status; /* as of waitpid(2) */
    std::string out, err;
};

/* Runs body in a child process; when body returns, the child exits with 0, or with 99 if a
   gtest assertion failed there. fork(2) copies one thread, so no other may run. */
Ended in_child(const std::function<void()> &body);

/* Both show what the child wrote where they are false. */
testing::AssertionResult exited(const Ended &ended, int code);
testing::AssertionResult killed(const Ended &ended, int signal_number);

/* A listening socket on a port of 127.0.0.1 that the kernel picks; its address; a connection
   to an address. */
Descriptor loopback_listener();
sockaddr_in local_address(int socket);
Descriptor connect_to(const sockaddr_in &address);

/* A TCP connection over loopback. With a size the buffers between the two ends are small: ours
   to send, theirs to receive. */
struct TcpPair {
    explicit TcpPair(int buffer_size = 0);
    Descriptor ours, theirs;
};

/* Ends a connection by a reset (RST) instead of the orderly FIN. */
void reset_connection(Descriptor &socket);

/* Waits until condition() is true; after TIME_LIMIT_SECONDS it fails the test. */
void wait_until(const std::function<bool()> &condition);

/* Waits until the socket has one of these events (poll(2)). */
void wait_for_event(int socket, short events);

/* True while a thread sleeps in the kernel; the first thread of a process has its id. */
bool is_asleep(pid_t process, pid_t thread);

pid_t own_thread_id();

/* A thread that is joined with its scope, so that a failed assertion can leave it. */
class Thread
{
  public:
    explicit Thread(const std::function<void()> &body);
    ~Thread();
    void join();
    bool has_ended() const
    {
        return ended;
    }
    /* Returns too when the thread has ended. */
    void wait_until_asleep() const;
    /* Waits until it sleeps, sends it the signal, and waits until taken has changed. */
    void interrupt(int signal_number, const std::atomic<int> &taken);

  private:
    std::atomic<pid_t> id{0};
    std::atomic<bool> ended{false};
    std::thread thread;
};

/* Signals for threads, with a handler that does nothing, without SA_RESTART: a system call
   that the thread sleeps in returns early, with EINTR or a short count. */
class Interruptions
{
  public:
    Interruptions();
    ~Interruptions();
    void send(Thread &thread, int times);

  private:
    struct sigaction before;
};

/* After TIME_LIMIT_SECONDS says which test is stuck, and ends the process by SIGALRM. */
void limit_time();

/* A test that may get stuck in this process. */
class TimeLimited : public testing::Test
{
  protected:
    void SetUp() override
    {
        limit_time();
    }
    void TearDown() override
    {
        alarm(0);
    }
};

#endif
