/* The accept queue and the SYN queue: who gets in, and what the others see. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/labs/lab.h"
#include "tests/labs/program.h"

static long server_counter(const char *name)
{
    lab_enter(HOST_SERVER);
    long value = lab_counter(name);
    lab_enter(HOST_CLIENT);
    return value;
}

static struct lab_sockets server_sockets(int state)
{
    lab_enter(HOST_SERVER);
    struct lab_sockets sockets = lab_sockets(state, lab_port(), 0);
    lab_enter(HOST_CLIENT);
    return sockets;
}

enum { MOST_CLIENTS = 64, EXCESS = 5 };

/* Clients that come one after another, each once the one before is in or has been turned away. */
struct crowd {
    int clients[MOST_CLIENTS];
    int count, connected;
    long overflows, drops;
};

static void come(struct crowd *crowd, int count)
{
    long overflows = server_counter("ListenOverflows"), drops = server_counter("ListenDrops");

    *crowd = (struct crowd){.count = count};
    for (int i = 0; i < count; i++) {
        long before = server_counter("ListenOverflows");
        crowd->clients[i] = lab_connect_later();
        for (int64_t start = clock_ns();
             lab_connected(crowd->clients[i]) == 0 && server_counter("ListenOverflows") == before;)
            if (!lab_waits(start, 10))
                lab_fail("client %d is neither in nor turned away", i + 1);
    }
    for (int i = 0; i < count; i++)
        crowd->connected += lab_connected(crowd->clients[i]) == 1;
    crowd->overflows = server_counter("ListenOverflows") - overflows;
    crowd->drops = server_counter("ListenDrops") - drops;
}

static void go(struct crowd *crowd)
{
    for (int i = 0; i < crowd->count; i++)
        close(crowd->clients[i]);
}

static void show_backlog(void)
{
    static const int backlogs[] = {0, 1, 4, 16};
    enum { COUNT = sizeof backlogs / sizeof backlogs[0] };
    int connected[COUNT];
    bool all = true;

    lab_say("the server is busy with one client, and the others come one after another");
    lab_table("backlog\tclients\tconnected\tin the accept queue\tListenOverflows\tListenDrops");
    for (int i = 0; i < COUNT; i++) {
        struct crowd crowd;
        lab_new_port();
        struct program *server = server_start("03-listen-queue", "--backlog %d", backlogs[i]);
        struct program *busy = silent_client(server);
        come(&crowd, backlogs[i] + 1 + EXCESS);
        int waiting = server_sockets(SOCKET_LISTEN).waiting;
        lab_row("%d\t%d\t%d\t%d\t%ld\t%ld", backlogs[i], crowd.count, crowd.connected, waiting,
                crowd.overflows, crowd.drops);
        connected[i] = crowd.connected;
        all = all && crowd.connected == backlogs[i] + 1 && waiting == backlogs[i] + 1 &&
              crowd.overflows >= EXCESS && crowd.drops == crowd.overflows;
        go(&crowd);
        program_stop(busy);
        program_stop(server);
        program_show(false);
    }
    lab_table_end();
    lab_answer(connected[2]);
    lab_verdict(all, "backlog b lets b + 1 wait; each SYN beyond adds to ListenOverflows");
    if (all) {
        char text[2][64];
        snprintf(text[0], sizeof text[0], "%d of %d connect", connected[0], 1 + EXCESS);
        snprintf(text[1], sizeof text[1], "%d of %d connect", connected[COUNT - 1],
                 backlogs[COUNT - 1] + 1 + EXCESS);
        lab_compare("--backlog 0, --backlog 16", text[0], text[1],
                    (double)connected[COUNT - 1] / connected[0]);
    }
    lab_look("server$ ss -ltn 'sport = :9999'; nstat -az TcpExtListenOverflows TcpExtListenDrops");
}

/* How many SYNs this client sent. In seconds since the first: when a place was free, when the
   last SYN went out, when the first data from the server came. */
static int times_of(int port, int64_t free_ns, double seconds[3])
{
    struct capture capture = wire_capture(lab_wire);
    int64_t first = 0, last = 0, data = 0;
    int syns = 0;

    for (size_t i = 0; i < capture.count; i++) {
        const struct frame *frame = &capture.frames[i];
        if (!lab_of_port(frame, &port))
            continue;
        if (frame->from == HOST_CLIENT && frame->segment.flags & SEGMENT_SYN) {
            first = syns++ == 0 ? frame->sent_ns : first;
            last = frame->sent_ns;
        }
        if (frame->from == HOST_SERVER && frame->segment.payload > 0 && data == 0)
            data = frame->delivered_ns;
    }
    free(capture.frames);
    seconds[0] = (double)(free_ns - first) / 1e9;
    seconds[1] = (double)(last - first) / 1e9;
    seconds[2] = (double)(data - first) / 1e9;
    return syns;
}

static void show_next_client(void)
{
    struct crowd crowd;

    struct program *server = server_start("03-listen-queue", "--backlog 1");
    struct program *busy = silent_client(server);
    come(&crowd, 2);
    lab_say("two clients wait: the accept queue is full; a place is free after 2.5 s");
    lab_forget();
    int64_t start = clock_ns();
    struct program *next = client_start("03-listen-queue", "Hello");
    while (lab_first_port() == 0)
        if (!lab_waits(start, 10))
            lab_fail("the client sends no SYN");
    lab_sleep(2.5);
    int64_t free_ns = clock_ns();
    program_stop(busy);
    go(&crowd);
    int status = program_wait(next), port = lab_first_port();
    double seconds[3];
    int syns = times_of(port, free_ns, seconds);
    lab_ladder(NULL, &(struct ladder){.title = "A full accept queue: SYNs that nobody answers",
                                      .keep = lab_of_port,
                                      .context = &port});
    lab_table("a place was free after\tSYNs\tthe last of them after\tthe reply came after");
    lab_row("%.1f s\t%d\t%.2f s\t%.2f s", seconds[0], syns, seconds[1], seconds[2]);
    lab_table_end();
    lab_answer(seconds[2]);
    lab_verdict(status == 0 && syns > 1 && seconds[1] > seconds[0] && seconds[2] > seconds[1],
                "nobody tells the client: it is let in when its own next SYN finds room");
    lab_look("client$ ss -tano state syn-sent   (how long until the next SYN)");
}

/* Holds back the third segment of every handshake. */
static enum wire_verdict hold_third(const struct frame *frame, void *context)
{
    (void)context;
    return frame->tcp && frame->from == HOST_CLIENT && frame->segment.flags == SEGMENT_ACK
               ? WIRE_HOLD
               : WIRE_PASS;
}

/* Of the server at this port: an earlier one's clients may still be ending. */
static bool of_server(const struct frame *frame, void *context)
{
    int port = *(int *)context;

    return frame->tcp && (frame->from == HOST_SERVER ? frame->segment.source_port
                                                     : frame->segment.destination_port) == port;
}

static bool is_reset(const struct frame *frame, void *context)
{
    return of_server(frame, context) && frame->from == HOST_SERVER &&
           frame->segment.flags & SEGMENT_RST;
}

/* Three handshakes are under way when there is one place left. */
static void abort_on_overflow(const char *setting, int *connected, int *at_server, int *reset)
{
    enum { UNDER_WAY = 3, BACKLOG = 4 };
    struct crowd crowd;
    int clients[UNDER_WAY];

    lab_set("net.ipv4.tcp_abort_on_overflow", setting);
    lab_new_port();
    /* Fewer handshakes are under way than the backlog: with as many, older kernels (5.10) take
       the SYN queue to be full, and answer with a cookie, which leaves nothing half open. */
    struct program *server = server_start("03-listen-queue", "--backlog %d", BACKLOG);
    struct program *busy = silent_client(server);
    come(&crowd, BACKLOG);
    lab_forget();
    wire_set_judge(lab_wire, hold_third, NULL);
    long overflows = server_counter("ListenOverflows");
    *connected = *reset = 0;
    for (int i = 0; i < UNDER_WAY; i++)
        clients[i] = lab_connect_later();
    for (int64_t start = clock_ns(); *connected < UNDER_WAY && lab_waits(start, 10);) {
        *connected = 0;
        for (int i = 0; i < UNDER_WAY; i++)
            *connected += lab_connected(clients[i]) == 1;
    }
    lab_settle();
    wire_set_judge(lab_wire, NULL, NULL);
    wire_release(lab_wire);
    for (int64_t start = clock_ns();
         server_counter("ListenOverflows") < overflows + UNDER_WAY - 1 && lab_waits(start, 10);)
        continue;
    lab_settle();
    int port = lab_port();
    *reset = (int)wire_count(lab_wire, is_reset, &port);
    *at_server = server_sockets(SOCKET_SYN_RECV).count;
    if (*reset > 0)
        lab_ladder(NULL,
                   &(struct ladder){
                       .title = "tcp_abort_on_overflow = 1: who thought to be connected is reset",
                       .keep = of_server,
                       .context = &port});
    for (int i = 0; i < UNDER_WAY; i++)
        close(clients[i]);
    go(&crowd);
    program_stop(busy);
    program_stop(server);
}

static void show_abort(void)
{
    int connected[2], at_server[2], reset[2];

    lab_say("three handshakes are under way when one place is left; their last segments are");
    lab_say("held back on the wire until all three clients are connected, as they think");
    for (int i = 0; i < 2; i++) {
        abort_on_overflow(i == 0 ? "0" : "1", &connected[i], &at_server[i], &reset[i]);
        program_show(false);
    }
    lab_table("tcp_abort_on_overflow\tclients connected\tof them SYN_RECV at the server\treset");
    for (int i = 0; i < 2; i++)
        lab_row("%d\t%d\t%d\t%d", i, connected[i], at_server[i], reset[i]);
    lab_table_end();
    lab_answer(connected[0]);
    lab_verdict(
        connected[0] == 3 && at_server[0] == 2 && reset[0] == 0,
        "0: two clients are connected, and half open at the server: accept never sees them");
    lab_verdict(connected[1] == 3 && reset[1] == 2, "1: both are reset at once");
    lab_look("server$ sysctl net.ipv4.tcp_abort_on_overflow; ss -tan state syn-recv");
}

static void show_clamp(void)
{
    struct crowd crowd;

    lab_set("net.core.somaxconn", "16");
    struct program *server = server_start("03-listen-queue", "--backlog 65535");
    struct program *busy = silent_client(server);
    come(&crowd, 17 + EXCESS);
    double effective = 0;
    program_numbers(server, "effective ", &effective, 1);
    lab_table("asked\tnet.core.somaxconn\teffective, as the server says\tconnected");
    lab_row("65535\t16\t%.0f\t%d", effective, crowd.connected);
    lab_table_end();
    lab_answer(crowd.connected);
    lab_verdict(effective == 16 && crowd.connected == 17,
                "the kernel cuts the backlog to net.core.somaxconn, without an error");
    lab_look("server$ sysctl net.core.somaxconn; ss -ltn   (Send-Q of a listener is its backlog)");
    go(&crowd);
    program_stop(busy);
}

static enum wire_verdict drop_syn_ack(const struct frame *frame, void *context)
{
    (void)context;
    return frame->tcp && frame->from == HOST_SERVER && frame->segment.flags & SEGMENT_SYN
               ? WIRE_DROP
               : WIRE_PASS;
}

/* Clients whose handshakes never get further than the server's SYN ACK. */
static void flood(const char *cookies, int *half_open, long *dropped, long *sent)
{
    enum { CLIENTS = 40 };
    int clients[CLIENTS];

    lab_set("net.ipv4.tcp_syncookies", cookies);
    lab_new_port();
    struct program *server = server_start("03-listen-queue", "--backlog 8");
    long dropped_before = server_counter("TCPReqQFullDrop");
    long sent_before = server_counter("SyncookiesSent");
    wire_set_judge(lab_wire, drop_syn_ack, NULL);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = lab_connect_later();
    for (int64_t start = clock_ns(); *half_open + *dropped + *sent < CLIENTS;) {
        *half_open = server_sockets(SOCKET_SYN_RECV).count;
        *dropped = server_counter("TCPReqQFullDrop") - dropped_before;
        *sent = server_counter("SyncookiesSent") - sent_before;
        if (!lab_waits(start, 5))
            break;
    }
    wire_set_judge(lab_wire, NULL, NULL);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    program_stop(server);
}

static void show_syn_queue(void)
{
    int half_open[2] = {0};
    long dropped[2] = {0}, sent[2] = {0};

    lab_say("40 SYNs come, and the SYN ACKs are lost on the wire: no handshake is ever complete");
    for (int i = 0; i < 2; i++) {
        flood(i == 0 ? "0" : "1", &half_open[i], &dropped[i], &sent[i]);
        program_show(false);
    }
    lab_table("tcp_syncookies\tbacklog\thalf open\tTCPReqQFullDrop\tSyncookiesSent");
    for (int i = 0; i < 2; i++)
        lab_row("%d\t8\t%d\t%ld\t%ld", i, half_open[i], dropped[i], sent[i]);
    lab_table_end();
    lab_answer(half_open[0]);
    lab_verdict(half_open[0] < 12 && dropped[0] > 25 && sent[0] == 0,
                "0: a full SYN queue drops all further SYNs");
    lab_verdict(half_open[1] < 12 && sent[1] > 25 && dropped[1] == 0,
                "1: they are answered all the same, with a cookie, and take no place");
    lab_look(
        "server$ nstat -az TcpExtSyncookiesSent TcpExtTCPReqQFullDrop; ss -tan state syn-recv");
}

static const struct part parts[] = {
    {.name = "backlog",
     .question = "How many clients can wait while the server is busy?",
     .run = show_backlog,
     .guess =
         "A server with --backlog 4 is busy with a client. Of ten others, how many are connected?",
     .unit = "clients",
     .needs_wire = true,
     .quick = true},
    {.name = "next-client",
     .question = "What does the client see that comes to a full queue?",
     .run = show_next_client,
     .guess = "A client comes to a full queue, and 2.5 s later there is room. When, in seconds "
              "from its first SYN, is it answered?",
     .unit = "seconds",
     .near = 0.1,
     .delay_ns = 10 * MILLISECOND,
     .needs_wire = true,
     .waits = true},
    {.name = "abort",
     .question = "Connected, but only at one end?",
     .run = show_abort,
     .guess = "Three handshakes are under way, and one place is left. How many clients think that "
              "they are connected?",
     .unit = "clients",
     .delay_ns = 5 * MILLISECOND,
     .needs_wire = true},
    {.name = "clamp",
     .question = "Can a backlog be as large as one likes?",
     .run = show_clamp,
     .guess = "A server asks for a backlog of 65535, and net.core.somaxconn is 16. Of 22 clients, "
              "how many are connected?",
     .unit = "clients",
     .needs_wire = true},
    {.name = "syn-queue",
     .question = "What if handshakes begin and never end?",
     .run = show_syn_queue,
     .guess = "A server has a backlog of 8. 40 SYNs come, and no handshake is ever complete. How "
              "many are half open?",
     .unit = "half-open connections",
     .near = 0.25,
     .needs_wire = true},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "03", "the accept queue and the SYN queue", parts);
}
