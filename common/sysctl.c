#include "common/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"

int sysctl_read(const char *name, long *value)
{
    char path[256];
    char text[64];

    int length = snprintf(path, sizeof path, "/proc/sys/%s", name);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *c = path + sizeof "/proc/sys/" - 1; *c != '\0'; c++)
        if (*c == '.')
            *c = '/';

    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    ssize_t size = read(file, text, sizeof text - 1);
    int read_errno = errno;
    close(file);
    if (size < 0) {
        errno = read_errno;
        return -1;
    }
    text[size] = '\0';

    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || errno != 0) {
        errno = EINVAL;
        return -1;
    }
    *value = number;
    return 0;
}

long sysctl_or(const char *name, long fallback)
{
    long value;

    if (sysctl_read(name, &value) < 0) {
        log_info("%s cannot be read (%s): taking it to be %ld", name, error_text(errno).text,
                 fallback);
        return fallback;
    }
    return value;
}
