/* retry: what a server does when the system has nothing left to give it: say so, wait a
 * moment, go on. Without the wait it would fail again at once, and spin. */
#ifndef COMMON_RETRY_H
#define COMMON_RETRY_H

#include <stdbool.h>

/* A moment. */
#define RETRY_SECONDS 0.1

#ifdef __cplusplus
extern "C" {
#endif

/* Logs "what: ", the words for error, an errno value, and waits for RETRY_SECONDS. */
void retry_later(const char *what, int error);

/* After accept(2) has failed: decides by errno, and returns when accept may be called again.
   Where only one connection was lost (ECONNABORTED, EPROTO and the network errors that
   accept(2) lists) that is at once, with a line in the log; after EINTR without one; after all
   else (EMFILE, ENFILE, ENOBUFS, ENOMEM) it is retry_later(). */
void accept_failed(void);

/* The same for a server that must not sleep, because others would wait with it. Returns true
   where accept may be called again at once, false where RETRY_SECONDS are to pass before that. */
bool accept_may_go_on(void);

#ifdef __cplusplus
}
#endif
#endif
