/* log: what a program says on stderr, a line at a time, also from many threads. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How much is said. Each level says what the ones before it say, and more. */
enum log_level {
    LOG_ERRORS, /* -q: what keeps the program from doing its work */
    LOG_NORMAL, /* what happens: connections, their ends, options as the kernel took them */
    LOG_BYTES,  /* -v: every send and receive, with its bytes */
};

/* Sets the level, for all threads; LOG_NORMAL until then. */
void log_set_level(enum log_level level);

/* True if lines of this level are shown: for a caller that would have to ask the kernel
   before it could write one. */
bool log_shows(enum log_level level);

/* Names the program, as the last part of argv0, and the calling thread, as by printf(3); a
   thread without a name is "main". The kernel learns the thread's name too (at most 15 bytes
   of it, prctl(2) PR_SET_NAME), so ps -T and top -H show it. */
void log_name_program(const char *argv0);
void log_name_thread(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Has each line of the calling thread begin with text and a blank, behind the prefix: whom it is
   about, where one thread has many clients. The text is not copied; "" ends that. */
void log_about(const char *text);

/* One line, "[server(1234), main(1234)] text": program and process, thread name and thread
   id, then the text, made as by printf(3). Lines of several threads never mix. Control
   characters become '?', a text over about 1000 bytes is cut. errno is left as it was.

   Where nobody reads the log, because stderr is a pipe that is full, or a terminal after Ctrl-S,
   a line waits for a second at most; then it is lost, and each one after it without any wait,
   until a line can be written again. One line before that one says how many were lost. That
   holds for every kind of stderr once guard_standard_streams() of common/descriptors.h was
   called, as parse_options() does. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* At LOG_BYTES, one line "what 6 bytes b'Hello\n'"; of more than 64 bytes only the first 64
   are shown, followed by "...". */
void log_bytes(const char *what, const void *bytes, size_t size);

/* For a program's way in, before it serves anyone: logs "text: " and the words for errno as
   an error, and exits with status 1. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The words for an errno value, like strerror(3) but safe with threads (strerror_r(3)). The
   text is part of the returned value: error_text(errno).text lasts as long as the
   expression it stands in. */
struct error_text {
    char text[96];
};
struct error_text error_text(int error);

/* Why a connection ended, for the log. result is what the last call on it returned: 0 is "end of
   file"; -1 stands for errno's words, or "timed out" for EAGAIN: on a blocking socket
   SO_RCVTIMEO or SO_SNDTIMEO ran out (socket(7)). The text is part of the returned value. */
struct error_text end_text(int result);

#ifdef __cplusplus
}
#endif
#endif
