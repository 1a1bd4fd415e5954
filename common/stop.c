#include "common/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

enum { LAST_WORDS = 1 /* seconds, for the program to end by itself */ };

static int listener = -1;
static double grace;
static pthread_t accepting;
static atomic_bool requested;

/* The connections to end: watched[n] stands for descriptor n, and descriptors are small. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool *watched;
static int watched_size;
static int ended_ways = -1; /* SHUT_RD or SHUT_RDWR, once the connections are to end */

static sigset_t stop_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    return signals;
}

static void exit_now(int number)
{
    (void)number;
    _exit(EXIT_SUCCESS);
}

void exit_on_signals(void)
{
    sigset_t signals = stop_signals();
    struct sigaction action = {.sa_handler = exit_now};

    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void shut_down_all(int ways)
{
    pthread_mutex_lock(&lock);
    ended_ways = ways;
    for (int connection = 0; connection < watched_size; connection++)
        if (watched[connection])
            shutdown(connection, ways);
    pthread_mutex_unlock(&lock);
}

/* The signal interrupts a call of accept that blocks; a later call cannot block any more. */
static void wake_accept(void)
{
    fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK);
    pthread_kill(accepting, SIGUSR1);
}

/* Waits for a signal for some seconds; true if one came. */
static bool signal_within(double seconds)
{
    sigset_t signals = stop_signals();
    int64_t end = clock_ns() + (int64_t)(seconds * 1e9);

    for (int64_t rest; (rest = end - clock_ns()) > 0;) {
        struct timespec time = {.tv_sec = (time_t)(rest / 1000000000),
                                .tv_nsec = (long)(rest % 1000000000)};
        if (sigtimedwait(&signals, NULL, &time) > 0)
            return true;
    }
    return false;
}

static void *stop_thread(void *unused)
{
    sigset_t signals = stop_signals();
    int number;

    (void)unused;
    log_name_thread("stop");
    while (sigwait(&signals, &number) != 0)
        continue;
    log_info("%s: stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
    atomic_store(&requested, true);
    wake_accept();
    shut_down_all(SHUT_RD);

    if (!signal_within(grace)) {
        shutdown(listener, SHUT_RD);
        shut_down_all(SHUT_RDWR);
        signal_within(LAST_WORDS);
    }
    exit_now(number);
    return NULL;
}

static void interrupt(int number)
{
    (void)number;
}

void stop_on_signals(int listening_socket, double grace_seconds)
{
    sigset_t signals = stop_signals();
    /* A restarted accept(2) finds O_NONBLOCK set; a write(2) goes on as if there was no signal. */
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    pthread_t thread;

    listener = listening_socket;
    grace = grace_seconds;
    accepting = pthread_self();
    sigaction(SIGUSR1, &action, NULL);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    int error = pthread_create(&thread, NULL, stop_thread, NULL);
    if (error != 0) {
        log_error("pthread_create: %s", error_text(error).text);
        exit(EXIT_FAILURE);
    }
    pthread_detach(thread);
}

bool stop_requested(void)
{
    return atomic_load(&requested);
}

int stop_watch(int connection)
{
    int result = 0;

    pthread_mutex_lock(&lock);
    if (connection >= watched_size) {
        int size = 2 * connection + 16;
        bool *larger = realloc(watched, (size_t)size * sizeof *watched);
        if (larger == NULL) {
            result = -1;
        } else {
            watched = larger;
            while (watched_size < size)
                watched[watched_size++] = false;
        }
    }
    if (result == 0) {
        watched[connection] = true;
        if (ended_ways >= 0)
            shutdown(connection, ended_ways);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

void stop_forget(int connection)
{
    pthread_mutex_lock(&lock);
    if (connection < watched_size)
        watched[connection] = false;
    pthread_mutex_unlock(&lock);
}

static int stop_event = -1;

static void tell_or_exit(int number)
{
    static const uint64_t one = 1;

    if (atomic_exchange(&requested, true) || write(stop_event, &one, sizeof one) < 0)
        exit_now(number);
}

int stop_descriptor(void)
{
    if (stop_event < 0 && (stop_event = eventfd(0, EFD_CLOEXEC)) < 0)
        die("eventfd");
    return stop_event;
}

void wake_on_signals(void)
{
    struct sigaction action = {.sa_handler = tell_or_exit, .sa_flags = SA_RESTART};

    stop_descriptor();
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}
