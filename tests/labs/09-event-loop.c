/* One thread for all clients: what it gains, what a client costs, and what the price is. */
#include <errno.h>
#include <linux/sockios.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/descriptors.h"
#include "common/log.h"
#include "common/pack.h"
#include "tests/bench/load.h"
#include "tests/labs/lab.h"
#include "tests/labs/plot.h"
#include "tests/labs/program.h"

/* Where the wire would be what is measured, all stays on 127.0.0.1 of the client's host. */
static void leave_the_wire(void)
{
    lab_wire = NULL;
    lab_address = "127.0.0.1";
    lab_new_port();
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

/* ---- speed, as make bench measures it ---- */

enum { LOADS = 4, HUNDRED = 2 };
static const int loads[LOADS] = {1, 10, 100, 1000};
struct contender {
    const char *name, *title;
    /* 0 where it did not take part; p99 in ms; ratio: stage 09's requests to its own. */
    double per_second[LOADS], p99[LOADS], ratio[LOADS];
};
static struct contender contenders[] = {
    {.name = "07", .title = "stage 07"},     {.name = "08", .title = "stage 08"},
    {.name = "09", .title = "stage 09"},     {.name = "epoll", .title = "a bare epoll loop"},
    {.name = "node", .title = "Node's net"}, {.name = "asyncio", .title = "Python's asyncio"},
};
enum { CONTENDERS = sizeof contenders / sizeof contenders[0] };
enum { STAGE_08 = 1, BARE_EPOLL = 3 };

static void take_row(const char *row)
{
    char name[16];
    int connections;
    double per_second, p99, cpu, ratio;

    if (sscanf(row, "%d %15s %lf %lf %lf %lf", &connections, name, &per_second, &p99, &cpu,
               &ratio) != 6)
        return;
    for (int c = 0; c < CONTENDERS; c++)
        for (int i = 0; i < LOADS; i++)
            if (loads[i] == connections && strcmp(contenders[c].name, name) == 0) {
                contenders[c].per_second[i] = per_second;
                contenders[c].p99[i] = p99;
                contenders[c].ratio[i] = ratio;
            }
}

static void read_bench(const struct program *tool)
{
    FILE *bench = fopen(tool->output_path, "r");
    char line[256];

    if (bench == NULL)
        lab_fail("%s", tool->output_path);
    while (fgets(line, sizeof line, bench) != NULL)
        take_row(line);
    fclose(bench);
    if (tool->status != 0)
        lab_fail("the bench ended with status %d; its log is %s", tool->status, tool->log_path);
}

static void plot_contenders(const struct plot *plot, bool times)
{
    plot_begin(plot);
    for (int c = 0; c < CONTENDERS; c++) {
        if (contenders[c].per_second[0] == 0)
            continue;
        plot_series(contenders[c].title, PLOT_LINE);
        for (int i = 0; i < LOADS; i++)
            if (contenders[c].per_second[i] > 0)
                plot_point(loads[i], times ? contenders[c].p99[i] : contenders[c].per_second[i]);
    }
    plot_end();
}

static void show_speed(void)
{
    leave_the_wire();
    struct program *tool = tool_run(
        "tests/bench/bench",
        "--build %s --only 07,08,09,epoll,node,asyncio --rounds 5 --round 0.1 --idle 0", lab_build);
    read_bench(tool);
    lab_say("each server has one processor, and the clients another; messages of 64 bytes;");
    lab_say("stage 07 serves one at a time: more than one connection would only wait");
    lab_table("connections\tserver\trequests/s\t99 of 100 within");
    for (int i = 0; i < LOADS; i++)
        for (int c = 0; c < CONTENDERS; c++)
            if (contenders[c].per_second[i] > 0)
                lab_row("%d\t%s\t%.0f\t%.3f ms", loads[i], contenders[c].title,
                        contenders[c].per_second[i], contenders[c].p99[i]);
    lab_table_end();
    plot_contenders(&(struct plot){.name = "requests",
                                   .title = "Requests per second, 64 bytes each",
                                   .x = "connections",
                                   .y = "requests/s",
                                   .unit = "requests/s",
                                   .log_x = 10},
                    false);
    plot_contenders(&(struct plot){.name = "waiting",
                                   .title = "99 of 100 requests are answered within",
                                   .x = "connections",
                                   .y = "ms",
                                   .unit = "ms",
                                   .log_x = 10,
                                   .log_y = 10},
                    true);
    const struct contender *threads = &contenders[STAGE_08], *bare = &contenders[BARE_EPOLL];
    if (threads->per_second[HUNDRED] == 0 || bare->per_second[HUNDRED] == 0)
        lab_fail("the bench gave no figures of stage 08 or of the bare loop");
    double possible = bare->per_second[HUNDRED] / threads->per_second[HUNDRED], worst = 1e9;
    for (int i = 1; i < LOADS; i++)
        worst = fmin(worst, bare->ratio[i]);
    if (threads->ratio[HUNDRED] <= 1.2 && possible < 1.4)
        lab_too_slow("at 100 connections even a bare epoll loop answers only %.1f times the "
                     "requests of stage 08",
                     possible);
    lab_answer(round(threads->ratio[HUNDRED] * 10) / 10);
    lab_verdict(threads->ratio[HUNDRED] > 1.2,
                "at 100 connections one thread for all answers %.1f times the requests of a thread "
                "each",
                threads->ratio[HUNDRED]);
    lab_timed_verdict(
        worst > 0.7, 10,
        "stage 09 costs little beside a bare epoll loop: %.2f of its requests at worst", worst);
    lab_look("make bench");
}

/* ---- idle clients ---- */

enum { MOST_IDLE = 20000, SIZES = 5, LONG_ENOUGH = 15 /* seconds */ };
static const int sizes[SIZES] = {1000, 2000, 5000, 10000, MOST_IDLE};
struct cost {
    int clients;
    double each; /* KiB of resident memory, above that of the empty server */
    double resident;
    long threads;
};

/* The number behind a name in /proc/PID/status or /proc/meminfo. */
static long proc_number(const char *path, const char *name)
{
    char line[256];
    long number = -1;
    FILE *file = fopen(path, "r");

    if (file == NULL)
        die("%s", path);
    while (number < 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            number = strtol(line + strlen(name), NULL, 10);
    fclose(file);
    return number;
}

static long status_number(const struct program *program, const char *name)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/status", (int)program->pid);
    return proc_number(path, name);
}

/* Connects, and waits for the reply to one message: then it is served. -1 where that fails. */
static int served_client(void)
{
    static const char message[64];
    struct sockaddr_in address = lab_server_address();
    struct timeval limit = {.tv_sec = 10};
    int client = load_connect(&address);

    if (client < 0)
        return -1;
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (load_exchange(client, message, sizeof message))
        return client;
    close(client);
    return -1;
}

/* What idle clients cost a stage, for each of the sizes up to most. Returns how many sizes the
   machine's limits allowed; stacks is by how many KiB the kernel's own have grown. */
static int measure_idle(const char *stage, int most, struct cost *costs, long *stacks)
{
    static int clients[MOST_IDLE];
    int open = 0, count = 0;
    int64_t start = clock_ns();

    lab_new_port();
    *stacks = -proc_number("/proc/meminfo", "KernelStack:");
    struct program *server = server_start(stage, "-q --max-clients %d", MOST_IDLE);
    long empty = status_number(server, "VmRSS:");
    for (; count < SIZES && open < most; count++) {
        int size = sizes[count] < most ? sizes[count] : most;
        while (open < size && (clients[open] = served_client()) >= 0)
            open++;
        if (open < size) {
            lab_say("(no reply to client %d: the limits of this machine allow no more)", open + 1);
            break;
        }
        long resident = status_number(server, "VmRSS:");
        costs[count] = (struct cost){.clients = open,
                                     .each = (double)(resident - empty) / open,
                                     .resident = (double)resident / 1024,
                                     .threads = status_number(server, "Threads:")};
        if (open < most && clock_seconds_since(start) > LONG_ENOUGH) {
            lab_say("(%d clients took %.0f s to connect: that is enough)", open,
                    clock_seconds_since(start));
            count++;
            break;
        }
    }
    *stacks += proc_number("/proc/meminfo", "KernelStack:");
    for (int i = 0; i < open; i++)
        close(clients[i]);
    program_stop(server);
    return count;
}

static void plot_idle(const char *name, const char *title, const char *y, bool threads,
                      struct cost costs[2][SIZES], const int counts[2])
{
    plot_begin(&(struct plot){.name = name,
                              .title = title,
                              .x = "idle clients",
                              .y = y,
                              .unit = y,
                              .log_x = 10,
                              .log_y = 10});
    for (int stage = 0; stage < 2; stage++) {
        plot_series(stage == 0 ? "stage 08, a thread each" : "stage 09, one thread", PLOT_LINE);
        for (int i = 0; i < counts[stage]; i++)
            plot_point(costs[stage][i].clients,
                       threads ? (double)costs[stage][i].threads : costs[stage][i].resident);
    }
    plot_end();
}

static void show_idle(void)
{
    struct cost costs[2][SIZES];
    int counts[2], most = lab_quick ? 2000 : MOST_IDLE;
    long stacks[2];

    leave_the_wire();
    /* This process has some more files open, those of the wire. */
    long room = allow_sockets(most + 32) - 32;
    if (room < most) {
        lab_say("(the limit of open files, ulimit -Hn, allows %ld clients, not %d)", room, most);
        most = (int)room;
    }
    counts[0] = measure_idle("08-threaded", most, costs[0], &stacks[0]);
    counts[1] = measure_idle("09-event-loop", most, costs[1], &stacks[1]);
    int rows = counts[0] < counts[1] ? counts[0] : counts[1];
    if (rows == 0)
        lab_not_allowed("the machine's limits do not allow %d clients", sizes[0]);
    lab_table("clients\t08, threads\tMiB\tKiB each\t09, threads\tMiB\tKiB each");
    for (int i = 0; i < rows; i++)
        lab_row("%d\t%ld\t%.1f\t%.1f\t%ld\t%.1f\t%.2f", costs[0][i].clients, costs[0][i].threads,
                costs[0][i].resident, costs[0][i].each, costs[1][i].threads, costs[1][i].resident,
                costs[1][i].each);
    lab_table_end();
    lab_say(
        "the kernel's own stacks, one for each thread, grew by %ld MiB at stage 08, and %ld MiB "
        "at 09",
        stacks[0] / 1024, stacks[1] / 1024);
    plot_idle("memory", "The server's resident memory", "MiB", false, costs, counts);
    plot_idle("threads", "The server's threads", "threads", true, costs, counts);
    const struct cost *threads = &costs[0][rows - 1], *loop = &costs[1][rows - 1];
    lab_answer(round(loop->each * 10) / 10);
    bool seen =
        loop->threads < 3 && threads->threads > threads->clients && loop->each < threads->each / 3;
    lab_verdict(seen,
                "%d idle clients cost stage 08 a thread and %.1f KiB each, stage 09 no thread and "
                "%.1f KiB each",
                loop->clients, threads->each, loop->each);
    if (seen) {
        char without[64], with[64];
        snprintf(without, sizeof without, "%d idle: %ld threads, %.0f MiB", threads->clients,
                 threads->threads, threads->resident);
        snprintf(with, sizeof with, "%ld thread, %.0f MiB", loop->threads, loop->resident);
        lab_compare("epoll", without, with, threads->resident / loop->resident);
    }
    lab_look("server$ grep -E 'VmRSS|Threads' /proc/SERVER/status");
}

/* ---- the price: a slow answer ---- */

#define RECORD_FORMAT "! I 2s Q 2h f"
enum { RECORD_SIZE = 22, OTHERS = 100, TRIALS = 5, SLOW_MS = 100, WAITED_MS = 40 };

/* A record whose answer takes so long (slow.c). */
static void make_record(char *record, unsigned microseconds)
{
    struct pack_value values[] = {
        {.code = 'I', .as.u = microseconds},
        {.code = 's', .as.text = {"ab", 2}},
        {.code = 'Q', .as.u = 1},
        {.code = 'h', .as.i = 2},
        {.code = 'h', .as.i = 3},
        {.code = 'f', .as.f = 4},
    };
    struct pack_error error;

    if (pack(RECORD_FORMAT, values, 6, record, RECORD_SIZE, &error) != RECORD_SIZE)
        lab_fail("%s", error.text);
}

/* Sends a record on each of the connections, and tells in waited how many ms each was without
   its answer, the shortest time first. */
static void ask_all(const int *clients, double *waited)
{
    struct pollfd asked[OTHERS];
    char record[RECORD_SIZE], answer[RECORD_SIZE];
    int under_way = OTHERS;
    int64_t sent[OTHERS];

    make_record(record, 0);
    for (int i = 0; i < OTHERS; i++) {
        asked[i] = (struct pollfd){.fd = clients[i], .events = POLLIN};
        sent[i] = clock_ns();
        if (send(clients[i], record, RECORD_SIZE, MSG_NOSIGNAL) != RECORD_SIZE)
            lab_fail("send: %s", error_text(errno).text);
    }
    while (under_way > 0) {
        if (poll(asked, OTHERS, 20000) <= 0)
            lab_fail("no answer within 20 s");
        for (int i = 0; i < OTHERS; i++) {
            if (asked[i].fd < 0 || asked[i].revents == 0)
                continue;
            if (recv(asked[i].fd, answer, RECORD_SIZE, MSG_WAITALL) != RECORD_SIZE)
                lab_fail("a record did not come back whole");
            waited[i] = clock_seconds_since(sent[i]) * 1e3;
            asked[i].fd = -1; /* poll passes over it */
            under_way--;
        }
    }
    qsort(waited, OTHERS, sizeof *waited, compare_numbers);
}

struct delays {
    double quiet_slowest;           /* nothing slow: ms */
    double waited, middle, slowest; /* beside a slow answer: how many waited; ms */
};

/* Medians of some trials. */
static struct delays measure_delays(const char *stage, const char *server_options)
{
    int clients[OTHERS];
    char record[RECORD_SIZE], answer[RECORD_SIZE];
    double waited[OTHERS], quiet[TRIALS], count[TRIALS], middle[TRIALS], slowest[TRIALS];

    lab_new_port();
    struct program *server = server_start(stage, "-q --handler record %s", server_options);
    int slow = lab_connect();
    for (int i = 0; i < OTHERS; i++)
        clients[i] = lab_connect();
    for (int trial = -1; trial < TRIALS; trial++) {
        ask_all(clients, waited);
        if (trial < 0)
            continue; /* all are known to the server now */
        quiet[trial] = waited[OTHERS - 1];
        make_record(record, SLOW_MS * 1000);
        if (send(slow, record, RECORD_SIZE, MSG_NOSIGNAL) != RECORD_SIZE)
            lab_fail("send: %s", error_text(errno).text);
        lab_sleep(0.02);
        ask_all(clients, waited);
        int first = 0;
        while (first < OTHERS && waited[first] < WAITED_MS)
            first++;
        count[trial] = OTHERS - first;
        middle[trial] = waited[OTHERS / 2];
        slowest[trial] = waited[OTHERS - 1];
        if (recv(slow, answer, RECORD_SIZE, MSG_WAITALL) != RECORD_SIZE)
            lab_fail("the slow answer did not come");
    }
    close(slow);
    for (int i = 0; i < OTHERS; i++)
        close(clients[i]);
    program_stop(server);
    return (struct delays){.quiet_slowest = median(quiet, TRIALS),
                           .waited = median(count, TRIALS),
                           .middle = median(middle, TRIALS),
                           .slowest = median(slowest, TRIALS)};
}

static void delays_row(const char *name, const struct delays *delays)
{
    lab_row("%s\t%.1f ms\t%.0f of %d\t%.1f ms\t%.1f ms", name, delays->quiet_slowest,
            delays->waited, OTHERS, delays->middle, delays->slowest);
}

static void show_price(void)
{
    lab_say("a client sends a record whose answer takes %d ms; 20 ms later %d others send one",
            SLOW_MS, OTHERS);
    lab_say("that takes no time: when has each its answer, without the slow one and with it?");
    struct delays threads = measure_delays("tests/labs/slow/08-threaded", "");
    struct delays loop = measure_delays("tests/labs/slow/09-event-loop", "");
    struct delays loops = measure_delays("tests/labs/slow/09-event-loop", "--loops 2");
    lab_table("server\twithout: last\twith: over 40 ms\tmedian\tlast");
    delays_row("stage 08", &threads);
    delays_row("stage 09", &loop);
    delays_row("stage 09, --loops 2", &loops);
    lab_table_end();
    if (threads.waited >= 10 && threads.quiet_slowest > WAITED_MS / 2.0)
        lab_too_slow("%d answers that take no time take %.0f ms at stage 08", OTHERS,
                     threads.quiet_slowest);
    lab_answer(loop.waited);
    lab_timed_verdict(
        threads.waited < 10 && loop.waited > 90, WAITED_MS,
        "an answer that takes %d ms to compute holds up %.0f of %d others at stage 08, and "
        "%.0f at stage 09",
        SLOW_MS, threads.waited, OTHERS, loop.waited);
    lab_look(
        "server$ top -H -p SERVER   (a thread that computes, and who else is there to answer)");
}

/* ---- a client that does not read ---- */

/* A window of 0 from the server. */
static bool closed_window(const struct frame *frame, void *context)
{
    (void)context;
    return frame->tcp && frame->from == HOST_SERVER && frame->segment.window == 0 &&
           (frame->segment.flags & (SEGMENT_RST | SEGMENT_SYN)) == 0;
}

enum { MOST_SENT = 32 << 20 };

/* Sends until nothing more goes for a third of a second. Returns how many bytes went. */
static long send_all_that_goes(int client)
{
    static const char bytes[16384];
    long sent = 0;
    int refused = 0; /* since then: on a busy machine the time may pass without a single try */

    for (int64_t last = clock_ns();
         (clock_seconds_since(last) < 0.3 || refused < 50) && sent < MOST_SENT;) {
        ssize_t count = send(client, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count > 0) {
            sent += count;
            last = clock_ns();
            refused = 0;
        } else if (errno == EAGAIN) {
            refused++;
            lab_sleep(0.001);
        } else {
            lab_fail("send: %s", error_text(errno).text);
        }
    }
    return sent;
}

/* Reads until the other end has no more, after our own end of stream. */
static long read_to_the_end(int client)
{
    char bytes[16384];
    long all = 0;
    ssize_t count;

    shutdown(client, SHUT_WR);
    while ((count = recv(client, bytes, sizeof bytes, 0)) > 0)
        all += count;
    return all;
}

struct stuck {
    long sent, back, before, after; /* bytes; KiB resident */
    size_t closed;                  /* segments that close the window */
    int served;                     /* of the others */
};

/* Three others get limit seconds to be served. */
static struct stuck get_stuck(const char *stage, int limit, const char *title)
{
    struct stuck stuck;
    double times[3];
    int small = 16384;

    lab_new_port();
    struct program *server =
        server_start(stage, "-q --recv-buffer %d --send-buffer %d", small, small);
    stuck.before = status_number(server, "VmRSS:");
    lab_forget();
    int client = lab_socket();
    struct sockaddr_in address = lab_server_address();
    setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(client, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    if (connect(client, (struct sockaddr *)&address, sizeof address) < 0)
        lab_fail("connect: %s", error_text(errno).text);
    stuck.sent = send_all_that_goes(client);
    stuck.after = status_number(server, "VmRSS:");
    stuck.closed = wire_count(lab_wire, closed_window, NULL);
    if (title != NULL)
        lab_ladder(NULL, &(struct ladder){.title = title,
                                          .note = "the first part; segments that belong together "
                                                  "are one arrow",
                                          .together_ns = MILLISECOND,
                                          .at_most = 24});
    struct program *others = client_run("08-threaded", "--clients 3 --timeout %d Hello", limit);
    stuck.served = program_numbers(others, "reply of 5 bytes after ", times, 3);
    stuck.back = read_to_the_end(client);
    close(client);
    program_stop(server);
    return stuck;
}

static void stuck_row(const char *name, const struct stuck *stuck)
{
    lab_row("%s\t%ld KiB\t%s\t%ld -> %ld KiB\t%d of 3\t%ld KiB", name, stuck->sent / 1024,
            stuck->closed > 0 ? "yes" : "no", stuck->before, stuck->after, stuck->served,
            stuck->back / 1024);
}

static void show_slow_reader(void)
{
    lab_say("a client sends as much as goes, and reads nothing; then three others come;");
    lab_say("at last it reads after all");
    struct stuck alone = get_stuck("07-binary-struct", 1, NULL);
    struct stuck loop =
        get_stuck("09-event-loop", 5, "A client that sends and does not read: the window closes");
    lab_table("server\tsend took\twindow 0\tits memory\tothers served\tread at last");
    stuck_row("stage 07", &alone);
    stuck_row("stage 09", &loop);
    lab_table_end();
    lab_answer(loop.sent >= MOST_SENT ? 0 : loop.closed > 0 ? 1 : 2);
    lab_verdict(loop.closed > 0 && loop.sent < MOST_SENT && loop.after - loop.before < 1024 &&
                    loop.back == loop.sent,
                "who does not read is not read from: send took %ld KiB and no more, the window is "
                "closed, the server's memory has grown by %ld KiB, and nothing is lost",
                loop.sent / 1024, loop.after - loop.before);
    lab_verdict(alone.served == 0 && loop.served == 3,
                "meanwhile nobody else is served at stage 07, and everybody at stage 09");
    lab_look("server$ ss -tmi 'sport = :9999'   (Recv-Q, Send-Q, and the buffers in skmem)");
}

/* ---- loops ---- */

enum { MOST_LOOPS = 8, ROUNDS = 3, COMPUTED_US = 200 };

static void *compute(void *argument)
{
    const int64_t *end = argument;
    struct timespec time;
    double *seconds = malloc(sizeof *seconds);

    while (clock_ns() < *end)
        continue;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    if (seconds != NULL)
        *seconds = (double)time.tv_sec + (double)time.tv_nsec / 1e9;
    return seconds;
}

/* How many processors' work so many threads that only compute get done: what loops could. */
static double processors_free(int threads)
{
    pthread_t thread[MOST_LOOPS];
    int64_t start = clock_ns(), end = start + 200 * MILLISECOND;
    double all = 0;

    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, compute, &end) != 0)
            lab_fail("no thread can be had");
    for (int i = 0; i < threads; i++) {
        void *seconds = NULL;
        pthread_join(thread[i], &seconds);
        all += seconds != NULL ? *(double *)seconds : 0;
        free(seconds);
    }
    return all / clock_seconds_since(start);
}

static void show_loops(void)
{
    int loops[4], count = 0;
    struct program *servers[4];
    struct sockaddr_in addresses[4];
    double rates[4][ROUNDS], used[4][ROUNDS], free_processors[4][ROUNDS];
    char record[RECORD_SIZE];
    cpu_set_t allowed;
    int processors = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;

    leave_the_wire();
    for (int n = 1; n <= MOST_LOOPS && n <= processors; n *= 2)
        loops[count++] = n;
    if (count < 2)
        lab_not_allowed("there is one processor, and a second loop has none to run on");
    lab_say("each answer takes %d us to compute; 64 clients, all of them always waiting for one",
            COMPUTED_US);
    for (int i = 0; i < count; i++) {
        lab_new_port();
        servers[i] = server_start("tests/labs/slow/09-event-loop", "-q --handler record --loops %d",
                                  loops[i]);
        addresses[i] = lab_server_address();
    }
    make_record(record, COMPUTED_US);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++) {
            free_processors[i][round] = processors_free(loops[i]);
            struct load load =
                load_run(&addresses[i], servers[i]->pid, 64, 0.2, record, RECORD_SIZE);
            rates[i][round] = load.per_second;
            used[i][round] = load.server_busy;
        }
    lab_table("--loops\tanswers/s\tprocessors used\tas many threads that only compute get");
    double rate[4], have[4], busy[4];
    for (int i = 0; i < count; i++) {
        rate[i] = median(rates[i], ROUNDS);
        busy[i] = median(used[i], ROUNDS);
        have[i] = median(free_processors[i], ROUNDS);
        lab_row("%d\t%.0f\t%.2f\t%.2f", loops[i], rate[i], busy[i], have[i]);
        program_stop(servers[i]);
    }
    lab_table_end();
    /* However busy the machine is: one thread cannot use more than one processor. */
    if (busy[1] <= 1.2 && have[1] < 1.6)
        lab_too_slow("two threads that only compute get %.1f processors", have[1]);
    lab_answer(round(rate[1] / rate[0] * 10) / 10);
    lab_verdict(busy[0] < 1.1 && busy[1] > 1.2,
                "one loop uses %.1f processors and no more, two use %.1f, and answer %.1f times as "
                "much",
                busy[0], busy[1], rate[1] / rate[0]);
    lab_look("server$ top -H -p SERVER   (a line for each loop)");
}

static const struct part parts[] = {
    {.name = "speed",
     .question = "How many requests, and how long do they wait?",
     .run = show_speed,
     .guess = "100 clients, and one processor for the server. How many times the requests of a "
              "thread each does one thread for all answer?",
     .unit = "times",
     .near = 0.5},
    {.name = "idle",
     .question = "And what does an idle client cost?",
     .run = show_idle,
     .guess = "How many KiB of memory does an idle client cost stage 09?",
     .unit = "KiB",
     .near = 1,
     .quick = true},
    {.name = "price",
     .question = "One answer takes long to compute. What of 100 others?",
     .run = show_price,
     .guess = "An answer takes 100 ms to compute. Of 100 others who come meanwhile, how many have "
              "to wait for it at stage 09?",
     .unit = "clients",
     .near = 0.1},
    {.name = "slow-reader",
     .question = "A client sends, and does not read. Where do its answers go?",
     .run = show_slow_reader,
     .guess = "A client sends without end and reads nothing. What does stage 09 do?",
     .choices = (const char *const[]){"it keeps all answers in memory",
                                      "it stops receiving from this client",
                                      "it closes the connection", NULL},
     .needs_wire = true},
    {.name = "loops",
     .question = "A loop is one thread. And the other processors?",
     .run = show_loops,
     .guess = "The answers have to be computed. How many times the answers of one loop do two "
              "give?",
     .unit = "times",
     .near = 0.2},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "09", "one thread for all clients", parts);
}
