/*
 * The client: sends each message, receives a reply that is as long, and prints it.
 *
 * The course adds one idea in each stage:
 *   01  connect, send, receive, a half-close at the end: tcp(7), connect(2), shutdown(2)
 *   03  many connections that are only held, to fill the queues of the server
 *   04  how long to wait for a connection and for a reply: socket(7), tcp(7)
 *   05  much data both ways, sending and receiving at once: socket(7), poll(2)
 *   06  small messages, and when they go out: tcp(7)
 *   07  a record: values in, values out, bytes between: byteorder(3)
 *   08  many clients at once, a thread each: pthreads(7)
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/clock.h"
#include "common/descriptors.h"
#include "common/log.h"
#include "common/options.h"
#include "common/pack.h"
#include "common/socket_option.h"
#include "common/stop.h"
#include "common/stream.h"
#include "common/sysctl.h"

static const char *host = "localhost";
static int port = 9999;
static int connections = 0;
static double connect_timeout = 0;
static double timeout = 0;
static int syn_retries = 0;
static int recv_buffer = 0;
static int send_buffer = 0;
static int send_bytes = 0;
static bool nodelay = true;
static bool fastopen = false;
static bool split = false;
static int clients = 1;

/* In network byte order: a number, a text, a long number, two short ones, a float. */
#define RECORD_FORMAT "! I 2s Q 2h f"
enum { RECORD_SIZE = 22, RECORD_VALUES = 6 };
static const char *record_words[RECORD_VALUES];
static struct pack_value record[RECORD_VALUES];
enum { SHORT_MESSAGE = 4096 };

static const struct option_spec options[] = {
    OPTION_TEXT("host", &host, "IPv4 address or name of the server"),
    OPTION_INT("port", &port, 0, 65535, "TCP port of the server"),
    OPTION_INT_OR("connections", &connections, 1, 60000, "none, but messages",
                  "open N connections, say nothing, hold them until SIGINT or SIGTERM"),
    OPTION_SECONDS("connect-timeout", &connect_timeout, "none", "SO_SNDTIMEO for connect"),
    OPTION_SECONDS("timeout", &timeout, "none",
                   "SO_RCVTIMEO, SO_SNDTIMEO: for each send and receive, to the end"),
    OPTION_INT_OR("syn-retries", &syn_retries, 1, 127, "net.ipv4.tcp_syn_retries",
                  "TCP_SYNCNT: how often an unanswered SYN is sent again"),
    OPTION_INT_OR("recv-buffer", &recv_buffer, 1, INT_MAX, "the kernel's", "SO_RCVBUF in bytes"),
    OPTION_INT_OR("send-buffer", &send_buffer, 1, INT_MAX, "the kernel's", "SO_SNDBUF in bytes"),
    OPTION_INT_OR("send-bytes", &send_bytes, 1, 1 << 30, "none, but messages",
                  "send N bytes, check that the same come back, print MB/s"),
    OPTION_SWITCH("nodelay", &nodelay, "TCP_NODELAY: no wait for a larger segment (Nagle)"),
    OPTION_SWITCH("fastopen", &fastopen, "TCP_FASTOPEN_CONNECT: the message in the SYN"),
    OPTION_SWITCH("split", &split, "send each message in two halves, two calls of send"),
    OPTION_VALUES("record", record_words, RECORD_VALUES, "I 2s Q h h f",
                  "send a record of these values, print the values that come back"),
    OPTION_INT("clients", &clients, 1, 60000, "do it N times at once, a thread each"),
    OPTION_END,
};

static struct sockaddr_in address = {.sin_family = AF_INET}; /* of the server */
static char **messages; /* NULL after the last; none at all: the lines of stdin */

/* Logs which call failed, by errno; -1, for the caller to return. A call whose time ran out says
   EAGAIN, connect EINPROGRESS: as if the socket had been told not to wait at all. */
static int failed(const char *call)
{
    int error = errno == EAGAIN || errno == EINPROGRESS ? ETIMEDOUT : errno;
    log_error("%s %s: %s", call, address_text(&address).text, error_text(error).text);
    return -1;
}

/* What a socket needs before it connects. Returns 0, or -1 with errno. */
static int configure_before_connect(int server)
{
    if (connect_timeout > 0 && set_time_option(server, SO_SNDTIMEO, connect_timeout) < 0)
        return -1;
    if (recv_buffer > 0 && set_buffer_option(server, SO_RCVBUF, recv_buffer) < 0)
        return -1;
    if (send_buffer > 0 && set_buffer_option(server, SO_SNDBUF, send_buffer) < 0)
        return -1;
    if (set_option(server, IPPROTO_TCP, TCP_NODELAY, nodelay) < 0)
        return -1;
    if (fastopen && set_option(server, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1) < 0)
        log_info("TCP_FASTOPEN_CONNECT: %s; net.ipv4.tcp_fastopen = %ld, clients need 0x1",
                 error_text(errno).text, sysctl_or("net.ipv4.tcp_fastopen", 0));
    if (syn_retries > 0 && set_option(server, IPPROTO_TCP, TCP_SYNCNT, syn_retries) < 0)
        return -1;
    return 0;
}

/* The same for what it needs from then on. */
static int configure_connected(int server)
{
    if (timeout == 0 && connect_timeout == 0)
        return 0;
    if (set_time_option(server, SO_RCVTIMEO, timeout) < 0)
        return -1;
    return set_time_option(server, SO_SNDTIMEO, timeout);
}

/* Returns a socket that is connected to the server, or -1 after a line in the log. */
static int connect_server(void)
{
    int server = socket(AF_INET, SOCK_STREAM, 0);

    if (server < 0 || configure_before_connect(server) < 0 ||
        connect(server, (struct sockaddr *)&address, sizeof address) < 0 ||
        configure_connected(server) < 0)
        return failed("connect");
    log_info("connected to %s", address_text(&address).text);
    return server;
}

/* Receives what comes, and prints it. Returns how many bytes; 0 at the end of the stream; or -1. */
static ssize_t receive(int server)
{
    char bytes[4096];
    ssize_t received;

    do /* again after EINTR: stopped, continued; only with a time-out */
        received = recv(server, bytes, sizeof bytes, 0);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return failed("receive from");
    log_bytes("received", bytes, (size_t)received);
    if (fwrite(bytes, 1, (size_t)received, stdout) < (size_t)received || fflush(stdout) != 0)
        return failed("print the reply of");
    return received;
}

static void report_reply(size_t size, int64_t start)
{
    log_info("reply of %zu bytes after %.3f ms", size, clock_seconds_since(start) * 1e3);
}

/* Waits until the connection can do one of the events, POLLIN or POLLOUT, or has failed, which
   the next call on it will tell. Returns what it can do, or -1 with errno. */
static int wait_for(int server, int events)
{
    struct pollfd ready = {.fd = server, .events = (short)events};
    int limit = timeout > 0 ? (int)ceil(timeout * 1000) : -1; /* in ms; -1: none */
    int count;

    while ((count = poll(&ready, 1, limit)) < 0 && errno == EINTR)
        continue;
    if (count == 0)
        errno = ETIMEDOUT;
    return count > 0 ? ready.revents : -1;
}

/* Sends a message of any size, and receives a reply that is as long, at once: if the client only
   sent, a long message would in the end fill every buffer on the way there and back, and each
   side wait for the other to receive. Returns 0, or -1 after a line in the log. */
static int exchange_at_once(int server, const char *message, char *reply, size_t size)
{
    size_t sent = 0, received = 0;
    int64_t start = clock_ns();

    while (received < size) {
        int ready = wait_for(server, sent < size ? POLLIN | POLLOUT : POLLIN);
        if (ready < 0)
            return failed("wait for");
        if (ready & POLLOUT) {
            size_t part = split && sent < size / 2 ? size / 2 - sent : size - sent;
            ssize_t count = send(server, message + sent, part, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (count < 0 && errno != EAGAIN && errno != EINPROGRESS)
                return failed("send to");
            if (count > 0) {
                log_bytes("sent", message + sent, (size_t)count);
                sent += (size_t)count;
            }
        }
        if (ready & ~POLLOUT) {
            ssize_t count = recv(server, reply + received, size - received, MSG_DONTWAIT);
            if (count == 0)
                log_error("server ended the connection after %zu of %zu bytes", received, size);
            if (count == 0)
                return -1;
            if (count < 0 && errno != EAGAIN)
                return failed("receive from");
            if (count > 0) {
                log_bytes("received", reply + received, (size_t)count);
                received += (size_t)count;
            }
        }
    }
    report_reply(size, start);
    return 0;
}

/* The same for a message whose reply is printed. */
static int exchange_long(int server, const char *message, size_t size)
{
    char *reply = malloc(size);

    if (reply == NULL)
        return failed("allocate the reply of");
    int result = exchange_at_once(server, message, reply, size);
    if (result == 0 && (fwrite(reply, 1, size, stdout) < size || fflush(stdout) != 0))
        result = failed("print the reply of");
    free(reply);
    return result;
}

/* And for one whose reply is compared, not printed. */
static int exchange_bulk(int server)
{
    size_t size = (size_t)send_bytes;
    char *message = malloc(size), *reply = malloc(size);
    int result = -1;

    if (message == NULL || reply == NULL) {
        failed("allocate the bytes for");
    } else {
        /* 251 is prime: bytes that were lost, doubled or swapped do not fit together again. */
        for (size_t i = 0; i < size; i++)
            message[i] = (char)(i % 251);
        int64_t start = clock_ns();
        result = exchange_at_once(server, message, reply, size);
        double seconds = clock_seconds_since(start);
        if (result == 0 && memcmp(message, reply, size) != 0) {
            log_error("the reply of %s is not what was sent", address_text(&address).text);
            result = -1;
        }
        if (result == 0 && (printf("%zu bytes there and back in %.3f s: %.2f MB/s each way\n", size,
                                   seconds, (double)size / seconds / 1e6) < 0 ||
                            fflush(stdout) != 0))
            result = failed("print the speed of");
    }
    free(message);
    free(reply);
    return result;
}

/* A message so short that it fits into the smallest buffers is sent, then the reply received.
   Returns 0, or -1 after a line in the log. */
static int exchange(int server, const char *message, size_t size)
{
    if (size > SHORT_MESSAGE)
        return exchange_long(server, message, size);
    int64_t start = clock_ns();
    size_t half = split ? size / 2 : 0;
    if (send_all(server, message, half) < 0 || send_all(server, message + half, size - half) < 0)
        return failed("send to");
    for (size_t total = 0; total < size;) {
        ssize_t received = receive(server);
        if (received == 0)
            log_error("server ended the connection after %zu of %zu bytes", total, size);
        if (received <= 0)
            return -1;
        total += (size_t)received;
    }
    report_reply(size, start);
    return 0;
}

/* Sends the record and prints the values of the one that comes back. As exchange(). */
static int exchange_record(int server)
{
    char message[RECORD_SIZE], reply[RECORD_SIZE], text[128];
    struct pack_value values[RECORD_VALUES];
    struct pack_error error;

    pack(RECORD_FORMAT, record, RECORD_VALUES, message, sizeof message, &error);
    if (exchange_at_once(server, message, reply, sizeof message) < 0)
        return -1;
    unpack(RECORD_FORMAT, reply, sizeof reply, values, RECORD_VALUES, &error);
    pack_words(values, RECORD_VALUES, text, sizeof text);
    return printf("%s\n", text) < 0 || fflush(stdout) != 0 ? failed("print the reply of") : 0;
}

/* Every message and its reply, one after another. Returns as exchange() does. */
static int exchange_all(int server)
{
    static char *line;
    static size_t room;
    ssize_t length;

    if (send_bytes > 0)
        return exchange_bulk(server);
    if (*record_words != NULL)
        return exchange_record(server);
    for (char **message = messages; *message != NULL; message++)
        if (exchange(server, *message, strlen(*message)) < 0)
            return -1;
    while (*messages == NULL && (length = getline(&line, &room, stdin)) > 0)
        if (exchange(server, line, (size_t)length) < 0)
            return -1;
    return *messages == NULL && !feof(stdin) ? failed("read stdin for") : 0;
}

/* Nothing more will be sent; what the server has left to say still comes. As exchange(). */
static int half_close(int server)
{
    ssize_t received;

    shutdown(server, SHUT_WR);
    while ((received = receive(server)) > 0)
        if (send_bytes > 0) {
            log_error("%s sends more than was sent to it", address_text(&address).text);
            return -1;
        }
    return (int)received;
}

/* Ends by a signal, with status 0, or returns -1 after a line in the log. */
static int hold_connections(void)
{
    exit_on_signals();
    allow_sockets(connections);
    for (int i = 1; i <= connections; i++) {
        log_info("connection %d of %d", i, connections);
        if (connect_server() < 0)
            return -1;
    }
    log_info("holding %d connections", connections);
    for (;;)
        pause();
}

/* Whether the first message went out with the SYN, or the kernel had to connect first: it
   sends data only to a server whose cookie it has, from an earlier connection. */
static void report_fastopen(int server)
{
#ifdef __linux__
    struct tcp_info info;
    socklen_t size = sizeof info;

    if (fastopen && getsockopt(server, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        log_info("Fast Open: %s", info.tcpi_options & TCPI_OPT_SYN_DATA
                                      ? "data went with the SYN and was accepted"
                                      : "no data with the SYN, an ordinary handshake");
#else
    (void)server;
#endif
}

/* All that a client does. Returns 0 when every reply came, -1 after a line in the log. */
static int run_client(void)
{
    int server = connect_server();

    if (server < 0)
        return -1;
    int result = exchange_all(server);
    report_fastopen(server);
    if (result == 0)
        result = half_close(server);
    close(server);
    return result;
}

/* The thread's result is NULL where its client had every reply. */
static void *client_thread(void *number)
{
    log_name_thread("client-%d", (int)(intptr_t)number);
    return run_client() < 0 ? number : NULL;
}

/* Returns 0 when every client had every reply, -1 after a line in the log. */
static int run_clients(void)
{
    pthread_t *threads = calloc((size_t)clients, sizeof *threads);
    int64_t start = clock_ns();
    int started = 0, served = 0;

    if (threads == NULL)
        return failed("allocate threads for");
    allow_sockets(clients);
    while (started < clients) {
        void *number = (void *)(intptr_t)(started + 1);
        int error = pthread_create(&threads[started], NULL, client_thread, number);
        if (error != 0) {
            log_error("start thread %d: %s", started + 1, error_text(error).text);
            break;
        }
        started++;
    }
    for (int i = 0; i < started; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        served += failure == NULL;
    }
    free(threads);
    log_info("%d of %d clients had every reply, in %.3f s", served, clients,
             clock_seconds_since(start));
    return served == clients ? 0 : -1;
}

int main(int argc, char **argv)
{
    messages = argv + parse_options(argc, argv, options, "[MESSAGE...]");
    const char *instead = NULL; /* the option that is for doing something else than messages */
    if (connections > 0)
        instead = "--connections";
    if (send_bytes > 0)
        instead = "--send-bytes";
    if (*record_words != NULL)
        instead = "--record";
    if (instead != NULL && *messages != NULL) {
        log_error("%s: not allowed; with %s there is no MESSAGE", *messages, instead);
        return EXIT_USAGE;
    }
    if (fastopen && connections > 0) {
        log_error("--fastopen on: not allowed with --connections, which sends nothing");
        return EXIT_USAGE;
    }
    struct pack_error error;
    if (*record_words != NULL &&
        pack_parse(RECORD_FORMAT, record_words, RECORD_VALUES, record, &error) < 0) {
        log_error("--record: %s", error.text);
        return EXIT_USAGE;
    }
    if (clients > 1 && *messages == NULL && instead == NULL) {
        log_error("--clients %d: needs a MESSAGE; there is only one stdin", clients);
        return EXIT_USAGE;
    }
    address.sin_addr = resolve_ipv4(host);
    address.sin_port = htons((uint16_t)port);
    if (connections > 0 && hold_connections() < 0)
        return EXIT_FAILURE;
    return (clients > 1 ? run_clients() : run_client()) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
