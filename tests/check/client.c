/* Clients, and what an answer that is not the expected one tells of the server. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/check.h"
#include "tests/check/run.h"

struct limit limit_of(double seconds)
{
    return (struct limit){clock_ns(), seconds, machine_delay()};
}

double time_left(const struct limit *limit)
{
    double left = limit->seconds - clock_seconds_since(limit->begun);

    /* Looked at only when it would be over: reading /proc costs time as well. */
    if (left > 0)
        return left;
    double delay = machine_delay() - limit->delay;
    left += delay < limit->seconds ? delay : limit->seconds;
    /* The delay is that of a server's main thread. Another one may not have had its turn yet. */
    if (left <= 0 && clock_seconds_since(limit->begun) < 2 * limit->seconds && servers_work())
        return 0.01;
    return left;
}

/* How many answers a client has had already, by its descriptor. */
enum { MOST_CLIENTS = 4096 };
static int answers[MOST_CLIENTS];

static int begin(const struct server *server, int receive_buffer, int segment)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (client < 0)
        skip("no socket: %s", strerror(errno));
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (receive_buffer > 0)
        setsockopt(client, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (segment > 0)
        setsockopt(client, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    answers[client % MOST_CLIENTS] = 0;
    if (connect(client, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        if (errno == EAGAIN || errno == EADDRNOTAVAIL)
            skip("no port left for a client");
        fail("connect: %s", strerror(errno));
    }
    return client;
}

int connect_begin(const struct server *server)
{
    return begin(server, 0, 0);
}

bool connect_done(int client)
{
    struct tcp_info info;
    socklen_t size = sizeof info;

    return getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           info.tcpi_state == TCP_ESTABLISHED;
}

void fail_if_ended(struct server *server, double seconds)
{
    if (server->stopped || !has_ended(server, seconds))
        return;
    explain_end(server);
    fail("%s", how_it_ended(server));
}

/* Clients then are refused, or those reset that waited for accept. */
static void report_closed_listener(struct server *server)
{
    if (listeners(server) > 0)
        return;
    fail_if_ended(server, 1); /* it may be just about to */
    so("close(listener) was called, which comes after the last client, or never: after "
       "close(client) the next accept needs it");
    fail("the server runs, but it does not listen any more");
}

static int finish(struct server *server, int client)
{
    struct pollfd ready = {.fd = client, .events = POLLOUT};
    int error = ETIMEDOUT;
    socklen_t size = sizeof error;

    WITHIN (SOON, poll(&ready, 1, 20) > 0)
        continue;
    /* Where nobody waits for accept there is room: the machine is slow, not the server. */
    WITHIN (5 * SOON, ready.revents != 0 || waiting(server) > 0)
        poll(&ready, 1, 20);
    if (ready.revents != 0)
        getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0)
        fail_if_ended(server, 0.1);
    if (error == ECONNREFUSED || error == ECONNRESET)
        report_closed_listener(server);
    if (error == ETIMEDOUT && waiting(server) > 0)
        so("the queue of those who wait for accept is full: does it call accept again?");
    if (error != 0)
        fail("connect: %s", strerror(error));
    return client;
}

int connect_to(struct server *server)
{
    return finish(server, begin(server, 0, 0));
}

int connect_small(struct server *server)
{
    return finish(server, begin(server, 4096, 0));
}

int connect_small_segments(struct server *server)
{
    return finish(server, begin(server, 4096, 536)); /* what every host takes (RFC 9293, 3.7.1) */
}

size_t send_bytes(int client, const void *bytes, size_t size, double seconds)
{
    size_t sent = 0;
    struct limit limit = limit_of(seconds);

    while (sent < size && time_left(&limit) > 0) {
        struct pollfd room = {.fd = client, .events = POLLOUT};
        poll(&room, 1, 20);
        ssize_t part = send(client, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);
        if (part > 0)
            sent += (size_t)part;
        else if (part < 0 && errno != EAGAIN && errno != EINTR)
            break;
    }
    return sent;
}

struct reply receive_bytes(int client, void *bytes, size_t size, double seconds)
{
    struct reply reply = {0, OPEN};
    struct limit limit = limit_of(seconds);

    while (reply.size < size) {
        struct pollfd ready = {.fd = client, .events = POLLIN};
        double left = time_left(&limit);
        if (left <= 0)
            break;
        poll(&ready, 1, (int)(left * 1000) + 1);
        ssize_t part = recv(client, (char *)bytes + reply.size, size - reply.size, 0);
        if (part > 0)
            reply.size += (size_t)part;
        else if (part == 0 || (errno != EAGAIN && errno != EINTR)) {
            reply.ending = part == 0 ? END_OF_FILE : RESET;
            break;
        }
    }
    return reply;
}

enum ending wait_for_end(int client, double seconds)
{
    char bytes[65536];
    struct limit limit = limit_of(seconds);
    struct reply reply = {0, OPEN};

    do
        reply = receive_bytes(client, bytes, sizeof bytes, time_left(&limit));
    while (reply.ending == OPEN && time_left(&limit) > 0);
    return reply.ending;
}

void reset(int client)
{
    struct linger now = {1, 0};

    setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(client);
}

size_t fill(const struct server *server, int client, const char *bytes, size_t size)
{
    size_t total = 0;
    bool rested = false;
    int64_t last = clock_ns();

    /* Nothing goes any more: not for a tenth of a second, nor when the server has done what it
       still had to do. */
    while (total < size) {
        ssize_t part = send(client, bytes + total, size - total, MSG_NOSIGNAL);
        if (part > 0) {
            total += (size_t)part;
            rested = false;
            last = clock_ns();
        } else if (errno != EAGAIN || rested) {
            break;
        } else if (clock_seconds_since(last) < 0.1) {
            nap(0.005);
        } else {
            wait_for_rest(server);
            rested = true;
        }
    }
    return total;
}

size_t fill_with_anything(const struct server *server, int client)
{
    char *zeros = calloc(1, FILLED);

    if (zeros == NULL)
        skip("no memory");
    size_t total = fill(server, client, zeros, FILLED);
    free(zeros);
    return total;
}

/* ---- bytes in words ---- */

const char *bytes_text(size_t size)
{
    static char texts[4][32];
    static int next;
    char *text = texts[next++ % 4];

    snprintf(text, sizeof texts[0], "%zu byte%s", size, size == 1 ? "" : "s");
    return text;
}

const char *quoted(const void *bytes, size_t size)
{
    static char texts[4][200];
    static int next;
    char *text = texts[next++ % 4];
    size_t length = 0;
    enum { MOST_SHOWN = 32 };

    text[length++] = '\'';
    for (size_t i = 0; i < size && i < MOST_SHOWN; i++) {
        unsigned char byte = ((const unsigned char *)bytes)[i];
        if (byte == '\n')
            length += (size_t)sprintf(text + length, "\\n");
        else if (byte < ' ' || byte > '~' || byte == '\\' || byte == '\'')
            length += (size_t)sprintf(text + length, "\\x%02x", byte);
        else
            text[length++] = (char)byte;
    }
    text[length++] = '\'';
    text[length] = '\0';
    if (size > MOST_SHOWN)
        sprintf(text + length, " … (%zu bytes)", size);
    return text;
}

/* ---- what was wrong with an answer ---- */

struct asked {
    struct server *server;
    int client;
    const char *sent;
    size_t sent_size;
    const char *wanted;
    size_t wanted_size;
    const char *came;
    struct reply reply;
};

/* Nothing, or not all, came within the time. */
static _Noreturn void explain_silence(const struct asked *asked)
{
    char rest[64];
    struct end end = server_end(asked->server, asked->client);
    const char *who = asked->reply.size == 0 ? "nothing came back within 2 s" : NULL;
    char some[256];

    if (who == NULL) {
        if (asked->reply.size <= 32)
            snprintf(some, sizeof some, "%s, then nothing more for 2 s",
                     quoted(asked->came, asked->reply.size));
        else
            snprintf(some, sizeof some, "%zu of %s came back, then nothing more for 2 s",
                     asked->reply.size, bytes_text(asked->wanted_size));
        who = some;
    }
    if (!has_ended(asked->server, 0) && end.there && end.state == TCP_STATE_SYN_RECV)
        so("the queue of those who wait for accept is full: does it call accept again?");
    else if (end.there && !end.accepted) {
        if (is_busy(asked->server, 0.2))
            so("nobody accepts this client, and the server uses the processor all the time: is "
               "it in a loop that does not end when recv returns 0?");
        else
            so("this client still waits for accept: the server is still with an earlier one, which "
               "has gone, or has left its loop. recv returns 0 then, or -1: that has to end the "
               "loop around recv, and close and the next accept come behind it");
    } else if (asked->reply.size + 1 == asked->wanted_size &&
               asked->wanted[asked->reply.size] == '\n')
        so("the '\\n' at the end is missing: is it taken off? Echo means the same bytes, all of "
           "them");
    else if (is_busy(asked->server, 0.2))
        so("it uses the processor all the time: is it in a loop that does not wait?");
    else if (asked->reply.size == 0) {
        if (asked->sent_size > 3 &&
            server_printed(asked->server, asked->sent, asked->sent_size - 1))
            so("it printed what came, and did not send it back: send(client, …) does that");
        else if (end.there && end.unread > 0)
            so("it accepted the client, and then did not receive: %ld bytes lie in the "
               "connection's receive buffer, unread",
               end.unread);
        else {
            shutdown(asked->client, SHUT_WR);
            struct reply late = receive_bytes(asked->client, rest, sizeof rest, 1);
            if (late.size > 0) {
                so("the answer was there, but was held back until the client ended its stream: "
                   "printed to a buffer and not flushed (fflush, flush), or is the server "
                   "waiting for the end of the stream before it answers?");
                fail("%s; once the client had ended its half, %s came", who, bytes_text(late.size));
            }
            so("it received the bytes and sent none: is there a send behind the recv, on the "
               "client's socket and not the listener's?");
        }
    } else if (end.there && end.unread > 0)
        so("it stopped receiving: %ld bytes lie unread. Is there a loop around recv?", end.unread);
    else
        so("it received all and sent a part: is what send returns less than it was given? The "
           "rest has to be sent too, in a loop");
    fail("%s", who);
}

static size_t common_prefix(const char *a, const char *b, size_t size)
{
    size_t same = 0;

    while (same < size && a[same] == b[same])
        same++;
    return same;
}

static void explain(const struct asked *asked)
{
    size_t came = asked->reply.size, wanted = asked->wanted_size;
    size_t same = common_prefix(asked->came, asked->wanted, came < wanted ? came : wanted);
    const char *nul = memchr(asked->sent, '\0', asked->sent_size);
    int before = answers[asked->client % MOST_CLIENTS];
    bool cut_at_zero =
        nul != NULL && nul > asked->sent && came == (size_t)(nul - asked->sent) && same == came;

    if (came > wanted && same == wanted) {
        bool zeros = asked->came[wanted] == '\0';
        so("%s were sent and more came: send gets the number that recv returned, not the size of "
           "the buffer%s",
           bytes_text(asked->sent_size), zeros ? "" : "; what follows was in the buffer before");
        fail("%s, and at least %s behind them", quoted(asked->came, wanted),
             bytes_text(came - wanted));
    }
    if (came == wanted && same == wanted)
        return;
    fail_if_ended(asked->server, 0.1);
    if (asked->reply.ending != OPEN)
        report_closed_listener(asked->server);
    if (same < came) {
        size_t zeros = 0;
        while (same + zeros < came && asked->came[same + zeros] == '\0')
            zeros++;
        if (wanted > 64 && asked->sent == asked->wanted) {
            if (zeros > 0)
                so("zeros that nobody sent: does send get the number that recv returned?");
            else
                so("bytes are lost or in the wrong place from there on: does send have a short "
                   "count, and is the rest sent too?");
            fail("%s came, different from what was sent from byte %zu on", bytes_text(came),
                 same + 1);
        }
        if (nul != NULL && (size_t)(nul - asked->sent) == same)
            so("from the zero byte on it is another: these bytes are no text. strlen and strcpy "
               "stop at a zero; take the number that recv returned");
        else if (asked->sent == asked->wanted)
            so("echo means the same bytes: nothing added, nothing changed");
        fail("%s", quoted(asked->came, came));
    }
    /* All right as far as it goes. */
    if (asked->reply.ending == OPEN && cut_at_zero) {
        so("cut at the first zero byte: the length is not strlen, which stops there, but what "
           "recv returned");
        fail("%s, then nothing more for 2 s", quoted(asked->came, came));
    }
    if (asked->reply.ending == OPEN)
        explain_silence(asked);
    const char *how = asked->reply.ending == RESET ? "was reset" : "was closed";
    if (cut_at_zero && came > 0)
        so("cut at the first zero byte: the length is not strlen, which stops there, but what "
           "recv returned");
    else if (before > 0 && came == 0)
        so("it answered %s on this connection and closed it: one recv brings what has arrived by "
           "then. A loop goes on until recv returns 0",
           before == 1 ? "once" : "before");
    else if (came == 0)
        so("it closed the connection without an answer: do recv and send come before close, and "
           "is it the client's socket, not the listener, that recv is asked for?");
    else
        so("it received once and closed: one recv brings what has arrived by then, at most the "
           "size of its buffer. A loop goes on until recv returns 0");
    /* A close with bytes unread resets the connection: whether they were is a matter of luck. */
    if (came == 0)
        fail("the connection was closed, and nothing came back%s",
             before > 0 ? " for the last message" : "");
    fail("%s came back%s, then the connection %s",
         came <= 32 ? quoted(asked->came, came) : bytes_text(came),
         came <= 32 ? "" : ", as they were sent", how);
}

void expect(struct server *server, int client, const void *sent, size_t sent_size,
            const void *answer, size_t answer_size)
{
    /* One more than wanted shows an answer that is too long, if it is there. */
    char *came = malloc(answer_size + 4096);
    struct asked asked = {server, client, sent, sent_size, answer, answer_size, came, {0, OPEN}};

    if (came == NULL)
        skip("no memory");
    asked.reply = receive_bytes(client, came, answer_size, SOON);
    if (asked.reply.size == answer_size && asked.reply.ending == OPEN) {
        /* What is wrong is shown with what comes behind it; what is right takes no more time. */
        bool right = memcmp(came, answer, answer_size) == 0;
        ssize_t more = right ? recv(client, came + answer_size, 4096, MSG_DONTWAIT)
                             : (ssize_t)receive_bytes(client, came + answer_size, 4096, 0.2).size;
        asked.reply.size += more > 0 ? (size_t)more : 0;
    }
    explain(&asked);
    answers[client % MOST_CLIENTS]++;
    free(came);
}

void exchange_for(struct server *server, int client, const void *bytes, size_t size,
                  const void *answer, size_t answer_size)
{
    send_bytes(client, bytes, size, SOON);
    expect(server, client, bytes, size, answer, answer_size);
}

void exchange(struct server *server, int client, const void *bytes, size_t size)
{
    exchange_for(server, client, bytes, size, bytes, size);
}
