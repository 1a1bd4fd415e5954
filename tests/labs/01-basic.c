/* A stream has no messages; a send may take a part; a stream can be ended in one direction; and how
   not to lose a reply. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stream.h"
#include "tests/labs/lab.h"
#include "tests/labs/program.h"

/* How many receives, of all sizes, the server has logged. */
static int receives(const struct program *server)
{
    return program_count(server, "received ");
}

/* Sends abc and def, as two segments. */
static int send_twice(void)
{
    int client = lab_connect();

    if (send_all(client, "abc", 3) < 0)
        lab_fail("send: %s", error_text(errno).text);
    for (int64_t start = clock_ns(); lab_unsent(client) > 0;)
        if (!lab_waits(start, 10))
            lab_fail("three bytes are not acknowledged");
    if (send_all(client, "def", 3) < 0)
        lab_fail("send: %s", error_text(errno).text);
    return client;
}

static void show_stream(void)
{
    char message[10001] = "";

    memset(message, 'x', sizeof message - 1);
    struct program *server = server_start("01-basic", "-v");
    struct program *one = client_run("01-basic", "-v %s", message);
    int sends_of_one = program_count(one, "sent "), receives_of_one = receives(server);

    /* While another client is served, both come, and wait together. */
    struct program *silent = silent_client(server);
    int two = send_twice();
    lab_say("  (another, of the lab's own, sends abc, then def, and waits for its turn)");
    for (int64_t start = clock_ns(); lab_unsent(two) > 0;)
        if (!lab_waits(start, 10))
            lab_fail("six bytes are not acknowledged");
    program_stop(silent);
    char reply[6];
    bool answered = receive_exactly(two, reply, sizeof reply) == sizeof reply &&
                    memcmp(reply, "abcdef", sizeof reply) == 0;
    close(two);
    int receives_of_two = receives(server) - receives_of_one;

    lab_table("sent\tcalls of send\tcalls of recv at the server");
    lab_row("10000 bytes at once\t%d\t%d", sends_of_one, receives_of_one);
    lab_row("2 times 3 bytes\t2\t%d", receives_of_two);
    lab_table_end();
    lab_answer(receives_of_one);
    lab_verdict(sends_of_one == 1 && receives_of_one > 1,
                "one send arrived in %d calls of recv, which take at most 4096 bytes each here: "
                "a stream has no messages",
                receives_of_one);
    lab_verdict(answered && receives_of_two == 1, "two sends arrived in one call of recv: abcdef");
    lab_look("client$ (printf abc; sleep 1; printf def) | nc -N 10.0.0.2 9999");
    program_stop(server);
}

/* Sends a request and ends its own sending with how: close() or shutdown(). Returns how many
   bytes of the reply came. */
static size_t request(size_t size, bool half_close)
{
    char *message = calloc(1, size);
    size_t received = 0;
    ssize_t count;
    int server = lab_connect();

    if (message == NULL || send_all(server, message, size) < 0)
        lab_fail("send: %s", error_text(errno).text);
    if (half_close) {
        shutdown(server, SHUT_WR);
        while ((count = recv(server, message, size, 0)) > 0)
            received += (size_t)count;
    }
    close(server);
    free(message);
    return received;
}

static bool is_reset(const struct frame *frame, void *context)
{
    (void)context;
    return frame->tcp && frame->from == HOST_CLIENT && frame->segment.flags & SEGMENT_RST;
}

static void show_half_close(void)
{
    enum { SIZE = 2000 };
    struct program *server = server_start("01-basic", " ");

    lab_say("a client sends %d bytes, and has nothing more to say: close(), or shutdown(SHUT_WR)",
            SIZE);
    size_t without = request(SIZE, false);
    program_says(server, "closed", 1);
    size_t resets;
    for (int64_t start = clock_ns();
         (resets = wire_count(lab_wire, is_reset, NULL)) == 0 && lab_waits(start, 10);)
        continue;
    lab_forget();
    size_t with = request(SIZE, true);
    lab_table("the client's end\tbytes of the reply\tresets from the client's kernel");
    lab_row("close()\t%zu\t%zu", without, resets);
    lab_row("shutdown(SHUT_WR), then recv until it returns 0\t%zu\t%zu", with,
            wire_count(lab_wire, is_reset, NULL));
    lab_table_end();
    lab_ladder(NULL,
               &(struct ladder){.title = "Half-close: the reply comes after the client's FIN"});
    lab_answer((double)without);
    lab_verdict(without == 0 && resets > 0 && with == SIZE,
                "to a closed socket no reply can come: it is answered with a reset; after "
                "shutdown(SHUT_WR) all %zu bytes of the reply still came",
                with);
    lab_look("client$ echo Hello | nc -N 10.0.0.2 9999   (-N: shutdown at end of file)");
    program_stop(server);
}

enum { REPLY_SIZE = 100000 };

/* What a server does that does not care for what is still unread when it closes. */
static void serve_carelessly(int client)
{
    static const char reply[REPLY_SIZE];
    int room = 2 * REPLY_SIZE;
    char bytes[100];

    /* So that send() only hands the reply to the kernel, and close() comes at once. */
    setsockopt(client, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (recv(client, bytes, sizeof bytes, 0) > 0)
        send_all(client, reply, sizeof reply);
}

/* Sends as much as it expects back. Returns how many bytes came, and how it ended. */
static size_t read_reply(size_t size, int *error)
{
    char *message = calloc(1, size);
    size_t received = 0;
    ssize_t count;
    int server = lab_connect();

    if (message == NULL)
        die("calloc");
    /* A reset is told only once, to the send or to the recv that comes next. */
    *error = send_all(server, message, size) < 0 ? errno : 0;
    shutdown(server, SHUT_WR);
    while ((count = recv(server, message, size, 0)) > 0)
        received += (size_t)count;
    if (count < 0)
        *error = errno;
    close(server);
    free(message);
    return received;
}

static void show_lost_reply(void)
{
    enum { SIZE = REPLY_SIZE };
    int careless_error = 0, careful_error;

    lab_say("a client sends %d bytes and reads %d; one server closes when it has said all, but",
            SIZE, SIZE);
    lab_say("has not read all; the other, of stage 01, reads to the end of the stream first:");
    pid_t careless = lab_serve(lab_listen(1), serve_carelessly);
    size_t without = SIZE;
    /* A machine that stands still between the server's send() and its close() hides it. */
    for (int i = 0; i < 5 && (without == SIZE || careless_error != ECONNRESET); i++) {
        lab_forget();
        without = read_reply(SIZE, &careless_error);
    }
    lab_ladder(NULL,
               &(struct ladder){.title = "close() with unread data: a reset, and the reply is lost",
                                .together_ns = 2 * MILLISECOND,
                                .at_most = 14});
    lab_end(careless);
    struct program *server = server_start("01-basic", " ");
    size_t with = read_reply(SIZE, &careful_error);

    lab_table("the server's end\tbytes of the reply\thow it ended at the client");
    lab_row("close() with unread data\t%zu of %d\t%s", without, SIZE,
            careless_error == 0 ? "end of file" : error_text(careless_error).text);
    lab_row("recv to end of file, shutdown(SHUT_WR), close()\t%zu of %d\t%s", with, SIZE,
            careful_error == 0 ? "end of file" : error_text(careful_error).text);
    lab_table_end();
    lab_answer((double)without);
    bool careful = with == SIZE && careful_error == 0;
    bool seen = careful && without < SIZE && careless_error == ECONNRESET;
    lab_timed_verdict(seen, careful ? 10 : INFINITY,
                      "closing over unread data reset the client, and lost %zu bytes of its reply",
                      SIZE - without);
    if (seen) {
        char before[64];
        snprintf(before, sizeof before, "%zu of %d bytes", without, SIZE);
        lab_compare("read to the end before close", before, "all of them",
                    without > 0 ? (double)with / (double)without : 0);
    }
    lab_look("server$ nstat -az TcpExtTCPAbortOnClose   (how often this host did it)");
    program_stop(server);
}

enum { SEND_SIZE = 4 << 20 };
static char send_bytes[SEND_SIZE];

/* Leaves the kernel little room for what is sent, so that send() has to wait. */
static void make_small(int client)
{
    int room = 65536;

    setsockopt(client, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
}

static void send_in_one_call(int client)
{
    make_small(client);
    send(client, send_bytes, sizeof send_bytes, MSG_NOSIGNAL);
}

static void send_in_a_loop(int client)
{
    make_small(client);
    send_all(client, send_bytes, sizeof send_bytes);
}

/* The letter for what the process does, of proc_pid_stat(5): S where it waits. */
static char state_of(pid_t process)
{
    char path[64], state = '?';

    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *file = fopen(path, "re");
    if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        lab_fail("read %s", path);
    fclose(file);
    return state;
}

/* A client connects and does not read. The server is stopped while it waits in send, and goes on;
   then the client reads. Returns how many bytes came. */
static size_t read_after_a_stop(void (*serve)(int client))
{
    pid_t server = lab_serve(lab_listen(1), serve);
    int client = lab_connect();
    size_t received = 0;
    ssize_t count;
    char byte;

    /* It has begun to send, and then it waits. */
    if (recv(client, &byte, 1, MSG_PEEK) != 1)
        lab_fail("recv: %s", error_text(errno).text);
    for (int64_t start = clock_ns(); state_of(server) != 'S' && lab_waits(start, 10);)
        continue;
    kill(server, SIGSTOP);
    for (int64_t start = clock_ns(); state_of(server) != 'T' && lab_waits(start, 10);)
        continue;
    kill(server, SIGCONT);
    /* Before there is room again, it has gone on. */
    for (int64_t start = clock_ns(); state_of(server) != 'S' && lab_waits(start, 10);)
        continue;
    while ((count = recv(client, send_bytes, sizeof send_bytes, 0)) > 0)
        received += (size_t)count;
    close(client);
    lab_end(server);
    return received;
}

static void show_part_of_a_send(void)
{
    lab_say("a client does not read; its server, which sends %d bytes, has to wait, and is",
            SEND_SIZE);
    lab_say("stopped and continued (SIGSTOP, SIGCONT: Ctrl-Z and fg); then the client reads all:");
    size_t once = read_after_a_stop(send_in_one_call);
    size_t loop = read_after_a_stop(send_in_a_loop);

    lab_table("the server sends\tbytes at the client");
    lab_row("in one call of send\t%zu of %d", once, SEND_SIZE);
    lab_row("in a loop, send_all\t%zu of %d", loop, SEND_SIZE);
    lab_table_end();
    lab_answer(once < SEND_SIZE ? 1 : 0);
    lab_verdict(once > 0 && once < SEND_SIZE && loop == SEND_SIZE,
                "a send that is interrupted while it waits returns what it has taken so far, here "
                "%zu of %d bytes; a loop sends the rest",
                once, SEND_SIZE);
}

static const struct part parts[] = {
    {.name = "stream",
     .question = "Does one send arrive as one recv?",
     .run = show_stream,
     .guess = "A client sends 10000 bytes in one call. The server asks for 4096 at a time: how "
              "many calls of recv bring them?",
     .unit = "calls of recv",
     .near = 0.4,
     .quick = true},
    {.name = "part-of-a-send",
     .question = "Does send take all that it is given?",
     .run = show_part_of_a_send,
     .guess = "A server is in send, and waits for room. Somebody presses Ctrl-Z, and then types "
              "fg. What does send do?",
     .choices = (const char *const[]){"it goes on waiting", "it returns, with a part of the bytes",
                                      "it returns -1, as it was interrupted", NULL},
     .quick = true},
    {.name = "half-close",
     .question = "Can a client say that it is done, and still listen?",
     .run = show_half_close,
     .guess = "A client sends 2000 bytes and calls close(), before the answer is there. How many "
              "bytes of the answer does it receive?",
     .unit = "bytes",
     .needs_wire = true,
     .delay_ns = 10 * MILLISECOND},
    {.name = "lost-reply",
     .question = "What if a server closes while there is still data to read?",
     .run = show_lost_reply,
     .guess = "A server has read 100 of 100000 bytes, sends 100000 and closes. A round trip is 20 "
              "ms. How many of them does the client receive?",
     .unit = "bytes",
     .near = 0.5,
     .delay_ns = 10 * MILLISECOND,
     .needs_wire = true,
     .quick = true},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "01", "bytes, not messages", parts);
}
