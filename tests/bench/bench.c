/*
 * How fast are the stages, and what does an idle client cost?
 *
 * Beside stage 08 stands a bare server with a thread for each connection, beside stage 09 one
 * with a bare epoll loop: both recv and send and do nothing else. Where Node and Python are
 * installed, so do their own event loops. All answer the same load in turn, a short round each,
 * so that what the machine does beside them meets all; a ratio is that of one round. Each server
 * has one processor, and the clients another, as if they came over a network: what is compared
 * is what a server makes of one. Last, many idle clients connect to the stages.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/descriptors.h"
#include "common/log.h"
#include "common/options.h"
#include "tests/bench/load.h"

enum { MESSAGE_SIZE = 64, MOST_ROUNDS = 99, STACK_SIZE = 65536, MOST_BYTES = 8192 };

static const char *build = "build";
static const char *only = "";
static int rounds = 5;
static double round_seconds = 0.5;
static int idle = 10000;
static bool pin = true;

static const struct option_spec options[] = {
    OPTION_TEXT("build", &build, "where the built programs are"),
    OPTION_TEXT("only", &only, "only these servers: 'threads,08'; '' is all"),
    OPTION_INT("rounds", &rounds, 1, MOST_ROUNDS, "rounds of each server and load"),
    OPTION_SECONDS("round", &round_seconds, NULL, "how long a round is"),
    OPTION_INT("idle", &idle, 0, 20000, "idle connections to measure the memory with"),
    OPTION_SWITCH("pin", &pin, "a processor for the server and one for the clients"),
    OPTION_END,
};

/* ---- the bare servers ---- */

static void *bare_connection(void *argument)
{
    int client = (int)(intptr_t)argument;
    char bytes[MOST_BYTES];
    ssize_t received;

    while ((received = recv(client, bytes, sizeof bytes, 0)) > 0)
        if (send(client, bytes, (size_t)received, MSG_NOSIGNAL) < 0)
            break;
    close(client);
    return NULL;
}

static void run_bare_threads(int listener)
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

static void watch(int poll, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};

    if (epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event) < 0)
        die("epoll_ctl");
}

static void run_bare_epoll(int listener)
{
    struct epoll_event events[256];
    char bytes[MOST_BYTES];
    int poll = epoll_create1(0);

    watch(poll, listener);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int descriptor = events[i].data.fd;
            if (descriptor == listener) {
                int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (client >= 0)
                    watch(poll, client);
                continue;
            }
            ssize_t received = recv(descriptor, bytes, sizeof bytes, 0);
            if (received <= 0 || send(descriptor, bytes, (size_t)received, MSG_NOSIGNAL) < 0)
                close(descriptor);
        }
    }
}

/* ---- all servers ---- */

struct server {
    const char *name, *what;
    void (*run)(int listener);    /* a bare one, in a process of its own */
    const char *stage, *words[4]; /* or a program: of a stage, or to be found in PATH */
    int most;                     /* connections at once */
    pid_t pid;
    struct sockaddr_in address;
    /* What was measured with one load, in each round: */
    double per_second[MOST_ROUNDS];
    double p99[MOST_ROUNDS], cpu[MOST_ROUNDS]; /* seconds; of processor time for a request */
    double clients_busy[MOST_ROUNDS];
};

static struct server servers[] = {
    {.name = "07", .stage = "07-binary-struct", .most = 1, .what = "stage 07, one at a time"},
    {.name = "threads",
     .run = run_bare_threads,
     .most = LOAD_MOST,
     .what = "a bare loop with a thread for each connection"},
    {.name = "08", .stage = "08-threaded", .most = LOAD_MOST, .what = "stage 08"},
    {.name = "epoll", .run = run_bare_epoll, .most = LOAD_MOST, .what = "a bare epoll loop"},
    {.name = "09", .stage = "09-event-loop", .most = LOAD_MOST, .what = "stage 09"},
    {.name = "node",
     .words = {"node", "tests/bench/echo.js"},
     .most = LOAD_MOST,
     .what = "Node's net module"},
    {.name = "asyncio",
     .words = {"python3", "tests/bench/echo.py"},
     .most = LOAD_MOST,
     .what = "Python's asyncio, protocols"},
};
enum { SERVERS = sizeof servers / sizeof servers[0] };

/* As open_listener() of the stages has it: accepted sockets inherit the options. */
static int open_listener(struct sockaddr_in *address)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    socklen_t size = sizeof *address;

    *address = (struct sockaddr_in){.sin_family = AF_INET};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)address, sizeof *address) < 0 ||
        setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0 ||
        listen(listener, 4096) < 0 || getsockname(listener, (struct sockaddr *)address, &size) < 0)
        die("listen");
    return listener;
}

/* Where there are two processors at least, the first is the server's and the last the clients'.
   Without that the scheduler would now and then put both on one, and so double or halve what it
   takes to wake the other side. */
static int server_processor = -1, clients_processor = -1;

static void choose_processors(void)
{
    cpu_set_t allowed;

    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0 || CPU_COUNT(&allowed) < 2)
        return;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET((size_t)i, &allowed)) {
            server_processor = server_processor < 0 ? i : server_processor;
            clients_processor = i;
        }
}

static void stay_on(int processor)
{
    cpu_set_t one;

    if (processor < 0)
        return;
    CPU_ZERO(&one);
    CPU_SET((size_t)processor, &one);
    if (sched_setaffinity(0, sizeof one, &one) < 0)
        die("sched_setaffinity");
}

static pid_t fork_child(void)
{
    pid_t parent = getpid(), pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
        _exit(EXIT_FAILURE);
    if (pid == 0)
        stay_on(server_processor);
    return pid;
}

static void run_program(const struct server *server, int output)
{
    char path[512], most[16];

    dup2(output, STDOUT_FILENO);
    if (server->stage == NULL) {
        execvp(server->words[0], (char *const *)(uintptr_t)server->words);
        _exit(127);
    }
    snprintf(path, sizeof path, "%s/%s/server", build, server->stage);
    snprintf(most, sizeof most, "%d", idle > LOAD_MOST ? idle : LOAD_MOST);
    if (server->most > 1)
        execl(path, path, "-q", "--port", "0", "--max-clients", most, (char *)NULL);
    else
        execl(path, path, "-q", "--port", "0", (char *)NULL);
    die("%s", path);
}

static void start_program(struct server *server)
{
    int ready[2];
    unsigned port;

    if (pipe(ready) < 0)
        die("pipe");
    server->pid = fork_child();
    if (server->pid == 0) {
        close(ready[0]);
        run_program(server, ready[1]);
    }
    close(ready[1]);
    FILE *stream = fdopen(ready[0], "r");
    if (stream == NULL || fscanf(stream, "listening on 127.0.0.1:%u", &port) != 1) {
        log_error("%s: no ready line", server->what);
        exit(EXIT_FAILURE);
    }
    fclose(stream);
    server->address = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static void start(struct server *server)
{
    if (server->run == NULL) {
        start_program(server);
        return;
    }
    int listener = open_listener(&server->address);
    server->pid = fork_child();
    if (server->pid == 0)
        server->run(listener);
    close(listener);
}

/* Whether it ended as it should: a stage, with status 0. */
static bool stop(struct server *server)
{
    int status = 0;

    kill(server->pid, SIGTERM);
    while (waitpid(server->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    server->pid = 0;
    return server->stage == NULL || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
}

static bool built(const char *stage)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s/server", build, stage);
    return access(path, X_OK) == 0;
}

static bool in_path(const char *program)
{
    const char *folder = getenv("PATH");
    char path[4096];

    for (; folder != NULL && *folder != '\0'; folder += strspn(folder, ":")) {
        int size = (int)strcspn(folder, ":");
        snprintf(path, sizeof path, "%.*s/%s", size, folder, program);
        if (access(path, X_OK) == 0)
            return true;
        folder += size;
    }
    return false;
}

static bool wanted(const struct server *server)
{
    size_t size = strlen(server->name);

    if (*only == '\0')
        return true;
    for (const char *name = only; *name != '\0'; name += strspn(name, ",")) {
        size_t length = strcspn(name, ",");
        if (length == size && strncmp(name, server->name, size) == 0)
            return true;
        name += length;
    }
    return false;
}

static void start_all(void)
{
    for (int i = 0; i < SERVERS; i++) {
        struct server *server = &servers[i];
        if (!wanted(server))
            continue;
        if ((server->stage != NULL && !built(server->stage)) ||
            (server->words[0] != NULL && !in_path(server->words[0]))) {
            printf("%-8s is %s: not there\n", server->name, server->what);
            continue;
        }
        start(server);
        printf("%-8s is %s\n", server->name, server->what);
    }
    putchar('\n');
}

/* ---- requests ---- */

static int compare_numbers(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static double median(const double *numbers)
{
    double sorted[MOST_ROUNDS];

    memcpy(sorted, numbers, (size_t)rounds * sizeof *sorted);
    qsort(sorted, (size_t)rounds, sizeof *sorted, compare_numbers);
    return sorted[rounds / 2];
}

/* The one that all are compared with: the last stage that takes part. */
static struct server *last_stage(void)
{
    struct server *last = NULL;

    for (int i = 0; i < SERVERS; i++)
        if (servers[i].stage != NULL && servers[i].pid != 0)
            last = &servers[i];
    return last;
}

static double median_ratio(const double *over, const double *under)
{
    double ratios[MOST_ROUNDS] = {0};

    for (int round = 0; round < rounds; round++)
        ratios[round] = over[round] / under[round];
    return median(ratios);
}

static void measure(int connections)
{
    static const char message[MESSAGE_SIZE];

    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < SERVERS; i++) {
            struct server *server = &servers[i];
            if (server->pid == 0 || connections > server->most)
                continue;
            struct load load = load_run(&server->address, server->pid, connections, round_seconds,
                                        message, sizeof message);
            server->per_second[round] = load.per_second;
            server->p99[round] = load.p99;
            server->cpu[round] = load.server_busy / load.per_second;
            server->clients_busy[round] = load.busy;
        }
}

static void print_rates(int connections)
{
    const struct server *subject = last_stage();

    for (int i = 0; i < SERVERS; i++) {
        struct server *server = &servers[i];
        if (server->pid == 0 || connections > server->most)
            continue;
        printf("%11d  %-8s %11.0f %10.3f %9.1f", connections, server->name,
               median(server->per_second), median(server->p99) * 1e3, median(server->cpu) * 1e6);
        if (connections <= subject->most)
            printf(" %10.2f", median_ratio(subject->per_second, server->per_second));
        puts(median(server->clients_busy) > 0.95 ? "  (the clients were the limit)" : "");
    }
}

/* ---- memory ---- */

/* The number behind a name in /proc/PID/status. */
static long status_number(pid_t pid, const char *name)
{
    char path[64], line[256];
    long number = -1;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "r");
    if (status == NULL)
        die("%s", path);
    while (number < 0 && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            number = strtol(line + strlen(name), NULL, 10);
    fclose(status);
    return number;
}

/* Connects and exchanges one message on each connection, so that each is served, and leaves
   them all open and idle. */
static void measure_memory(struct server *server)
{
    int count = (int)allow_sockets(idle);
    int *sockets = calloc((size_t)idle + 1, sizeof *sockets);
    char message[MESSAGE_SIZE] = "";
    int open = 0;

    if (sockets == NULL)
        die("calloc");
    if (count > idle)
        count = idle;
    long before = status_number(server->pid, "VmRSS:");
    for (; open < count; open++) {
        sockets[open] = load_connect(&server->address);
        if (sockets[open] < 0 || !load_exchange(sockets[open], message, sizeof message)) {
            printf("(no reply on connection %d: this machine's limits allow no more)\n", open + 1);
            break;
        }
        if (open + 1 == idle / 10 || open + 1 == idle / 3 || open + 1 == count) {
            long after = status_number(server->pid, "VmRSS:");
            printf("%11d  %-8s %11ld %10.1f %9ld\n", open + 1, server->name, after,
                   (double)(after - before) / (open + 1), status_number(server->pid, "Threads:"));
        }
    }
    for (int i = 0; i <= open && i < count; i++)
        if (sockets[i] > 0)
            close(sockets[i]);
    free(sockets);
}

int main(int argc, char **argv)
{
    static const int loads[] = {1, 10, 100, 1000};
    bool clean = true, takes_part[SERVERS];

    parse_options(argc, argv, options, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    allow_sockets(LOAD_MOST);
    if (pin) {
        choose_processors();
        stay_on(clients_processor);
    }
    start_all();
    if (last_stage() == NULL) {
        log_error("--only %s: no stage takes part", only);
        return EXIT_USAGE;
    }
    if (server_processor >= 0)
        printf("a server has processor %d, the clients have processor %d\n", server_processor,
               clients_processor);
    printf("%d-byte messages; median of %d rounds of %g s each, in turn\n", MESSAGE_SIZE, rounds,
           round_seconds);
    puts("p99: 99 of 100 requests had their reply within it; CPU: the server's time for one\n");
    printf("connections  server    requests/s    p99, ms   CPU, us   %s to it\n",
           last_stage()->name);
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        measure(loads[i]);
        print_rates(loads[i]);
    }
    for (int i = 0; i < SERVERS; i++) {
        takes_part[i] = servers[i].pid != 0;
        clean = (!takes_part[i] || stop(&servers[i])) && clean;
    }

    if (idle > 0)
        printf("\nidle clients  server  KiB resident   KiB each   threads\n");
    for (int i = 0; i < SERVERS && idle > 0; i++) {
        if (servers[i].stage == NULL || !takes_part[i] || servers[i].most == 1)
            continue;
        start(&servers[i]); /* another one, which has not served anybody yet */
        measure_memory(&servers[i]);
        clean = stop(&servers[i]) && clean;
    }
    return clean ? EXIT_SUCCESS : EXIT_FAILURE;
}
