/* check: takes a server of the learner's own through the steps of the course.
 *
 * A step is a row of a table: what the server has to do, how it is tried, what to read, three
 * hints. It runs in a process of its own, in a private network where the system allows one, and
 * asks only what can be seen from outside: sockets and /proc. So any language will do.
 */
#ifndef TESTS_CHECK_CHECK_H
#define TESTS_CHECK_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"

struct step {
    const char *name; /* a requirement: "the server …" */
    const char *did;  /* how it is tried; {port} is the server's port */
    const char *expected;
    const char *read;     /* chapter and heading */
    const char *hints[2]; /* a question, then a pointer; the third are lines of the answer */
    const char *shows;    /* the step whose lines answer this one too; NULL: it has its own */
    void (*run)(void);
};

struct stage {
    const char *title;
    const char *folder;
    const char *base;         /* the stage that it begins with, such as "02"; NULL: a skeleton */
    const struct step *steps; /* ends with one without a name */
    const char *besides;      /* what the course's server does that no step asks for */
    const char *next;         /* what to read, and to do, when all of it is there */
};

enum { STAGES = 9, MOST_STEPS = 12 };
extern const struct stage stages[STAGES];
extern const struct step steps_01[], steps_02[], steps_03[], steps_04[], steps_05[], steps_06[],
    steps_07[], steps_08[], steps_09[];

/* ---- how a step ends: one that returns has passed ---- */

/* Says what the likely mistake is, for the report of a failure that comes later. NULL: nothing. */
void so(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what was done, or expected, in place of what the table says. */
void did(const char *format, ...) __attribute__((format(printf, 1, 2)));
void expected(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the step: what was seen is not what was expected. Where the server has ended by itself,
   the report says that, and its last words. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the step: this machine does not allow it. */
_Noreturn void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether the step runs in a network of its own, with settings that are its own. */
extern bool private_network;

/* Changes a setting of that network; skips the step where it cannot be changed. */
void set_setting(const char *name, const char *value);

/* ---- the server ---- */

struct server {
    int pid;
    int port;
    bool ended;
    bool stopped;    /* it was told to end */
    int status;      /* of waitpid(2), once it has ended */
    int output, log; /* files with what it writes to stdout and to stderr */
    const char *options;
};

/* How long anything may take that should take no time, in seconds. */
#define SOON 2.0

/* Starts the server with --port and these options, which have a blank between them, and waits
   until it listens; fails the step, with the likely reason, where it does not within 2 s. */
struct server *start(const char *options);

/* The same for a server that serves one client at a time: from 08 on it has to be told so. */
struct server *start_one_at_a_time(const char *options);

/* The same without a failure: whether it listens is told by listens(), which waits until its port
   has so many listeners, and explain_no_listener() fails the step. */
struct server *launch(const char *options);
bool listens(struct server *server, int wanted, double seconds);
_Noreturn void explain_no_listener(struct server *server);

/* Waits until the server has nothing to do: what it does between listen and accept takes a moment.
   False where it still works after a second of its own. */
bool wait_for_rest(const struct server *server);

/* Whether it has ended; waits for that, for so many seconds at most. */
bool has_ended(struct server *server, double seconds);

/* "ended with status 1; its last words: …", or "was ended by SIGPIPE". */
const char *how_it_ended(struct server *server);

/* Fails the step where the server ends by itself within so many seconds: that is told before any
   other mistake. */
void fail_if_ended(struct server *server, double seconds);

/* Ends it with SIGTERM and waits; fails where it does not end in time. */
void stop(struct server *server);

/* Waits until it rests, stops it, and has it go on: what it waits in is interrupted, a send that
   has taken a part of its bytes returns with that (signal(7), "Interruption of system calls and
   library functions by stop signals"). False where it does not come to rest. */
bool interrupt(struct server *server);

/* Ends it in any case, with SIGKILL. */
void kill_server(struct server *server);

/* Numbers from /proc of the server: -1 where they cannot be read. */
int descriptors(const struct server *server);
int threads(const struct server *server);
double cpu_seconds(const struct server *server);
long resident_kib(const struct server *server);

/* Whether it is at work all the time, as one in a loop is that waits for nothing. Looks for so many
   seconds, or for longer where it hardly gets a processor. */
bool is_busy(const struct server *server, double seconds);

/* A connection as the system sees it from the server's end (proc_net_tcp(5)). */
enum { TCP_STATE_ESTABLISHED = 1, TCP_STATE_SYN_RECV = 3, TCP_STATE_LISTEN = 10 };
struct end {
    bool there;
    int state;
    long unsent, unread; /* bytes in its queues; of a listener unread is who waits for accept */
    bool accepted;
    int timer; /* 2 is keep-alive's */
    double timer_seconds;
};
struct end server_end(const struct server *server, int client);
int listeners(const struct server *server);
long waiting(const struct server *server);

/* ---- clients ---- */

/* A connection to the server, fails where there is none within 2 s. connect_begin only begins,
   connect_done says whether the handshake is over. */
int connect_to(struct server *server);
int connect_begin(const struct server *server);
bool connect_done(int client);

/* A connection with a small receive buffer, so that a server soon cannot send any more. */
int connect_small(struct server *server);

/* The same, and the server's segments are small as well: the kernel sizes its send buffer by them,
   and with a small one even the little that the client reads makes room. */
int connect_small_segments(struct server *server);

/* Sends all; returns how many bytes went in the time, and does not fail. */
size_t send_bytes(int client, const void *bytes, size_t size, double seconds);

/* Receives up to size bytes, until the time is up or the connection ends. */
enum ending { OPEN, END_OF_FILE, RESET };
struct reply {
    size_t size;
    enum ending ending;
};
struct reply receive_bytes(int client, void *bytes, size_t size, double seconds);

/* Sends, and fails with the likely reason unless just the same bytes come back. */
void exchange(struct server *server, int client, const void *bytes, size_t size);

/* The same with other bytes as an answer; received is what came already without it being read.*/
void exchange_for(struct server *server, int client, const void *bytes, size_t size,
                  const void *answer, size_t answer_size);

/* Waits for an answer that was asked for earlier. */
void expect(struct server *server, int client, const void *sent, size_t sent_size,
            const void *answer, size_t answer_size);

/* Fills everything between this client, which reads nothing, and the server, with these bytes;
   returns how many found room. */
size_t fill(const struct server *server, int client, const char *bytes, size_t size);

/* The same with any bytes; so many find room only if the server itself keeps them. */
enum { FILLED = 32 << 20 };
size_t fill_with_anything(const struct server *server, int client);

/* Closes with a reset. */
void reset(int client);

/* Reads until the server's half ends, for so many seconds at most. */
enum ending wait_for_end(int client, double seconds);

/* Bytes as text, escaped, in quotes; long ones are cut. Good until the fourth next call. */
const char *quoted(const void *bytes, size_t size);

/* "1 byte", "5 bytes" */
const char *bytes_text(size_t size);

void nap(double seconds);

/* How long a server has waited for a processor so far, in seconds. Such time does not count: on a
   busy machine everything takes longer. A limit gets at most twice as long. */
double machine_delay(void);

/* Whether one of them has work to do at this moment. A limit that is over waits for that, too. */
bool servers_work(void);

/* A time limit that begins now. */
struct limit {
    int64_t begun;
    double seconds, delay;
};
struct limit limit_of(double seconds);
double time_left(const struct limit *limit);

/* Does what follows again and again until condition is true, for so many seconds at most. */
#define WITHIN(seconds, condition)                                                        \
    for (struct limit limit_ = limit_of(seconds); !(condition) && time_left(&limit_) > 0; \
         nap(0.002))

#endif
