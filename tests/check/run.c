#include "tests/check/run.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    AT_ONCE = 4,      /* steps: they wait more than they compute */
    STEP_LIMIT = 120, /* seconds, far more than any step takes, on a very slow machine too */
    MOST = STAGES * MOST_STEPS
};

bool private_network;
const char *check_command;
int check_port;

static struct result *result; /* of the step in this process; its parent sees it */

/* The text of a function like printf, into a field of the result. */
#define FORMAT_INTO(field)                                    \
    do {                                                      \
        va_list arguments;                                    \
        va_start(arguments, format);                          \
        vsnprintf((field), sizeof(field), format, arguments); \
        va_end(arguments);                                    \
    } while (0)

void so(const char *format, ...)
{
    FORMAT_INTO(result->so);
}

void did(const char *format, ...)
{
    FORMAT_INTO(result->did);
}

void expected(const char *format, ...)
{
    FORMAT_INTO(result->expected);
}

static _Noreturn void leave(enum outcome outcome)
{
    result->outcome = outcome;
    result->delay = machine_delay() + waited_for_processor(getpid());
    result->used = most_used();
    end_servers();
    _exit(EXIT_SUCCESS);
}

_Noreturn void fail(const char *format, ...)
{
    FORMAT_INTO(result->saw);
    struct server *ended = server_that_ended();
    if (ended != NULL && strstr(result->saw, "the server ended") == NULL &&
        strstr(result->saw, "the server was ended") == NULL) {
        size_t length = strlen(result->saw);
        snprintf(result->saw + length, sizeof result->saw - length, "; %s", how_it_ended(ended));
        explain_end(ended);
    }
    leave(FAILED);
}

_Noreturn void skip(const char *format, ...)
{
    FORMAT_INTO(result->saw);
    leave(SKIPPED);
}

/* ---- the network ---- */

static bool write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

    if (file >= 0)
        close(file);
    return written;
}

/* Moves the caller into a network of its own (network_namespaces(7)), with the address 127.0.0.1
   and nothing else. A user may do that who is root in a user namespace of his own. */
static bool enter_private_network(void)
{
    char users[64], groups[64];
    struct ifreq request = {.ifr_name = "lo"};

    snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
    snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
    if (unshare(CLONE_NEWUSER) == 0) {
        write_file("/proc/self/setgroups", "deny");
        if (!write_file("/proc/self/uid_map", users) || !write_file("/proc/self/gid_map", groups))
            return false;
        prctl(PR_SET_DUMPABLE, 1);
    } else if (geteuid() != 0)
        return false;
    if (unshare(CLONE_NEWNET) < 0)
        return false;
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool up = any >= 0 && ioctl(any, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags |= IFF_UP;
    up = up && ioctl(any, SIOCSIFFLAGS, &request) == 0;
    if (any >= 0)
        close(any);
    return up;
}

/* Whether this system allows that, tried by a child: half of it cannot be taken back. */
static bool private_network_works(void)
{
    const char *wanted = getenv("PRIVATE");

    if (wanted != NULL && strcmp(wanted, "0") == 0)
        return false;
    pid_t child = fork();
    if (child < 0)
        return false;
    if (child == 0)
        _exit(enter_private_network() ? EXIT_SUCCESS : EXIT_FAILURE);
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void set_setting(const char *name, const char *value)
{
    char path[128];

    if (!private_network)
        skip("it needs a network of its own, to change %s; 'make doctor' says what allows one",
             name);
    snprintf(path, sizeof path, "/proc/sys/%s", name);
    for (char *letter = path + strlen("/proc/sys/"); *letter != '\0'; letter++)
        if (*letter == '.')
            *letter = '/';
    if (!write_file(path, value))
        skip("%s cannot be changed here: %s", name, strerror(errno));
}

/* A port of 127.0.0.1 that is nobody's. It is below those that the kernel usually gives out
   (ip(7)), or another program could get it before the server has it. Other checkers keep away from
   it because of a datagram socket, which stays open and is in no server's way. */
static int free_port(void)
{
    enum { FIRST = 20000, COUNT = 12000, EACH = 64 };
    static int tried;

    while (tried < COUNT) {
        int port = FIRST + (getpid() * EACH + tried++) % COUNT;
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int kept = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int any = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (kept < 0 || any < 0)
            break;
        bool is_free = bind(any, (struct sockaddr *)&address, sizeof address) == 0 &&
                       bind(kept, (struct sockaddr *)&address, sizeof address) == 0;
        close(any);
        if (is_free)
            return port;
        close(kept);
    }
    perror("no free port on 127.0.0.1");
    exit(EXIT_FAILURE);
}

/* ---- steps ---- */

int steps_of(int stage)
{
    int count = 0;

    while (stages[stage].steps[count].name != NULL)
        count++;
    return count;
}

struct job {
    int stage, step;
    const struct step *row;
    int64_t started;
    struct result *result;
    pid_t pid;
    int tries;
};

/* {port} in a text of the table is the port. */
static void fill_in(char *text, size_t size, const char *from, int port)
{
    size_t length = 0;

    while (*from != '\0' && length + 8 < size) {
        if (strncmp(from, "{port}", 6) == 0) {
            length += (size_t)snprintf(text + length, size - length, "%d", port);
            from += 6;
        } else
            text[length++] = *from++;
    }
    text[length] = '\0';
}

/* Whatever ends a step, its servers go with it, and all that these have forked. */
static void break_off(int number)
{
    (void)number;
    end_servers();
    _exit(EXIT_FAILURE);
}

static void end_job(const struct job *job)
{
    int64_t start = clock_ns();

    kill(job->pid, SIGTERM);
    while (waitpid(job->pid, NULL, WNOHANG) == 0) {
        if (clock_seconds_since(start) > 2)
            kill(job->pid, SIGKILL);
        nap(0.002);
    }
}

static void begin(struct job *job)
{
    /* A server that does not look at --port has 9999 in it, most likely: one step takes another. */
    bool another = job->stage == 0 && job->step == 1;
    int port = !private_network ? free_port() : another ? 9998 : 9999;
    pid_t parent = getpid();

    *job->result = (struct result){.outcome = NOT_RUN};
    job->tries++;
    fill_in(job->result->did, sizeof job->result->did, job->row->did, port);
    fill_in(job->result->expected, sizeof job->result->expected, job->row->expected, port);
    fflush(NULL);
    job->started = clock_ns();
    job->pid = fork();
    if (job->pid < 0) {
        perror("fork");
        exit(EXIT_FAILURE);
    }
    if (job->pid > 0)
        return;
    struct sigaction ending = {.sa_handler = break_off};
    struct rlimit files;
    sigaction(SIGINT, &ending, NULL);
    sigaction(SIGTERM, &ending, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    signal(SIGPIPE, SIG_IGN);
    /* What a learner's terminal allows is often 1024, and a step may open 1000 connections. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    result = job->result;
    check_port = port;
    if (private_network && !enter_private_network())
        skip("no network of its own: %s", strerror(errno));
    job->row->run();
    leave(PASSED);
}

static bool over(struct job *job)
{
    int status;

    if (waitpid(job->pid, &status, WNOHANG) != job->pid) {
        if (clock_seconds_since(job->started) < STEP_LIMIT)
            return false;
        end_job(job);
        snprintf(job->result->saw, sizeof job->result->saw, "no end of it after %d s", STEP_LIMIT);
        job->result->outcome = FAILED;
    }
    job->pid = 0;
    job->result->seconds = clock_seconds_since(job->started);
    if (job->result->outcome == NOT_RUN) {
        snprintf(job->result->saw, sizeof job->result->saw, "the step itself broke off");
        job->result->outcome = FAILED;
    }
    return true;
}

/* Whether a failure may be the machine's and not the server's: then it is tried again. Servers that
   keep the processors busy have to wait as well, but that is their own fault. */
static bool doubtful(const struct job *job)
{
    enum { TRIES = 3 };

    return job->result->outcome == FAILED && job->result->delay > 0.3 &&
           job->result->delay > 2 * job->result->used && job->tries < TRIES;
}

int run_steps(const char *command, int first_stage, int last_stage, int only, bool all,
              step_done *done, void *context)
{
    static struct job jobs[MOST];
    int count = 0, begun = 0, reported = 0, running = 0, failed = 0;
    struct result *results = mmap(NULL, MOST * sizeof *results, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (results == MAP_FAILED) {
        perror("mmap");
        exit(EXIT_FAILURE);
    }
    check_command = command;
    private_network = private_network_works();
    for (int stage = first_stage; stage <= last_stage; stage++)
        for (int step = 0; step < steps_of(stage); step++) {
            if (only >= 0 && stage == last_stage && step != only)
                continue;
            jobs[count] = (struct job){stage, step, &stages[stage].steps[step], 0, NULL, 0, 0};
            jobs[count].result = &results[count];
            count++;
        }
    while (reported < count && (all || failed == 0)) {
        /* The first alone: where it fails, the others would all fail as it does. */
        while (running < (reported > 0 ? AT_ONCE : 1) && begun < count) {
            begin(&jobs[begun++]);
            running++;
        }
        for (int i = reported; i < begun; i++)
            if (jobs[i].pid != 0 && over(&jobs[i])) {
                if (doubtful(&jobs[i]))
                    begin(&jobs[i]);
                else
                    running--;
            }
        while (reported < begun && jobs[reported].pid == 0 && (all || failed == 0)) {
            failed += jobs[reported].result->outcome == FAILED;
            done(jobs[reported].stage, jobs[reported].step, jobs[reported].result, context);
            reported++;
        }
        nap(0.002);
    }
    /* Those behind the first failure have begun for nothing; their servers go with them. */
    for (int i = 0; i < begun; i++)
        if (jobs[i].pid != 0)
            end_job(&jobs[i]);
    munmap(results, MOST * sizeof *results);
    return failed;
}
