/* clock: a time that only ever goes forward, for measuring how long something took. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Nanoseconds since some fixed moment (CLOCK_MONOTONIC, clock_gettime(2)): setting the
   date does not move it. Never fails. */
int64_t clock_ns(void);

/* Seconds from start, an earlier clock_ns(), until now. */
double clock_seconds_since(int64_t start);

#ifdef __cplusplus
}
#endif
#endif
