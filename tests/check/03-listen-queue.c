/* Stage 03: the queue before the door. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/check.h"

/* Keeps the server busy with one client, so that all others wait. A server that serves many at
   once takes --max-clients 1 for that. */
static int keep_busy(struct server *server)
{
    int client = connect_to(server);

    exchange(server, client, "x", 1);
    return client;
}

/* How many of the handshakes are over, waited for as long as not all are. */
static int handshakes(const int *clients, int count, double seconds)
{
    int done = 0;

    WITHIN (seconds, done == count) {
        done = 0;
        for (int i = 0; i < count; i++)
            done += connect_done(clients[i]);
    }
    return done;
}

/* So many connects, begun one after another; how many of the handshakes are over in the end. */
static int knock(struct server *server, int *clients, int count, double seconds)
{
    for (int i = 0; i < count; i++) {
        clients[i] = connect_begin(server);
        nap(0.001);
    }
    return handshakes(clients, count, seconds);
}

enum { BACKLOG = 4, KNOCKS = 7, MANY = 100 };

static void five_wait(void)
{
    int clients[KNOCKS];
    struct server *server = start_one_at_a_time("--backlog 4");
    int busy = keep_busy(server);
    int done = knock(server, clients, KNOCKS, 0.3);

    if (done >= BACKLOG + 1) {
        for (int i = 0; i < BACKLOG + 1; i++) {
            send_bytes(clients[i], "y", 1, SOON);
            shutdown(clients[i], SHUT_WR);
        }
        close(busy);
        for (int i = 0; i < BACKLOG + 1; i++)
            expect(server, clients[i], "y", 1, "y", 1);
        return;
    }
    so("the queue is shorter than 4: is the number that --backlog says (given.backlog) what "
       "listen is given?");
    fail("%d done", done);
}

static void no_more_than_five(void)
{
    int clients[KNOCKS];
    struct server *server = start_one_at_a_time("--backlog 4");

    keep_busy(server);
    int done = knock(server, clients, KNOCKS, 0.3);
    wait_for_rest(server); /* one that accepts all may not have had the time yet */
    if (done == BACKLOG + 1 && waiting(server) > 0)
        return;
    if (done > BACKLOG) /* those behind may have come too early, and come again after 1 s */
        done = handshakes(clients, KNOCKS, SOON);
    wait_for_rest(server);
    if (done > BACKLOG + 1 && waiting(server) == 0)
        so("nobody waits: all were accepted, while the first client was being served. Up to 07 a "
           "server takes one after another; from 08 on --max-clients 1 does it");
    else
        so("the listener's backlog is not 4: is the number that --backlog says (given.backlog) "
           "what listen(2) was given?");
    fail("%d done", done);
}

static void many_without_the_option(void)
{
    static int clients[MANY];
    struct server *server = start_one_at_a_time("");

    keep_busy(server);
    int done = knock(server, clients, MANY, 1);
    if (done == MANY)
        return;
    so("without --backlog the queue is as long as the system allows (net.core.somaxconn; in C "
       "SOMAXCONN will do): what is listen given then?");
    fail("%d done", done);
}

#define READ "docs/03-listen-queue.md#the-lines-that-matter"

const struct step steps_03[] = {
    {"with --backlog 4 five clients can wait",
     "7 connects while the server was busy with one client (--backlog 4), then that one left",
     "5 connects done, and these 5 clients answered in the end",
     READ,
     {"Where do clients wait whom nobody has accepted yet, and who says how many may?",
      "The second argument of listen is the backlog: given.backlog. Linux lets one more wait than "
      "it says."},
     NULL,
     five_wait},
    {"and no more than five",
     "7 connects while the server was busy with one client",
     "5 of them done, 2 still waiting for an answer to their SYN",
     READ,
     {"Which number does listen get when the server is started with --backlog 4?",
      "listen(listener, given.backlog), and nobody is accepted while the first client is being "
      "served."},
     "03.1",
     no_more_than_five},
    {"without --backlog a hundred can wait",
     "100 connects while the server was busy with one "
     "client, without --backlog",
     "100 of them done",
     READ,
     {"What is the backlog when nobody has named one?",
      "given.backlog is then what net.core.somaxconn allows at most. A small number of your own "
      "turns clients away in a rush."},
     "03.1",
     many_without_the_option},
    {0},
};
