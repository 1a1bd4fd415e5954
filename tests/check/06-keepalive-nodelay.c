/* Stage 06: when to send. */
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/socket_option.h"
#include "tests/check/check.h"
#include "tests/check/peer.h"

enum { TIMER_KEEPALIVE = 2 };

/* The timer of a connection that is idle: seconds until keep-alive asks, or -1 for none. */
static double keepalive_timer(const char *options)
{
    struct server *server = start(options);
    int client = connect_to(server);
    struct end end = {0};

    exchange(server, client, "x", 1);
    /* Until all is acknowledged the timer is that of a retransmission. */
    WITHIN (SOON, (end = server_end(server, client)).timer != 1)
        nap(0.02);
    if (!end.there)
        fail("the connection is gone");
    close(client);
    kill_server(server);
    return end.timer == TIMER_KEEPALIVE ? end.timer_seconds : -1;
}

static void keepalive_is_on(void)
{
    double seconds = keepalive_timer("");

    if (seconds < 0) {
        so("SO_KEEPALIVE (SOL_SOCKET) is not set: on the listener it is inherited by every "
           "connection");
        fail("no timer");
    }
    if (seconds > 1801) {
        so("SO_KEEPALIVE is set, TCP_KEEPIDLE is not: the kernel's own time is 7200 s. Its unit is "
           "the second");
        fail("a timer of %.0f s", ceil(seconds));
    }
    if (seconds < 1700) {
        so("TCP_KEEPIDLE is the silence before the first question, given.keepalive_idle, in "
           "seconds; TCP_KEEPINTVL is the time between questions");
        fail("a timer of %.0f s", ceil(seconds));
    }
}

static void keepalive_idle(void)
{
    double seconds = keepalive_timer("--keepalive-idle 20");

    if (seconds < 15 || seconds > 21) {
        so("TCP_KEEPIDLE (IPPROTO_TCP) gets given.keepalive_idle, in seconds");
        if (seconds < 0)
            fail("no timer");
        fail("a timer of %.0f s", ceil(seconds));
    }
    did("started it with --keepalive off");
    expected("no timer");
    seconds = keepalive_timer("--keepalive off");
    if (seconds >= 0) {
        so("given.keepalive is the value for SO_KEEPALIVE: 0 leaves it off");
        fail("a timer of %.0f s", ceil(seconds));
    }
}

static void vanished_client(void)
{
    struct server *server = start("--keepalive-idle 1 --keepalive-interval 1 --keepalive-count 2");
    int client = connect_to(server);
    struct end end = {0};

    exchange(server, client, "x", 1);
    /* The answer is acknowledged: what is unacknowledged is not keep-alive's affair. */
    WITHIN (SOON, (end = server_end(server, client)).unsent == 0)
        nap(0.02);
    vanish(client);
    WITHIN (6, !(end = server_end(server, client)).there)
        nap(0.02);
    if (end.there) {
        so("after TCP_KEEPIDLE comes a question each TCP_KEEPINTVL seconds, and after TCP_KEEPCNT "
           "of them without an answer the end: are all three set?");
        fail("6 s later the connection was still there");
    }
    if (has_ended(server, 0.05)) {
        so("recv returned -1 (ETIMEDOUT): that ends this connection, not the server");
        fail("the connection ended, and the server with it");
    }
}

enum { TRIES = 5 };

/* Milliseconds that the answers to two small messages take, in five connections, the shortest
   first. Both messages are there before the server looks at the first: it is busy with another
   client until then. It gets them one by one, as an urgent byte between them ends the first recv;
   and the client does not acknowledge at once. */
static void two_answers(const char *options, double *times)
{
    struct server *server = start_one_at_a_time(options);

    for (int try = 0; try < TRIES; try++) {
        int busy = connect_to(server);
        exchange(server, busy, "x", 1);
        int client = connect_to(server), off = 0, there = 0;
        setsockopt(client, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
        send(client, "a!", 2, MSG_OOB);
        send(client, "b", 1, MSG_NOSIGNAL);
        int64_t begun = clock_ns();
        close(busy);
        WITHIN (SOON, ioctl(client, FIONREAD, &there) == 0 && there >= 2)
            continue;
        if (there < 2)
            fail("%d of 2 bytes came back", there);
        double time = clock_seconds_since(begun) * 1000;
        int place = try;
        for (; place > 0 && times[place - 1] > time; place--)
            times[place] = times[place - 1];
        times[place] = time;
        close(client);
    }
    kill_server(server);
}

static void nodelay(void)
{
    enum { AT_ONCE = 25 }; /* ms; a delayed ACK takes 40 */
    double on[TRIES] = {0}, off[TRIES] = {0};
    bool on_at_once = false;
    int off_at_once = 0;

    /* On a busy machine anything may take its time: what does so again and again is no accident. */
    for (int i = 0; i < 3 && !on_at_once; i++) {
        two_answers("", on);
        on_at_once = on[0] < AT_ONCE;
    }
    /* Nor are two that are early, where all should be late. */
    int rounds = on[TRIES - 1] < AT_ONCE ? 1 : 5;
    for (int i = 0; i < rounds && off_at_once < 2; i++) {
        two_answers("--nodelay off", off);
        for (int try = 0; try < TRIES; try++)
            off_at_once += off[try] < AT_ONCE;
    }
    if (off_at_once >= 2) {
        so("TCP_NODELAY is set although --nodelay off was given: given.nodelay is its value");
        fail("the second answer was there at once, with --nodelay off too");
    }
    if (!on_at_once) {
        so("TCP_NODELAY (IPPROTO_TCP) is not set: the second answer waits until the first is "
           "acknowledged (Nagle)");
        fail("the second answer came about 40 ms late");
    }
}

static long segments_of_50(const char *options)
{
    struct server *server = start(options);
    int client = connect_to(server);
    long before = 0, after;

    for (int i = 0; i < 100; i++) {
        if (i == 50)
            before = peer_value(client, PEER_SEGMENTS_IN);
        exchange(server, client, "x", 1);
    }
    after = peer_value(client, PEER_SEGMENTS_IN);
    if (after < 0)
        skip("TCP_INFO of this kernel does not count segments (Linux 4.2 does)");
    close(client);
    kill_server(server);
    return after - before;
}

static void quickack(void)
{
    long without = segments_of_50(""), with = segments_of_50("--quickack on");

    if (without > 80) {
        so("TCP_QUICKACK is set although nobody asked for it (given.quickack)");
        fail("%ld segments with the option, %ld without", with, without);
    }
    if (with < 80) {
        so("the kernel goes back to delaying by itself: TCP_QUICKACK has to be set before every "
           "recv, on the client's socket. Once is not enough, and on the listener it is none");
        fail("about as many with the option as without");
    }
}

static bool data_in_syn(struct server *server)
{
    int client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct tcp_info info;
    socklen_t size = sizeof info;
    char came[8];

    if (sendto(client, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof address) < 0)
        skip("no Fast Open for clients: %s", strerror(errno));
    struct reply reply = receive_bytes(client, came, 1, SOON);
    if (reply.size != 1)
        fail("no answer to a client that sent its data with the SYN");
    getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &size);
    shutdown(client, SHUT_WR);
    wait_for_end(client, SOON);
    close(client);
    return info.tcpi_options & TCPI_OPT_SYN_DATA;
}

static void fastopen(void)
{
    set_setting("net.ipv4.tcp_fastopen", "3");
    struct server *server = start("--fastopen 8");

    data_in_syn(server); /* gets the cookie */
    if (!data_in_syn(server)) {
        so("TCP_FASTOPEN (IPPROTO_TCP) is not set on the listener, or before bind or with 0: it "
           "gets given.fastopen, the length of its queue");
        fail("the server's SYN ACK acknowledged the SYN alone: the data was sent again");
    }
    kill_server(server);
    did("the same without the option");
    expected("nothing of it");
    server = start("");
    if (data_in_syn(server)) {
        so("given.fastopen is 0 unless --fastopen N was given: then nothing is set");
        fail("Fast Open works");
    }
}

#define READ(part) "docs/06-keepalive-nodelay.md#" part

const struct step steps_06[] = {
    {"it asks a silent client after 1800 s whether it is still there",
     "one byte, had it back, then looked at the connection's timer (/proc/net/tcp)",
     "keep-alive's timer, at 1800 s",
     READ("keep-alive"),
     {"How would a server notice that a client's machine is gone, if it has nothing to send?",
      "Two options on the listener, inherited by each connection: SOL_SOCKET SO_KEEPALIVE "
      "(given.keepalive) and IPPROTO_TCP TCP_KEEPIDLE (given.keepalive_idle)."},
     NULL,
     keepalive_is_on},
    {"--keepalive-idle and --keepalive say when, and whether",
     "started it with --keepalive-idle 20",
     "keep-alive's timer, at 20 s",
     READ("keep-alive"),
     {"Where do the 1800 s of your program stand?",
      "given.keepalive_idle and given.keepalive have the values; a switch that is off is 0."},
     "06.1",
     keepalive_idle},
    {"a client that vanished is given up",
     "let nothing through to a client any more (--keepalive-idle 1 --keepalive-interval 1 "
     "--keepalive-count 2)",
     "the connection gone after about 3 s, and a server that goes on",
     READ("keep-alive"),
     {"How many questions without an answer, and how far apart?",
      "TCP_KEEPINTVL (given.keepalive_interval) and TCP_KEEPCNT (given.keepalive_count), both "
      "IPPROTO_TCP, beside TCP_KEEPIDLE."},
     NULL,
     vanished_client},
    {"two small answers do not wait for each other",
     "two small messages, each with an answer of its own, with --nodelay on and off",
     "the second answer at once with it, about 40 ms late without",
     READ("nagle-and-delayed-acks"),
     {"The first answer is small and not acknowledged. May TCP send the second one?",
      "setsockopt on the listener: IPPROTO_TCP, TCP_NODELAY, given.nodelay."},
     NULL,
     nodelay},
    {"--quickack on acknowledges every message at once",
     "50 messages of one byte, without the option and with --quickack on",
     "50 segments back without the option (each answer acknowledges), 100 with it",
     READ("nagle-and-delayed-acks"),
     {"Does the option stay set?",
      "IPPROTO_TCP, TCP_QUICKACK, 1 on the client's socket, before each recv, if given.quickack."},
     NULL,
     quickack},
    {"--fastopen 8 takes data that comes with the SYN",
     "two clients that send a byte with their SYN; the first gets the cookie (--fastopen 8)",
     "the second's byte acknowledged by the SYN ACK",
     READ("fast-open"),
     {"What could travel with the first segment already?",
      "setsockopt on the listener: IPPROTO_TCP, TCP_FASTOPEN, given.fastopen, where that is more "
      "than 0."},
     NULL,
     fastopen},
    {0},
};
