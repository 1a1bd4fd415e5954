#include "common/descriptors.h"

#include <sys/resource.h>

#include "common/log.h"

enum { OTHER_DESCRIPTORS = 16 };

long allow_sockets(long count)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)count + OTHER_DESCRIPTORS;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed)
        return count;
    rlim_t allowed = limit.rlim_cur;
    limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        allowed = limit.rlim_cur;
    if (allowed == needed)
        return count;

    long room = allowed > OTHER_DESCRIPTORS ? (long)allowed - OTHER_DESCRIPTORS : 0;
    log_info("warning: room for %ld sockets, not %ld: the limit of open files "
             "(ulimit -Hn) is %lu",
             room, count, (unsigned long)limit.rlim_max);
    return room;
}
