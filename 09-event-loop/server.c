/*
 * An echo server: what a client sends, it gets back.
 *
 * The course adds one idea in each stage:
 *   01  a listening socket, and one connection after another on it: tcp(7), ip(7), accept(2)
 *   02  SO_REUSEADDR and SO_REUSEPORT, who may share an address: socket(7)
 *   03  the backlog, how many clients may wait for accept: listen(2), tcp(7)
 *   04  SO_RCVTIMEO, SO_SNDTIMEO, TCP_USER_TIMEOUT, how long to wait: socket(7), tcp(7)
 *   05  SO_RCVBUF and SO_SNDBUF, how much may be on its way: socket(7), tcp(7)
 *   06  SO_KEEPALIVE, TCP_NODELAY, TCP_QUICKACK, TCP_FASTOPEN, when to send: tcp(7)
 *   07  messages in a stream: by their size, or up to a mark: recv(2), byteorder(3)
 *   09  one thread for all clients, which never waits for one of them: epoll(7), accept(2)
 *
 * What this server still cannot do, and where that is cured:
 *   get rid of a client that sends a byte now and then, and never ends: exercise
 *   serve anybody else while it works out an answer that takes long: 08, whose threads do
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/clock.h"
#include "common/descriptors.h"
#include "common/holder.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/options.h"
#include "common/pack.h"
#include "common/retry.h"
#include "common/socket_option.h"
#include "common/stop.h"
#include "common/sysctl.h"

static const char *host = "localhost";
static int port = 9999;
static bool reuse_addr = true;
static bool reuse_port = false;
static int backlog = -1;
static double timeout = 0;
static double accept_timeout = 0;
static double user_timeout = 0;
static int recv_buffer = 0;
static int send_buffer = 0;
static bool keepalive = true;
static int keepalive_idle = 1800;
static int keepalive_interval = 15;
static int keepalive_count = 9;
static bool nodelay = true;
static bool quickack = false;
static int fastopen = 0;
static const char *const handler_names[] = {"echo", "upper", "line", "record", NULL};
enum { ECHO, UPPER, LINE, RECORD };
static int handler = ECHO;
static int max_clients = 1000;
static double grace = 5;
static int loops = 1;

static const struct option_spec options[] = {
    OPTION_TEXT("host", &host, "IPv4 address or name to listen on; '' is every interface"),
    OPTION_INT("port", &port, 0, 65535, "TCP port; 0 lets the kernel choose one"),
    OPTION_SWITCH("reuse-addr", &reuse_addr, "SO_REUSEADDR: bind in spite of TIME_WAIT"),
    OPTION_SWITCH("reuse-port", &reuse_port, "SO_REUSEPORT: let N servers share the port"),
    OPTION_INT_OR("backlog", &backlog, 0, INT_MAX, "net.core.somaxconn",
                  "length of the accept queue"),
    OPTION_SECONDS("timeout", &timeout, "none", "SO_RCVTIMEO, SO_SNDTIMEO: wait for a client"),
    OPTION_SECONDS("accept-timeout", &accept_timeout, "none",
                   "SO_RCVTIMEO of the listener: how long accept waits"),
    OPTION_SECONDS("user-timeout", &user_timeout, "none", "TCP_USER_TIMEOUT: wait for an ACK"),
    OPTION_INT_OR("recv-buffer", &recv_buffer, 1, INT_MAX, "the kernel's", "SO_RCVBUF in bytes"),
    OPTION_INT_OR("send-buffer", &send_buffer, 1, INT_MAX, "the kernel's", "SO_SNDBUF in bytes"),
    OPTION_SWITCH("keepalive", &keepalive, "SO_KEEPALIVE: ask a silent peer if it lives"),
    OPTION_INT("keepalive-idle", &keepalive_idle, 1, 32767, "TCP_KEEPIDLE, in seconds"),
    OPTION_INT("keepalive-interval", &keepalive_interval, 1, 32767, "TCP_KEEPINTVL, in seconds"),
    OPTION_INT("keepalive-count", &keepalive_count, 1, 127, "TCP_KEEPCNT: unanswered probes"),
    OPTION_SWITCH("nodelay", &nodelay, "TCP_NODELAY: no wait for a larger segment (Nagle)"),
    OPTION_SWITCH("quickack", &quickack, "TCP_QUICKACK: no wait before an ACK"),
    OPTION_INT("fastopen", &fastopen, 0, 65535,
               "TCP_FASTOPEN: queue for data in the SYN; 0 is off"),
    OPTION_CHOICE("handler", &handler, handler_names, "what a message is, and its answer"),
    OPTION_INT("max-clients", &max_clients, 1, 100000, "others wait in the accept queue"),
    OPTION_SECONDS("grace", &grace, NULL, "how long a stop leaves answers under way"),
    OPTION_INT("loops", &loops, 1, 64, "threads, each with a listener and clients of its own"),
    OPTION_END,
};

/* Returns a socket that takes connections. Without one there is nothing to do: it exits. */
static int open_listener(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = resolve_ipv4(host)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (listener < 0)
        die("socket");
    /* Both before bind, which is the call that asks whether the address is free. A connection
       that an earlier server left in TIME_WAIT is in the way unless it had SO_REUSEADDR too. */
    if (set_option(listener, SOL_SOCKET, SO_REUSEADDR, reuse_addr) < 0)
        die("SO_REUSEADDR");
    if (set_option(listener, SOL_SOCKET, SO_REUSEPORT, reuse_port) < 0)
        die("SO_REUSEPORT");
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0)
        bind_failed(&address);
    /* To the kernel accept is a receive. Accepted sockets inherit both options. */
    if (accept_timeout > 0 && set_time_option(listener, SO_RCVTIMEO, accept_timeout) < 0)
        die("SO_RCVTIMEO");
    if (user_timeout > 0 &&
        set_option(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)ceil(user_timeout * 1000)) < 0)
        die("TCP_USER_TIMEOUT");
    /* Inherited as well. On the accepted socket it may come too late: the window need not
       follow the buffer then. A size that is set ends the kernel's own tuning of it. */
    if (recv_buffer > 0 && set_buffer_option(listener, SO_RCVBUF, recv_buffer) < 0)
        die("SO_RCVBUF");
    if (send_buffer > 0 && set_buffer_option(listener, SO_SNDBUF, send_buffer) < 0)
        die("SO_SNDBUF");
    /* Inherited again, so that no connection pays a system call for them. */
    if (set_option(listener, SOL_SOCKET, SO_KEEPALIVE, keepalive) < 0 ||
        set_option(listener, IPPROTO_TCP, TCP_KEEPIDLE, keepalive_idle) < 0 ||
        set_option(listener, IPPROTO_TCP, TCP_KEEPINTVL, keepalive_interval) < 0 ||
        set_option(listener, IPPROTO_TCP, TCP_KEEPCNT, keepalive_count) < 0)
        die("keep-alive");
    if (set_option(listener, IPPROTO_TCP, TCP_NODELAY, nodelay) < 0)
        die("TCP_NODELAY");
    if (fastopen > 0 && set_option(listener, IPPROTO_TCP, TCP_FASTOPEN, fastopen) < 0)
        die("TCP_FASTOPEN");
    if (backlog < 0)
        backlog = (int)sysctl_or("net.core.somaxconn", SOMAXCONN);
    if (listen(listener, backlog) < 0)
        die("listen on %s", address_text(&address).text);
    report_limits(backlog);
    report_handshake();
    if (fastopen > 0)
        report_fastopen_limit();
    return listener;
}

/* Sets what a connection must not inherit. Returns 0, or -1 with errno. */
static int configure_client(int client)
{
    if (quickack && set_option(client, IPPROTO_TCP, TCP_QUICKACK, 1) < 0)
        return -1;
    if (timeout == 0 && accept_timeout == 0)
        return 0;
    if (set_time_option(client, SO_RCVTIMEO, timeout) < 0)
        return -1;
    return set_time_option(client, SO_SNDTIMEO, timeout);
}

/* Prints the ready line. Where the port is 0, only the kernel knows it. */
static void announce(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;

    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        die("getsockname");
    announce_address(&address);
}

/* Has the next ACK sent at once. The kernel goes back to delaying them by itself, so this comes
   before every receive. */
static void ack_at_once(int client)
{
    int on = 1;

    if (quickack)
        setsockopt(client, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* In network byte order: a number, a text, a long number, two short ones, a float. */
#define RECORD_FORMAT "! I 2s Q 2h f"
enum { RECORD_SIZE = 22, RECORD_VALUES = 6, RECORD_TEXT = 1, MESSAGE_MAX = 8192 };

/* How many of the bytes that have come are whole messages. A record ends after 22 bytes, a line
   where the mark is, the last one at the end of the stream; else any bytes will do. */
static size_t whole_messages(const char *bytes, size_t size, bool last)
{
    if (handler == RECORD)
        return size - size % RECORD_SIZE;
    while (handler == LINE && !last && size > 0 && bytes[size - 1] != '\n')
        size--;
    return size;
}

static void upper_case(char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)toupper((unsigned char)bytes[i]);
}

/* A record's numbers may hold any byte, so only the field that is text is put in upper case. */
static void answer_record(char *record)
{
    struct pack_value values[RECORD_VALUES];
    struct pack_error error;
    char text[2];

    unpack(RECORD_FORMAT, record, RECORD_SIZE, values, RECORD_VALUES, &error);
    memcpy(text, values[RECORD_TEXT].as.text.bytes, sizeof text);
    upper_case(text, sizeof text);
    values[RECORD_TEXT].as.text.bytes = text;
    pack(RECORD_FORMAT, values, RECORD_VALUES, record, RECORD_SIZE, &error);
}

/* Puts the answers in the place of whole messages: they are as long. */
static void put_answers(char *messages, size_t size)
{
    for (size_t at = 0; handler == RECORD && at < size; at += RECORD_SIZE)
        answer_record(messages + at);
    if (handler == UPPER || handler == LINE)
        upper_case(messages, size);
}

/* All that the server knows of a client. */
struct connection {
    int client;
    bool ended; /* the client's stream: nothing more will come */
    struct address_text peer;
    double deadline;     /* until which there has to be a sign of life */
    char *bytes;         /* room for MESSAGE_MAX; NULL if the last event left nothing */
    size_t unsent, held; /* so many bytes of answers, then of a message without its end */
    struct connection *before, *after;
};

/* A thread and all that it owns, so that there is nothing to lock. */
static struct loop {
    pthread_t thread;
    int epoll, listener, count;
    enum state { ACCEPTING, FULL, PAUSED, STOPPING } state;
    double deadline;        /* of the state */
    struct connection ring; /* none of them: it stands before the first and after the last */
    char bytes[MESSAGE_MAX];
} all[64];

/* Has epoll_wait report events on a descriptor, level-triggered: what one recv leaves is reported
   again, behind the others. So a client that sends without end has its turn, like all of them. */
static int watch(struct loop *loop, int operation, int descriptor, uint32_t events, void *what)
{
    struct epoll_event event = {.events = events, .data.ptr = what};

    return epoll_ctl(loop->epoll, operation, descriptor, &event);
}

/* Unless the loop is ACCEPTING, new clients wait in the accept queue. */
static void set_state(struct loop *loop, enum state state, double seconds)
{
    loop->state = state;
    loop->deadline = seconds > 0 && state != FULL ? clock_seconds_since(0) + seconds : INFINITY;
    watch(loop, EPOLL_CTL_MOD, loop->listener, state == ACCEPTING ? EPOLLIN : 0, &loop->listener);
}

/* Puts a connection at the end of the ring: so the first has the next deadline, and none needs a
   timer of its own. SO_RCVTIMEO, though it is set, means nothing to a call that never waits. */
static void sign_of_life(struct loop *loop, struct connection *connection)
{
    connection->deadline = timeout > 0 ? clock_seconds_since(0) + timeout : INFINITY;
    connection->before->after = connection->after;
    connection->after->before = connection->before;
    connection->before = loop->ring.before;
    connection->after = &loop->ring;
    connection->before->after = connection->after->before = connection;
}

/* Receives once, unless answers are unsent, and sends what there is room for. So a client that
   does not read is not read either: it costs MESSAGE_MAX bytes, and then its window closes.
   Returns -1 with errno if the connection failed or a message is too long. */
static int answer(struct loop *loop, struct connection *connection)
{
    int client = connection->client;
    char *bytes = connection->bytes != NULL ? connection->bytes : loop->bytes;
    size_t held = connection->held, unsent = connection->unsent;

    if (unsent == 0) {
        ack_at_once(client);
        ssize_t received = recv(client, bytes + held, MESSAGE_MAX - held, 0);
        if (received < 0)
            return errno == EAGAIN ? 0 : -1;
        log_bytes("received", bytes + held, (size_t)received);
        held += (size_t)received;
        size_t whole = whole_messages(bytes, held, received == 0);
        put_answers(bytes, whole);
        unsent = whole;
        held -= whole;
        if (received == 0 && held > 0)
            log_info("record cut short: %zu of %d bytes", held, RECORD_SIZE);
        connection->ended = received == 0;
    }
    ssize_t sent = unsent > 0 ? send(client, bytes, unsent, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN)
        return -1;
    if (sent > 0) {
        log_bytes("sent", bytes, (size_t)sent);
        unsent -= (size_t)sent;
        memmove(bytes, bytes + sent, unsent + held);
    }
    if (unsent + held == 0) {
        free(connection->bytes);
        connection->bytes = NULL;
    } else if (connection->bytes == NULL) {
        if ((connection->bytes = malloc(MESSAGE_MAX)) == NULL)
            return -1;
        memcpy(connection->bytes, bytes, unsent + held);
    }
    bool waited = connection->unsent > 0, waits = unsent > 0;
    connection->unsent = unsent;
    connection->held = held;
    errno = EMSGSIZE;
    if (held == MESSAGE_MAX)
        return -1;
    uint32_t event = waits ? EPOLLOUT : EPOLLIN;
    return waits == waited ? 0 : watch(loop, EPOLL_CTL_MOD, client, event, connection);
}

static void close_connection(struct loop *loop, struct connection *connection, int result)
{
    int client = connection->client;

    log_info("%s closed: %s", connection->peer.text,
             result == 0 && loop->state == STOPPING ? "server stops" : end_text(result).text);

    /* Our half of the connection ends here, behind the last answer. */
    shutdown(client, SHUT_WR);
    close(client);
    connection->before->after = connection->after;
    connection->after->before = connection->before;
    free(connection->bytes);
    free(connection);
    if (loop->count-- == max_clients && loop->state == FULL)
        set_state(loop, ACCEPTING, accept_timeout);
}

/* One event of a client. Whatever it does, it ends no more than this. */
static void serve_client(struct loop *loop, struct connection *connection)
{
    log_about(connection->peer.text);
    int result = answer(loop, connection);
    log_about("");
    if (result < 0 || (connection->ended && connection->unsent == 0))
        close_connection(loop, connection, result);
    else if (timeout > 0)
        sign_of_life(loop, connection);
}

/* Accepts those who wait, at one event no more than the accept queue holds. */
static void accept_clients(struct loop *loop)
{
    for (int n = 0; n <= backlog && loop->state == ACCEPTING; n++) {
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        int client = accept4(loop->listener, (struct sockaddr *)&address, &size, SOCK_NONBLOCK);
        if (client < 0 && errno == EAGAIN)
            return;
        struct connection *connection = client < 0 ? NULL : malloc(sizeof *connection);
        if (connection == NULL) {
            if (!accept_may_go_on())
                set_state(loop, PAUSED, RETRY_SECONDS);
            if (client >= 0)
                close(client);
            continue;
        }
        report_queue(loop->listener);
        log_info("%s connected", address_text(&address).text);
        *connection = (struct connection){.client = client, .peer = address_text(&address)};
        connection->before = connection->after = connection;
        sign_of_life(loop, connection);
        set_state(loop, ++loop->count < max_clients ? ACCEPTING : FULL, accept_timeout);
        if (configure_client(client) < 0 ||
            watch(loop, EPOLL_CTL_ADD, client, EPOLLIN, connection) < 0)
            close_connection(loop, connection, -1);
    }
}

/* Closing the listener resets those in the accept queue, so they are let in while there are places.
   SHUT_RD ends a client's stream behind what has come: that is still received and answered. */
static void begin_stop(struct loop *loop)
{
    log_info("stopping");
    accept_clients(loop);
    set_state(loop, STOPPING, fmax(grace, 1e-9)); /* 0 would be without end */
    close(loop->listener);
    for (struct connection *c = loop->ring.after; c != &loop->ring; c = c->after)
        shutdown(c->client, SHUT_RD);
}

/* Who is overdue may have an event, behind the 256 that were reported: then he has his turn. */
static void end_overdue(struct loop *loop, double now)
{
    if (loop->deadline < now && loop->state == ACCEPTING)
        log_info("accept timed out: no client for %g s", accept_timeout);
    if (loop->deadline < now && loop->state != STOPPING)
        set_state(loop, ACCEPTING, accept_timeout);
    while (loop->count > 0 && fmin(loop->deadline, loop->ring.after->deadline) < now) {
        struct connection *overdue = loop->ring.after;
        struct pollfd event = {overdue->client, overdue->unsent > 0 ? POLLOUT : POLLIN, 0};
        errno = EAGAIN;
        if (loop->deadline >= now && poll(&event, 1, 0) > 0)
            sign_of_life(loop, overdue);
        else
            close_connection(loop, overdue, -1);
    }
}

/* epoll_wait reports a connection once, and it is closed at that event or after all of them: so no
   event is left that would be taken for one of the next connection with the same descriptor. */
static void *run_loop(void *argument)
{
    struct loop *loop = argument;
    struct epoll_event events[256];

    if (loop > all)
        log_name_thread("loop-%d", (int)(loop - all) + 1);
    while (loop->state != STOPPING || loop->count > 0) {
        double left = fmin(loop->deadline, loop->ring.after->deadline) - clock_seconds_since(0);
        int milliseconds = left < INFINITY ? (int)ceil(fmax(0, left) * 1000) : -1;
        int count = epoll_wait(loop->epoll, events, 256, milliseconds);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                begin_stop(loop);
            else if (events[i].data.ptr == &loop->listener)
                accept_clients(loop);
            else
                serve_client(loop, events[i].data.ptr);
        }
        end_overdue(loop, clock_seconds_since(0));
    }
    return NULL;
}

int main(int argc, char **argv)
{
    exit_on_signals();
    parse_options(argc, argv, options, NULL);
    allow_sockets((long)loops * (max_clients + 2));
    reuse_port = reuse_port || loops > 1; /* each has a listener on the same port */
    for (struct loop *loop = all; loop < all + loops; loop++) {
        struct sockaddr_in address = {0};
        socklen_t size = sizeof address;
        loop->ring.before = loop->ring.after = &loop->ring;
        loop->ring.deadline = INFINITY;
        loop->listener = open_listener();
        if ((loop->epoll = epoll_create1(0)) < 0 ||
            watch(loop, EPOLL_CTL_ADD, loop->listener, 0, NULL) < 0 ||
            watch(loop, EPOLL_CTL_ADD, stop_descriptor(), EPOLLIN | EPOLLONESHOT, NULL) < 0 ||
            getsockname(loop->listener, (struct sockaddr *)&address, &size) < 0)
            die("epoll");
        port = ntohs(address.sin_port); /* of the others too: with --port 0 it is chosen once */
        set_state(loop, ACCEPTING, accept_timeout);
        if (loop > all && (errno = pthread_create(&loop->thread, NULL, run_loop, loop)) != 0)
            die("pthread_create");
    }
    announce(all->listener);
    wake_on_signals();
    run_loop(all);
    for (struct loop *loop = all + 1; loop < all + loops; loop++)
        pthread_join(loop->thread, NULL);
    return EXIT_SUCCESS;
}
