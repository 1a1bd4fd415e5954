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
 *   08  a thread for each client, up to a limit, and a clean end: pthreads(7), sem_overview(7)
 *
 * What this server still cannot do, and where that is cured:
 *   get rid of a client that sends a byte now and then, and never ends: exercise
 *   serve 100 000 clients, for which a thread each is too much: 09
 *   serve at a stop who finds no place within the grace: that client is reset
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/descriptors.h"
#include "common/holder.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/options.h"
#include "common/pack.h"
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
static bool threads = true;
static int max_clients = 1000;
static double grace = 5;

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
    OPTION_SWITCH("threads", &threads, "a thread for each client, or one client at a time"),
    OPTION_INT("max-clients", &max_clients, 1, 100000, "others wait in the accept queue"),
    OPTION_SECONDS("grace", &grace, NULL, "for answers at a stop; who waits until then is reset"),
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

/* Answers what comes; what is not yet a whole message is held until the rest is there. Returns 0
   at the end of the stream, -1 with errno if the connection failed or a message is too long. */
static int answer(int client)
{
    char bytes[MESSAGE_MAX];
    size_t held = 0;

    while (held < sizeof bytes) {
        ack_at_once(client);
        ssize_t received = recv(client, bytes + held, sizeof bytes - held, 0);
        if (received < 0 && errno == EINTR) /* stopped, continued: only with a time-out */
            continue;
        if (received < 0)
            return -1;
        log_bytes("received", bytes + held, (size_t)received);
        held += (size_t)received;
        size_t whole = whole_messages(bytes, held, received == 0);
        put_answers(bytes, whole);
        if (send_all(client, bytes, whole) < 0)
            return -1;
        held -= whole;
        memmove(bytes, bytes + whole, held);
        if (received == 0 && held > 0)
            log_info("record cut short: %zu of %d bytes", held, RECORD_SIZE);
        if (received == 0)
            return 0;
    }
    errno = EMSGSIZE;
    return -1;
}

/* One client, from its arrival to its end. Whatever it does, it ends no more than this. */
static void serve_client(int client, const char *peer)
{
    log_info("%s connected", peer);
    bool ready = stop_watch(client) == 0 && configure_client(client) == 0;
    int result = ready ? answer(client) : -1;
    bool stopped = result == 0 && stop_requested();
    log_info("%s closed: %s", peer, stopped ? "server stops" : end_text(result).text);

    /* Our half of the connection ends here, behind the last answer. */
    shutdown(client, SHUT_WR);
    stop_forget(client);
    close(client);
}

static pthread_attr_t attributes; /* how each thread begins */
static sem_t places;              /* for clients, that are still free */

static void take_place(void)
{
    while (sem_wait(&places) < 0)
        continue; /* EINTR */
}

/* What a thread has to know; the thread frees it. */
struct visit {
    int client;
    unsigned long number;
    struct address_text peer;
};

static void *client_thread(void *argument)
{
    struct visit visit = *(struct visit *)argument;

    free(argument);
    log_name_thread("client-%lu", visit.number);
    serve_client(visit.client, visit.peer.text);
    sem_post(&places);
    return NULL;
}

static void prepare_threads(void)
{
    size_t stack = (size_t)PTHREAD_STACK_MIN;

    if (stack < 65536)
        stack = 65536;
    sem_init(&places, 0, (unsigned)max_clients - 1); /* one is held for the next client */
    allow_sockets(max_clients);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, stack);
    pthread_attr_getstacksize(&attributes, &stack);
    log_info("at most %d clients at once, a stack of %zu KiB each", max_clients, stack / 1024);
}

/* Where no thread can be had, the client is turned away. */
static void serve_in_thread(int client, const struct sockaddr_in *address)
{
    static unsigned long number;
    struct visit *visit = malloc(sizeof *visit);
    pthread_t thread;
    int error = ENOMEM;

    if (visit != NULL) {
        *visit = (struct visit){client, ++number, address_text(address)};
        error = pthread_create(&thread, &attributes, client_thread, visit);
    }
    if (error != 0) {
        retry_later("pthread_create", error);
        free(visit);
        close(client);
        return;
    }
    /* A place for the next client; while there is none, it waits in the accept queue. */
    take_place();
}

int main(int argc, char **argv)
{
    exit_on_signals();
    parse_options(argc, argv, options, NULL);
    prepare_threads();
    int listener = open_listener();
    stop_on_signals(listener, grace);
    announce(listener);

    for (;;) {
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        int client = accept(listener, (struct sockaddr *)&address, &size);
        if (client < 0 && stop_requested())
            break; /* nobody waits in the accept queue any more */
        if (client < 0 && errno == EAGAIN) {
            log_info("accept timed out: no client for %g s", accept_timeout);
            continue;
        }
        if (client < 0) {
            accept_failed();
            continue;
        }
        report_queue(listener);
        if (threads)
            serve_in_thread(client, &address);
        else
            serve_client(client, address_text(&address).text);
    }
    close(listener);
    /* All places but the one that is held for the next client: every thread is done. */
    for (int place = 1; place < max_clients; place++)
        take_place();
    return EXIT_SUCCESS;
}
