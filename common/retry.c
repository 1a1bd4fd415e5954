#include "common/retry.h"

#include <errno.h>
#include <time.h>

#include "common/log.h"

void retry_later(const char *what, int error)
{
    struct timespec pause = {.tv_nsec = 100000000};

    log_error("%s: %s; trying again in 0.1 s", what, error_text(error).text);
    nanosleep(&pause, NULL);
}

void accept_failed(void)
{
    int error = errno;

    if (error == EINTR)
        return;
    switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
#ifdef ENONET
    case ENONET:
#endif
        log_info("accept: %s; waiting for the next", error_text(error).text);
        return;
    default:
        retry_later("accept", error);
    }
}
