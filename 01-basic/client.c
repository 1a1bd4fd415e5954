/*
 * The client: sends each message, and prints the reply, which is as long.
 *
 * The course adds one idea in each stage:
 *   01  connect, send, receive, a half-close at the end: tcp(7), connect(2), shutdown(2)
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/log.h"
#include "common/options.h"

static const char *host = "localhost";
static int port = 9999;

static const struct option_spec options[] = {
    OPTION_TEXT("host", &host, "IPv4 address or name of the server"),
    OPTION_INT("port", &port, 0, 65535, "TCP port of the server"),
    OPTION_END,
};

static struct sockaddr_in address; /* of the server */
static char **messages;            /* NULL after the last; none at all: the lines of stdin */

/* Logs which call failed, by errno; -1, for the caller to return. */
static int failed(const char *call)
{
    log_error("%s %s: %s", call, address_text(&address).text, error_text(errno).text);
    return -1;
}

/* Returns a socket that is connected to the server, or -1 after a line in the log. */
static int connect_server(void)
{
    int server = socket(AF_INET, SOCK_STREAM, 0);

    if (server < 0)
        return failed("socket");
    if (connect(server, (struct sockaddr *)&address, sizeof address) < 0) {
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
    int count;

    while ((count = poll(&ready, 1, -1)) < 0 && errno == EINTR)
        continue;
    return count < 0 ? -1 : ready.revents;
}

/* Sends a message of size bytes and receives a reply of as many. Both at once: if the client
   only sent, a long message would in the end fill every buffer on the way there and back, and
   each side wait for the other to receive. Returns 0, or -1 after a line in the log. */
static int exchange(int server, const char *message, char *reply, size_t size)
{
    size_t sent = 0, received = 0;

    while (received < size) {
        int ready = wait_for(server, sent < size ? POLLIN | POLLOUT : POLLIN);
        if (ready < 0)
            return failed("wait for");
        if (ready & POLLOUT) {
            const char *rest = message + sent;
            ssize_t count = send(server, rest, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (count < 0 && errno != EAGAIN)
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

/* Every message and its reply, one after another. Returns as exchange() does. */
static int exchange_all(int server)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int result = 0;

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
        fwrite(rest, 1, (size_t)count, stdout);
    }
    return fflush(stdout) != 0 ? failed("print the rest of") : 0;
}

/* All that a client does. Returns 0 when every reply came, -1 after a line in the log. */
static int run_client(void)
{
    int server = connect_server();

    if (server < 0)
        return -1;
    int result = exchange_all(server);
    if (result == 0)
        result = half_close(server);
    close(server);
    return result;
}

int main(int argc, char **argv)
{
    messages = argv + parse_options(argc, argv, options, "[MESSAGE...]");
    address = resolve_ipv4(host, port);
    return run_client() < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
