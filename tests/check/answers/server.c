//+ 01.0 01.99
/*
 * Stage 01, an echo server: what a client sends, it gets back.
 *
 *   WATCH=1 make check-01   in a second terminal: what it does already, and what comes next
 *   make hint-01            helps, a little at a time
 *
 * The comments in main are the calls that docs/01-basic.md has, in the same order.
 */
//.
#include <netinet/in.h>
//+ 04.1
#include <netinet/tcp.h>
//.
//+ 08.1 09.0
#include <pthread.h>
#include <semaphore.h>
//.
//+ 09.1
#include <errno.h>
#include <pthread.h>
//.
//+ 08.5 09.0
#include <signal.h>
#include <stdatomic.h>
//.
//+ 09.1
#include <signal.h>
//.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
//+ 09.1
#include <sys/epoll.h>
//.
#include <sys/socket.h>
//+ 04.1
#include <sys/time.h>
//.
//+ 08.5 09.0
#include <time.h>
//.
//+ 09.1
#include <time.h>
//.
#include <unistd.h>
//+ 02.0
#include "given.h"
//.

//+ 01.5 01.8
/* Sends all of it. Returns 0, or -1 where the client is gone. */
static int send_all(int client, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(client, bytes, size, 0);
//.
//+ 01.8 09.1
/* Sends all of it. Returns 0, or -1 where the client is gone. */
static int send_all(int client, const char *bytes, size_t size)
{
    while (size > 0) {
        /* Without MSG_NOSIGNAL a client that is gone ends the program with SIGPIPE. */
        ssize_t sent = send(client, bytes, size, MSG_NOSIGNAL);
//.
//+ 01.5 09.1
        if (sent < 0)
            return -1;
        bytes += sent;
        size -= (size_t)sent;
    }
    return 0;
}

//.
//+ 02.2
static void set_number(int socket, int level, int option, int value)
{
    if (setsockopt(socket, level, option, &value, sizeof value) < 0)
        perror("setsockopt");
}

//.
//+ 04.1 09.1
/* How long recv or send (or, on a listener, accept) waits; 0 is for ever. */
static void set_time(int socket, int option, double seconds)
{
    struct timeval time = {.tv_sec = (time_t)seconds};

    time.tv_usec = (suseconds_t)((seconds - (double)time.tv_sec) * 1e6);
    if (setsockopt(socket, SOL_SOCKET, option, &time, sizeof time) < 0)
        perror("setsockopt");
}

//.
//+ 07.1
static char upper(char byte)
{
    return byte >= 'a' && byte <= 'z' ? (char)(byte - 'a' + 'A') : byte;
}

//.
//+ 07.1
/* A handler answers the whole messages at the front of bytes, and returns how many bytes they have.
   An answer is as long as its message. */
static size_t answer_echo(const char *bytes, size_t size, char *answer)
{
    memcpy(answer, bytes, size);
    return size;
}

static size_t answer_upper(const char *bytes, size_t size, char *answer)
{
    for (size_t i = 0; i < size; i++)
        answer[i] = upper(bytes[i]);
    return size;
}

//.
//+ 07.2
static size_t answer_lines(const char *bytes, size_t size, char *answer)
{
    while (size > 0 && bytes[size - 1] != '\n')
        size--;
    return answer_upper(bytes, size, answer);
}

//.
//+ 07.4
enum { RECORD = 22, TEXT_AT = 4 };

/* Of a record only the text is put in upper case: bytes of a number are no letters. */
static size_t answer_records(const char *bytes, size_t size, char *answer)
{
    size -= size % RECORD;
    memcpy(answer, bytes, size);
    for (size_t at = TEXT_AT; at < size; at += RECORD) {
        answer[at] = upper(bytes[at]);
        answer[at + 1] = upper(bytes[at + 1]);
    }
    return size;
}

//.
//+ 07.1
static size_t handle(const char *bytes, size_t size, char *answer)
{
//.
//+ 07.1
    if (strcmp(given.handler, "upper") == 0)
        return answer_upper(bytes, size, answer);
//.
//+ 07.2
    if (strcmp(given.handler, "line") == 0)
        return answer_lines(bytes, size, answer);
//.
//+ 07.4
    if (strcmp(given.handler, "record") == 0)
        return answer_records(bytes, size, answer);
//.
//+ 07.1
    return answer_echo(bytes, size, answer);
}

//.
//+ 08.3 09.0
static sem_t places; /* for clients, that are still free */

//.
//+ 01.2 01.3
static void serve(int client)
{
    char bytes[4096];
    ssize_t received = recv(client, bytes, sizeof bytes, 0);

    if (received > 0)
        send(client, bytes, (size_t)received, 0);
}

//.
//+ 01.3 07.1
/* Answers one client until it has ended its stream, or is gone. */
static void serve(int client)
{
    char bytes[4096];
    ssize_t received;

//.
//+ 06.5 07.1
    int on = 1;
    for (;;) {
        /* It does not stay set, so it comes before each recv. */
        if (given.quickack)
            setsockopt(client, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
        received = recv(client, bytes, sizeof bytes, 0);
        if (received <= 0 || send_all(client, bytes, (size_t)received) < 0)
            break;
    }
//.
//+ 01.3 06.5
    while ((received = recv(client, bytes, sizeof bytes, 0)) > 0)
//.
//+ 01.3 01.5
        send(client, bytes, (size_t)received, 0);
//.
//+ 01.5 06.5
        if (send_all(client, bytes, (size_t)received) < 0)
            break;
//.
//+ 01.6 07.1
    /* The server's half ends behind the last answer. */
    shutdown(client, SHUT_WR);
//.
//+ 01.3 07.1
}

//.
//+ 07.1 09.1
/* Answers one client until it has ended its stream, or is gone. What is left of a message stays at
   the front of bytes until the rest of it comes. */
static void serve(int client)
{
    char bytes[8192], answer[sizeof bytes];
    size_t held = 0;
    int on = 1;

    for (;;) {
        if (given.quickack)
            setsockopt(client, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
        ssize_t received = recv(client, bytes + held, sizeof bytes - held, 0);
        if (received <= 0)
            break;
        held += (size_t)received;
        size_t used = handle(bytes, held, answer);
        if (send_all(client, answer, used) < 0)
            return;
        held -= used;
        memmove(bytes, bytes + used, held);
//.
//+ 07.3 09.1
        if (held == sizeof bytes)
            return; /* a message that does not end */
//.
//+ 07.1 09.1
    }
//.
//+ 07.2 09.1
    /* The end of the stream ends the last line too. */
    if (strcmp(given.handler, "line") == 0)
        send_all(client, answer, answer_upper(bytes, held, answer));
//.
//+ 07.1 09.1
    shutdown(client, SHUT_WR);
}

//.
//+ 08.1 09.0
static void *client_thread(void *argument)
{
    int client = (int)(long)argument;

    serve(client);
    close(client);
//.
//+ 08.3 09.0
    sem_post(&places);
//.
//+ 08.1 09.0
    return NULL;
}

//.
//+ 08.5 09.0
static atomic_bool stopping;

/* A thread that waits for SIGTERM, and then for nobody: main leaves accept, or its wait for a
   place, by itself. */
static void *stop_thread(void *argument)
{
    sigset_t signals;
    int number;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigwait(&signals, &number);
    stopping = true;
    shutdown((int)(long)argument, SHUT_RDWR);
    sem_post(&places);
    return NULL;
}

//.
//+ 09.1
static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

/* A client: what it has sent and was not answered, and answers that were not sent yet. */
struct client {
    int socket;
    char bytes[8192], answer[8192];
    size_t held, unsent;
    bool ended;     /* its stream */
    double came_on; /* its last byte in or out, in seconds */
    struct client *next, **place;
};

struct loop {
    int epoll, listener, clients;
    bool listening; /* not while there are given.max_clients */
    struct client *first;
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void watch(struct loop *loop, int how, int socket, unsigned events, void *what)
{
    struct epoll_event event = {.events = events, .data.ptr = what};

    epoll_ctl(loop->epoll, how, socket, &event);
}

static int limit(void)
{
    return (given.max_clients + given.loops - 1) / given.loops;
}

static void greet(struct loop *loop)
{
    while (loop->clients < limit()) {
        int socket = accept4(loop->listener, NULL, NULL, SOCK_NONBLOCK);
        if (socket < 0)
            return;
        struct client *client = calloc(1, sizeof *client);
        if (client == NULL) {
            close(socket);
            return;
        }
        client->socket = socket;
        client->came_on = now();
        client->next = loop->first;
        client->place = &loop->first;
        if (client->next != NULL)
            client->next->place = &client->next;
        loop->first = client;
        loop->clients++;
        watch(loop, EPOLL_CTL_ADD, socket, EPOLLIN, client);
    }
    watch(loop, EPOLL_CTL_DEL, loop->listener, 0, NULL);
    loop->listening = false;
}

static void leave(struct loop *loop, struct client *client)
{
    *client->place = client->next;
    if (client->next != NULL)
        client->next->place = client->place;
    close(client->socket);
    free(client);
    loop->clients--;
    if (!loop->listening && !stopping) {
        watch(loop, EPOLL_CTL_ADD, loop->listener, EPOLLIN, NULL);
        loop->listening = true;
    }
}

/* Sends what there is room for, and keeps the rest. Returns -1 where the client is gone. */
static int send_some(struct client *client)
{
    ssize_t sent = send(client->socket, client->answer, client->unsent, MSG_NOSIGNAL);

    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    client->unsent -= (size_t)sent;
    memmove(client->answer, client->answer + sent, client->unsent);
    return 0;
}

static int receive_some(struct client *client)
{
    int on = 1;

    if (given.quickack)
        setsockopt(client->socket, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    ssize_t received = recv(client->socket, client->bytes + client->held,
                            sizeof client->bytes - client->held, 0);
    if (received < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    client->held += (size_t)received;
    size_t used = handle(client->bytes, client->held, client->answer);
    if (received == 0) {
        client->ended = true;
        if (strcmp(given.handler, "line") == 0)
            used = answer_upper(client->bytes, client->held, client->answer);
    }
    client->unsent = used;
    client->held -= used;
    memmove(client->bytes, client->bytes + used, client->held);
    return client->held == sizeof client->bytes ? -1 : 0;
}

/* One of a client's events. While something is unsent nothing more is received: TCP's window then
   holds up a client that does not read. */
static void serve(struct loop *loop, struct client *client)
{
    unsigned before = client->unsent > 0 ? EPOLLOUT : EPOLLIN;

    if ((client->unsent == 0 && receive_some(client) < 0) ||
        (client->unsent > 0 && send_some(client) < 0) || (client->ended && client->unsent == 0)) {
        leave(loop, client);
        return;
    }
    unsigned after = client->unsent > 0 ? EPOLLOUT : EPOLLIN;
    if (after != before)
        watch(loop, EPOLL_CTL_MOD, client->socket, after, client);
    client->came_on = now();
}

//.
//+ 09.1
static void *run_loop(void *argument)
{
    struct loop loop = {.listener = (int)(long)argument, .listening = true};
    struct epoll_event events[64];
    double deadline = 0;

    loop.epoll = epoll_create1(0);
    watch(&loop, EPOLL_CTL_ADD, loop.listener, EPOLLIN, NULL);
    while (deadline == 0 || (loop.clients > 0 && now() < deadline)) {
        /* A signal may come just before the wait, which therefore is short. */
        int count = epoll_wait(loop.epoll, events, 64, 100);
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr == NULL)
                greet(&loop);
            else
                serve(&loop, events[i].data.ptr);
        if (stopping && deadline == 0) {
            deadline = now() + given.grace;
            close(loop.listener);
        }
        for (struct client *client = loop.first, *next; given.timeout > 0 && client != NULL;
             client = next) {
            next = client->next;
            if (now() - client->came_on > given.timeout)
                leave(&loop, client);
        }
    }
    return NULL;
}

//.
//+ 09.1
/* A listener, non-blocking; with several loops each has one, on the same port. */
static int listener_of_a_loop(int port)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    set_number(listener, SOL_SOCKET, SO_REUSEADDR, given.reuse_addr);
//.
//+ 09.1 09.5
    set_number(listener, SOL_SOCKET, SO_REUSEPORT, given.reuse_port);
//.
//+ 09.5
    set_number(listener, SOL_SOCKET, SO_REUSEPORT, given.reuse_port || given.loops > 1);
//.
//+ 09.1
    if (given.user_timeout > 0)
        set_number(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(given.user_timeout * 1000));
    if (given.recv_buffer > 0)
        set_number(listener, SOL_SOCKET, SO_RCVBUF, given.recv_buffer);
    if (given.send_buffer > 0)
        set_number(listener, SOL_SOCKET, SO_SNDBUF, given.send_buffer);
    set_number(listener, SOL_SOCKET, SO_KEEPALIVE, given.keepalive);
    set_number(listener, IPPROTO_TCP, TCP_KEEPIDLE, given.keepalive_idle);
    set_number(listener, IPPROTO_TCP, TCP_KEEPINTVL, given.keepalive_interval);
    set_number(listener, IPPROTO_TCP, TCP_KEEPCNT, given.keepalive_count);
    set_number(listener, IPPROTO_TCP, TCP_NODELAY, given.nodelay);
    if (given.fastopen > 0)
        set_number(listener, IPPROTO_TCP, TCP_FASTOPEN, given.fastopen);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("bind");
        exit(EXIT_FAILURE);
    }
    if (listen(listener, given.backlog) < 0) {
        perror("listen");
        exit(EXIT_FAILURE);
    }
    return listener;
}

//.
int main(int argc, char **argv)
{
//+ 01.0 02.0
    int port = 9999;

    /* The port, from the command line: server --port 8080 */
    if (argc == 3 && strcmp(argv[1], "--port") == 0)
        port = atoi(argv[2]);
//.
//+ 02.0
    read_options(argc, argv);
    int port = given.port;
//.
//+ 01.0 01.1
    printf("port %d\n", port);
//.

//+ 01.0 09.1
    /* socket(2): ask for a TCP socket */

//.
//+ 01.1 09.1
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) {
        perror("socket");
        return EXIT_FAILURE;
    }

//.
//+ 02.1 02.2
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);

//.
//+ 02.2 09.1
    set_number(listener, SOL_SOCKET, SO_REUSEADDR, given.reuse_addr);
//.
//+ 02.3 09.1
    set_number(listener, SOL_SOCKET, SO_REUSEPORT, given.reuse_port);
//.
//+ 04.5 09.1
    set_time(listener, SO_RCVTIMEO, given.accept_timeout);
//.
//+ 04.6 09.1
    if (given.user_timeout > 0)
        set_number(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(given.user_timeout * 1000));
//.
//+ 05.1 09.1
    if (given.recv_buffer > 0)
        set_number(listener, SOL_SOCKET, SO_RCVBUF, given.recv_buffer);
//.
//+ 05.2 09.1
    if (given.send_buffer > 0)
        set_number(listener, SOL_SOCKET, SO_SNDBUF, given.send_buffer);
//.
//+ 06.1 09.1
    set_number(listener, SOL_SOCKET, SO_KEEPALIVE, given.keepalive);
    set_number(listener, IPPROTO_TCP, TCP_KEEPIDLE, given.keepalive_idle);
//.
//+ 06.3 09.1
    set_number(listener, IPPROTO_TCP, TCP_KEEPINTVL, given.keepalive_interval);
    set_number(listener, IPPROTO_TCP, TCP_KEEPCNT, given.keepalive_count);
//.
//+ 06.4 09.1
    set_number(listener, IPPROTO_TCP, TCP_NODELAY, given.nodelay);
//.
//+ 06.6 09.1
    if (given.fastopen > 0)
        set_number(listener, IPPROTO_TCP, TCP_FASTOPEN, given.fastopen);
//.
//+ 01.0 09.1
    /* bind(2): give it the address 127.0.0.1 and the port, both in network byte order */

//.
//+ 01.1 09.1
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("bind");
        return EXIT_FAILURE;
    }

//.
//+ 01.0 09.1
    /* listen(2): have the kernel take connections for it */

//.
//+ 01.1 03.1
    if (listen(listener, SOMAXCONN) < 0) {
//.
//+ 03.1 09.1
    if (listen(listener, given.backlog) < 0) {
//.
//+ 01.1 09.1
        perror("listen");
        return EXIT_FAILURE;
    }
    printf("listening on 127.0.0.1:%d\n", port);
    fflush(stdout);

//.
//+ 08.3 09.0
    sem_init(&places, 0, (unsigned)given.max_clients);
//.
//+ 08.5 09.0
    /* Blocked in every thread, SIGTERM is for the one that waits for it. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    pthread_t stopper;
    pthread_create(&stopper, NULL, stop_thread, (void *)(long)listener);
//.
//+ 01.0 09.1
    /* accept(2): take the next client, again and again, and for each of them */

//.
//+ 01.1 08.1
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
//.
//+ 04.4 08.1
        /* Always set, 0 too: an accepted socket inherits the listener's. */
        set_time(client, SO_SNDTIMEO, given.timeout);
//.
//+ 04.1 08.1
        set_time(client, SO_RCVTIMEO, given.timeout);
//.
//+ 01.0 08.1
    /*   recv(2): what it has sent, until it has ended its stream */

    /*   send(2): each piece back, all of it */

//.
//+ 01.2 08.1
        serve(client);
//.
//+ 01.0 08.1
    /*   close(2): when it has gone */

//.
//+ 01.1 08.1
        close(client);
    }
//.
//+ 08.1 08.5
    for (;;) {
//.
//+ 08.5 09.0
    while (!stopping) {
//.
//+ 08.3 09.0
        sem_wait(&places);
//.
//+ 08.1 09.0
        int client = accept(listener, NULL, NULL);
        if (client < 0) {
//.
//+ 08.3 09.0
            sem_post(&places);
//.
//+ 08.1 09.0
            continue;
        }
        set_time(client, SO_SNDTIMEO, given.timeout);
        set_time(client, SO_RCVTIMEO, given.timeout);
        pthread_t thread;
        if (pthread_create(&thread, NULL, client_thread, (void *)(long)client) == 0) {
            pthread_detach(thread);
        } else {
            close(client);
//.
//+ 08.3 09.0
            sem_post(&places);
//.
//+ 08.1 09.0
        }
    }
//.
//+ 08.5 09.0
    /* All places are free again, and so is the one that the stop has added: nobody is left. */
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += (time_t)given.grace;
    deadline.tv_nsec += (long)((given.grace - (double)(time_t)given.grace) * 1e9);
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    for (int i = 0; i <= given.max_clients; i++)
        if (sem_timedwait(&places, &deadline) < 0)
            break;
//.
//+ 09.0 09.1
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        set_time(client, SO_SNDTIMEO, given.timeout);
        set_time(client, SO_RCVTIMEO, given.timeout);
        serve(client);
        close(client);
    }
//.
//+ 09.1
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
//.
//+ 09.5
    pthread_t threads[64];
    int loops = given.loops < 64 ? given.loops : 64;
    for (int i = 1; i < loops; i++)
        pthread_create(&threads[i], NULL, run_loop, (void *)(long)listener_of_a_loop(port));
//.
//+ 09.1
    int listener = listener_of_a_loop(port);
    printf("listening on 127.0.0.1:%d\n", port);
    fflush(stdout);
    run_loop((void *)(long)listener);
//.
//+ 09.5
    for (int i = 1; i < loops; i++)
        pthread_join(threads[i], NULL);
//.
    return EXIT_SUCCESS;
}
