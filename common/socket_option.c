#include "common/socket_option.h"

#include <math.h>
#include <sys/time.h>

#include "common/log.h"
#include "common/sysctl.h"

int set_named_option(int socket, int level, int name, const char *label, int value)
{
    if (name == NO_SUCH_OPTION) {
        log_info("%s: asked %d, but this system does not have it", label, value);
        return 0;
    }
    if (setsockopt(socket, level, name, &value, sizeof value) < 0)
        return -1;
    if (!log_shows(LOG_NORMAL))
        return 0;

    int got = 0;
    socklen_t size = sizeof got;
    if (getsockopt(socket, level, name, &got, &size) < 0)
        return -1;
    log_info("%s: asked %d, got %d", label, value, got);
    return 0;
}

int set_named_time_option(int socket, int name, const char *label, double seconds)
{
    double microseconds = ceil(seconds * 1e6);
    struct timeval time = {.tv_sec = (time_t)(microseconds / 1e6)};

    time.tv_usec = (suseconds_t)(microseconds - (double)time.tv_sec * 1e6);
    if (setsockopt(socket, SOL_SOCKET, name, &time, sizeof time) < 0)
        return -1;
    if (!log_shows(LOG_NORMAL))
        return 0;

    struct timeval got = {0};
    socklen_t size = sizeof got;
    if (getsockopt(socket, SOL_SOCKET, name, &got, &size) < 0)
        return -1;
    log_info("%s: asked %g s, got %g s", label, seconds,
             (double)got.tv_sec + (double)got.tv_usec / 1e6);
    return 0;
}

int set_named_buffer_option(int socket, int name, const char *label, int bytes)
{
    const char *limit_name = name == SO_RCVBUF ? "net.core.rmem_max" : "net.core.wmem_max";

    if (setsockopt(socket, SOL_SOCKET, name, &bytes, sizeof bytes) < 0)
        return -1;
    if (!log_shows(LOG_NORMAL))
        return 0;

    int got = 0;
    socklen_t size = sizeof got;
    if (getsockopt(socket, SOL_SOCKET, name, &got, &size) < 0)
        return -1;
    const char *why = got > 2L * bytes ? "the least the kernel gives" : "the kernel doubles it";
    long limit;
    if (sysctl_read(limit_name, &limit) < 0) {
        log_info("%s: asked %d, got %d (%s); limit %s cannot be read", label, bytes, got, why,
                 limit_name);
        return 0;
    }
    if (bytes > limit)
        why = "warning: cut to the limit, then doubled";
    log_info("%s: asked %d, got %d (%s); limit %s = %ld", label, bytes, got, why, limit_name,
             limit);
    return 0;
}
