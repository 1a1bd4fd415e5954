#include "common/retry.h"

#include <errno.h>
#include <time.h>

#include "common/log.h"

static void log_retry(const char *what, int error)
{
    log_error("%s: %s; trying again in %g s", what, error_text(error).text, RETRY_SECONDS);
}

static void sleep_until_retry(void)
{
    struct timespec pause = {.tv_nsec = (long)(RETRY_SECONDS * 1e9)};

    nanosleep(&pause, NULL);
}

void retry_later(const char *what, int error)
{
    log_retry(what, error);
    sleep_until_retry();
}

bool accept_may_go_on(void)
{
    int error = errno;

    if (error == EINTR)
        return true;
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
        return true;
    default:
        log_retry("accept", error);
        return false;
    }
}

void accept_failed(void)
{
    if (!accept_may_go_on())
        sleep_until_retry();
}
