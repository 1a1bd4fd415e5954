#include "common/stop.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

static int listener = -1;
static double grace;
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

static void shut_down_all(int ways)
{
    pthread_mutex_lock(&lock);
    ended_ways = ways;
    for (int connection = 0; connection < watched_size; connection++)
        if (watched[connection])
            shutdown(connection, ways);
    pthread_mutex_unlock(&lock);
}

static void end_at_second_interrupt(void)
{
    sigset_t interrupt;

    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
}

static void *wait_for_signal(void *unused)
{
    sigset_t signals = stop_signals();
    int number;

    (void)unused;
    log_name_thread("stop");
    while (sigwait(&signals, &number) != 0)
        continue;
    atomic_store(&requested, true);
    end_at_second_interrupt();
    log_info("%s: stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
    shutdown(listener, SHUT_RDWR);
    shut_down_all(SHUT_RD);

    struct timespec rest = {.tv_sec = (time_t)grace};
    rest.tv_nsec = (long)((grace - floor(grace)) * 1e9);
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
        continue;
    shut_down_all(SHUT_RDWR);
    while (pause() < 0) /* for the second SIGINT, until main() returns */
        continue;
    return NULL;
}

void stop_on_signals(int listening_socket, double grace_seconds)
{
    sigset_t signals = stop_signals();
    pthread_t thread;

    listener = listening_socket;
    grace = grace_seconds;
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    errno = pthread_create(&thread, NULL, wait_for_signal, NULL);
    if (errno != 0)
        die("pthread_create");
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

void stop_wait(void)
{
    sigset_t signals = stop_signals();
    int number;

    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    while (sigwait(&signals, &number) != 0)
        continue;
}
