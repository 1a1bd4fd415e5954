/*
 * What the labs and the stages read below /proc: any text, as the whole of the file. A kernel
 * that is newer than the course may write what nobody has thought of.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static const uint8_t *content;
static size_t content_size;

/* Instead of fopen(3). An empty file cannot be had from fmemopen(3) everywhere. */
static FILE *open_content(const char *path)
{
    (void)path;
    return content_size > 0 ? fmemopen((void *)(uintptr_t)content, content_size, "r")
                            : fopen("/dev/null", "r");
}

/* Instead of read(2). */
static ssize_t read_content(void *buffer, size_t size)
{
    size_t given = content_size < size ? content_size : size;

    memcpy(buffer, content, given);
    return (ssize_t)given;
}

/* Under other names, because the common objects that are linked have them too. */
#define sysctl_read              sysctl_read_to_fuzz
#define sysctl_or                sysctl_or_to_fuzz
#define open(path, flags)        STDIN_FILENO
#define close(file)              ((void)(file))
#define read(file, buffer, size) read_content(buffer, size)
#include "common/sysctl.c"
#undef open
#undef close
#undef read

#define fopen(path, mode) open_content(path)
#include "tests/labs/lab.c"
#undef fopen

/* At most so many lines can be read: fgets(3) takes a long one for several. */
static size_t lines(void)
{
    size_t count = 1 + content_size / 500;

    for (size_t i = 0; i < content_size; i++)
        count += content[i] == '\n';
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const counters[] = {"ListenOverflows", "RetransSegs", "TcpExt"};
    long setting;

    content = bytes;
    content_size = size;
    log_set_level(LOG_ERRORS);

    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        lab_counter(counters[i]);
    int listen = lab_sockets(SOCKET_LISTEN, 0, 0).count;
    int established = lab_sockets(SOCKET_ESTABLISHED, 0, 0).count;
    assert(lab_sockets(SOCKET_LISTEN, 9999, 0).count <= listen);
    assert((size_t)(listen + established) <= lines()); /* a socket is in one state */
    if (sysctl_read("net.core.somaxconn", &setting) == 0)
        assert(size > 0);
    return 0;
}
