/* How much may be on its way: throughput against the receive buffer, over paths of different
   length; the kernel's own tuning; what it makes of the number that it is given. */
#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stream.h"
#include "tests/labs/lab.h"
#include "tests/labs/plot.h"
#include "tests/labs/program.h"

/* The largest receive window that the server offered, in bytes: what it says in its segments,
   scaled as it said in its SYN ACK. */
static double largest_window(void)
{
    struct capture capture = wire_capture(lab_wire);
    double largest = 0;
    int scale = 0;

    for (size_t i = 0; i < capture.count; i++) {
        const struct frame *frame = &capture.frames[i];
        if (!frame->tcp || frame->from != HOST_SERVER)
            continue;
        if (frame->segment.flags & SEGMENT_SYN)
            scale = frame->segment.scale;
        else
            largest = fmax(largest, (double)frame->segment.window * (1 << scale));
    }
    free(capture.frames);
    return largest;
}

/* Sends bytes there and back; returns MB/s in one direction, 0 where it failed. */
static double throughput(const char *options, int bytes, double *window)
{
    double rate = 0;

    lab_new_port();
    struct program *server = server_start("05-bufsize", "-q %s", options);
    lab_forget();
    struct program *client = client_run("05-bufsize", "-q --send-bytes %d", bytes);
    *window = largest_window();
    char *output = program_output(client), *place = strstr(output, " s: ");
    if (client->status == 0 && place != NULL)
        rate = strtod(place + strlen(" s: "), NULL);
    free(output);
    program_stop(server);
    return rate;
}

/* The best of some tries, until one is near what the window allows: what the machine does beside
   it only makes it slower. Where one try takes seconds, it is slow throughout. */
static double best_throughput(const char *options, int bytes, int trip_ms, double *window)
{
    double best = 0;
    int64_t start = clock_ns();

    for (int i = 0; i == 0 || (i < 4 && best < 0.3 * *window / trip_ms / 1e3 &&
                               clock_seconds_since(start) < 3);
         i++)
        best = fmax(best, throughput(options, bytes, window));
    return best;
}

static const int buffers[] = {4096, 16384, 65536, 262144};
enum { BUFFERS = sizeof buffers / sizeof buffers[0] };

static void show_window(void)
{
    static const int round_trips[] = {1, 10, 40};
    static const int quick_round_trips[] = {20};
    const int *trips = lab_quick ? quick_round_trips : round_trips;
    int trip_count = lab_quick ? 1 : 3;
    bool below = true, near = false;
    double rates[BUFFERS] = {0}, windows[BUFFERS] = {0};
    long most = lab_rmem_max;

    plot_begin(&(struct plot){.title = "Throughput against the receive window",
                              .x = "window in bytes",
                              .y = "MB/s each way",
                              .unit = "MB/s",
                              .log_x = 2,
                              .log_y = 10});
    if (!lab_quick)
        lab_say("(the wire with --delay 0.5ms, 5ms and 20ms, one after another)");
    lab_say("of the buffer, which the kernel doubles, a part is its own; the rest is the window,");
    lab_say("in whole segments");
    lab_table("round trip\t--recv-buffer\twindow offered\twindow / round trip\tmeasured");
    for (int t = 0; t < trip_count; t++) {
        char name[64];
        lab_delay(trips[t] * MILLISECOND / 2);
        snprintf(name, sizeof name, "round trip %d ms", trips[t]);
        plot_series(name, PLOT_POINTS);
        for (int i = 0; i < BUFFERS && buffers[i] <= most; i++) {
            char option[32];
            /* About a third of a second. The longer the path, the more of it is slow start. */
            double bytes = 0.35 * buffers[i] * 1e3 / trips[t];
            snprintf(option, sizeof option, "--recv-buffer %d", buffers[i]);
            rates[i] =
                best_throughput(option, (int)fmin(fmax(bytes, 40000), 2e7), trips[t], &windows[i]);
            double expected = windows[i] / trips[t] / 1e3;
            lab_row("%d ms\t%d\t%.0f\t%.3g MB/s\t%.3g MB/s", trips[t], buffers[i], windows[i],
                    expected, rates[i]);
            plot_point(windows[i], rates[i]);
            below = below && rates[i] > 0 && rates[i] < 1.2 * expected;
            if (i == 0)
                near = rates[i] > 0.5 * expected;
            program_show(false);
        }
    }
    for (int t = 0; t < trip_count; t++) {
        char name[64];
        snprintf(name, sizeof name, "window / %d ms", trips[t]);
        plot_series(name, PLOT_LINE);
        for (int i = 0; i < BUFFERS; i++)
            plot_point(windows[i], windows[i] / trips[t] / 1e3);
    }
    lab_table_end();
    plot_end();
    /* All are below what the window allows, and the smallest over the longest path, which asks
       little of the machine, is near it. */
    bool windows_differ = windows[2] > 5 * windows[0];
    if (below && windows_differ && !(near && rates[2] > 5 * rates[0]))
        lab_too_slow("%.2f and %.2f MB/s, where the smallest window and one of %.0f bytes allow "
                     "%.2f and %.2f",
                     rates[0], rates[2], windows[2], windows[0] / trips[trip_count - 1] / 1e3,
                     windows[2] / trips[trip_count - 1] / 1e3);
    lab_answer(rates[2]);
    bool seen = below && windows_differ;
    lab_verdict(seen,
                "no more than a window goes out in a round trip: window / round trip is the limit");
    if (seen) {
        char text[2][64];
        snprintf(text[0], sizeof text[0], "%.2f MB/s", rates[0]);
        snprintf(text[1], sizeof text[1], "%.2f MB/s", rates[2]);
        lab_compare("--recv-buffer 4096, 65536", text[0], text[1], rates[2] / rates[0]);
    }
    lab_look("server$ ss -tmi 'sport = :9999'   (skmem, rcv_space, rtt, delivery_rate)");
}

static void show_small_window(void)
{
    double window, rate = throughput("--recv-buffer 4096", 40000, &window), most;

    for (int i = 0; i < 3 && rate > 0 && rate <= 0.4 * window / 20e3; i++)
        rate = throughput("--recv-buffer 4096", 40000, &window);
    most = window / 20e3;
    lab_ladder(NULL,
               &(struct ladder){.title = "A small receive buffer: one window in each round trip",
                                .together_ns = 3 * MILLISECOND,
                                .at_most = 16});
    if (rate > 0 && rate <= 0.4 * most)
        lab_too_slow("%.3f MB/s, where the window allows %.3f", rate, most);
    lab_answer(rate);
    lab_verdict(rate > 0 && rate < 1.2 * most,
                "%.2f MB/s: after each window the client waits for the ACK, a round trip of 20 ms",
                rate);
}

/* The window that the server offers, over time. */
static double plot_window(const char *name)
{
    struct capture capture = wire_capture(lab_wire);
    int scale = 0;
    int64_t start = 0, last = 0;
    double largest = 0;

    plot_series(name, PLOT_LINE);
    for (size_t i = 0; i < capture.count; i++) {
        const struct frame *frame = &capture.frames[i];
        if (!frame->tcp || frame->from != HOST_SERVER)
            continue;
        if (frame->segment.flags & SEGMENT_SYN) {
            scale = frame->segment.scale;
            start = frame->sent_ns;
            continue;
        }
        double window = (double)frame->segment.window * (1 << scale);
        largest = fmax(largest, window);
        if (frame->sent_ns - last > 5 * MILLISECOND) {
            last = frame->sent_ns;
            plot_point((double)(last - start) / 1e9, window / 1024);
        }
    }
    free(capture.frames);
    return largest;
}

static void show_autotuning(void)
{
    struct cable cable = {.delay_ns = 20 * MILLISECOND, .rate = 100000000};
    double window;

    wire_set(lab_wire, HOST_CLIENT, &cable);
    wire_set(lab_wire, HOST_SERVER, &cable);
    lab_say("(and with --rate 100mbit)");
    plot_begin(&(struct plot){.title = "The window that the server offers (40 ms, 100 Mbit/s)",
                              .x = "seconds",
                              .y = "KiB",
                              .unit = "KiB"});
    double fixed_rate = throughput("--recv-buffer 65536", 1500000, &window);
    double fixed = plot_window("--recv-buffer 65536");
    double rate = throughput(" ", 8000000, &window);
    double tuned = plot_window("the kernel's own tuning");
    lab_table("receive buffer\tlargest window\tthroughput");
    lab_row("65536\t%.0f KiB\t%.2f MB/s", fixed / 1024, fixed_rate);
    lab_row("the kernel's\t%.0f KiB\t%.2f MB/s", tuned / 1024, rate);
    lab_table_end();
    plot_end();
    lab_answer(rate);
    bool seen = tuned > 3 * fixed && rate > 2 * fixed_rate;
    if (!seen) {
        /* Would a larger window do any good here? */
        char option[64];
        snprintf(option, sizeof option, "--recv-buffer %ld", lab_rmem_max);
        double large = throughput(option, 4000000, &window);
        if (large > 0 && large <= 2 * fixed_rate)
            lab_too_slow("%.2f MB/s even with a buffer of %ld bytes", large, lab_rmem_max);
    }
    lab_verdict(seen,
                "left alone, the kernel lets the buffer grow with what comes; a size of one's own "
                "ends that");
    lab_look("server$ sysctl net.ipv4.tcp_rmem net.ipv4.tcp_moderate_rcvbuf");
}

static void show_sizes(void)
{
    long most = lab_rmem_max;
    long asked[] = {1, 4096, 65536, most, most < INT_MAX / 2 ? 2 * most : INT_MAX};
    enum { COUNT = sizeof asked / sizeof asked[0] };
    double got[COUNT] = {0};

    lab_table("asked\tgot\tnet.core.rmem_max");
    for (int i = 0; i < COUNT; i++) {
        lab_new_port();
        struct program *server = server_start("05-bufsize", "--recv-buffer %ld", asked[i]);
        char text[64];
        snprintf(text, sizeof text, "SO_RCVBUF: asked %ld, got ", asked[i]);
        program_numbers(server, text, &got[i], 1);
        lab_row("%ld\t%.0f\t%ld", asked[i], got[i], most);
        program_stop(server);
        program_show(false);
    }
    lab_table_end();
    lab_answer(got[2]);
    lab_verdict(got[0] > 1 && (long)got[1] == 2 * asked[1] && (long)got[2] == 2 * asked[2] &&
                    (long)got[3] == 2 * most && (long)got[4] == 2 * most,
                "the kernel doubles what is asked, after it has cut it to net.core.rmem_max, and "
                "has a least size");
    lab_look("server$ sysctl net.core.rmem_max net.core.wmem_max");
}

/* ---- early and late ---- */

/* When a server of the lab's own sets the size of the accepted socket's buffer. */
enum late { NEVER, BEFORE_DATA, AFTER_DATA };
static enum late late;
static int late_size;

/* Says when it is ready for the data, and reads to the end of the stream. */
static void swallow(int client)
{
    static char bytes[65536];

    if (late == AFTER_DATA)
        while (recv(client, bytes, 1, MSG_PEEK) < 0)
            continue;
    if (late != NEVER)
        setsockopt(client, SOL_SOCKET, SO_RCVBUF, &late_size, sizeof late_size);
    send(client, "", 1, MSG_NOSIGNAL);
    while (recv(client, bytes, sizeof bytes, 0) > 0)
        continue;
}

/* The window scale that the server offered. */
static int offered_scale(void)
{
    struct capture capture = wire_capture(lab_wire);
    int scale = -1;

    for (size_t i = 0; i < capture.count && scale < 0; i++)
        if (capture.frames[i].tcp && capture.frames[i].from == HOST_SERVER &&
            capture.frames[i].segment.flags & SEGMENT_SYN)
            scale = capture.frames[i].segment.scale;
    free(capture.frames);
    return scale;
}

/* Sends to a server that sets these sizes, on its listener and on the accepted socket; 0: does
   not. Returns the largest window that the server offered. */
static double window_with(int early, enum late when, int size, int bytes, int *scale, double *rate)
{
    static const char data[1000000];
    char byte;

    lab_new_port();
    lab_forget();
    int listener = lab_listen(1);
    if (early > 0 && setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &early, sizeof early) < 0)
        lab_fail("SO_RCVBUF: %s", error_text(errno).text);
    late = when;
    late_size = size;
    pid_t server = lab_serve(listener, swallow);
    int client = lab_connect();
    int64_t start = clock_ns();
    bool sent = when == BEFORE_DATA || send_all(client, data, 1448) == 0;
    if (!sent || recv(client, &byte, 1, 0) != 1 || send_all(client, data, (size_t)bytes) < 0 ||
        shutdown(client, SHUT_WR) < 0 || recv(client, &byte, 1, 0) != 0)
        lab_fail("send: %s", error_text(errno).text);
    *rate = bytes / clock_seconds_since(start) / 1e6;
    close(client);
    lab_end(server);
    *scale = offered_scale();
    return largest_window();
}

static void show_late(void)
{
    enum { SMALL = 8192, LARGE = 200000, CASES = 4 };
    static const struct {
        const char *what;
        int early;
        enum late when;
        int bytes;
    } cases[CASES] = {{"the listener", LARGE, NEVER, 1000000},
                      {"the accepted socket, before data came", 0, BEFORE_DATA, 1000000},
                      {"the accepted socket, after data came", 0, AFTER_DATA, 1000000},
                      {"the listener: 8192; then the accepted socket", SMALL, BEFORE_DATA, 200000}};
    double windows[CASES] = {0}, rates[CASES] = {0};
    int scales[CASES] = {0};

    lab_say("a server of the lab's own asks for a receive buffer of %d bytes, early or late",
            LARGE);
    lab_table("set on\twindow scale\tlargest window\tmeasured");
    for (int i = 0; i < CASES; i++) {
        windows[i] = window_with(cases[i].early, cases[i].when, LARGE, cases[i].bytes, &scales[i],
                                 &rates[i]);
        lab_row("%s\t%d\t%.0f\t%.2f MB/s", cases[i].what, scales[i], windows[i], rates[i]);
    }
    lab_table_end();
    bool counts_less = windows[0] > 1.5 * windows[2];
    lab_answer(counts_less ? 1 : 0);
    lab_verdict(counts_less && scales[3] == 0 && windows[3] <= 65535,
                "a size counts in full on the listener; on the accepted socket, after data came, "
                "the window stayed at %.0f bytes; after a small one before the handshake 65535 are "
                "the most for ever",
                windows[2]);
    lab_look("server$ ss -tmi   (wscale, rcv_space, skmem)");
}

/* ---- what is not sent yet ---- */

/* Writes for a while as fast as it may into a slow connection. Returns the most bytes that then
   lay in the kernel, not sent yet; *sent is all that it could write. */
static int most_unsent(int low_water, double *sent)
{
    static const char bytes[4096];
    int most = 0;

    lab_new_port();
    pid_t server = lab_serve(lab_listen(1), swallow);
    int client = lab_connect();
    if (low_water > 0 &&
        setsockopt(client, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low_water, sizeof low_water) < 0)
        lab_fail("TCP_NOTSENT_LOWAT: %s", error_text(errno).text);
    *sent = 0;
    for (int64_t start = clock_ns(); clock_seconds_since(start) < 1.5;) {
        struct pollfd ready = {.fd = client, .events = POLLOUT};
        int unsent = 0;
        if (poll(&ready, 1, 100) <= 0)
            continue;
        ssize_t count = send(client, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN)
            lab_fail("send: %s", error_text(errno).text);
        *sent += count > 0 ? (double)count : 0;
        if (ioctl(client, SIOCOUTQNSD, &unsent) < 0)
            lab_fail("SIOCOUTQNSD: %s", error_text(errno).text);
        most = unsent > most ? unsent : most;
    }
    close(client);
    lab_end(server);
    return most;
}

static void show_low_water(void)
{
    enum { LOW_WATER = 16384, RATE = 10000000 };
    struct cable cable = {.delay_ns = 10 * MILLISECOND, .rate = RATE, .queue = 100};
    double sent[2];
    int unsent[2];

    wire_set(lab_wire, HOST_CLIENT, &cable);
    wire_set(lab_wire, HOST_SERVER, &cable);
    lab_say("(and with --rate 10mbit --queue 100)");
    lab_say("a client of the lab's own writes for 1.5 s, whenever poll(2) says that it may");
    lab_table("TCP_NOTSENT_LOWAT\tunsent, at most\tto send that takes\twritten in 1.5 s");
    for (int i = 0; i < 2; i++) {
        unsent[i] = most_unsent(i == 0 ? 0 : LOW_WATER, &sent[i]);
        lab_row("%s\t%d bytes\t%.0f ms\t%.2f MB", i == 0 ? "-" : "16384", unsent[i],
                8e3 * unsent[i] / RATE, sent[i] / 1e6);
    }
    lab_table_end();
    lab_answer(8e3 * unsent[0] / RATE);
    lab_verdict(unsent[1] < 2 * LOW_WATER && unsent[0] > 2 * unsent[1] && sent[1] > 0,
                "the kernel takes %d KB that it cannot send yet, and each byte waits behind them; "
                "with TCP_NOTSENT_LOWAT %d KB",
                unsent[0] / 1000, unsent[1] / 1000);
    lab_look("client$ ss -ti   (notsent:...)");
}

/* ---- the deadlock ---- */

enum { LONG_MESSAGE = 8000000 };

/* What the two ends of a connection hold. */
struct queues {
    int unsent[2], unread[2]; /* by enum host */
};

static struct queues queues_of(int port)
{
    struct queues queues;

    lab_enter(HOST_SERVER);
    struct lab_sockets server = lab_sockets(SOCKET_ESTABLISHED, port, 0);
    lab_enter(HOST_CLIENT);
    struct lab_sockets client = lab_sockets(SOCKET_ESTABLISHED, 0, port);
    queues.unsent[HOST_CLIENT] = client.unsent;
    queues.unread[HOST_CLIENT] = client.waiting;
    queues.unsent[HOST_SERVER] = server.unsent;
    queues.unread[HOST_SERVER] = server.waiting;
    return queues;
}

static bool all_full(const struct queues *queues)
{
    return queues->unsent[HOST_CLIENT] > 0 && queues->unsent[HOST_SERVER] > 0 &&
           queues->unread[HOST_CLIENT] > 0 && queues->unread[HOST_SERVER] > 0;
}

/* Waits until the client has ended, or nothing at all has moved for a second. */
static struct queues wait_until_still(struct program *client, int port)
{
    struct queues now = {{0}, {0}}, last;
    int64_t begin = clock_ns(), start = begin;

    while (!program_ended(client) && clock_seconds_since(start) < 1) {
        last = now;
        now = queues_of(port);
        if (memcmp(&now, &last, sizeof now) != 0 || !all_full(&now))
            start = clock_ns();
        if (!lab_waits(begin, 60))
            lab_too_slow("a message of %d MB was still under way after a minute",
                         LONG_MESSAGE / 1000000);
    }
    return now;
}

/* A client of the stage, to which one long line is given. */
static struct program *send_long_line(const char *stage)
{
    char *line = malloc(LONG_MESSAGE);

    if (line == NULL)
        die("allocate a message");
    memset(line, 'x', LONG_MESSAGE);
    line[LONG_MESSAGE - 1] = '\n';
    lab_new_port();
    server_start("05-bufsize", "-q --recv-buffer 65536 --send-buffer 65536");
    struct program *client = client_input(stage, "-q");
    for (size_t sent = 0; sent < LONG_MESSAGE;) {
        ssize_t count = write(client->input, line + sent, LONG_MESSAGE - sent);
        if (count < 0)
            lab_fail("the client ended; its log is %s", client->log_path);
        sent += (size_t)count;
    }
    close(client->input);
    free(line);
    return client;
}

static void add_queue_row(const char *what, const struct queues *queues, const char *reply)
{
    lab_row("%s\t%d\t%d\t%d\t%d\t%s", what, queues->unsent[HOST_CLIENT],
            queues->unread[HOST_CLIENT], queues->unsent[HOST_SERVER], queues->unread[HOST_SERVER],
            reply);
}

static void show_deadlock(void)
{
    lab_say("a line of %d bytes goes into the client's stdin; the server answers as it comes",
            LONG_MESSAGE);
    struct program *first = send_long_line("04-timeout");
    int port = lab_port();
    struct queues stuck = wait_until_still(first, port);
    bool waits = !program_ended(first);

    int64_t start = clock_ns();
    struct program *at_once = send_long_line("05-bufsize");
    struct queues empty = wait_until_still(at_once, lab_port());
    double seconds = clock_seconds_since(start);
    bool answered = program_ended(at_once) && at_once->status == 0;
    unlink(at_once->output_path); /* as long as the message */

    struct queues still = queues_of(port);
    if (memcmp(&still, &stuck, sizeof still) != 0) /* it only paused, on a busy machine */
        stuck = wait_until_still(first, port);
    waits = waits && !program_ended(first);
    char reply[2][64] = {"has come", "has not come"};
    if (waits)
        snprintf(reply[0], sizeof reply[0], "never comes");
    if (answered) {
        empty = (struct queues){{0}, {0}};
        snprintf(reply[1], sizeof reply[1], "after %.2f s", seconds);
    }
    lab_table("client\tits Send-Q\tRecv-Q\tserver's Send-Q\tRecv-Q\tthe reply");
    add_queue_row("04: sends first", &stuck, reply[0]);
    add_queue_row("05: both at once", &empty, reply[1]);
    lab_table_end();
    lab_answer(waits ? 2 : 0);
    lab_verdict(waits && answered,
                "when all buffers are full, a client that only sends and its server wait for each "
                "other for ever; one that receives while it sends had its reply after %.2f s",
                seconds);
    lab_look("client$ head -c 8M /dev/zero | tr '\\0' x >message");
    lab_look("client$ build/04-timeout/client --host 10.0.0.2 <message | wc -c");
    lab_look("ss -tn   (on both hosts: Recv-Q and Send-Q)");
    program_kill(first);
}

static const struct part parts[] = {
    {.name = "deadlock",
     .question = "A message larger than all buffers on the way: can a client send first, and "
                 "then receive?",
     .run = show_deadlock,
     .guess = "A client sends a message of 8 MB to an echo server, and begins to receive when all "
              "is sent. When does it have the reply?",
     .choices = (const char *const[]){"in less than a second", "after some seconds", "never", NULL},
     .needs_wire = true,
     .quick = true},
    {.name = "sizes",
     .question = "What does the kernel make of the size it is asked for?",
     .run = show_sizes,
     .guess = "A program asks for a receive buffer of 65536 bytes. What does getsockopt say?",
     .unit = "bytes"},
    {.name = "window",
     .question = "How fast can it be with a receive buffer of this size?",
     .run = show_window,
     .guess = "A round trip takes 40 ms, and the receive buffer is 65536. How many MB/s can it be?",
     .unit = "MB/s",
     .near = 0.4,
     .delay_ns = 10 * MILLISECOND,
     .needs_wire = true,
     .quick = true},
    {.name = "small-window",
     .question = "What does that look like on the wire?",
     .run = show_small_window,
     .guess = "A round trip takes 20 ms, and the receive buffer is 4096. How many MB/s can it be?",
     .unit = "MB/s",
     .near = 0.5,
     .delay_ns = 10 * MILLISECOND,
     .needs_wire = true},
    {.name = "autotuning",
     .question = "And if nobody sets a size?",
     .run = show_autotuning,
     .guess = "At 40 ms and 100 Mbit/s a buffer of 65536 gives about 2 MB/s. And the one that the "
              "kernel tunes itself?",
     .unit = "MB/s",
     .near = 0.3,
     .delay_ns = 20 * MILLISECOND,
     .needs_wire = true},
    {.name = "late",
     .question = "Is it too late to set a receive buffer on the accepted socket?",
     .run = show_late,
     .guess = "SO_RCVBUF is set on the accepted socket, when the handshake is over and the first "
              "data has come. Does it do as much as on the listener?",
     .choices = (const char *const[]){"yes", "no", NULL},
     .delay_ns = 20 * MILLISECOND,
     .needs_wire = true},
    {.name = "low-water",
     .question = "How much does the kernel take that it cannot send yet?",
     .run = show_low_water,
     .guess = "A program writes as fast as it may into a connection of 10 Mbit/s. How old, in "
              "milliseconds, is a byte when it leaves, at most?",
     .unit = "milliseconds",
     .near = 0.5,
     .delay_ns = 10 * MILLISECOND,
     .needs_wire = true},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "05", "buffers", parts);
}
