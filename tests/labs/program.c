#include "tests/labs/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/labs/lab.h"

enum {
    MOST_PROGRAMS = 100,
    MOST_SHOWN = 12, /* words of a command */
    MOST_WORDS = 600,
    LIMIT = 20 /* seconds, far more than anything takes */
};

static bool show = true;

void program_show(bool shown)
{
    show = shown;
}

static void show_command(enum host host, char **words)
{
    if (!show)
        return;
    printf("  %s$ build%s",
           lab_wire == NULL      ? ""
           : host == HOST_SERVER ? "server"
                                 : "client",
           words[0] + strlen(lab_build));
    for (int i = 1; words[i] != NULL; i++) {
        if (i == MOST_SHOWN) {
            fputs(" ...", stdout);
            break;
        }
        if (strlen(words[i]) > 40)
            printf(" %.3s...(%zu bytes)", words[i], strlen(words[i]));
        else if (strpbrk(words[i], "\n ") != NULL)
            printf(" '%.*s'", (int)strcspn(words[i], "\n"), words[i]);
        else
            printf(" %s", words[i]);
    }
    putchar('\n');
    fflush(stdout);
}

static int create(const char *path)
{
    lab_claim(path);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0)
        die("%s", path);
    return file;
}

/* Starts words on a host. A thread's children inherit its network namespace. */
static struct program *start(enum host host, char **words, const char *what, bool with_input)
{
    static struct program programs[MOST_PROGRAMS];
    static int count;
    char name[128];
    int input[2] = {-1, -1};

    if (count == MOST_PROGRAMS)
        lab_fail("a part starts at most %d programs", MOST_PROGRAMS);
    struct program *program = &programs[count];
    show_command(host, words);
    snprintf(name, sizeof name, "%s-%s-%d", lab_part_name(), what, ++count);
    snprintf(program->log_path, sizeof program->log_path, "%s", lab_path(name, ".log").text);
    snprintf(program->output_path, sizeof program->output_path, "%s", lab_path(name, ".out").text);
    if (with_input && pipe2(input, O_CLOEXEC) < 0)
        die("pipe");
    int log = create(program->log_path), output = create(program->output_path);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

    lab_enter(host);
    pid_t parent = getpid();
    program->pid = fork();
    if (program->pid < 0)
        die("fork");
    if (program->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        signal(SIGPIPE, SIG_DFL);
        dup2(with_input ? input[0] : nothing, STDIN_FILENO);
        dup2(output, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        execv(words[0], words);
        die("%s", words[0]);
    }
    lab_enter(HOST_CLIENT);
    close(log);
    close(output);
    close(nothing);
    if (with_input)
        close(input[0]);
    program->input = input[1];
    return program;
}

/* Splits options at their blanks behind the words that are there already. */
static void add_words(char **words, int count, char *text)
{
    char *rest = NULL;

    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        if (count < MOST_WORDS - 1)
            words[count++] = word;
    words[count] = NULL;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t size = 0;

    if (file == NULL)
        die("%s", path);
    FILE *copy = open_memstream(&text, &size);
    char bytes[4096];
    if (copy == NULL)
        die("allocate a copy of %s", path);
    for (size_t count; (count = fread(bytes, 1, sizeof bytes, file)) > 0;)
        fwrite(bytes, 1, count, copy);
    if (fclose(copy) != 0)
        die("allocate a copy of %s", path);
    fclose(file);
    return text;
}

char *program_log(const struct program *program)
{
    return read_file(program->log_path);
}

char *program_output(const struct program *program)
{
    return read_file(program->output_path);
}

bool program_ended(struct program *program)
{
    int status;

    if (program->pid != 0 && waitpid(program->pid, &status, WNOHANG) == program->pid) {
        program->pid = 0;
        program->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return program->pid == 0;
}

int program_wait(struct program *program)
{
    for (int64_t start = clock_ns(); !program_ended(program);)
        if (!lab_waits(start, 60))
            lab_fail("a program did not end; its log is %s", program->log_path);
    return program->status;
}

int program_stop(struct program *program)
{
    if (!program_ended(program))
        kill(program->pid, SIGTERM);
    return program_wait(program);
}

void program_kill(struct program *program)
{
    if (!program_ended(program))
        kill(program->pid, SIGKILL);
    program_wait(program);
}

int program_count(const struct program *program, const char *text)
{
    char *log = program_log(program);
    int count = 0;

    for (const char *at = log; (at = strstr(at, text)) != NULL; at += strlen(text))
        count++;
    free(log);
    return count;
}

bool program_says(const struct program *program, const char *text, int times)
{
    bool found;

    for (int64_t start = clock_ns();
         !(found = program_count(program, text) >= times) && lab_waits(start, LIMIT);)
        continue;
    return found;
}

int program_numbers(const struct program *program, const char *text, double *numbers, int most)
{
    char *log = program_log(program);
    int count = 0;

    for (const char *at = log; count < most && (at = strstr(at, text)) != NULL;) {
        at += strlen(text);
        numbers[count++] = strtod(at, NULL);
    }
    free(log);
    return count;
}

/* ---- servers ---- */

/* The port behind "listening on HOST:", or 0 as long as the line is not whole. */
static int ready_port(const struct program *program)
{
    char *output = program_output(program), *colon = strrchr(output, ':');
    int port = colon != NULL && strchr(colon, '\n') != NULL ? (int)strtol(colon + 1, NULL, 10) : 0;

    free(output);
    return port;
}

static struct program *start_server(const char *stage, char *options)
{
    char path[256], port[16];
    char *words[MOST_WORDS] = {path, "--host", (char *)(uintptr_t)lab_address};
    int count = 3;

    snprintf(path, sizeof path, "%s/%s/server", lab_build, stage);
    if (lab_port() != 9999) {
        snprintf(port, sizeof port, "%d", lab_port());
        words[count++] = "--port";
        words[count++] = port;
    }
    add_words(words, count, options);
    struct program *server = start(HOST_SERVER, words, "server", false);
    for (int64_t begin = clock_ns(); (server->port = ready_port(server)) == 0;) {
        if (program_ended(server) && ready_port(server) == 0)
            return server;
        if (!lab_waits(begin, LIMIT))
            lab_fail("%s did not say that it is ready", path);
    }
    lab_use_port(server->port);
    return server;
}

struct program *server_try(const char *stage, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return start_server(stage, text);
}

struct program *server_start(const char *stage, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct program *server = start_server(stage, text);
    if (server->port == 0) {
        char *log = program_log(server);
        lab_fail("the server of %s ended with status %d:\n%s", stage, server->status, log);
    }
    return server;
}

/* ---- clients ---- */

static struct program *start_client(const char *stage, const char *format, va_list arguments,
                                    bool with_input) __attribute__((format(printf, 2, 0)));
static struct program *start_client(const char *stage, const char *format, va_list arguments,
                                    bool with_input)
{
    static char text[64 * 1024];
    char path[256], port[16];
    char *words[MOST_WORDS] = {path, "--host", (char *)(uintptr_t)lab_address};
    int count = 3;

    snprintf(path, sizeof path, "%s/%s/client", lab_build, stage);
    if (lab_port() != 9999) {
        snprintf(port, sizeof port, "%d", lab_port());
        words[count++] = "--port";
        words[count++] = port;
    }
    vsnprintf(text, sizeof text, format, arguments);
    add_words(words, count, text);
    return start(HOST_CLIENT, words, "client", with_input);
}

struct program *client_start(const char *stage, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    struct program *client = start_client(stage, format, arguments, false);
    va_end(arguments);
    return client;
}

struct program *client_input(const char *stage, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    struct program *client = start_client(stage, format, arguments, true);
    va_end(arguments);
    return client;
}

struct program *client_run(const char *stage, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    struct program *client = start_client(stage, format, arguments, false);
    va_end(arguments);
    program_wait(client);
    return client;
}

struct program *tool_run(const char *path, const char *format, ...)
{
    char text[1024], program[512];
    char *words[MOST_WORDS] = {program};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(program, sizeof program, "%s/%s", lab_build, path);
    add_words(words, 1, text);
    struct program *tool = start(HOST_CLIENT, words, "tool", false);
    for (int64_t begin = clock_ns(); !program_ended(tool);)
        if (!lab_waits(begin, 120))
            lab_too_slow("%s did not end within two minutes", path);
    return tool;
}

struct program *silent_client(struct program *server)
{
    int before = program_count(server, " connected");
    struct program *client = client_input("01-basic", " ");
    if (show)
        lab_say("  (a client that connects and says nothing: nothing is typed)");

    if (!program_says(server, " connected", before + 1))
        lab_fail("the server did not accept a client; its log is %s", server->log_path);
    return client;
}
