/* Stage 08: many clients at once, up to a limit, and a clean end. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/check.h"

static void silent_delays_nobody(void)
{
    struct server *server = start("");
    int silent = connect_to(server), client = connect_to(server);
    char came;

    send_bytes(client, "x", 1, SOON);
    if (receive_bytes(client, &came, 1, SOON).size != 1) {
        so("the silent client is served, and the other waits: each client needs somebody who "
           "waits for it alone (a thread), or nobody may wait for one");
        fail("no answer within 2 s");
    }
    close(client);
    close(silent);
}

static void fifty_at_once(void)
{
    enum { CLIENTS = 50 };
    struct server *server = start("");
    int clients[CLIENTS];

    for (int i = 0; i < CLIENTS; i++)
        clients[i] = connect_to(server);
    for (int round = 0; round < 3; round++) {
        char text[64];
        for (int i = 0; i < CLIENTS; i++) {
            snprintf(text, sizeof text, "client %d, round %d", i, round);
            send_bytes(clients[i], text, strlen(text), SOON);
        }
        for (int i = 0; i < CLIENTS; i++) {
            char came[64];
            snprintf(text, sizeof text, "client %d, round %d", i, round);
            struct reply reply = receive_bytes(clients[i], came, strlen(text), SOON);
            if (reply.size == strlen(text) && memcmp(came, text, reply.size) == 0)
                continue;
            if (reply.size > 0)
                so("what belongs to one client is seen by another: each thread needs a buffer and "
                   "a descriptor of its own, not a variable that main goes on to change");
            else
                so("is what a thread is given (the descriptor) its own copy? A pointer to a "
                   "variable of main's loop shows the next client's");
            fail("one of the 50 got %s", reply.size == 0 ? "no answer" : quoted(came, reply.size));
        }
    }
}

static void a_limit(void)
{
    struct server *server = start("--max-clients 2");
    int first = connect_to(server), second = connect_to(server), third = connect_to(server);
    char came;

    exchange(server, first, "1", 1);
    exchange(server, second, "2", 1);
    send_bytes(third, "3", 1, SOON);
    struct reply reply = receive_bytes(third, &came, 1, 0.3);
    if (reply.size > 0) {
        so("nobody counts the clients: a place is taken before accept, and given back when the "
           "client has gone (given.max_clients)");
        fail("the third was answered while two were there");
    }
    if (reply.ending != OPEN) {
        so("who is too many is not turned away: as long as accept is not called, the queue of "
           "stage 03 holds them");
        fail("the third's connection was %s", reply.ending == RESET ? "reset" : "closed");
    }
    close(first);
    if (receive_bytes(third, &came, 1, SOON).size != 1) {
        so("is a place given back when a client has gone?");
        fail("one has gone, and 2 s later the third had no answer");
    }
}

static void nothing_left(void)
{
    enum { CLIENTS = 200 };
    struct server *server = start("");
    int clients[CLIENTS], threads_before = threads(server);
    int descriptors_before = descriptors(server), threads_after = 0, descriptors_after = 0;

    if (descriptors_before < 0)
        skip("/proc/%d cannot be read", server->pid);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = connect_to(server);
    for (int i = 0; i < CLIENTS; i++)
        exchange(server, clients[i], "x", 1);
    long before = resident_kib(server);
    for (int i = 0; i < CLIENTS; i++)
        i % 2 == 0 ? reset(clients[i]) : (void)close(clients[i]);
    WITHIN (SOON, (threads_after = threads(server)) <= threads_before + 20 &&
                      (descriptors_after = descriptors(server)) <= descriptors_before + 20)
        continue;
    descriptors_after = descriptors(server);
    if (threads_after > threads_before + 20) {
        so("threads go on when their client has gone: recv that returns 0 or -1 ends the loop, and "
           "the function");
        fail("%d threads before, %d after", threads_before, threads_after);
    }
    if (descriptors_after > descriptors_before + 20) {
        so("is close(client) called at the end of each thread?");
        fail("%d descriptors before, %d after", descriptors_before, descriptors_after);
    }
    /* A thread that nobody joins keeps its stack: twenty times as many clients show it. */
    for (int i = 0; i < 5 * CLIENTS; i++) {
        int client = connect_to(server);
        exchange(server, client, "x", 1);
        close(client);
    }
    long after = resident_kib(server);
    if (before > 0 && after > before + 15L * CLIENTS) {
        so("something stays with each client that has gone: a thread that is neither joined nor "
           "detached keeps its stack (pthread_detach), and what was allocated is to be freed");
        fail("%ld KiB of memory with 200 clients there, %ld KiB after 1000 more had come and gone",
             before, after);
    }
}

static void ask_to_stop(struct server *server)
{
    server->stopped = true;
    kill(server->pid, SIGTERM);
}

static void a_clean_end(void)
{
    enum { SIZE = 60000 };
    static char sent[SIZE], came[SIZE + 1];
    struct server *server = start("--send-buffer 4096 --grace 5");
    int client = connect_small(server);

    memset(sent, 'x', SIZE);
    send_bytes(client, sent, SIZE, SOON);
    shutdown(client, SHUT_WR);
    nap(0.1);
    wait_for_rest(server);
    ask_to_stop(server);
    if (has_ended(server, 0.3)) {
        so("SIGTERM ends it where it stands: a handler, or a thread that waits for it, stops the "
           "accepting, and main waits for the clients that are there");
        fail("it was gone within 0.3 s, in the middle of an answer");
    }
    struct reply reply = receive_bytes(client, came, SIZE + 1, SOON);
    if (reply.size != SIZE) {
        so("who was accepted gets his answer: main waits for the clients that are there, for "
           "given.grace at most");
        fail("%zu of %d bytes came, then the connection was %s", reply.size, SIZE,
             reply.ending == RESET  ? "reset"
             : reply.ending == OPEN ? "silent"
                                    : "closed");
    }
    if (!has_ended(server, SOON)) {
        so("the last client has gone, so there is nobody to wait for");
        fail("all came, but 2 s later the server still ran");
    }
    did("asked it to stop while a client did not read its answer (--grace 0.5)");
    expected("an end within 2.5 s");
    server = start("--send-buffer 4096 --grace 0.5");
    client = connect_small(server);
    send_bytes(client, sent, SIZE, SOON);
    nap(0.1);
    wait_for_rest(server);
    ask_to_stop(server);
    if (!has_ended(server, SOON + 0.5)) {
        so("the wait for clients has an end: given.grace seconds");
        fail("it still ran");
    }
}

#define READ "docs/08-threaded.md#the-lines-that-matter"

const struct step steps_08[] = {
    {"a silent client delays nobody",
     "a client that says nothing, and a second one behind it",
     "the second is answered",
     READ,
     {"Who calls recv for the silent client, and who could serve the other one meanwhile?",
      "A thread for each client: pthread_create after accept, with the function that serves a "
      "client, and the descriptor as its argument. (In 09 instead: one epoll_wait for all.)"},
     NULL,
     silent_delays_nobody},
    {"fifty clients at once each get their own",
     "50 clients, three rounds, each with its own text",
     "each has its own text back",
     READ,
     {"Which variables do two threads share?",
      "What is declared inside the thread's function is its own; static and global variables, and "
      "those of main, are not. The descriptor is handed over by value."},
     "08.1",
     fifty_at_once},
    {"--max-clients 2 lets the third wait",
     "three clients (--max-clients 2)",
     "two answered, the third when one of them has gone",
     READ,
     {"Where can a client wait that nobody has accepted?",
      "A counting semaphore with as many places as given.max_clients: sem_wait before accept, "
      "sem_post when a client has gone."},
     NULL,
     a_limit},
    {"clients that have gone leave nothing",
     "200 clients at once, half of them reset; then 1000, one after another",
     "as many threads, descriptors and as much memory as before",
     READ,
     {"What does a thread leave when its function has returned?",
      "A detached thread (pthread_detach, or an attribute) leaves nothing. close(client), and what "
      "was allocated for it, belong at the end of its function."},
     "08.1",
     nothing_left},
    {"SIGTERM lets an answer under way be finished",
     "asked it to stop (SIGTERM) while a client was still reading its answer of 60000 bytes "
     "(--grace 5)",
     "all 60000 bytes, then an end",
     READ,
     {"What has to stop at once, and what has to go on for a moment?",
      "A handler for SIGTERM that calls shutdown(listener, SHUT_RDWR), which ends accept; then "
      "main "
      "waits until all places are free (sem_timedwait), for given.grace at most."},
     NULL,
     a_clean_end},
    {0},
};
