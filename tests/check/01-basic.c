/* Stage 01: an echo server, one client after another. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/check.h"

static void starts_and_listens(void)
{
    struct server *server = start("");

    /* Whether it was seen to listen before it ended is a matter of the moment. */
    if (has_ended(server, 0.1))
        explain_no_listener(server);
    close(connect_to(server));
}

static void echoes(void)
{
    struct server *server = start("");
    int client = connect_to(server);

    exchange(server, client, "Hello\n", 6);
    close(client);
    /* What a string function would trip over. */
    client = connect_to(server);
    exchange(server, client, "a\0\xff\xfe z", 6);
    close(client);
}

static void two_sends(void)
{
    struct server *server = start("");
    int client = connect_to(server);

    exchange(server, client, "one", 3);
    exchange(server, client, "two", 3);
    send_bytes(client, "three", 5, SOON);
    exchange_for(server, client, "four", 4, "threefour", 9);
    close(client);
}

/* Bytes of which each place has its own, so that what is lost or moved shows. */
static char *numbered(size_t size)
{
    char *bytes = malloc(size);

    if (bytes == NULL)
        skip("no memory");
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i % 251);
    return bytes;
}

static void more_than_one_buffer(void)
{
    struct server *server = start("");
    int client = connect_to(server);
    char *bytes = numbered(100000);

    exchange(server, client, bytes, 100000);
    free(bytes);
    close(client);
}

static void late_reader(void)
{
    enum { SIZE = 8 << 20, ROUNDS = 8 };
    struct server *server = start("");
    int client = connect_small_segments(server);
    char *bytes = numbered(SIZE), *came = malloc(SIZE);
    size_t sent = 0, received = 0;
    struct reply reply = {0, OPEN};

    if (came == NULL)
        skip("no memory");
    /* As much as goes without reading. The send that waits may have taken nothing yet, and is then
       begun again as if it had not been interrupted: so there are some rounds; but not for a server
       that does not wait in its send, or does not answer. What is read in a round makes room for
       a new send that waits. */
    for (int round = 0; round < ROUNDS; round++) {
        sent += fill(server, client, bytes + sent, SIZE - sent);
        bool rests = interrupt(server);
        reply = receive_bytes(client, came + received, SIZE / (ROUNDS + 1), SOON);
        received += reply.size;
        if (!rests || reply.size == 0 || reply.ending != OPEN)
            break;
    }
    /* Then both, until all is through. */
    struct limit limit = limit_of(SOON);
    while (received < SIZE && reply.ending == OPEN && time_left(&limit) > 0) {
        ssize_t part = sent < SIZE ? send(client, bytes + sent, SIZE - sent, MSG_NOSIGNAL) : 0;
        if (part > 0)
            sent += (size_t)part;
        reply = receive_bytes(client, came + received, SIZE - received, 0.01);
        received += reply.size;
        if (part > 0 || reply.size > 0)
            limit = limit_of(SOON);
    }
    if (received == SIZE && memcmp(bytes, came, SIZE) == 0) {
        free(bytes);
        free(came);
        close(client);
        return;
    }
    size_t same = 0;
    while (same < received && bytes[same] == came[same])
        same++;
    so("send may take fewer bytes than it is given, and says how many: the rest has to be sent "
       "too, in a loop, which also waits where the connection is full (EAGAIN)");
    if (received == SIZE)
        fail("byte %zu came back as another", same + 1);
    fail("the client sent %zu bytes, %zu came back, then %s; the first that is missing is byte %zu",
         sent, received,
         reply.ending == RESET         ? "the connection was reset"
         : reply.ending == END_OF_FILE ? "the connection was closed"
                                       : "nothing more for 2 s",
         same + 1);
}

static void half_close(void)
{
    struct server *server = start("");
    int client = connect_to(server);
    char *bytes = numbered(50000), *came = malloc(50001);

    if (came == NULL)
        skip("no memory");
    send_bytes(client, bytes, 50000, SOON);
    shutdown(client, SHUT_WR);
    struct reply reply = receive_bytes(client, came, 50001, SOON);
    if (reply.size < 50000 && reply.ending != OPEN) {
        so("recv returns 0 when the client has ended its half; what came before still has to be "
           "answered, and only then comes close");
        fail("%zu of 50000 bytes came back, then the connection was %s", reply.size,
             reply.ending == RESET ? "reset" : "closed");
    }
    if (reply.size != 50000 || memcmp(bytes, came, 50000) != 0) {
        so("what came before the end of the stream is to be answered all the same");
        fail("%s came back", bytes_text(reply.size));
    }
    if (reply.ending == OPEN) {
        if (is_busy(server, 0.2))
            so("recv returns 0 again and again, and the server uses the processor all the time: "
               "the loop has to end when recv returns 0");
        else
            so("recv returns 0 at the end of the client's stream: then comes close(client), "
               "which ends the server's half");
        fail("all came back, but 2 s later the connection was still open");
    }
    if (reply.ending == RESET) {
        so("close comes before all is received");
        fail("all came back, then the connection was reset");
    }
    free(bytes);
    free(came);
    close(client);
}

static void next_client(void)
{
    struct server *server = start("");
    int first = connect_to(server);

    exchange(server, first, "first", 5);
    int second = connect_to(server);
    send_bytes(second, "second", 6, SOON);
    close(first);
    expect(server, second, "second", 6, "second", 6);
    close(second);
    int third = connect_to(server);
    exchange(server, third, "third", 5);
    close(third);
}

static void survives(struct server *server, const char *what)
{
    did("%s; then another client", what);
    fail_if_ended(server, 0.02);
    int client = connect_to(server);
    exchange(server, client, "still there?", 12);
    close(client);
}

static void one_that_resets(void)
{
    struct server *server = start("");
    int client = connect_to(server);

    exchange(server, client, "x", 1);
    reset(client);
    survives(server, "connected a client that reset its connection");
    /* It is in the middle of an answer when the client goes. */
    client = connect_small(server);
    fill_with_anything(server, client);
    reset(client);
    survives(server, "connected a client that reset its connection in the middle of an answer");
    client = connect_to(server);
    send_bytes(client, "x", 1, SOON);
    close(client);
    survives(server, "connected a client that closed without reading the answer");
    if (is_busy(server, 0.2)) {
        so("recv or send returns -1 again and again: an error ends that connection, and its loop");
        fail("the server uses the processor all the time");
    }
}

static void nothing_left_open(void)
{
    enum { CLIENTS = 200 };
    struct server *server = start("");
    int before = 0, after = 0;

    for (int i = 0; i < CLIENTS + 10; i++) {
        int client = connect_to(server);
        exchange(server, client, "x", 1);
        shutdown(client, SHUT_WR);
        if (wait_for_end(client, SOON) == OPEN) {
            so("close(client) ends the connection once recv has returned 0");
            fail("client %d ended its half; the server did not end its own within 2 s", i + 1);
        }
        close(client);
        if (i == 9) {
            nap(0.05);
            before = descriptors(server);
        }
    }
    if (before < 0)
        skip("/proc/%d/fd cannot be read", server->pid);
    WITHIN (1, (after = descriptors(server)) <= before + 3)
        continue;
    if (after > before + 3) {
        so("%s: is close(client) called for each, whichever way the loop is left?",
           after - before > CLIENTS - 10 ? "one descriptor stays open for each client"
                                         : "descriptors stay open");
        fail("%d descriptors open after 10 clients, %d after 210", before, after);
    }
}

static void ends_on_sigterm(void)
{
    struct server *server = start("");

    wait_for_rest(server);
    stop(server);
    server = start("");
    int client = connect_to(server);
    exchange(server, client, "x", 1);
    did("asked it to stop (SIGTERM) while a client was connected, and silent");
    /* From 08 on a stop leaves an answer under way some time; this one is none. */
    shutdown(client, SHUT_WR);
    stop(server);
}

#define READ "docs/01-basic.md#the-lines-that-matter"

const struct step steps_01[] = {
    {"it listens on the port that --port says",
     "started it with --port {port}, and connected",
     "a listening socket on port {port} within 2 s, and a server that stays",
     READ,
     {"Which calls turn a program into a server that can be reached? There are three of them "
      "before the first client comes, and one in a loop.",
      "socket(2), bind(2) with 127.0.0.1 and the port (in C: htons(port)), listen(2), then "
      "accept(2) in a loop that never ends; each comment of the skeleton is the place of one."},
     NULL,
     starts_and_listens},
    {"it sends back what a client sends",
     "a client that sends 'Hello\\n', and one that sends six bytes, "
     "a zero among them",
     "the same bytes back, each time",
     READ,
     {"What does recv return, and what would send have to be given?",
      "recv(2) puts the bytes into a buffer and returns how many. send(2) gets the same buffer and "
      "just that number; strlen is for text, and these are bytes."},
     NULL,
     echoes},
    {"it answers one message after another",
     "sent 'one' and had it back, then 'two', then 'three' and 'four' at once",
     "each of them back, on the same connection",
     READ,
     {"How often is recv called for one client, and how often should it be?",
      "A loop around recv and send. It goes on while recv returns more than 0; 0 is the end of "
      "the client's stream, -1 an error: both end it."},
     NULL,
     two_sends},
    {"it answers more than one buffer holds",
     "sent 100000 bytes at once",
     "the same 100000 bytes back",
     READ,
     {"How large is the buffer, and what happens to byte 4097?",
      "recv brings what has arrived, at most the buffer's size; the rest waits for the next recv. "
      "The loop of the step before does it, if nothing in it counts on one message being one "
      "recv."},
     "01.3",
     more_than_one_buffer},
    {"nothing is lost when the client reads late",
     "sent 8388608 bytes and read only when no more went in; each time that happened stopped the "
     "server and had it go on first (SIGSTOP, SIGCONT, as Ctrl-Z and fg do)",
     "all bytes back, in order",
     READ,
     {"send waits while the client's buffers are full. What does it return when it is interrupted "
      "before it has got rid of everything?",
      "Where send takes fewer bytes than it was given, it says how many. A function that sends "
      "all of them calls send again with the rest until none is left."},
     NULL,
     late_reader},
    {"a client that has ended its half still gets its answer",
     "sent 50000 bytes and shut down the sending half (SHUT_WR), then read",
     "50000 bytes back, then the end of the stream",
     READ,
     {"recv has returned 0. What is over then, and what is not?",
      "0 means that the client sends no more; it still receives. So first everything is answered, "
      "then comes the server's own end: shutdown(client, SHUT_WR) or close(client)."},
     NULL,
     half_close},
    {"the next client is served when one has gone",
     "connected a client, a second while the first was there, closed the first; then a third",
     "each is answered when its turn comes",
     READ,
     {"What does the program do when a client has gone?",
      "accept stands in a loop that never ends; close(client) stands at the end of that loop, and "
      "the listener is never closed."},
     "01.1",
     next_client},
    {"a client that resets its connection ends no more than that",
     "connected and reset the connection: idle, in the middle of an answer; and closed without "
     "reading the answer",
     "the next client is answered, each time",
     READ,
     {"What does send do on a connection whose other end is gone? Look for SIGPIPE in send(2).",
      "MSG_NOSIGNAL as the last argument of send: then it returns -1 and no signal comes. recv "
      "and send that return -1 end that connection, not the program."},
     NULL,
     one_that_resets},
    {"210 clients leave nothing open",
     "210 clients, one after another, each with one byte",
     "as many open descriptors after 210 as after 10",
     READ,
     {"How does the kernel know that the server is done with a connection?",
      "close(client) for each accepted socket, on every way out of the loop; `ls -l /proc/PID/fd` "
      "shows what is open."},
     "01.1",
     nothing_left_open},
    {"SIGTERM ends it",
     "asked it to stop (SIGTERM), with no client and with one",
     "an end within 2 s",
     READ,
     {"Is there a handler of yours for SIGTERM? What is the program doing when it comes?",
      "Without a handler SIGTERM ends a program, which is all that is wanted here. A handler that "
      "only sets a flag does not wake accept or recv."},
     "01.1",
     ends_on_sigterm},
    {0},
};
