/* How long to wait: for a silent client, for one that does not read, for a handshake, for an
   ACK; with a limit of one's own, and by the kernel's own schedule. */
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/sysctl.h"
#include "tests/labs/lab.h"
#include "tests/labs/program.h"

static void show_silent(void)
{
    static const double given_up = 2, timeout = 0.5;

    struct program *server = server_start("03-listen-queue", " ");
    struct program *silent = silent_client(server);
    struct program *without = client_run("04-timeout", "--timeout %g Hello", given_up);
    program_stop(silent);
    program_stop(server);
    lab_new_port();
    server = server_start("04-timeout", "--timeout %g", timeout);
    int64_t start = clock_ns();
    silent = silent_client(server);
    struct program *with = client_run("04-timeout", "--timeout %g Hello", 5 * given_up);
    double ms = clock_seconds_since(start) * 1e3;

    bool waited = without->status != 0 && program_count(without, "timed out") > 0;
    lab_table("server\tanother client, behind the silent one");
    lab_row("stage 03\t%s", waited ? "gives up after 2 s" : "does not wait");
    if (with->status == 0)
        lab_row("stage 04, --timeout 0.5\thas its reply after %.2f s", ms / 1e3);
    else
        lab_row("stage 04, --timeout 0.5\tgives up after %g s", 5 * given_up);
    lab_table_end();
    if (waited && with->status == 0 && ms >= given_up * 1e3)
        lab_too_slow("a client behind a time-out of %g s had its reply after %.1f s", timeout,
                     ms / 1e3);
    lab_answer(ms);
    bool seen = waited && with->status == 0 && ms > timeout * 900;
    lab_verdict(seen, "behind a silent client, stage 03 was still waiting when the other gave up; "
                      "stage 04 waits for its --timeout");
    if (seen) {
        char text[64];
        snprintf(text, sizeof text, "%.2f s", ms / 1e3);
        lab_compare("--timeout 0.5", "more than 2 s", text, -given_up * 1e3 / ms);
    }
    lab_look("server$ strace -e trace=recvfrom -p SERVER   (where stage 03 waits)");
    program_stop(silent);
    program_stop(server);
}

static int half_open(void)
{
    lab_enter(HOST_SERVER);
    int count = lab_sockets(SOCKET_SYN_RECV, lab_port(), 0).count;
    lab_enter(HOST_CLIENT);
    return count;
}

/* Sends until nothing more goes, and the server finds no room for its answers either; and never
   reads. */
static int stuff(void)
{
    static const char bytes[65536];
    int server = lab_connect();
    int64_t start = clock_ns(), last = start;

    while (clock_seconds_since(last) < 0.2) {
        if (send(server, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            last = clock_ns();
        else if (errno != EAGAIN)
            break; /* the server has closed */
        lab_enter(HOST_SERVER);
        if (lab_sockets(SOCKET_ESTABLISHED, lab_port(), 0).unsent == 0)
            last = clock_ns(); /* it has said all it has to say, so far */
        lab_enter(HOST_CLIENT);
        if (!lab_waits(start, 20))
            lab_fail("the server goes on reading");
    }
    return server;
}

static void show_reads_nothing(void)
{
    lab_say("a client sends and sends, and never reads an answer");
    struct program *server = server_start("03-listen-queue", " ");
    int client = stuff();
    int64_t start = clock_ns();
    while (program_count(server, " closed") == 0 && clock_seconds_since(start) < 3)
        lab_sleep(0.02);
    bool closed_without = program_count(server, " closed") > 0;
    close(client);
    program_stop(server);

    lab_new_port();
    server = server_start("04-timeout", "--timeout 0.5");
    client = stuff();
    bool closed_with = program_says(server, "closed: timed out", 1);
    lab_table("server\tafter some seconds");
    lab_row("stage 03\t%s", closed_without ? "has closed" : "still waits in send, for this one");
    lab_row("stage 04, --timeout 0.5\t%s",
            closed_with ? "has closed the connection: timed out" : "still waits in send");
    lab_table_end();
    lab_answer(closed_without ? 0 : 2);
    lab_verdict(!closed_without && closed_with,
                "SO_SNDTIMEO ends a send that finds no room; without it the server still waited");
    lab_look("server$ ss -tn 'sport = :9999'   (Send-Q and Recv-Q are full)");
    close(client);
    program_stop(server);
}

/* How long a server keeps a client that reads nothing, but whose kernel answers: its window is
   closed, and says so whenever it is asked. 0: longer than limit. */
static double seconds_with_closed_window(const char *options, double limit)
{
    lab_new_port();
    struct program *server = server_start("04-timeout", "%s", options);
    int64_t start = clock_ns();
    int client = stuff();
    while (program_count(server, "closed: ") == 0 && clock_seconds_since(start) < limit)
        lab_sleep(0.02);
    double seconds = program_count(server, "closed: ") > 0 ? clock_seconds_since(start) : 0;
    close(client);
    program_kill(server);
    return seconds;
}

static void show_closed_window(void)
{
    lab_say("a client sends and sends, and never reads; but its host answers, that there is no "
            "room");
    double with = seconds_with_closed_window("--user-timeout 1", 20);
    double without = seconds_with_closed_window(" ", fmax(3 * with, 5));
    lab_table("server\tgives the connection up");
    if (without > 0)
        lab_row("stage 04\tafter %.1f s", without);
    else
        lab_row("stage 04\tnot within %.1f s", fmax(3 * with, 5));
    if (with > 0)
        lab_row("stage 04, --user-timeout 1\tafter %.1f s", with);
    else
        lab_row("stage 04, --user-timeout 1\tnot within 20 s");
    lab_table_end();
    lab_answer(without > 0 ? 0 : 2);
    lab_verdict(without == 0 && with > 0.9,
                "TCP_USER_TIMEOUT also ends a connection whose window stays closed, after %.1f s; "
                "without it a client that reads nothing is kept, for it answers",
                with);
    lab_look("server$ ss -tno   (the timer is 'persist': it asks for room)");
}

/* Who is accepted first: a client that is silent, or one that came later and sent something?
 *half_open is how many are half open at the server then. */
static bool silent_is_first(bool deferred, int *rounded, int *half_open_then)
{
    int seconds = 5;
    socklen_t size = sizeof *rounded;

    lab_new_port();
    int listener = lab_listen(5);
    if (deferred &&
        setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) < 0)
        lab_fail("TCP_DEFER_ACCEPT: %s", error_text(errno).text);
    if (getsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, rounded, &size) < 0)
        lab_fail("TCP_DEFER_ACCEPT: %s", error_text(errno).text);
    int silent = lab_connect(), talking = lab_connect();
    if (send(talking, "Hello", 5, MSG_NOSIGNAL) != 5)
        lab_fail("send: %s", error_text(errno).text);
    /* When the data is acknowledged, all that came before it has come too. */
    for (int64_t start = clock_ns(); lab_unsent(talking) > 0;)
        if (!lab_waits(start, 10))
            lab_fail("five bytes are not acknowledged");
    struct sockaddr_in peer = {0}, own = {0};
    socklen_t peer_size = sizeof peer, own_size = sizeof own;
    int accepted = accept(listener, (struct sockaddr *)&peer, &peer_size);
    if (accepted < 0 || getsockname(silent, (struct sockaddr *)&own, &own_size) < 0)
        lab_fail("accept: %s", error_text(errno).text);
    *half_open_then = half_open();
    close(accepted);
    close(talking);
    close(silent);
    close(listener);
    return peer.sin_port == own.sin_port;
}

static void show_defer_accept(void)
{
    int rounded[2], half_open_then[2];
    bool first[2];

    lab_say("one client connects and is silent; another connects, and sends; then a server of the");
    lab_say("lab's own calls accept");
    lab_table("TCP_DEFER_ACCEPT\taccept returns\thalf open");
    for (int i = 0; i < 2; i++) {
        first[i] = silent_is_first(i == 1, &rounded[i], &half_open_then[i]);
        char option[64] = "-";
        if (i == 1)
            snprintf(option, sizeof option, "5, and the kernel makes it %d", rounded[i]);
        lab_row("%s\t%s\t%d", option, first[i] ? "the silent client" : "the one that has sent",
                half_open_then[i]);
    }
    lab_table_end();
    lab_answer(first[1] ? 0 : 1);
    lab_verdict(first[0] && half_open_then[0] == 0 && !first[1] && half_open_then[1] == 1,
                "with TCP_DEFER_ACCEPT a client is accepted when it has sent something; until then "
                "it is half open, and delays nobody");
    lab_look("server$ ss -tan state syn-recv");
}

/* ---- schedules ---- */

/* When segments with all of the flags went out from a host, in seconds from the first. */
static int times_of(enum host from, uint8_t flags, double *times, int most)
{
    struct capture capture = wire_capture(lab_wire);
    int count = 0;
    int64_t first = 0;

    for (size_t i = 0; i < capture.count && count < most; i++) {
        const struct frame *frame = &capture.frames[i];
        if (!frame->tcp || frame->from != from || (frame->segment.flags & flags) != flags)
            continue;
        first = count == 0 ? frame->sent_ns : first;
        times[count++] = (double)(frame->sent_ns - first) / 1e9;
    }
    free(capture.frames);
    return count;
}

/* A table of what was due and what was seen. Returns whether each that was due came then. */
static bool compare_schedule(const char *what, const double *due, int due_count,
                             const double *times, int count)
{
    bool fits = count >= due_count;
    char columns[64];

    snprintf(columns, sizeof columns, "%s\tdue\tseen", what);
    lab_table(columns);
    for (int i = 0; i < due_count || i < count; i++) {
        char when[2][32] = {"-", "-"};
        if (i < due_count)
            snprintf(when[0], sizeof when[0], "%.0f s", due[i]);
        if (i < count)
            snprintf(when[1], sizeof when[1], "%.2f s", times[i]);
        lab_row("%d\t%s\t%s", i + 1, when[0], when[1]);
        if (i < due_count && i < count)
            fits = fits && times[i] > due[i] - 0.1 && times[i] < due[i] * 1.15 + 0.3;
    }
    lab_table_end();
    return fits;
}

/* SYNs into the void. So many waits of one second come before the waits begin to double; how
   many SYNs follow then depends on the kernel, so only the first are due. */
static void show_syns(int linear, int due_count)
{
    enum { RETRIES = 2, MOST = 16 };
    double due[MOST], times[MOST], wait = 1, at = 0;
    char setting[16];

    snprintf(setting, sizeof setting, "%d", linear);
    if (!lab_try_set("net.ipv4.tcp_syn_linear_timeouts", setting) && linear > 0)
        lab_setting_not_here("net.ipv4.tcp_syn_linear_timeouts");
    wire_cut(lab_wire, true);
    lab_say("(the cable is cut, as with build/wire --loss 100%%)");
    lab_say("client$ sysctl -w net.ipv4.tcp_syn_linear_timeouts=%d", linear);
    int64_t start = clock_ns();
    struct program *client = client_run("04-timeout", "--syn-retries %d Hello", RETRIES);
    double seconds = clock_seconds_since(start);

    for (int i = 0; i < due_count; i++) {
        due[i] = at;
        at += wait;
        if (i >= linear)
            wait *= 2;
    }
    int count = times_of(HOST_CLIENT, SEGMENT_SYN, times, MOST);
    lab_ladder(NULL, &(struct ladder){.title = "A server that cannot be reached: SYNs, and when"});
    bool fits = compare_schedule("SYN", due, due_count, times, count);
    bool failed = client->status != 0 && program_count(client, "timed out") > 0;
    failed = failed && seconds > 6.5 && seconds < 10;
    lab_answer(seconds);
    if (linear == 0)
        lab_timed_verdict(fits && failed && count == due_count, 150,
                          "%d SYNs, each after twice the wait; connect gave up after %.1f s: "
                          "2^(retries + 1) - 1 = 7",
                          count, seconds);
    else
        lab_timed_verdict(fits && failed && count > 3, 150,
                          "%d SYNs, the first %d a second apart; connect gave up after %.1f s, as "
                          "before; with 3 retries or more it takes %d s longer",
                          count, due_count, seconds, linear);
    lab_look("client$ sysctl net.ipv4.tcp_syn_retries net.ipv4.tcp_syn_linear_timeouts");
}

static void show_doubling_syns(void)
{
    show_syns(0, 3);
}

static void show_linear_syns(void)
{
    show_syns(4, 5);
}

/* Lets the SYN of a handshake through and nothing that comes after it. */
static enum wire_verdict drop_all_but_syn(const struct frame *frame, void *context)
{
    (void)context;
    return frame->from == HOST_CLIENT && frame->tcp && !(frame->segment.flags & SEGMENT_SYN)
               ? WIRE_DROP
               : WIRE_PASS;
}

static void show_syn_acks(void)
{
    static const double due[] = {0, 1, 3};
    double times[16];

    lab_set("net.ipv4.tcp_synack_retries", "2");
    lab_say("server$ sysctl -w net.ipv4.tcp_synack_retries=2");
    struct program *server = server_start("04-timeout", " ");
    lab_say("(a client's SYN comes through, and then nothing more)");
    wire_set_judge(lab_wire, drop_all_but_syn, NULL);
    int64_t start = clock_ns();
    int client = lab_connect();
    while (half_open() > 0 && lab_waits(start, 30))
        lab_sleep(0.02);
    double seconds = clock_seconds_since(start), promised = 0;
    program_numbers(server, "longest handshake: ", &promised, 1);
    int count = times_of(HOST_SERVER, SEGMENT_SYN | SEGMENT_ACK, times, 16);
    lab_ladder(NULL, &(struct ladder){.title = "The last segment of the handshake never comes"});
    bool fits = compare_schedule("SYN ACK", due, 3, times, count);
    lab_answer(seconds);
    lab_timed_verdict(
        fits && promised == 7 && seconds > 6.5 && seconds < 9, 150,
        "after %.1f s the server forgot the handshake; stage 04 says: longest handshake "
        "%.0f s",
        seconds, promised);
    lab_look("server$ ss -tano state syn-recv; sysctl net.ipv4.tcp_synack_retries");
    close(client);
    program_stop(server);
}

static void show_connect_timeout(void)
{
    wire_cut(lab_wire, true);
    lab_say("(the cable is cut, as with build/wire --loss 100%%)");
    struct program *without = client_start("03-listen-queue", "--connections 1");
    int64_t start = clock_ns();
    struct program *with = client_start("04-timeout", "--connect-timeout 0.5 Hello");
    while (!program_ended(with) && lab_waits(start, 10))
        continue;
    double seconds = clock_seconds_since(start);
    bool gave_up = program_ended(with) && with->status == 1;
    lab_sleep(1.5);
    bool still = !program_ended(without);
    long retries = sysctl_or("net.ipv4.tcp_syn_retries", 6), linear = 0;
    sysctl_read("net.ipv4.tcp_syn_linear_timeouts", &linear); /* there since Linux 6.5 */
    lab_table("client\twhat connect does");
    lab_row("without a limit\t%s", still ? "still tries after 2 s" : "has given up");
    lab_row("--connect-timeout 0.5\t%s after %.2f s", gave_up ? "gives up" : "still tries",
            seconds);
    lab_table_end();
    lab_verdict(
        still && gave_up && seconds > 0.45,
        "SO_SNDTIMEO ends a connect too; the kernel, with tcp_syn_retries = %ld, would take "
        "%ld s",
        retries, (2L << retries) - 1 + (retries > 2 ? linear : 0));
    lab_look("client$ build/04-timeout/client --host 10.0.0.2 --connect-timeout 0.5 Hello");
    program_stop(without);
}

/* Cuts the cable, both ways, behind the first data that comes from the client. */
static enum wire_verdict cut_behind_data(const struct frame *frame, void *context)
{
    bool *cut = context;

    if (*cut)
        return WIRE_DROP;
    *cut = frame->tcp && frame->from == HOST_CLIENT && frame->segment.payload > 0;
    return WIRE_PASS;
}

/* What arrived, and all that the server tries. */
static bool arrived_or_server(const struct frame *frame, void *context)
{
    (void)context;
    return frame->tcp && (frame->from == HOST_SERVER || frame->fate == FRAME_DELIVERED);
}

/* How long a server keeps a connection whose cable was cut while it answers; 0: longer than
   limit. */
static double seconds_kept(const char *options, double limit)
{
    bool cut = false;

    lab_new_port();
    struct program *server = server_start("04-timeout", "%s", options);
    lab_forget();
    wire_set_judge(lab_wire, cut_behind_data, &cut);
    int64_t start = clock_ns();
    struct program *client = client_start("04-timeout", "Hello");
    program_says(client, "connected to", 1);
    while (program_count(server, "closed: ") == 0 && clock_seconds_since(start) < limit)
        lab_sleep(0.01);
    double seconds = program_count(server, "closed: ") > 0 ? clock_seconds_since(start) : 0;
    if (seconds > 0)
        lab_ladder(NULL, &(struct ladder){.title = "The answer goes out again and again",
                                          .note = "from the answer on, the wire drops everything",
                                          .keep = arrived_or_server});
    program_kill(client);
    wire_set_judge(lab_wire, NULL, NULL);
    program_kill(server);
    return seconds;
}

static void show_user_timeout(void)
{
    double with = seconds_kept("--user-timeout 1", 10);
    double without = seconds_kept(" ", fmax(3 * with, 4));

    lab_table("server\tgives the connection up");
    if (without > 0)
        lab_row("stage 04\tafter %.1f s", without);
    else
        lab_row("stage 04\tnot within %.1f s", fmax(3 * with, 4));
    if (with > 0)
        lab_row("stage 04, --user-timeout 1\tafter %.1f s", with);
    else
        lab_row("stage 04, --user-timeout 1\tnot within 10 s");
    lab_table_end();
    lab_answer(with);
    lab_verdict(without == 0 && with > 0.9,
                "TCP_USER_TIMEOUT gives up its time after the first retransmission");
    lab_look("server$ ss -tno   (the timer 'on', and the retransmissions behind it)");
}

static const struct part parts[] = {
    {.name = "silent",
     .question = "A client connects and says nothing. How long do others wait?",
     .run = show_silent,
     .guess = "Behind the silent client comes another, to a server with --timeout 0.5. After how "
              "many milliseconds does it have its reply?",
     .unit = "milliseconds",
     .near = 0.25,
     .quick = true},
    {.name = "reads-nothing",
     .question = "And a client that never reads its answers?",
     .run = show_reads_nothing,
     .guess = "A client sends and never reads. What does the server of stage 03 do?",
     .choices =
         (const char *const[]){"it closes the connection", "it drops the answers, and goes on",
                               "it waits, and serves nobody else", NULL},
     .waits = true},
    {.name = "closed-window",
     .question = "A client lives, but never reads. How long is its connection kept?",
     .run = show_closed_window,
     .guess = "A client never reads, and its host says, again and again, that there is no room. "
              "How long does the server keep the connection, without any option?",
     .choices = (const char *const[]){"for some seconds", "for some minutes", "for ever", NULL},
     .waits = true},
    {.name = "defer-accept",
     .question = "Must a server accept clients that have nothing to say yet?",
     .run = show_defer_accept,
     .guess = "A listener has TCP_DEFER_ACCEPT. A silent client connects, then another, which "
              "sends. Whom does accept return?",
     .choices = (const char *const[]){"the silent one", "the one that has sent", NULL}},
    {.name = "connect-timeout",
     .question = "The server cannot be reached. How long does connect try?",
     .run = show_connect_timeout,
     .needs_wire = true,
     .waits = true},
    {.name = "syns",
     .question = "When does an unanswered SYN go out again? (tcp_syn_retries = 2)",
     .run = show_doubling_syns,
     .guess = "With tcp_syn_retries = 2, after how many seconds does connect give up?",
     .unit = "seconds",
     .near = 0.15,
     .needs_wire = true,
     .waits = true},
    {.name = "linear-syns",
     .question = "The same since Linux 6.5, with net.ipv4.tcp_syn_linear_timeouts = 4",
     .run = show_linear_syns,
     .needs_wire = true,
     .waits = true},
    {.name = "syn-acks",
     .question = "And an unanswered SYN ACK? (tcp_synack_retries = 2)",
     .run = show_syn_acks,
     .guess = "With tcp_synack_retries = 2, for how many seconds does the server remember a "
              "half-open handshake?",
     .unit = "seconds",
     .near = 0.2,
     .needs_wire = true,
     .waits = true},
    {.name = "user-timeout",
     .question = "The cable is cut in the middle of an answer. And then?",
     .run = show_user_timeout,
     .guess =
         "With --user-timeout 1, after how many seconds does the server give the connection up?",
     .unit = "seconds",
     .near = 0.25,
     .delay_ns = 5 * MILLISECOND,
     .needs_wire = true,
     .waits = true},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "04", "how long to wait", parts);
}
