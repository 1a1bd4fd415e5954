/*
 * An echo server: what a client sends, it gets back.
 *
 * The course adds one idea in each stage:
 *   01  a listening socket, and one connection after another on it: tcp(7), ip(7), accept(2)
 *   02  SO_REUSEADDR and SO_REUSEPORT, who may share an address: socket(7)
 *   03  the backlog, how many clients may wait for accept: listen(2), tcp(7)
 *   04  SO_RCVTIMEO, SO_SNDTIMEO, TCP_USER_TIMEOUT, how long to wait: socket(7), tcp(7)
 *   05  SO_RCVBUF and SO_SNDBUF, how much may be on its way: socket(7), tcp(7)
 *
 * What this server still cannot do, and where that is cured:
 *   get rid of a client that sends a byte now and then, and never ends: exercise
 *   notice that a client's machine is gone, or answer small messages without delay: 06
 *   tell where one message ends and the next begins: 07
 *   serve a second client beside the first, or finish an answer when it is stopped: 08
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/holder.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/options.h"
#include "common/retry.h"
#include "common/socket_option.h"
#include "common/stop.h"
#include "common/stream.h"
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
    OPTION_END,
};

/* Returns a socket that takes connections. Without one there is nothing to do: it exits. */
static int open_listener(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = resolve_ipv4(host)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);

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
    if (backlog < 0)
        backlog = (int)sysctl_or("net.core.somaxconn", SOMAXCONN);
    if (listen(listener, backlog) < 0)
        die("listen on %s", address_text(&address).text);
    report_limits(backlog);
    report_handshake();
    return listener;
}

/* Sets what a connection must not inherit. Returns 0, or -1 with errno. */
static int configure_client(int client)
{
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

/* Sends back what comes. A stream has no messages: a recv may bring a part of one send, or
   several together. Returns 0 at the end of the stream, -1 with errno if the connection failed. */
static int answer(int client)
{
    char bytes[4096];

    for (;;) {
        ssize_t received = recv(client, bytes, sizeof bytes, 0);
        if (received < 0 && errno == EINTR) /* stopped, continued: only with a time-out */
            continue;
        if (received <= 0)
            return (int)received;
        log_bytes("received", bytes, (size_t)received);
        if (send_all(client, bytes, (size_t)received) < 0)
            return -1;
    }
}

/* One client, from its arrival to its end. Whatever it does, it ends no more than this. */
static void serve_client(int client, const char *peer)
{
    log_info("%s connected", peer);
    int result = configure_client(client) < 0 ? -1 : answer(client);
    log_info("%s closed: %s", peer, end_text(result).text);

    /* Our half of the connection ends here, behind the last answer. */
    shutdown(client, SHUT_WR);
    close(client);
}

int main(int argc, char **argv)
{
    exit_on_signals();
    parse_options(argc, argv, options, NULL);
    int listener = open_listener();
    announce(listener);

    for (;;) {
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        int client = accept(listener, (struct sockaddr *)&address, &size);
        if (client < 0 && errno == EAGAIN) {
            log_info("accept timed out: no client for %g s", accept_timeout);
            continue;
        }
        if (client < 0) {
            accept_failed();
            continue;
        }
        report_queue(listener);
        serve_client(client, address_text(&address).text);
    }
}
