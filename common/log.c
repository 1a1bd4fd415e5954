/* strerror_r(3) as POSIX has it, not as GNU does. */
#undef _GNU_SOURCE

#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

enum { LINE_SIZE = 1200, SHOWN_BYTES = 64 };

static _Atomic enum log_level shown_level = LOG_NORMAL;
static char program_name[32] = "program";
static _Thread_local char thread_name[16] = "main";

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

__attribute__((format(printf, 1, 0))) static void write_line(const char *format, va_list arguments)
{
    char line[LINE_SIZE];
    int saved_errno = errno;

    int start = snprintf(line, sizeof line, "[%s(%ld), %s(%ld)] ", program_name, (long)getpid(),
                         thread_name, own_thread_id());
    int length = vsnprintf(line + start, sizeof line - (size_t)start, format, arguments);
    size_t end = (size_t)start + (length < 0 ? 0 : (size_t)length);
    if (end > sizeof line - 1)
        end = sizeof line - 1;
    for (size_t i = 0; i < end; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    line[end] = '\n';
    while (write(STDERR_FILENO, line, end + 1) < 0 && errno == EINTR)
        continue;
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
