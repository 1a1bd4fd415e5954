/* stop: turns SIGINT and SIGTERM into a clean end of a server.
 *
 * A flag that a signal handler sets and the server looks at before it blocks in accept(2) or
 * recv(2) has a hole: the signal may come just after the look. Here the signal is taken by a
 * thread of its own (sigwait(3)), which then shuts sockets down. That a socket is shut down
 * is a state, not an event: the blocking call returns no matter which of the two came first.
 */
#ifndef COMMON_STOP_H
#define COMMON_STOP_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* From now on the first SIGINT or SIGTERM
     - makes stop_requested() true,
     - shuts the listener down: accept(2) fails, and nobody new can connect,
     - ends the receiving side of every connection under stop_watch(): what has come is still
       read, then recv(2) returns 0; a client that is idle is gone at once,
     - and after grace seconds shuts those down that are still busy with an answer.
   A second SIGINT ends the program at once, as it would without all this. SIGPIPE is ignored.
   Call it once, before any other thread is started: threads inherit the blocked signals.
   Exits with 1 if its own thread cannot be started. */
void stop_on_signals(int listener, double grace);

/* True once a stop was asked for. */
bool stop_requested(void);

/* Puts a connection under the rules above, and takes it out again, which must come before its
   close(2): the number may be another connection's right after. From any thread.
   stop_watch() returns 0, or -1 with errno ENOMEM. */
int stop_watch(int connection);
void stop_forget(int connection);

/* For a program that only waits to be stopped: returns at the first SIGINT or SIGTERM after
   the call (before it, they end the program as usual). Not to be mixed with the others. */
void stop_wait(void);

#ifdef __cplusplus
}
#endif
#endif
