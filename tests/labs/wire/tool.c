/*
 * wire: two hosts on your own machine, and between them a cable as bad as you like.
 *
 *   build/wire --delay 20ms --loss 1% --rate 10mbit
 *
 * gives a shell on the client's host, 10.0.0.1, and says what to type in a second terminal for
 * one on the server's host, 10.0.0.2. Inside, you are root of the two hosts and of nothing else.
 * When the first shell ends, so does all that runs on them.
 *
 *   build/wire --delay 20ms --watch on
 *
 * draws in this terminal what goes over the cable, while it goes, and says what to type in two
 * others for a shell on each host. Ctrl-C ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "common/descriptors.h"
#include "common/log.h"
#include "common/options.h"
#include "tests/labs/wire/ladder.h"

enum { EXIT_NOT_ALLOWED = 77 };

static const char *delay = "0ms", *loss = "0%", *rate = "none";
static int queue_limit = 1000;
static int seed = 1;
static const char *pcap = "", *svg = "";
static bool show_ladder = false;
static bool watch = false;
static int join = 0;
static const char *const sides[] = {"server", "client", NULL};
static int side = 0;

static const struct option_spec options[] = {
    OPTION_TEXT("delay", &delay, "from one host to the other, as 20ms, 500us, 1s"),
    OPTION_TEXT("loss", &loss, "part of the frames that is lost, as 1%"),
    OPTION_TEXT("rate", &rate, "bits per second, as 10mbit, 500kbit, 1gbit"),
    OPTION_INT("queue", &queue_limit, 1, 100000, "frames that wait where the rate is the limit"),
    OPTION_INT("seed", &seed, 0, INT_MAX, "which frames are lost: the same seed, the same ones"),
    OPTION_TEXT("pcap", &pcap, "file to write all frames to in the end, for Wireshark, tcpdump"),
    OPTION_TEXT("svg", &svg, "file to draw the segments to in the end"),
    OPTION_SWITCH("ladder", &show_ladder, "draw the segments in the terminal in the end"),
    OPTION_SWITCH("watch", &watch,
                  "draw each segment as it passes; the shells are then had by --join"),
    OPTION_INT_OR("join", &join, 1, INT_MAX, "a wire of its own",
                  "a shell, or the COMMAND, on a host of the wire with this process id"),
    OPTION_CHOICE("on", &side, sides, "with --join: which host"),
    OPTION_END,
};

/* A number and its unit: "20ms" with units {{"ms", 1e6}} is 2e7. Exits with 2 for other text. */
struct unit {
    const char *name;
    double factor;
};
static double number_with_unit(const char *option, const char *text, const struct unit *units,
                               double most)
{
    char *end;
    double number = strtod(text, &end);
    const char *names[4] = {"", "", "", ""};

    for (int i = 0; units[i].name != NULL; i++) {
        names[i] = units[i].name;
        if (end != text && strcmp(end, units[i].name) == 0 && number >= 0 &&
            number * units[i].factor <= most)
            return number * units[i].factor;
    }
    log_error("--%s %s: not allowed; a number from 0 to %.12g%s, or with: %s %s %s", option, text,
              most / units[0].factor, names[0], names[0], names[1], names[2]);
    exit(EXIT_USAGE);
}

static struct cable parse_cable(void)
{
    static const struct unit times[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {NULL, 0}};
    static const struct unit parts[] = {{"%", 0.01}, {NULL, 0}};
    static const struct unit rates[] = {{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {NULL, 0}};
    struct cable cable = {.queue = queue_limit, .seed = (uint64_t)seed};

    cable.delay_ns = (int64_t)number_with_unit("delay", delay, times, 1e12);
    cable.loss = number_with_unit("loss", loss, parts, 1);
    if (strcmp(rate, "none") != 0)
        cable.rate = (int64_t)fmax(number_with_unit("rate", rate, rates, 1e12), 1);
    return cable;
}

/* The shell, or the command that was asked for, in the place of this process. */
static void become_program(const char *host, char **command)
{
    const char *shell = getenv("SHELL");
    char prompt[32];

    restore_standard_streams();
    if (*command != NULL) {
        execvp(*command, command);
        die("%s", *command);
    }
    if (shell == NULL || access(shell, X_OK) < 0)
        shell = "/bin/sh";
    /* A shell's own start-up files may set another prompt; the name of the host is worth it. */
    snprintf(prompt, sizeof prompt, "%s$ ", host);
    setenv("PS1", prompt, 1);
    if (strstr(shell, "bash") != NULL)
        execl(shell, shell, "--norc", (char *)NULL);
    execl(shell, shell, (char *)NULL);
    die("%s", shell);
}

static int exit_status(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int status_of(pid_t child)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return exit_status(status);
}

/* ---- signals ---- */

static sigset_t signals, signals_before;

/* What ends the tool waits until it is taken by wait_for_end(), so that the results are written
   whatever ends it. For all threads that are started later; a child undoes it. */
static void hold_signals(void)
{
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, &signals_before);
}

static void release_signals(void)
{
    sigprocmask(SIG_SETMASK, &signals_before, NULL);
}

/* Watching: the frames that have come since the last time. */
static struct wire *watched;
static struct live_ladder *live;
static int drawing_error;

static void draw_news(void)
{
    enum { MOST = 64 };
    static struct frame frames[MOST];
    static size_t drawn;
    size_t count;

    if (live == NULL || ferror(stdout))
        return;
    do {
        count = wire_copy(watched, drawn, frames, MOST);
        for (size_t i = 0; i < count; i++)
            ladder_add(live, &frames[i]);
        drawn += count;
        if (fflush(stdout) != 0)
            drawing_error = errno;
    } while (count == MOST);
}

static void start_drawing(struct wire *wire)
{
    static const struct ladder ladder = {.title = ""};

    if (!watch)
        return;
    watched = wire;
    live = ladder_begin(stdout, &ladder);
    draw_news(); /* what stands above, before the command says anything */
}

/* Waits until the child has ended, whose exit status then is in *status, or until a signal asks
   for the end: returns the signal, or 0. Ctrl-C is not for the tool: the kernel sends it to all
   programs of the terminal, and the one that it is meant for has it too; unless there is none. */
static int wait_for_end(pid_t child, int *status, bool alone)
{
    for (;;) {
        static const struct timespec moment = {.tv_nsec = 10000000};
        siginfo_t info;
        int wait_status;
        draw_news();
        if (waitpid(child, &wait_status, WNOHANG) == child) {
            *status = exit_status(wait_status);
            return 0;
        }
        int number = watch ? sigtimedwait(&signals, &info, &moment) : sigwaitinfo(&signals, &info);
        if (number == SIGTERM || number == SIGHUP ||
            (number == SIGINT && (alone || info.si_code != SI_KERNEL)))
            return number;
    }
}

/* Ends the process as the signal would have done. */
static void end_by(int number)
{
    signal(number, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    raise(number);
}

/* ---- a second terminal ---- */

static void enter_namespace_of(int process, const char *name)
{
    char path[64], own_path[64];
    struct stat its, own;

    snprintf(path, sizeof path, "/proc/%d/ns/%s", process, name);
    snprintf(own_path, sizeof own_path, "/proc/self/ns/%s", name);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &its) < 0 || stat(own_path, &own) < 0)
        die("--join %d: %s", process, path);
    /* Root may have done without a user namespace; nobody may enter the one he is in. */
    bool same = its.st_ino == own.st_ino && its.st_dev == own.st_dev;
    if (!same && setns(descriptor, 0) < 0)
        die("--join %d: %s", process, path);
    close(descriptor);
}

/* The wire itself, which is on the client's host, started the process on the server's. */
static int parent_of(int process)
{
    char path[64], line[256];
    int parent = 0;

    snprintf(path, sizeof path, "/proc/%d/status", process);
    FILE *status = fopen(path, "re");
    if (status == NULL)
        die("--join %d: %s", process, path);
    while (parent == 0 && fgets(line, sizeof line, status) != NULL)
        sscanf(line, "PPid: %d", &parent);
    fclose(status);
    return parent;
}

static void join_wire(char **command)
{
    struct termios terminal = {0};
    tcgetattr(STDIN_FILENO, &terminal);
    char *folder = getcwd(NULL, 0); /* which entering a mount namespace changes */

    enter_namespace_of(join, "user");
    enter_namespace_of(side == 0 ? join : parent_of(join), "net");
    enter_namespace_of(join, "pid_for_children");
    enter_namespace_of(join, "mnt");
    if (folder == NULL || chdir(folder) < 0)
        die("the working directory");
    free(folder);
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        become_program(sides[side], command);
    }
    signal(SIGINT, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    int status = status_of(child);
    /* A shell that was killed, because the wire has ended, leaves the terminal as it had it. */
    if (tcsetattr(STDIN_FILENO, TCSANOW, &terminal) == 0 && status == 128 + SIGKILL)
        log_info("the wire has ended");
    /* Its children are in another process namespace now, and so would a leak checker's be. */
    _exit(status);
}

/* ---- the wire ---- */

static FILE *pcap_file, *svg_file;

/* At once: a path that is wrong should not be told at the end of a session. */
static void open_results(void)
{
    if (*pcap != '\0' && (pcap_file = fopen(pcap, "we")) == NULL)
        die("%s", pcap);
    if (*svg != '\0' && (svg_file = fopen(svg, "we")) == NULL)
        die("%s", svg);
}

/* Returns whether all of it could be written; the log says so if not. */
static bool result_is_whole(FILE *file, int failed, const char *name)
{
    bool error = failed < 0 || fflush(file) != 0 || ferror(file);

    if (error)
        log_error("%s: %s", name, error_text(errno).text);
    return !error;
}

/* Each result, also where another one cannot be written; returns whether all could be. */
static bool write_results(struct wire *wire)
{
    static const struct ladder ladder = {.title = "All segments", .at_most = 500};
    struct capture capture = wire_capture(wire);
    bool written = true;

    if (pcap_file != NULL)
        written = result_is_whole(pcap_file, capture_write(&capture, pcap_file), pcap);
    if (svg_file != NULL) {
        ladder_svg(svg_file, &ladder, &capture);
        written = result_is_whole(svg_file, 0, svg) && written;
    }
    draw_news();
    if (live != NULL) {
        ladder_end(live);
        live = NULL;
        errno = drawing_error;
        written = result_is_whole(stdout, 0, "the ladder") && written;
    }
    if (show_ladder) {
        ladder_text(stdout, &ladder, &capture);
        written = result_is_whole(stdout, 0, "the ladder") && written;
    }
    if (capture.missed > 0)
        log_info("%zu frames were kept, and for %zu there was no room", capture.count,
                 capture.missed);
    free(capture.frames);
    return written;
}

/* The first process of a process namespace: when it ends, the kernel ends all the others in
   there (pid_namespaces(7)), the background jobs of the shells too. Ends with the exit status
   of the client's shell. */
static void keep_processes(char **command, int tool)
{
    char byte = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* So that ps shows what runs in here; where that is forbidden it shows what runs outside. */
    mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (write(tool, &byte, 1) != 1 || read(tool, &byte, 1) != 1)
        _exit(EXIT_FAILURE); /* the tool has ended */
    if (watch && *command == NULL) {
        signal(SIGINT, SIG_IGN);
        signal(SIGCHLD, SIG_IGN); /* of orphans */
        for (;;)
            pause();
    }
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        hosts_enter(HOST_CLIENT);
        become_program("client", command);
    }
    signal(SIGINT, SIG_IGN);
    for (;;) {
        int status = 0;
        pid_t ended = wait(&status); /* also of orphans, which the first process inherits */
        if (ended == child)
            _exit(exit_status(status));
        if (ended < 0 && errno != EINTR)
            die("wait");
    }
}

/* The tool's second process, on the server's host. Processes are in a new process namespace from
   the first child on, but who asks for it is not (unshare(2)). --join follows this one. Ends with
   the exit status of the client's shell.

   Tells the tool when all of this is there, for until then --join would lead elsewhere; and is
   told when the wire is up. */
static void start_keeper(char **command, int tool)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    release_signals();
    hosts_enter(HOST_SERVER);
    if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
        die("a process namespace");
    pid_t keeper = fork();
    if (keeper < 0)
        die("fork");
    if (keeper == 0)
        keep_processes(command, tool);
    signal(SIGINT, SIG_IGN);
    _exit(status_of(keeper));
}

static void report_refusal(struct hosts_refusal *refusal)
{
    char *rest = refusal->text, *line;

    while ((line = strsep(&rest, "\n")) != NULL)
        log_error("%s", line);
}

static void say_where(const char *program, pid_t keeper, bool with_command)
{
    if (watch && !with_command) {
        log_info("the server, %s, in a second terminal: %s --join %d", SERVER_ADDRESS, program,
                 (int)keeper);
        log_info("the client, %s, in a third one: %s --join %d --on client", CLIENT_ADDRESS,
                 program, (int)keeper);
    } else if (!with_command) {
        log_info("here is the client, %s; the server, %s, in a second terminal: %s --join %d",
                 CLIENT_ADDRESS, SERVER_ADDRESS, program, (int)keeper);
    }
}

int main(int argc, char **argv)
{
    char **command = argv + parse_options(argc, argv, options, "[-- COMMAND...]");
    struct cable cable = parse_cable();
    struct hosts_refusal refusal = {""};
    int ends[2]; /* the tool's, the keeper's */
    char byte = 0;

    if (join > 0)
        join_wire(command);
    hold_signals();
    open_results();
    if (hosts_create(&refusal) < 0) {
        report_refusal(&refusal);
        return EXIT_NOT_ALLOWED;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair");
    pid_t child = fork(); /* before there is a second thread */
    if (child < 0)
        die("fork");
    if (child == 0) {
        close(ends[0]);
        start_keeper(command, ends[1]);
    }
    close(ends[1]);
    struct wire *wire = wire_start(&cable);
    start_drawing(wire);
    if (read(ends[0], &byte, 1) == 1) { /* otherwise it has ended, and said why */
        if (write(ends[0], &byte, 1) != 1)
            die("start the client");
        say_where(argv[0], child, *command != NULL);
    }
    bool alone = watch && *command == NULL;
    int status = EXIT_FAILURE, ended_by = wait_for_end(child, &status, alone);
    if (ended_by != 0)
        kill(child, SIGKILL); /* and with it all that runs on the hosts */
    if (!write_results(wire))
        status = EXIT_FAILURE;
    else if (ended_by == SIGINT && alone)
        status = EXIT_SUCCESS; /* the way to end it */
    else if (ended_by != 0)
        end_by(ended_by);
    wire_stop(wire);
    return status;
}
