/* Stage 09: one thread for all clients. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/check.h"
#include "tests/check/peer.h"

static void a_thousand_idle(void)
{
    enum { CLIENTS = 1000 };
    static int clients[CLIENTS];
    struct server *server = start("--max-clients 2000");
    int before = threads(server);

    if (before < 0)
        skip("/proc/%d/task cannot be read", server->pid);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = connect_to(server);
    exchange(server, clients[CLIENTS - 1], "last", 4);
    exchange(server, clients[0], "first", 5);
    int after = threads(server);
    if (after > before + 8) {
        so("a thread for each client: here one thread waits for all of them at once (epoll, poll, "
           "select), and no call waits for one alone");
        fail("%d threads before, %d with 1000 clients", before, after);
    }
}

static void no_work_no_time(void)
{
    struct server *server = start("");
    int clients[20];

    for (int i = 0; i < 20; i++) {
        clients[i] = connect_to(server);
        exchange(server, clients[i], "x", 1);
    }
    shutdown(clients[0], SHUT_WR);
    if (is_busy(server, 0.5)) {
        so("its wait returns at once, again and again: is it told of sockets that can be written "
           "(EPOLLOUT) while there is nothing to write, or of one that has ended and was not "
           "closed?");
        fail("it uses the processor all the time");
    }
}

static void slow_reader(void)
{
    struct server *server = start("");
    int slow = connect_small(server), client = connect_to(server);
    char came;

    exchange(server, client, "x", 1);
    fill_with_anything(server, slow);
    send_bytes(client, "y", 1, SOON);
    if (receive_bytes(client, &came, 1, SOON).size != 1) {
        so("send waits for the slow client, and everybody with it: its socket has to be "
           "non-blocking, and what send did not take is kept until there is room (EPOLLOUT)");
        fail("no answer within 2 s");
    }
    /* What was kept for it comes in the end. */
    size_t total = 0;
    char bytes[65536];
    struct reply reply = receive_bytes(slow, bytes, sizeof bytes, 1);
    while (reply.size > 0 && total < 1 << 20) {
        total += reply.size;
        reply = receive_bytes(slow, bytes, sizeof bytes, 0.5);
    }
    if (total < 1 << 18) {
        so("what send did not take has to be sent when there is room again: ask for EPOLLOUT while "
           "something is kept");
        fail("the slow client then read, and got %zu bytes", total);
    }
}

static void bounded_memory(void)
{
    struct server *server = start("");
    int client = connect_small(server);

    exchange(server, client, "x", 1);
    long before = resident_kib(server);
    size_t sent = fill_with_anything(server, client);
    long after = resident_kib(server);
    if (before > 0 && after > before + 8L * 1024) {
        so("it goes on receiving from a client that does not read its answers, and keeps them all: "
           "while there is much to send to a client, do not receive from it");
        fail("%ld KiB more memory after it had sent %zu KiB", after - before, sent / 1024);
    }
}

static void loops(void)
{
    struct server *server = start("--loops 2");
    int clients[40];

    WITHIN (SOON, listeners(server) >= 2)
        nap(0.02);
    if (listeners(server) != 2) {
        so("a loop is a thread with a listener and an epoll of its own; SO_REUSEPORT on all of the "
           "listeners lets them share the port (stage 02), and given.loops says how many");
        fail("%d listener on the port", listeners(server));
    }
    for (int i = 0; i < 40; i++)
        clients[i] = connect_to(server);
    for (int i = 0; i < 40; i++)
        exchange(server, clients[i], "x", 1);
    kill_server(server);
    did("started it without --loops");
    expected("one listener");
    server = start("");
    if (listeners(server) != 1)
        fail("%d listeners", listeners(server));
}

#define READ "docs/09-event-loop.md#the-lines-that-matter"

const struct step steps_09[] = {
    {"a thousand idle clients cost no thread",
     "1000 clients that say nothing, but for two",
     "answers for these two, and as many threads as before",
     READ,
     {"How can one thread wait for a thousand clients?",
      "epoll_create1, epoll_ctl for the listener and each client, and one epoll_wait that says "
      "which "
      "of them have something. No recv for one that has nothing."},
     NULL,
     a_thousand_idle},
    {"while nobody has work it uses no time",
     "20 silent clients for half a second",
     "next to no processor time",
     READ,
     {"Which event is true nearly all the time?",
      "Ask for EPOLLOUT only while something is kept to be sent; close what has ended."},
     "09.1",
     no_work_no_time},
    {"a client that does not read delays nobody",
     "one client sent all it could and read nothing; a second one sent a byte",
     "the second is answered, and the first gets what was kept when it reads",
     READ,
     {"What does send do on a blocking socket when the client's buffers are full?",
      "O_NONBLOCK on each client (accept4 with SOCK_NONBLOCK). send then takes what there is room "
      "for; the rest is kept in a struct for that client, and sent on EPOLLOUT."},
     "09.1",
     slow_reader},
    {"and its memory is bounded",
     "one client that sends without end and reads nothing",
     "8 MiB of memory at most for it",
     READ,
     {"Where do its bytes pile up?",
      "While something is kept for a client, do not ask for EPOLLIN: TCP's window then stops the "
      "client."},
     "09.1",
     bounded_memory},
    {"--loops 2 runs two loops on one port",
     "started it with --loops 2",
     "two listeners on the port",
     READ,
     {"How did two servers share a port in stage 02?",
      "SO_REUSEPORT on the listener of each loop; each loop is a thread that opens its own "
      "listener "
      "and its own epoll."},
     NULL,
     loops},
    {0},
};
