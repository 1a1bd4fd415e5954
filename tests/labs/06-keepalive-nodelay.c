/* When to send: Nagle's algorithm and delayed ACKs, keep-alive, Fast Open, slow start. */
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stream.h"
#include "tests/labs/lab.h"
#include "tests/labs/plot.h"
#include "tests/labs/program.h"

static int compare_numbers(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static bool client_data(const struct frame *frame, void *context)
{
    (void)context;
    return frame->tcp && frame->from == HOST_CLIENT && frame->segment.payload > 0;
}

/* ---- Nagle and delayed ACKs ---- */

enum { LINES = 20 };

static bool quickack;

/* What the server of stage 06 cannot do yet: it waits until a line is whole, and answers that. */
static void answer_lines(int client)
{
    char line[100];
    size_t size = 0;
    int on = 1;

    for (;;) {
        if (quickack)
            setsockopt(client, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
        ssize_t count = recv(client, line + size, sizeof line - size, 0);
        if (count <= 0)
            return;
        size += (size_t)count;
        if (line[size - 1] != '\n')
            continue;
        if (send_all(client, line, size) < 0)
            return;
        size = 0;
    }
}

/* 20 lines, one after another, each with its answer. Returns the median of the times. */
static double time_lines(const char *what, bool server_quickack, const char *client_options)
{
    /* Lines that begin with the blank between two words of a command. */
    static const char five[] = " abcd\n abcd\n abcd\n abcd\n abcd\n";
    double times[LINES] = {0};

    lab_new_port();
    quickack = server_quickack;
    pid_t server = lab_serve(lab_listen(1), answer_lines);
    lab_forget();
    struct program *client =
        client_run("06-keepalive-nodelay", "%s%s%s%s%s", client_options, five, five, five, five);
    int count = program_numbers(client, "reply of 5 bytes after ", times, LINES);
    if (client->status != 0 || count != LINES)
        lab_fail("the client had %d of %d replies; its log is %s", count, LINES, client->log_path);
    qsort(times, LINES, sizeof *times, compare_numbers);
    char segments[16] = "-";
    if (lab_wire != NULL)
        snprintf(segments, sizeof segments, "%zu", wire_count(lab_wire, client_data, NULL));
    lab_row("%s\t%.3f ms\t%.3f ms\t%s", what, times[LINES / 2], times[LINES - 1], segments);
    lab_end(server);
    return times[LINES / 2];
}

static void show_nagle(void)
{
    lab_say("20 requests of two writes each, and a read of the answer; the server is the lab's");
    lab_say("own: it answers a line when the whole of it has come");
    lab_table("the client\tmedian\tslowest\tsegments with data");
    double without = time_lines("--split on --nodelay off", false, "--split on --nodelay off");
    lab_ladder(NULL, &(struct ladder){.title = "Nagle and a delayed ACK: the second write waits",
                                      .at_most = 14});
    double with = time_lines("--split on --nodelay on", false, "--split on --nodelay on");
    double quick = time_lines("the first, and TCP_QUICKACK", true, "--split on --nodelay off");
    double whole = time_lines("--split off --nodelay off", false, "--split off --nodelay off");
    lab_table_end();
    bool seen = without > 20 && with < without / 5;
    lab_answer(without);
    lab_timed_verdict(seen, 5,
                      "the second write waits for the ACK of the first, and that ACK is delayed: "
                      "%.0f ms; with TCP_NODELAY %.2f ms",
                      without, with);
    lab_timed_verdict(quick < without / 5 && whole < without / 5, 5,
                      "TCP_QUICKACK at the other end cures it too (%.2f ms), and so does one write "
                      "(%.2f ms)",
                      quick, whole);
    if (seen) {
        char text[2][64];
        snprintf(text[0], sizeof text[0], "%.1f ms a request", without);
        snprintf(text[1], sizeof text[1], "%.2f ms", with);
        lab_compare("TCP_NODELAY", text[0], text[1], without / with);
    }
    lab_look("client$ ss -ti; nstat -az TcpExtDelayedACKs");
}

/* ---- keep-alive ---- */

static bool is_probe_or_reset(const struct frame *frame, void *context)
{
    return lab_of_port(frame, context) && frame->from == HOST_SERVER;
}

static void show_keepalive(void)
{
    int count = lab_quick ? 1 : 3, limit = 1 + count;

    struct program *without = server_start("06-keepalive-nodelay", "--keepalive off");
    struct program *client_without = silent_client(without);
    lab_new_port();
    struct program *with =
        server_start("06-keepalive-nodelay",
                     "--keepalive-idle 1 --keepalive-interval 1 --keepalive-count %d", count);
    lab_forget();
    struct program *client_with = silent_client(with);
    int port = lab_first_port();
    wire_cut(lab_wire, true);
    lab_say("the cable is cut; neither end has anything to say");
    int64_t start = clock_ns();
    while (program_count(with, "closed: ") == 0 && clock_seconds_since(start) < limit + 4)
        lab_sleep(0.02);
    double seconds = clock_seconds_since(start);
    bool noticed = program_count(with, "closed: ") > 0;
    lab_sleep(0.5);
    bool noticed_without = program_count(without, "closed: ") > 0;
    lab_ladder(NULL, &(struct ladder){.title = "Keep-alive on a cut cable: probes, then a reset",
                                      .note = "only what the server sends",
                                      .keep = is_probe_or_reset,
                                      .context = &port});
    lab_table("server\tthe connection");
    lab_row("--keepalive off\t%s", noticed_without ? "is closed" : "is open, as if nothing were");
    if (noticed)
        lab_row("idle 1 s, interval 1 s, count %d\tis closed after %.2f s", count, seconds);
    else
        lab_row("idle 1 s, interval 1 s, count %d\tis open", count);
    lab_table_end();
    bool seen = noticed && !noticed_without && seconds > limit - 0.5 && seconds < limit + 2;
    lab_answer(seconds);
    lab_timed_verdict(
        seen, 250,
        "a peer that is gone is noticed after idle + interval * count = %d s; without "
        "keep-alive it was still open",
        limit);
    if (seen) {
        char text[2][64];
        snprintf(text[0], sizeof text[0], "not noticed");
        snprintf(text[1], sizeof text[1], "noticed after %.1f s", seconds);
        lab_compare("SO_KEEPALIVE", text[0], text[1], 0);
    }
    lab_look("server$ ss -tno   (timer:(keepalive,...))");
    program_kill(client_without);
    program_kill(client_with);
}

/* ---- Fast Open ---- */

/* From the first SYN to the first data of the server, in ms; 0 where one is missing. */
static double time_to_reply(void)
{
    struct capture capture = wire_capture(lab_wire);
    int64_t start = 0, end = 0;

    for (size_t i = 0; i < capture.count; i++) {
        const struct frame *frame = &capture.frames[i];
        if (!frame->tcp)
            continue;
        if (start == 0 && frame->from == HOST_CLIENT && frame->segment.flags & SEGMENT_SYN)
            start = frame->sent_ns;
        if (end == 0 && frame->from == HOST_SERVER && frame->segment.payload > 0)
            end = frame->delivered_ns;
    }
    free(capture.frames);
    return start != 0 && end != 0 ? (double)(end - start) / 1e6 : 0;
}

/* The fastest of some requests: what the machine does beside them only adds. */
static double request(const char *options, int times, bool *with_syn)
{
    double fastest = 0;

    for (int i = 0; i < times; i++) {
        lab_forget();
        struct program *client = client_run("06-keepalive-nodelay", "%s Hello", options);
        lab_settle();
        *with_syn = program_count(client, "data went with the SYN") > 0;
        if (client->status != 0)
            lab_fail("the client had no reply; its log is %s", client->log_path);
        double ms = time_to_reply();
        if (i == 0 || ms < fastest)
            fastest = ms;
        program_show(false);
    }
    program_show(true);
    return fastest;
}

static void show_fastopen(void)
{
    bool with_syn[3];
    double ms[3];
    static const char *const what[] = {"an ordinary one", "--fastopen on, the first",
                                       "--fastopen on, later"};

    lab_set("net.ipv4.tcp_fastopen", "3");
    lab_say("server$ sysctl -w net.ipv4.tcp_fastopen=3; client$ the same");
    struct program *server = server_start("06-keepalive-nodelay", "--fastopen 16");
    for (int i = 0; i < 3; i++) {
        /* There is only one first time. */
        ms[i] = request(i == 0 ? "--fastopen off" : "--fastopen on", i == 1 ? 1 : 3, &with_syn[i]);
        if (i == 1)
            lab_ladder("fastopen-first",
                       &(struct ladder){
                           .title = "Fast Open, the first time: the client asks for a cookie"});
        if (i == 2)
            lab_ladder(NULL, &(struct ladder){
                                 .title = "Fast Open with a cookie: the request is in the SYN"});
    }
    lab_table("connection\tSYN to reply\tdata in the SYN");
    for (int i = 0; i < 3; i++)
        lab_row("%s\t%.1f ms\t%s", what[i], ms[i], with_syn[i] ? "yes" : "no");
    lab_table_end();
    bool seen = !with_syn[0] && !with_syn[1] && with_syn[2] && ms[2] > 0 && ms[2] < 0.7 * ms[0] &&
                ms[1] > 0.7 * ms[0];
    lab_answer(ms[2]);
    lab_timed_verdict(seen, 5,
                      "once the client has a cookie, the request saves one round trip: %.1f ms "
                      "become %.1f ms",
                      ms[0], ms[2]);
    if (seen) {
        char text[2][64];
        snprintf(text[0], sizeof text[0], "%.1f ms to the reply", ms[0]);
        snprintf(text[1], sizeof text[1], "%.1f ms", ms[2]);
        lab_compare("TCP_FASTOPEN", text[0], text[1], ms[0] / ms[2]);
    }
    lab_look("client$ ip tcp_metrics show; nstat -az 'TcpExtTCPFastOpen*'");
    program_stop(server);
}

/* ---- slow start ---- */

/* Large windows, so that nothing but the congestion window is in the way. */
static void open_windows(void)
{
    lab_set("net.ipv4.tcp_rmem", "4096 4194304 6291456");
}

enum { MOST_TRIPS = 4, TRIP_MS = 40 };

/* What a new connection sends in each of its first round trips. Returns whether it doubles. */
static bool send_bulk(int segments[MOST_TRIPS], int bytes[MOST_TRIPS])
{
    int64_t first = 0;

    lab_forget();
    struct program *client = client_run("06-keepalive-nodelay", "--send-bytes 400000");
    if (client->status != 0)
        lab_fail("the client had no reply; its log is %s", client->log_path);
    for (int i = 0; i < MOST_TRIPS; i++)
        segments[i] = bytes[i] = 0;
    struct capture capture = wire_capture(lab_wire);
    for (size_t i = 0; i < capture.count; i++) {
        const struct frame *frame = &capture.frames[i];
        if (!client_data(frame, NULL))
            continue;
        first = first == 0 ? frame->sent_ns : first;
        int64_t trip =
            (frame->sent_ns - first + TRIP_MS * MILLISECOND / 4) / (TRIP_MS * MILLISECOND);
        if (trip < MOST_TRIPS) {
            segments[trip]++;
            bytes[trip] += frame->segment.payload;
        }
    }
    free(capture.frames);
    bool doubles = segments[0] >= 8 && segments[0] <= 12;
    for (int i = 1; i < MOST_TRIPS; i++)
        doubles = doubles && segments[i] > 1.7 * segments[i - 1];
    return doubles;
}

static void show_slow_start(void)
{
    int segments[MOST_TRIPS], bytes[MOST_TRIPS];
    bool doubles = false;

    open_windows();
    struct program *server = server_start("06-keepalive-nodelay", " ");
    /* A machine that stands still for a moment moves segments into the next round trip. */
    for (int i = 0; i < 4 && !doubles; i++) {
        doubles = send_bulk(segments, bytes);
        program_show(false);
    }
    lab_ladder(NULL, &(struct ladder){.title = "Slow start: twice as much in each round trip",
                                      .keep = client_data,
                                      .together_ns = 15 * MILLISECOND,
                                      .at_most = 4});
    plot_begin(&(struct plot){.title = "Slow start: bytes in each round trip of 40 ms",
                              .x = "round trip",
                              .y = "bytes",
                              .unit = "bytes"});
    plot_series("a fresh connection, Reno", PLOT_BOXES);
    lab_table("round trip\tsegments\tbytes");
    for (int i = 0; i < MOST_TRIPS; i++) {
        lab_row("%d\t%d\t%d", i + 1, segments[i], bytes[i]);
        plot_point(i + 1, bytes[i]);
    }
    lab_table_end();
    plot_end();
    lab_answer(segments[0]);
    lab_timed_verdict(doubles, 5,
                      "a new connection begins with %d segments, and doubles each round trip",
                      segments[0]);
    lab_look("client$ ss -ti   (cwnd, ssthresh)");
    program_stop(server);
}

/* A message that the client sends after the connection was idle; returns how long it took. */
static double after_idle(const char *setting)
{
    enum { SIZE = 100000 };
    double times[2] = {0};
    char *line = malloc(SIZE);

    if (line == NULL)
        die("allocate a message");

    lab_set("net.ipv4.tcp_slow_start_after_idle", setting);
    lab_say("(sysctl -w net.ipv4.tcp_slow_start_after_idle=%s on both hosts)", setting);
    lab_new_port();
    struct program *server = server_start("06-keepalive-nodelay", "-q");
    struct program *client = client_input("06-keepalive-nodelay", " ");
    memset(line, 'x', SIZE);
    line[SIZE - 1] = '\n';
    for (int i = 0; i < 2; i++) {
        for (size_t sent = 0; sent < SIZE;) {
            ssize_t count = write(client->input, line + sent, SIZE - sent);
            if (count < 0)
                lab_fail("the client ended; its log is %s", client->log_path);
            sent += (size_t)count;
        }
        program_says(client, "reply of ", i + 1);
        if (i == 0)
            lab_sleep(1.5);
    }
    close(client->input);
    program_wait(client);
    program_numbers(client, "bytes after ", times, 2);
    program_stop(server);
    free(line);
    return times[1];
}

static void show_after_idle(void)
{
    open_windows();
    lab_say("a message of 100000 bytes, 1.5 s of silence, and the same again on the connection");
    double with = after_idle("1");
    program_show(false);
    double without = after_idle("0");
    lab_table("tcp_slow_start_after_idle\tthe message after the silence");
    lab_row("1 (the default)\t%.1f ms", with);
    lab_row("0\t%.1f ms", without);
    lab_table_end();
    lab_answer(with);
    lab_timed_verdict(without > 0 && with > 1.3 * without, 10,
                      "after a silence a connection starts slowly again, unless it is told not to");
    lab_look("server$ sysctl net.ipv4.tcp_slow_start_after_idle");
}

static const struct part parts[] = {
    {.name = "nagle",
     .question = "Two small writes, then a read. Why does that take 40 ms?",
     .run = show_nagle,
     .guess = "A request goes out in two small writes, over a cable without any delay. How many "
              "milliseconds until the answer is there?",
     .unit = "milliseconds",
     .near = 0.25,
     .quick = true},
    {.name = "keepalive",
     .question = "A client's cable is cut. When does the server notice?",
     .run = show_keepalive,
     .guess = "Keep-alive with idle 1 s, interval 1 s and count 3: after how many seconds is the "
              "connection closed?",
     .unit = "seconds",
     .near = 0.2,
     .delay_ns = MILLISECOND,
     .needs_wire = true,
     .quick = true,
     .waits = true},
    {.name = "fastopen",
     .question = "Can a request go out before the handshake is over?",
     .run = show_fastopen,
     .guess = "A round trip takes 20 ms. From the first SYN to the reply a request takes 40 ms. "
              "And with Fast Open and a cookie?",
     .unit = "milliseconds",
     .near = 0.15,
     .delay_ns = 10 * MILLISECOND,
     .needs_wire = true,
     .quick = true},
    {.name = "slow-start",
     .question = "How fast does a new connection begin?",
     .run = show_slow_start,
     .guess = "How many segments does a new connection send before it waits for an ACK?",
     .unit = "segments",
     .delay_ns = 20 * MILLISECOND,
     .needs_wire = true},
    {.name = "after-idle",
     .question = "And one that was silent for a while?",
     .run = show_after_idle,
     .guess = "A message takes one round trip of 40 ms on a warm connection. How many milliseconds "
              "after 1.5 s of silence?",
     .unit = "milliseconds",
     .near = 0.35,
     .delay_ns = 20 * MILLISECOND,
     .needs_wire = true,
     .waits = true},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "06", "when to send", parts);
}
