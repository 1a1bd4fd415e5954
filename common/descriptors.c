#include "common/descriptors.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

enum { OTHER_DESCRIPTORS = 16 };

/* So that writing the log blocks for nobody. O_NONBLOCK is a flag of the open file (open(2)),
   and this one belongs to others too, such as the shell: set there, it would be theirs. Opening
   the same pipe or terminal again makes an open file of our own. */
static void open_own_stderr(void)
{
    struct stat about;

    if (fstat(STDERR_FILENO, &about) < 0 ||
        (!S_ISFIFO(about.st_mode) && isatty(STDERR_FILENO) == 0))
        return;
    int access = fcntl(STDERR_FILENO, F_GETFL) & O_ACCMODE;
    int own = open("/proc/self/fd/2", access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own < 0) /* another user's: then the log can only ask if there is room, and write */
        return;
    dup2(own, STDERR_FILENO);
    close(own);
}

void guard_standard_streams(void)
{
    static const int wrong_way[] = {O_WRONLY, O_RDONLY, O_RDONLY};

    /* open(2) gives the lowest number that is free. */
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++)
        if (fcntl(number, F_GETFD) < 0 && open("/dev/null", wrong_way[number]) < 0)
            die("/dev/null");
    signal(SIGPIPE, SIG_IGN);
    open_own_stderr();
}

void restore_standard_streams(void)
{
    int flags = fcntl(STDERR_FILENO, F_GETFL);

    signal(SIGPIPE, SIG_DFL);
    if (flags >= 0)
        fcntl(STDERR_FILENO, F_SETFL, flags & ~O_NONBLOCK);
}

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
