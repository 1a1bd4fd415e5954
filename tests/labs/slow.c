/*
 * For the servers of lab 09 with a handler that computes: stages 08 and 09 are compiled once more,
 * their source as it is, but unpack() named unpack_slowly() by the compiler's command line. A
 * record then says itself how long its answer takes: its first number is in microseconds.
 */
#include <stdint.h>
#include <time.h>

#include "common/pack.h"

ssize_t unpack_slowly(const char *format, const void *buffer, size_t size,
                      struct pack_value *values, size_t count, struct pack_error *error);

/* In microseconds: processor time of the calling thread, so that it is work, not waiting. */
static int64_t computed(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

ssize_t unpack_slowly(const char *format, const void *buffer, size_t size,
                      struct pack_value *values, size_t count, struct pack_error *error)
{
    ssize_t result = unpack(format, buffer, size, values, count, error);

    for (int64_t start = computed(); result > 0 && computed() - start < (int64_t)values[0].as.u;)
        continue;
    return result;
}
