/* Stage 05: how much may be on its way. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check/check.h"
#include "tests/check/peer.h"

/* The receive window that a server offers, once some data has gone to and fro, as the client's TCP
   has it. */
static long window_of(struct server *server)
{
    static char bytes[20000];
    int client = connect_to(server);
    long window = -1;

    for (int i = 0; i < 20; i++)
        exchange(server, client, bytes, sizeof bytes);
    window = peer_value(client, PEER_WINDOW);
    if (window < 0)
        skip("TCP_INFO of this kernel does not tell the window (Linux 5.4 does)");
    close(client);
    return window;
}

static long window_with(const char *options)
{
    struct server *server = start(options);
    long window = window_of(server);

    kill_server(server);
    return window;
}

/* The same of an echo that certainly leaves the size to the kernel: how far a window grows depends
   on the kernel, and on how much the machine sends within a millisecond. */
static long window_left_alone(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
        listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        skip("no listener of the checker's own: %s", strerror(errno));
    struct server own = {.pid = fork(), .port = ntohs(address.sin_port), .options = ""};
    if (own.pid == 0) {
        char bytes[4096];
        int client = accept(listener, NULL, NULL);
        ssize_t received;
        while ((received = recv(client, bytes, sizeof bytes, 0)) > 0)
            send(client, bytes, (size_t)received, MSG_NOSIGNAL);
        _exit(EXIT_SUCCESS);
    }
    close(listener);
    long window = own.pid < 0 ? -1 : window_of(&own);
    if (own.pid > 0)
        waitpid(own.pid, NULL, 0);
    return window;
}

static void receive_buffer(void)
{
    long without = window_with(""), small = window_with("--recv-buffer 16384");

    if (small > 40000) {
        so("SO_RCVBUF was not set to 16384: it belongs on the listener, before listen, with "
           "given.recv_buffer as its value");
        fail("a window of %ld bytes with the option, %ld without", small, without);
    }
    if (without < 60000) {
        so("without the option nothing is to be set: the kernel then chooses the size itself");
        fail("a window of %ld bytes with the option, and %ld without", small, without);
    }
    did("the same with --recv-buffer 100000");
    expected("a window of 65536 bytes at least");
    long large = window_with("--recv-buffer 100000");
    if (large < 65536) {
        so("is the number that --recv-buffer says (given.recv_buffer) what setsockopt is given?");
        fail("a window of %ld bytes", large);
    }
}

/* How much the server could give to TCP that the client has not received. */
static long unsent_with(const char *options)
{
    struct server *server = start(options);
    int client = connect_small(server);

    fill_with_anything(server, client);
    struct end end = server_end(server, client);
    if (!end.there)
        fail("the connection was gone while the client did not read");
    reset(client);
    kill_server(server);
    return end.unsent;
}

static void send_buffer(void)
{
    long without = unsent_with(""), with = unsent_with("--send-buffer 16384");

    if (with < 200000)
        return;
    so("SO_SNDBUF was not set to 16384: it belongs on the listener beside SO_RCVBUF, with "
       "given.send_buffer as its value");
    fail("%ld bytes waited there with the option, %ld without", with, without);
}

static void left_alone(void)
{
    long window = window_with(""), unsent = unsent_with("");

    if (window < 100000 && window < unsent && 4 * window < 3 * window_left_alone()) {
        so("SO_RCVBUF is set although nobody asked: given.recv_buffer is 0 then, and nothing is "
           "to be set. Any size, 0 too, ends the kernel's own tuning");
        fail("a window of %ld bytes after 400000 bytes had come", window);
    }
    if (unsent < 200000) {
        so("SO_SNDBUF is set although nobody asked: given.send_buffer is 0 then, and nothing is "
           "to be set. Any size, 0 too, ends the kernel's own tuning");
        fail("no more than %ld bytes waited to be sent", unsent);
    }
}

#define READ "docs/05-bufsize.md#the-lines-that-matter"

const struct step steps_05[] = {
    {"--recv-buffer says how large the window is that it offers",
     "sent 400000 bytes to and fro, without --recv-buffer and with --recv-buffer 16384",
     "a window of 40000 bytes at most with the option, 60000 at least without",
     READ,
     {"Where does the window come from that a receiver offers?",
      "setsockopt on the listener, before listen: SOL_SOCKET, SO_RCVBUF, given.recv_buffer; and "
      "only where that is more than 0."},
     NULL,
     receive_buffer},
    {"--send-buffer says how much may wait to be sent",
     "read nothing until no more went in, without --send-buffer and with --send-buffer 16384",
     "200000 bytes at most in the server's send queue with the option",
     READ,
     {"Where are the bytes that send has taken and the client has no room for?",
      "The same call with SO_SNDBUF and given.send_buffer."},
     NULL,
     send_buffer},
    {"without them the kernel's own tuning is left alone",
     "the same without the options",
     "a window and a send queue that grow with the connection",
     READ,
     {"What is given.recv_buffer when nobody has given --recv-buffer?",
      "0 means: do not call setsockopt at all. A size, even a large one, ends the tuning."},
     "05.1",
     left_alone},
    {0},
};
