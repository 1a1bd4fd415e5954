#include "common/clock.h"

#include <time.h>

int64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

double clock_seconds_since(int64_t start)
{
    return (double)(clock_ns() - start) / 1e9;
}
