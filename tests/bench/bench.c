/*
 * How fast is stage 08, and what does an idle client cost?
 *
 * The measure is a bare server: a thread for each connection that calls recv and send and does
 * nothing else. Both servers answer the same load in turn, a short round each, so that what
 * the machine does beside them meets both. Last, many idle clients connect to stage 08.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/descriptors.h"
#include "common/log.h"
#include "common/options.h"
#include "common/socket_option.h"

enum { MESSAGE_SIZE = 64, MOST_CONNECTIONS = 1000, MOST_ROUNDS = 99, STACK_SIZE = 65536 };

static const char *server = "build/08-threaded/server";
static int rounds = 5;
static double round_seconds = 0.5;
static int idle = 10000;

static const struct option_spec options[] = {
    OPTION_TEXT("server", &server, "the stage 08 server to measure"),
    OPTION_INT("rounds", &rounds, 1, MOST_ROUNDS, "rounds of each server and load"),
    OPTION_SECONDS("round", &round_seconds, NULL, "how long a round is"),
    OPTION_INT("idle", &idle, 0, 20000, "idle connections to measure the memory with"),
    OPTION_END,
};

/* ---- the bare server ---- */

static void *bare_connection(void *argument)
{
    int client = (int)(intptr_t)argument;
    char bytes[4096];
    ssize_t received;

    while ((received = recv(client, bytes, sizeof bytes, 0)) > 0)
        if (send(client, bytes, (size_t)received, MSG_NOSIGNAL) < 0)
            break;
    close(client);
    return NULL;
}

static void run_bare_server(int listener)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        pthread_t thread;
        if (client >= 0 &&
            pthread_create(&thread, &attributes, bare_connection, (void *)(intptr_t)client) != 0)
            close(client);
    }
}

static pid_t start_bare(struct sockaddr_in *address)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    socklen_t size = sizeof *address;

    *address = (struct sockaddr_in){.sin_family = AF_INET};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)address, sizeof *address) < 0 ||
        listen(listener, SOMAXCONN) < 0 ||
        getsockname(listener, (struct sockaddr *)address, &size) < 0 ||
        setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        die("bare server");
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        run_bare_server(listener);
    close(listener);
    return pid;
}

/* ---- stage 08 ---- */

static pid_t start_stage(struct sockaddr_in *address)
{
    int ready[2];
    unsigned port;

    if (pipe(ready) < 0)
        die("pipe");
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        dup2(ready[1], STDOUT_FILENO);
        close(ready[0]);
        close(ready[1]);
        execl(server, server, "-q", "--port", "0", "--max-clients", "30000", (char *)NULL);
        die("%s", server);
    }
    close(ready[1]);
    FILE *stream = fdopen(ready[0], "r");
    if (stream == NULL || fscanf(stream, "listening on 127.0.0.1:%u", &port) != 1) {
        log_error("%s: no ready line", server);
        exit(EXIT_FAILURE);
    }
    fclose(stream);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return pid;
}

/* Whether it ended as it should. */
static bool stop_stage(pid_t pid)
{
    int status = 0;

    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

/* ---- the load ---- */

static int connect_to(const struct sockaddr_in *address)
{
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;

    if (connection < 0 ||
        connect(connection, (const struct sockaddr *)address, sizeof *address) < 0)
        die("connect");
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return connection;
}

/* Sends one message on each connection, and the next whenever its reply is complete, for
   round_seconds. Returns requests per second. */
static double measure(const struct sockaddr_in *address, int connections)
{
    static int sockets[MOST_CONNECTIONS];
    static size_t received[MOST_CONNECTIONS];
    char message[MESSAGE_SIZE] = "", reply[MESSAGE_SIZE];
    struct epoll_event events[256];
    long answered = 0;
    int poll = epoll_create1(0);

    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        sockets[i] = connect_to(address);
        received[i] = 0;
        if (epoll_ctl(poll, EPOLL_CTL_ADD, sockets[i], &event) < 0)
            die("epoll_ctl");
    }
    int64_t start = clock_ns();
    for (int i = 0; i < connections; i++)
        if (send(sockets[i], message, sizeof message, MSG_NOSIGNAL) != MESSAGE_SIZE)
            die("send");
    while (clock_seconds_since(start) < round_seconds) {
        int ready = epoll_wait(poll, events, 256, 1000);
        for (int i = 0; i < ready; i++) {
            uint32_t which = events[i].data.u32;
            ssize_t count = recv(sockets[which], reply, MESSAGE_SIZE - received[which], 0);
            if (count <= 0)
                die("recv");
            received[which] += (size_t)count;
            if (received[which] < MESSAGE_SIZE)
                continue;
            answered++;
            received[which] = 0;
            if (send(sockets[which], message, sizeof message, MSG_NOSIGNAL) != MESSAGE_SIZE)
                die("send");
        }
    }
    double seconds = clock_seconds_since(start);
    for (int i = 0; i < connections; i++)
        close(sockets[i]);
    close(poll);
    return (double)answered / seconds;
}

static int compare_numbers(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static double median(double *numbers, int count)
{
    qsort(numbers, (size_t)count, sizeof *numbers, compare_numbers);
    return numbers[count / 2];
}

static long resident_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = -1;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "r");
    if (status == NULL)
        die("%s", path);
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(status);
    return kib;
}

/* Connects and exchanges one message on each connection, so that each has its thread, and
   leaves them all open and idle. */
static void measure_memory(const struct sockaddr_in *address, pid_t pid)
{
    int count = (int)allow_sockets(idle);
    int *sockets = calloc((size_t)idle + 1, sizeof *sockets);
    char message[MESSAGE_SIZE] = "";

    if (sockets == NULL)
        die("calloc");
    if (count > idle)
        count = idle;
    long before = resident_kib(pid);
    putchar('\n');
    for (int i = 0; i < count; i++) {
        sockets[i] = connect_to(address);
        if (send(sockets[i], message, sizeof message, MSG_NOSIGNAL) != MESSAGE_SIZE ||
            recv(sockets[i], message, sizeof message, MSG_WAITALL) != MESSAGE_SIZE)
            die("idle connection %d", i);
        if (i + 1 == count || i + 1 == count / 10 || i + 1 == count / 3) {
            long after = resident_kib(pid);
            printf("%d idle connections: %ld KiB resident, %.1f KiB each\n", i + 1, after,
                   (double)(after - before) / (i + 1));
        }
    }
    for (int i = 0; i < count; i++)
        close(sockets[i]);
    free(sockets);
}

int main(int argc, char **argv)
{
    static const int loads[] = {1, 10, 50, 1000};
    struct sockaddr_in bare_address, stage_address;

    parse_options(argc, argv, options, NULL);
    allow_sockets(MOST_CONNECTIONS);
    pid_t bare = start_bare(&bare_address);
    pid_t stage = start_stage(&stage_address);

    printf("%d-byte messages, median of %d rounds of %g s each, in turn\n\n", MESSAGE_SIZE, rounds,
           round_seconds);
    printf("connections   bare loop/s    stage 08/s   ratio\n");
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        double bare_rates[MOST_ROUNDS] = {0}, stage_rates[MOST_ROUNDS] = {0};
        double ratios[MOST_ROUNDS] = {0};
        for (int round = 0; round < rounds; round++) {
            bare_rates[round] = measure(&bare_address, loads[i]);
            stage_rates[round] = measure(&stage_address, loads[i]);
            ratios[round] = stage_rates[round] / bare_rates[round];
        }
        printf("%11d %13.0f %13.0f %7.2f\n", loads[i], median(bare_rates, rounds),
               median(stage_rates, rounds), median(ratios, rounds));
        fflush(stdout);
    }
    kill(bare, SIGTERM);
    waitpid(bare, NULL, 0);
    bool clean = stop_stage(stage);

    /* Another one, which has not served anybody yet. */
    stage = start_stage(&stage_address);
    measure_memory(&stage_address, stage);
    clean = stop_stage(stage) && clean;
    return clean ? EXIT_SUCCESS : EXIT_FAILURE;
}
