#include "tests/bench/load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

int load_connect(const struct sockaddr_in *server)
{
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (connection < 0)
        return -1;
    if (connect(connection, (const struct sockaddr *)server, sizeof *server) < 0 ||
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        int error = errno;
        close(connection);
        errno = error;
        return -1;
    }
    return connection;
}

bool load_exchange(int connection, const void *message, size_t size)
{
    char reply[4096];

    errno = 0;
    return send(connection, message, size, MSG_NOSIGNAL) == (ssize_t)size &&
           recv(connection, reply, size, MSG_WAITALL) == (ssize_t)size;
}

/* ---- how long replies took ---- */

/* A histogram with 64 steps between a power of two and the next: each is at most 1/64 wide, so
   it is as exact as that for a microsecond and for a minute, and costs no memory for a request.
   Below 64 ns a step is one nanosecond. */
enum { STEP_BITS = 6, STEPS = 1 << STEP_BITS, BUCKETS = (64 - STEP_BITS) * STEPS };
struct histogram {
    uint32_t count[BUCKETS];
    uint64_t total;
};

static void count_time(struct histogram *histogram, int64_t nanoseconds)
{
    uint64_t time = nanoseconds > 0 ? (uint64_t)nanoseconds : 1;
    int shift = 63 - __builtin_clzll(time) - STEP_BITS;

    shift = shift > 0 ? shift : 0;
    histogram->count[(uint64_t)shift * STEPS + (time >> shift)]++;
    histogram->total++;
}

/* In seconds: this part of the replies, 0 to 1, took no longer (the middle of its step). */
static double quantile(const struct histogram *histogram, double part)
{
    uint64_t wanted = (uint64_t)((double)histogram->total * part), below = 0;
    int bucket = 0;

    while (bucket < BUCKETS - 1 && (below += histogram->count[bucket]) <= wanted)
        bucket++;
    /* From the second power of two on the steps of a shift are the upper half of 2 * STEPS. */
    int shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
    double lowest = (double)((uint64_t)(bucket - shift * STEPS) << shift);
    return (lowest + (double)((uint64_t)1 << shift) / 2) / 1e9;
}

/* ---- the load ---- */

/* Processor time used, in seconds. */
static double computed(clockid_t clock)
{
    struct timespec time;

    if (clock_gettime(clock, &time) < 0)
        die("clock_gettime");
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct client {
    int socket;
    size_t received; /* of the reply */
    int64_t sent_ns;
} clients[LOAD_MOST];

static void send_message(struct client *client, const void *message, size_t size, int64_t now)
{
    client->received = 0;
    client->sent_ns = now;
    if (send(client->socket, message, size, MSG_NOSIGNAL) != (ssize_t)size)
        die("send");
}

/* The server closes its end too before this is over, so that it has nothing left to do when
   another one is measured. */
static void end_connections(int connections)
{
    char rest;

    for (int i = 0; i < connections; i++)
        shutdown(clients[i].socket, SHUT_WR);
    for (int i = 0; i < connections; i++) {
        if (recv(clients[i].socket, &rest, 1, 0) != 0)
            die("a connection did not end");
        close(clients[i].socket);
    }
}

struct load load_run(const struct sockaddr_in *server, pid_t pid, int connections, double seconds,
                     const void *message, size_t size)
{
    static struct histogram times;
    struct epoll_event events[LOAD_MOST];
    char reply[4096];
    int poll = epoll_create1(EPOLL_CLOEXEC), under_way = connections;
    clockid_t server_clock;

    if (clock_getcpuclockid(pid, &server_clock) != 0)
        die("the processor time of process %d", (int)pid);
    memset(&times, 0, sizeof times);
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        clients[i].socket = load_connect(server);
        if (clients[i].socket < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].socket, &event) < 0)
            die("connect");
        if (!load_exchange(clients[i].socket, message, size))
            die("the first reply");
    }
    double before = computed(CLOCK_THREAD_CPUTIME_ID), server_before = computed(server_clock);
    int64_t start = clock_ns(), now = start, end = start + (int64_t)(seconds * 1e9);
    for (int i = 0; i < connections; i++)
        send_message(&clients[i], message, size, clock_ns());
    while (under_way > 0) {
        int ready = epoll_wait(poll, events, LOAD_MOST, 10000);
        if (ready == 0)
            die("no reply for 10 s");
        for (int i = 0; i < ready; i++) {
            struct client *client = &clients[events[i].data.u32];
            ssize_t count = recv(client->socket, reply, size - client->received, 0);
            if (count <= 0)
                die("recv");
            client->received += (size_t)count;
            if (client->received < size)
                continue;
            now = clock_ns();
            count_time(&times, now - client->sent_ns);
            if (now < end)
                send_message(client, message, size, now);
            else
                under_way--;
        }
    }
    double took = (double)(now - start) / 1e9;
    struct load load = {
        .per_second = (double)times.total / took,
        .median = quantile(&times, 0.5),
        .p99 = quantile(&times, 0.99),
        .busy = (computed(CLOCK_THREAD_CPUTIME_ID) - before) / took,
        .server_busy = (computed(server_clock) - server_before) / took,
    };
    end_connections(connections);
    close(poll);
    return load;
}
