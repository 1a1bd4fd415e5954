/*
 * The client: sends each message, and prints the reply, which is as long.
 *
 * The course adds one idea in each stage:
 *   01  connect, send, receive, a half-close at the end: tcp(7), connect(2), shutdown(2)
 *   03  many connections that are only held, to fill the queues of the server
 *   04  how long to wait for a connection and for a reply: socket(7), tcp(7)
 *   05  much data at once, both ways: throughput: socket(7)
 *   06  small messages, and when they go out: tcp(7)
 *   07  a record: values in, values out, bytes between: byteorder(3)
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/options.h"
#include "common/pack.h"
#include "common/socket_option.h"
#include "common/stop.h"
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

/* In network byte order: a number, a text, a long number, two short ones, a float. */
#define RECORD_FORMAT "! I 2s Q 2h f"
enum { RECORD_SIZE = 22, RECORD_VALUES = 6 };
static const char *record_words[RECORD_VALUES];
static struct pack_value record[RECORD_VALUES];

static const struct option_spec options[] = {
    OPTION_TEXT("host", &host, "IPv4 address or name of the server"),
    OPTION_INT("port", &port, 0, 65535, "TCP port of the server"),
    OPTION_INT_OR("connections", &connections, 1, 60000, "none, but messages",
                  "open N connections, say nothing, hold them until SIGINT or SIGTERM"),
    OPTION_SECONDS("connect-timeout", &connect_timeout, "none", "SO_SNDTIMEO for connect"),
    OPTION_SECONDS("timeout", &timeout, "none", "how long the server may be silent"),
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
    OPTION_END,
};

static struct sockaddr_in address; /* of the server */
static char **messages;            /* NULL after the last; none at all: the lines of stdin */

/* Logs which call failed, by errno; -1, for the caller to return. A connect that SO_SNDTIMEO
   ended says EINPROGRESS, as if it had not been told to wait. */
static int failed(const char *call)
{
    log_error("%s %s: %s", call, address_text(&address).text,
              error_text(errno == EINPROGRESS ? ETIMEDOUT : errno).text);
    return -1;
}

/* What a socket needs before it connects. Returns 0, or -1 with errno. */
static int configure_before_connect(int server)
{
    if (connect_timeout > 0 && set_time_option(server, SO_SNDTIMEO, connect_timeout) < 0)
        return -1;
    if (syn_retries > 0 && set_option(server, IPPROTO_TCP, TCP_SYNCNT, syn_retries) < 0)
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
    return 0;
}

/* Returns a socket that is connected to the server, or -1 after a line in the log. */
static int connect_server(void)
{
    int server = socket(AF_INET, SOCK_STREAM, 0);

    if (server < 0)
        return failed("socket");
    if (configure_before_connect(server) < 0 ||
        connect(server, (struct sockaddr *)&address, sizeof address) < 0) {
        failed("connect");
        close(server);
        return -1;
    }
    log_info("connected to %s", address_text(&address).text);
    return server;
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
    if (count == 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    return count < 0 ? -1 : ready.revents;
}

/* Sends a message of size bytes and receives a reply of as many. Both at once: if the client
   only sent, a long message would in the end fill every buffer on the way there and back, and
   each side wait for the other to receive. Returns 0, or -1 after a line in the log. */
static int exchange(int server, const char *message, char *reply, size_t size)
{
    size_t sent = 0, received = 0;
    int64_t start = clock_ns();

    while (received < size) {
        int ready = wait_for(server, sent < size ? POLLIN | POLLOUT : POLLIN);
        if (ready < 0)
            return failed("wait for");
        if (ready & POLLOUT) {
            const char *rest = message + sent;
            size_t part = split && sent < size / 2 ? size / 2 - sent : size - sent;
            ssize_t count = send(server, rest, part, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (count < 0 && errno != EAGAIN && errno != EINPROGRESS)
                return failed("send to");
            if (count > 0) {
                log_bytes("sent", rest, (size_t)count);
                sent += (size_t)count;
            }
        }
        if (ready & ~POLLOUT) {
            ssize_t count = recv(server, reply + received, size - received, MSG_DONTWAIT);
            if (count < 0 && errno != EAGAIN)
                return failed("receive from");
            if (count == 0) {
                log_error("%s ended the connection after %zu of %zu bytes of the reply",
                          address_text(&address).text, received, size);
                return -1;
            }
            if (count > 0) {
                log_bytes("received", reply + received, (size_t)count);
                received += (size_t)count;
            }
        }
    }
    log_info("reply of %zu bytes after %.3f ms", received, clock_seconds_since(start) * 1e3);
    return 0;
}

/* A message whose reply is printed. Returns as exchange() does. */
static int exchange_message(int server, const char *message, size_t size)
{
    char *reply = calloc(1, size + 1);

    if (reply == NULL)
        return failed("allocate the reply of");
    int result = exchange(server, message, reply, size);
    if (result == 0 && (fwrite(reply, 1, size, stdout) < size || fflush(stdout) != 0))
        result = failed("print the reply of");
    free(reply);
    return result;
}

/* One large message, whose reply is compared and not printed. Returns as exchange() does. */
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
        result = exchange(server, message, reply, size);
        double seconds = clock_seconds_since(start);
        if (result == 0 && memcmp(message, reply, size) != 0) {
            log_error("the reply of %s is not what was sent", address_text(&address).text);
            result = -1;
        }
        if (result == 0)
            printf("%zu bytes there and back in %.3f s: %.2f MB/s each way\n", size, seconds,
                   (double)size / seconds / 1e6);
    }
    free(message);
    free(reply);
    return result;
}

/* Sends the record and prints the values of the one that comes back. As exchange(). */
static int exchange_record(int server)
{
    char message[RECORD_SIZE], reply[RECORD_SIZE], text[128];
    struct pack_value values[RECORD_VALUES];
    struct pack_error error;

    pack(RECORD_FORMAT, record, RECORD_VALUES, message, sizeof message, &error);
    if (exchange(server, message, reply, sizeof message) < 0)
        return -1;
    unpack(RECORD_FORMAT, reply, sizeof reply, values, RECORD_VALUES, &error);
    pack_words(values, RECORD_VALUES, text, sizeof text);
    return printf("%s\n", text) < 0 || fflush(stdout) != 0 ? failed("print the reply of") : 0;
}

/* Every message and its reply, one after another. Returns as exchange() does. */
static int exchange_all(int server)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int result = 0;

    if (send_bytes > 0)
        return exchange_bulk(server);
    if (*record_words != NULL)
        return exchange_record(server);
    for (char **message = messages; *message != NULL && result == 0; message++)
        result = exchange_message(server, *message, strlen(*message));
    if (*messages != NULL)
        return result;
    while (result == 0 && (length = getline(&line, &room, stdin)) > 0)
        result = exchange_message(server, line, (size_t)length);
    free(line);
    return result;
}

/* Ends our half of the connection: nothing more will be sent. The other half is still open,
   so what the server has left to say arrives before it ends its half too. Returns 0, or -1
   after a line in the log. */
static int half_close(int server)
{
    char rest[4096];
    ssize_t count;

    shutdown(server, SHUT_WR);
    while (wait_for(server, POLLIN) > 0 && (count = recv(server, rest, sizeof rest, 0)) > 0) {
        if (send_bytes > 0) {
            log_error("%s sends more than was sent to it", address_text(&address).text);
            return -1;
        }
        fwrite(rest, 1, (size_t)count, stdout);
    }
    return fflush(stdout) != 0 ? failed("print the rest of") : 0;
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

/* Returns 0 once it was told to stop; -1 after a line in the log. exit(3) closes them all. */
static int hold_connections(void)
{
    for (int i = 1; i <= connections; i++) {
        log_info("connection %d of %d", i, connections);
        if (connect_server() < 0)
            return -1;
    }
    log_info("holding %d connections", connections);
    stop_wait();
    return 0;
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
    address = resolve_ipv4(host, port);
    if (connections > 0)
        return hold_connections() < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    return run_client() < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
