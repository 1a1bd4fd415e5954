/* stop: what SIGINT and SIGTERM do to a program: end it where it stands, or make a clean end.
 *
 * A flag that a signal handler sets and the server looks at before it blocks in accept(2) or
 * recv(2) has a hole: the signal may come just after the look. None of the three ways here has
 * it. One ends the program in the handler itself. For another a thread of its own takes the signal
 * (sigwait(3)) and changes the sockets, so that no call on them can block any more; for the third
 * a descriptor becomes readable, and stays so. Both are states, not events: it does not matter
 * whether the signal or the call came first.
 */
#ifndef COMMON_STOP_H
#define COMMON_STOP_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* From now on SIGINT and SIGTERM end the program at once with status 0, whatever it is doing;
   the kernel closes its sockets (signal(7), _exit(2)). Also where the program that started this
   one had them ignored or blocked. */
void exit_on_signals(void);

/* From now on the first SIGINT or SIGTERM
     - makes stop_requested() true,
     - ends the waiting of the calling thread in accept(2): from then on accept takes who is in
       the accept queue, and fails with EAGAIN when nobody is (once, it may be EINTR),
     - ends the receiving side of every connection under stop_watch(): what has come is still
       read, then recv(2) returns 0; a client that is idle is gone at once,
     - after grace seconds shuts down the connections that are still busy with an answer, and the
       listener: who is still in its queue is reset,
     - and a second later ends the program, with status 0, whatever it waits for.
   A second SIGINT or SIGTERM ends the program at once, with status 0.
   Call it once, from the thread that accepts, before any other thread is started: threads
   inherit the blocked signals. It uses SIGUSR1. Exits with 1 if its thread cannot be started. */
void stop_on_signals(int listener, double grace);

/* For a server that waits with epoll(7): from wake_on_signals() on, the first SIGINT or SIGTERM
   makes this descriptor readable. Nobody reads it, so each thread that waits for it is told; the
   signals may come to any of them. A second one ends the program at once, with status 0. The
   first call of either opens it, and is to come before any other thread is started. Exits with 1
   if that fails. Not to be mixed with stop_on_signals(). */
int stop_descriptor(void);
void wake_on_signals(void);

/* True once a stop was asked for. */
bool stop_requested(void);

/* Puts a connection under the rules above, and takes it out again, which must come before its
   close(2): the number may be another connection's right after. From any thread.
   stop_watch() returns 0, or -1 with errno ENOMEM. */
int stop_watch(int connection);
void stop_forget(int connection);

#ifdef __cplusplus
}
#endif
#endif
