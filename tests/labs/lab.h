/* lab: an experiment with the real programs, that sees the effect or says that it did not.
 *
 * A lab has parts; each asks one question, does the same without and with an option, shows a
 * table, and gives its verdict. A part runs in a process of its own, on two hosts of its own
 * with a wire between them; where the system does not allow that, on 127.0.0.1, if that will do.
 * What it finds is left in build/labs/NN/.
 */
#ifndef TESTS_LABS_LAB_H
#define TESTS_LABS_LAB_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/labs/wire/ladder.h"
#include "tests/labs/wire/wire.h"

#define MILLISECOND INT64_C(1000000) /* in ns */

struct part {
    const char *name; /* of its files */
    const char *question;
    void (*run)(void);
    int64_t delay_ns; /* of the cable, each way */
    bool needs_wire;  /* it would show nothing on 127.0.0.1 */
    bool quick;       /* belongs to the quick form too */
    bool waits;       /* spends its time waiting: it may run beside the other parts */

    /* On a terminal this is asked first: for a number of unit, or for one of the choices (NULL
       after the last). The part says with lab_answer() what it was. A number is near if it is
       off by no more than this part of the answer; 0: only the same number is. */
    const char *guess;
    const char *unit;
    const char *const *choices;
    double near;
};

/* The main of a lab: number is "03", and parts ends with one without a name. Returns the exit
   status: 0 where all effects were seen, 1 where one was not, 77 where a part could not be shown
   here (the system does not allow it, the kernel does not have it, the machine is too slow to
   tell) and all the others were seen. */
int lab_main(int argc, char **argv, const char *number, const char *title,
             const struct part *parts);

/* ---- in a part ---- */

extern bool lab_quick;          /* this is the quick form */
extern struct wire *lab_wire;   /* NULL on 127.0.0.1 */
extern const char *lab_address; /* of the server's host */
extern long lab_rmem_max;       /* net.core.rmem_max, which is the machine's */
extern const char *lab_build;   /* where the programs are: the folder build, or another one */

/* The port of the servers and clients that are started from now on: at first 9999, which is
   nobody else's on a host of our own; on 127.0.0.1 the kernel chooses one for the first server.
   lab_new_port() takes another, where what an earlier server left behind would be in the way. */
int lab_port(void);
void lab_use_port(int port);
void lab_new_port(void);

/* Moves the caller to a host; does nothing on 127.0.0.1. */
void lab_enter(enum host host);

/* Changes a setting on both hosts; a part that cannot is not shown here: status 77. */
void lab_set(const char *name, const char *value);

/* The same for a setting that the part can do without: false where it cannot be changed. */
bool lab_try_set(const char *name, const char *value);

/* Ends the part, with status 77: the kernel does not have the setting, or not in a network of
   one's own; says since when it would. */
void lab_setting_not_here(const char *name) __attribute__((noreturn));

/* Whether the kernel is at least of this version. Only for what cannot be tried: old kernels of
   distributions have settings without what they set. */
bool lab_kernel_since(int major, int minor);

/* Makes the cable longer or shorter, in both directions. */
void lab_delay(int64_t delay_ns);

/* Waiting for an event: for (int64_t start = clock_ns(); !seen() && lab_waits(start, 20);) does
   so for at most 20 s. Sleeps a moment; false when the time is up. */
bool lab_waits(int64_t start, double limit);

/* Lets seconds pass, where that is the experiment. */
void lab_sleep(double seconds);

/* A line of text, below the question. */
void lab_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What to type to see it oneself, and in which of the two shells. */
void lab_look(const char *commands);

/* The verdict, a sentence: what was seen, if it was. A part may give several. */
void lab_verdict(bool seen, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a verdict that rests on measured times. Where it is not seen, and the machine was
   late by more than bearable_ms (lab_lateness()), it says that the machine is too slow to tell:
   status 77. A verdict must never depend on the machine's speed. */
void lab_timed_verdict(bool seen, double bearable_ms, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* How late, at worst, the machine was since the part began, in ms: by so much a thread that only
   sleeps was woken after its time. */
double lab_lateness(void);

/* What was measured, for whoever was asked to guess it: the number, or which of the choices,
   from 0. */
void lab_answer(double answer);

/* A row of the tour's table: the option, the figures without and with it, and how many times
   better it is: negative where it is at least so many times, 0 where that is no number. */
void lab_compare(const char *option, const char *without, const char *with, double factor);

/* Ends the part: something that is not the experiment failed. The lab's status is 1. */
void lab_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* These end the part. The lab's status is 77, unless a verdict before was not seen.
   The system does not allow it: */
void lab_not_allowed(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* The kernel does not have what it needs, which is there since a version such as "5.14": */
void lab_not_here(const char *what, const char *since) __attribute__((noreturn));
/* The machine is too slow to tell; with the figure that shows it: */
void lab_too_slow(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A path in the lab's folder: of the part with this ending, or of another name. */
struct lab_path {
    char text[512];
};
struct lab_path lab_path(const char *name, const char *ending);
const char *lab_part_name(void);

/* Before a file of the lab's own is written that the functions here do not write: so that the
   next run removes it. Ends the lab where somebody else's file is at the path. */
void lab_claim(const char *path);

/* Takes note of a picture of the part's, for the page with all results. */
void lab_picture(const char *name, const char *ending, const char *title);

/* A table: its columns and the cells of a row have a '\t' between them. Printed, and written
   as NAME.tsv, when it ends. */
void lab_table(const char *columns);
void lab_row(const char *format, ...) __attribute__((format(printf, 1, 2)));
void lab_table_end(void);

/* Waits until the wire is quiet; and then throws away what went over it so far. */
void lab_settle(void);
void lab_forget(void);

/* Draws what went over the wire since it started or was forgotten: to NAME.svg, NAME.pcap and,
   in the full form, to the terminal. name is NULL for the part's. Nothing without a wire. */
void lab_ladder(const char *name, const struct ladder *ladder);

/* What a client sent or received: for wire_count() and ladders. context is its port, an int. */
wire_match lab_of_port;

/* All but ACKs alone, where they would only hide the rest. */
wire_match lab_no_bare_ack;

/* The port of the client that sent the first SYN since the wire was forgotten; 0: none did. */
int lab_first_port(void);

/* ---- sockets of the lab's own, where a program would not do ---- */

/* A socket on the calling thread's host, not yet connected; and one connected to the server. */
int lab_socket(void);
int lab_connect(void);
struct sockaddr_in lab_server_address(void);

/* A listener on the server's host, at lab_port(). */
int lab_listen(int backlog);

/* Serves one client after another, in a process of its own, which has the listener from then on:
   serve() talks to one, who is closed after it. The process is there until lab_end() or the end
   of the part. */
pid_t lab_serve(int listener, void (*serve)(int client));
void lab_end(pid_t child);

/* A connection that is on its way: the socket's connect() does not wait. lab_connected() tells
   how it went so far: 1 connected, 0 under way, -1 failed, with errno. */
int lab_connect_later(void);
int lab_connected(int connection);

/* How many bytes of a connection to the server are not yet acknowledged: with 0, the other host
   has all that was sent. */
int lab_unsent(int connection);

/* A counter of the calling thread's host, as nstat(8) shows it: "ListenOverflows"; -1 where the
   kernel does not count it. */
long lab_counter(const char *name);

/* The sockets of the calling thread's host in one state (proc(5), /proc/net/tcp) with these
   ports at this end and at the other (0: any). */
enum {
    SOCKET_ESTABLISHED = 1,
    SOCKET_SYN_SENT,
    SOCKET_SYN_RECV,
    SOCKET_TIME_WAIT = 6,
    SOCKET_CLOSE_WAIT = 8,
    SOCKET_LISTEN = 10
};
struct lab_sockets {
    int count;
    double timer; /* the seconds that the longest of their timers has to go */
    /* Of the first one: */
    int waiting; /* of a listener: how many connections its accept queue holds */
    int unsent;  /* bytes that are not yet acknowledged */
};
struct lab_sockets lab_sockets(int state, int local_port, int remote_port);

#endif
