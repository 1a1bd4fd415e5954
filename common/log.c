/* strerror_r(3) as POSIX has it, not as GNU does. */
#undef _GNU_SOURCE

#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "common/clock.h"

enum { LINE_SIZE = 1200, SHOWN_BYTES = 64, LONGEST_WAIT = 1 /* seconds */ };

static _Atomic enum log_level shown_level = LOG_NORMAL;
static char program_name[32] = "program";
static _Thread_local char thread_name[16] = "main";
static _Thread_local const char *about = "";

void log_set_level(enum log_level level)
{
    shown_level = level;
}

bool log_shows(enum log_level level)
{
    return level <= shown_level;
}

void log_name_program(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');

    snprintf(program_name, sizeof program_name, "%s", slash ? slash + 1 : argv0);
}

void log_about(const char *text)
{
    about = text;
}

void log_name_thread(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(thread_name, sizeof thread_name, format, arguments);
    va_end(arguments);
#ifdef __linux__
    prctl(PR_SET_NAME, thread_name);
#endif
}

static long own_thread_id(void)
{
#ifdef __linux__
    return syscall(SYS_gettid);
#else
    return getpid();
#endif
}

/* The line that is to be written, with the one before it that says what was lost; nothing, or
   the rest of a line after a terminal took a part of it. The lock is for this. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char unsent[2 * LINE_SIZE];
static size_t unsent_size;
/* A pipe takes as much as this whole or not at all (pipe(7)). */
static_assert(sizeof unsent <= PIPE_BUF, "lines could be cut");

static atomic_ulong lost_lines;
/* Nobody has read the log for LONGEST_WAIT, or it cannot be written: no line waits any more,
   until something has been written. */
static atomic_bool stuck;

/* A thread whose write(2) blocks keeps the lock, so nobody waits for that for ever. */
static bool take_lock(void)
{
    struct timespec end;

    if (pthread_mutex_trylock(&lock) == 0)
        return true;
    if (stuck)
        return false;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += LONGEST_WAIT;
    if (pthread_mutex_timedlock(&lock, &end) == 0)
        return true;
    stuck = true;
    return false;
}

/* Writes what is unsent; returns false if that was not possible before end, a clock_ns(). */
static bool write_unsent(int64_t end)
{
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};

    while (unsent_size > 0) {
        int64_t rest = stuck ? 0 : (end - clock_ns()) / 1000000;
        int wait = rest > 0 ? (int)rest : 0;
        int ready = poll(&log, 1, wait);
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t written = ready == 0 ? 0 : write(STDERR_FILENO, unsent, unsent_size);
        if (written > 0) {
            unsent_size -= (size_t)written;
            memmove(unsent, unsent + written, unsent_size);
            stuck = false;
        } else if (written < 0 && errno == EAGAIN && wait > 0) {
            poll(NULL, 0, 1); /* a terminal has room, but not for the two bytes of a line's end */
        } else if (written == 0 || errno != EINTR) {
            stuck = true;
            return false;
        }
    }
    return true;
}

static size_t prefix(char *line)
{
    return (size_t)snprintf(line, LINE_SIZE, "[%s(%ld), %s(%ld)] ", program_name, (long)getpid(),
                            thread_name, own_thread_id());
}

/* Control characters become '?', and the line ends with the one that ends lines. */
static size_t finish_line(char *line, size_t size)
{
    if (size > LINE_SIZE - 1)
        size = LINE_SIZE - 1;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    line[size] = '\n';
    return size + 1;
}

/* The line that stands for those that were lost before it; nothing if there are none. */
static size_t say_what_was_lost(char *line, unsigned long lost)
{
    if (lost == 0)
        return 0;

    size_t start = prefix(line);
    int length = snprintf(line + start, LINE_SIZE - start,
                          "lines lost: %lu; nobody read the log, or it could not be written", lost);
    return finish_line(line, start + (size_t)length);
}

/* Returns false if the line is lost. */
static bool send_line(const char *line, size_t size, int64_t end)
{
    if (!write_unsent(end)) /* the rest of an earlier line */
        return false;
    unsigned long lost = atomic_exchange(&lost_lines, 0);
    unsent_size = say_what_was_lost(unsent, lost);
    memcpy(unsent + unsent_size, line, size);
    unsent_size += size;
    size_t whole = unsent_size;
    if (write_unsent(end) || unsent_size < whole)
        return true;
    unsent_size = 0;
    lost_lines += lost;
    return false;
}

__attribute__((format(printf, 1, 0))) static void write_line(const char *format, va_list arguments)
{
    int saved_errno = errno;
    int64_t end = clock_ns() + LONGEST_WAIT * INT64_C(1000000000);
    char line[LINE_SIZE];

    size_t start = prefix(line);
    start += (size_t)sprintf(line + start, "%.99s%s", about, *about != '\0' ? " " : "");
    int length = vsnprintf(line + start, sizeof line - start, format, arguments);
    size_t size = finish_line(line, start + (length < 0 ? 0 : (size_t)length));
    if (!take_lock()) {
        lost_lines++;
    } else {
        if (!send_line(line, size, end))
            lost_lines++;
        pthread_mutex_unlock(&lock);
    }
    errno = saved_errno;
}

void log_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}

void log_info(const char *format, ...)
{
    va_list arguments;

    if (!log_shows(LOG_NORMAL))
        return;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}

/* Writes one byte as Python would in b'...', at most four characters; returns how many. */
static size_t escape(unsigned char byte, char *text)
{
    switch (byte) {
    case '\n':
        return (size_t)sprintf(text, "\\n");
    case '\r':
        return (size_t)sprintf(text, "\\r");
    case '\t':
        return (size_t)sprintf(text, "\\t");
    case '\\':
    case '\'':
        return (size_t)sprintf(text, "\\%c", byte);
    }
    if (byte < ' ' || byte >= 0x7f)
        return (size_t)sprintf(text, "\\x%02x", byte);
    *text = (char)byte;
    return 1;
}

void log_bytes(const char *what, const void *bytes, size_t size)
{
    if (!log_shows(LOG_BYTES))
        return;

    const unsigned char *byte = bytes;
    char text[4 * SHOWN_BYTES + 1];
    size_t end = 0;

    for (size_t i = 0; i < size && i < SHOWN_BYTES; i++)
        end += escape(byte[i], text + end);
    text[end] = '\0';
    log_info("%s %zu byte%s b'%s'%s", what, size, size == 1 ? "" : "s", text,
             size > SHOWN_BYTES ? "..." : "");
}

void die(const char *format, ...)
{
    char text[1000];
    struct error_text reason = error_text(errno);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_error("%s: %s", text, reason.text);
    exit(EXIT_FAILURE);
}

struct error_text error_text(int error)
{
    struct error_text words;

    if (strerror_r(error, words.text, sizeof words.text) != 0)
        snprintf(words.text, sizeof words.text, "error %d", error);
    return words;
}

struct error_text end_text(int result)
{
    if (result == 0)
        return (struct error_text){"end of file"};
    if (errno == EAGAIN)
        return (struct error_text){"timed out"};
    return error_text(errno);
}
