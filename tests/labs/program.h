/* program: the course's servers and clients, started on the two hosts, and what they said. */
#ifndef TESTS_LABS_PROGRAM_H
#define TESTS_LABS_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

struct program {
    pid_t pid;
    int port;   /* of a server that is ready; 0 of one that ended before it was */
    int status; /* once it has ended: exit status, or 128 and the signal */
    int input;  /* of a client with input: write(2) here; -1 otherwise */
    char output_path[512], log_path[512];
};

/* Shows the commands of the programs that are started from now on, or not: of many that are
   alike one is enough. Shown at first. */
void program_show(bool show);

/* Starts build/STAGE/server on the server's host with the options, which have a blank between
   them, and waits for its ready line. It is there until program_stop() or the end of the part.
   server_start ends the part where it is not ready; server_try returns with port 0. */
struct program *server_start(const char *stage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct program *server_try(const char *stage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Starts build/STAGE/client on the client's host. _start leaves it running, _input besides with
   a pipe as its input, _run waits for its end. */
struct program *client_start(const char *stage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct program *client_input(const char *stage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct program *client_run(const char *stage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Runs another built program, such as tests/bench/bench, to its end. */
struct program *tool_run(const char *path, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A client of stage 01 that connects and says nothing, as nothing comes from its input, once the
   server has accepted it. */
struct program *silent_client(struct program *server);

/* Waits for its end; returns the exit status. program_ended() does not wait. */
int program_wait(struct program *program);
bool program_ended(struct program *program);

/* Asks it to stop (SIGTERM), or kills it (SIGKILL), and waits for its end. */
int program_stop(struct program *program);
void program_kill(struct program *program);

/* Its log, or its output, so far: for the caller to free(3). */
char *program_log(const struct program *program);
char *program_output(const struct program *program);

/* How often the text is in its log so far; and waits until it is there so often: false where it
   is not within 20 s. */
int program_count(const struct program *program, const char *text);
bool program_says(const struct program *program, const char *text, int times);

/* The numbers behind each place of the text in its log, at most most; returns how many. */
int program_numbers(const struct program *program, const char *text, double *numbers, int most);

#endif
