/* Stage 04: how long to wait. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/check.h"

static void silent_is_closed(void)
{
    struct server *server = start("--timeout 0.5");
    int client = connect_to(server);
    int64_t silent =
        clock_ns(); /* from before the byte: the server waits from some time after it */

    exchange(server, client, "x", 1);
    enum ending ending = wait_for_end(client, SOON + 0.5);
    double seconds = clock_seconds_since(silent);
    if (has_ended(server, 0.02)) {
        so("recv returned -1 (EAGAIN) after the time: that closes this client, and the server "
           "goes on");
        fail("the client was closed, since %s", how_it_ended(server));
    }
    if (ending == OPEN) {
        if (is_busy(server, 0.2)) {
            so("something returns at once, again and again: after a timeout recv returns -1, and "
               "that ends the connection; an event loop waits for nothing but what it needs");
            fail("2.5 s later the connection was still open, and the server uses the processor "
                 "all the time");
        }
        so("is SO_RCVTIMEO set on the accepted socket, as a struct timeval (0.5 s are tv_sec 0 and "
           "tv_usec 500000; both 0 is no limit), and is the client closed when recv returns -1?");
        fail("2.5 s later the connection was still open");
    }
    if (seconds < 0.4) {
        so("0.5 s is tv_sec 0 and tv_usec 500000: is the fraction lost, or is the unit wrong?");
        fail("it was closed at once");
    }
    close(client);
}

static void next_is_served(void)
{
    struct server *server = start("--timeout 0.5");
    int silent = connect_to(server), next = connect_to(server);

    send_bytes(next, "next", 4, SOON);
    expect(server, next, "next", 4, "next", 4);
    close(silent);
    close(next);
    nap(0.7);
    if (has_ended(server, 0)) {
        so("the time to wait is the listener's: accept returned -1 (EAGAIN) when nobody came, and "
           "that ended the server. SO_RCVTIMEO belongs on the accepted socket");
        fail("0.7 s later, with nobody there, %s", how_it_ended(server));
    }
}

static void who_talks_stays(void)
{
    struct server *server = start("--timeout 0.6");

    for (int try = 0; try < 3; try++) {
        int client = connect_to(server), answers = 0;
        double longest = 0;
        int64_t last = clock_ns();
        for (; answers < 6; answers++) {
            char letter = (char)('a' + answers), came;
            send_bytes(client, &letter, 1, SOON);
            if (clock_seconds_since(last) > longest)
                longest = clock_seconds_since(last);
            last = clock_ns();
            struct reply reply = receive_bytes(client, &came, 1, SOON);
            if (reply.size != 1 || came != letter)
                break;
            nap(0.2);
        }
        close(client);
        if (answers == 6)
            return;
        if (longest > 0.4)
            continue; /* it was not the server that was late */
        so("the time is for one recv, and begins anew with each: it is not for the whole "
           "connection");
        fail("%.1f s after it came the client was closed, %d answers had come", 0.2 * answers,
             answers);
    }
    skip("this machine is too busy to send a byte each 0.2 s");
}

static bool connection_is_over(struct server *server, int client)
{
    struct end end = server_end(server, client);

    return !end.there || end.state != TCP_STATE_ESTABLISHED;
}

/* Whether the server's end is over so many seconds after the last byte has moved. What seemed full
   may not be so for ever: where a window opens by a little, a send that takes a few bytes more
   waits anew. */
static bool is_over_after_rest(struct server *server, int client, double seconds)
{
    enum { LONGEST = 20 };
    struct end last = server_end(server, client);
    struct limit limit = limit_of(seconds);
    int64_t begun = clock_ns();

    while (!connection_is_over(server, client) && time_left(&limit) > 0) {
        nap(0.02);
        struct end now = server_end(server, client);
        bool moved = now.unsent != last.unsent || now.unread != last.unread;
        if (moved && clock_seconds_since(begun) < LONGEST)
            limit = limit_of(seconds);
        last = now;
    }
    return connection_is_over(server, client);
}

static void who_does_not_read_is_closed(void)
{
    /* Where the sending alone takes longer than the limit, this client may have paused for as long,
       on a busy machine, and been closed for that. Then the same with a longer limit. */
    static const char *const options[] = {"--timeout 0.3", "--timeout 1", "--timeout 3"};
    static const double seconds[] = {0.3, 1, 3};
    enum { LAST = sizeof seconds / sizeof seconds[0] - 1 };
    struct server *server;
    int client, try = 0;

    for (;; try++) {
        did("sent as much as there was room for, and read nothing (%s)", options[try]);
        server = start(options[try]);
        client = connect_small(server);
        int64_t begun = clock_ns();
        if (fill_with_anything(server, client) >= FILLED) {
            so("it goes on receiving from a client that reads none of its answers, and keeps them "
               "all: while something is unsent to a client, do not receive from it");
            fail("the client could send %d MiB, and the server took them all", FILLED >> 20);
        }
        if (try == LAST || has_ended(server, 0) || clock_seconds_since(begun) < seconds[try])
            break;
        close(client);
        kill_server(server);
    }
    bool is_over = is_over_after_rest(server, client, seconds[try] + SOON);
    if (has_ended(server, 0.02)) {
        so("a send that timed out closes that client, and the server goes on");
        fail("the connection was closed, since %s", how_it_ended(server));
    }
    if (!is_over) {
        so("the server is held up in send: SO_SNDTIMEO is for send what SO_RCVTIMEO is for recv; "
           "and a send that returns -1 ends the "
           "connection. In an event loop no socket blocks");
        struct end end = server_end(server, client);
        fail("%.1f s after the limit the connection was still open, with %ld bytes unsent and %ld "
             "unread",
             SOON, end.unsent, end.unread);
    }
    close(client);
    client = connect_to(server);
    exchange(server, client, "x", 1);
}

static void accept_timeout_harms_nobody(void)
{
    struct server *server = start("--accept-timeout 0.2");
    nap(0.6);
    if (has_ended(server, 0)) {
        so("accept returned -1 (EAGAIN): nobody came for a while. The loop goes on with the next "
           "accept");
        fail("after 0.6 s without a client %s", how_it_ended(server));
    }
    int client = connect_to(server);
    exchange(server, client, "x", 1);
    nap(0.5);
    send_bytes(client, "y", 1, SOON);
    char came;
    struct reply reply = receive_bytes(client, &came, 1, SOON);
    if (reply.size != 1) {
        so("an accepted socket inherits SO_RCVTIMEO from the listener: without --timeout it has "
           "to be set back to 0 on the accepted socket");
        fail("a client that was silent for 0.5 s was closed, although no --timeout was given");
    }
    close(client);
}

static void user_timeout_ends_who_never_reads(void)
{
    struct server *server = start("--user-timeout 0.5");
    int client = connect_small(server);

    fill_with_anything(server, client);
    WITHIN (5, connection_is_over(server, client))
        nap(0.02);
    if (!connection_is_over(server, client)) {
        so("is TCP_USER_TIMEOUT set on the listener (who is accepted inherits it) or on the "
           "accepted socket? Its unit is the millisecond: 0.5 s are 500");
        fail("5 s later the connection was still there");
    }
    WITHIN (SOON, has_ended(server, 0) || listeners(server) > 0)
        nap(0.02);
    close(client);
    client = connect_to(server);
    exchange(server, client, "x", 1);
}

#define READ "docs/04-timeout.md#the-lines-that-matter"

const struct step steps_04[] = {
    {"--timeout 0.5 closes a client that is silent for so long",
     "one byte, had it back, then said nothing (--timeout 0.5)",
     "the connection closed after 0.5 s, and not much before",
     READ,
     {"In which call is the server while the client says nothing, and what could end that call?",
      "setsockopt on the accepted socket: SOL_SOCKET, SO_RCVTIMEO and a struct timeval with whole "
      "seconds and microseconds. When the time is up, recv returns -1."},
     NULL,
     silent_is_closed},
    {"and serves the next one",
     "a silent client, and a second one behind it; then nobody for 0.7 s (--timeout 0.5)",
     "the second is answered within 2 s, and the server goes on",
     READ,
     {"What happens after a recv that returned -1?",
      "The loop for this client ends, close(client), and accept comes again."},
     "04.1",
     next_is_served},
    {"a client that talks in time stays",
     "a byte each 0.2 s, six times (--timeout 0.6)",
     "six answers",
     READ,
     {"Is the time for a call, or for the whole connection?",
      "SO_RCVTIMEO is for each single recv. An alarm or a clock of your own would have to begin "
      "anew with each byte that comes."},
     "04.1",
     who_talks_stays},
    {"a client that does not read is closed too",
     "sent as much as there was room for, and read nothing (--timeout 0.3)",
     "the connection closed, and the next client answered",
     READ,
     {"In which call is the server now?",
      "SO_SNDTIMEO is the same for send. A send that timed out returns -1, or fewer bytes than it "
      "was given, and the next one -1."},
     NULL,
     who_does_not_read_is_closed},
    {"--accept-timeout ends no server and no client",
     "no client for 0.6 s, then one that was silent for 0.5 s (--accept-timeout 0.2)",
     "both times an answer",
     READ,
     {"Which socket has the time to wait in accept, and who inherits it?",
      "SO_RCVTIMEO on the listener. accept then returns -1 with EAGAIN, and the loop goes on. An "
      "accepted socket inherits the time, so its own is always set, 0 for none."},
     NULL,
     accept_timeout_harms_nobody},
    {"--user-timeout 0.5 ends a connection on which nothing gets through",
     "sent as much as there was room for, and read nothing (--user-timeout 0.5)",
     "the connection gone within 5 s, and the next client answered",
     READ,
     {"Who waits here: your program, or TCP for an acknowledgement?",
      "setsockopt on the listener: IPPROTO_TCP, TCP_USER_TIMEOUT, an unsigned int in "
      "milliseconds."},
     NULL,
     user_timeout_ends_who_never_reads},
    {0},
};
