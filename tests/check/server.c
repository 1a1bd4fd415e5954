/* The server under check: started, looked at from outside, ended. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/check/check.h"
#include "tests/check/run.h"

enum { MOST_SERVERS = 16, PLENTY = 4096 };

static struct server servers[MOST_SERVERS];
static int count;

void nap(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

    nanosleep(&time, NULL);
}

static int unnamed_file(void)
{
    FILE *file = tmpfile();
    int descriptor = file == NULL ? -1 : fcntl(fileno(file), F_DUPFD_CLOEXEC, 10);

    if (file != NULL)
        fclose(file);
    if (descriptor < 0)
        skip("no temporary file: %s", strerror(errno));
    return descriptor;
}

struct server *launch(const char *options)
{
    char command[4096];

    if (count == MOST_SERVERS) {
        fprintf(stderr, "a step starts more than %d servers\n", MOST_SERVERS);
        abort();
    }
    struct server *server = &servers[count++];
    *server = (struct server){.port = check_port, .options = options};
    server->output = unnamed_file();
    server->log = unnamed_file();
    snprintf(command, sizeof command, "exec %s --port %d %s", check_command, server->port, options);
    pid_t parent = getpid();
    server->pid = fork();
    if (server->pid < 0)
        skip("fork: %s", strerror(errno));
    if (server->pid == 0) {
        int nothing = open("/dev/null", O_RDONLY);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        setpgid(0, 0);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        dup2(nothing, STDIN_FILENO);
        dup2(server->output, STDOUT_FILENO);
        dup2(server->log, STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return server;
}

bool has_ended(struct server *server, double seconds)
{
    WITHIN (seconds, server->ended)
        server->ended = waitpid(server->pid, &server->status, WNOHANG) == server->pid;
    if (!server->ended)
        server->ended = waitpid(server->pid, &server->status, WNOHANG) == server->pid;
    return server->ended;
}

/* ---- /proc ---- */

struct row {
    unsigned local_port, remote_port;
    unsigned long local_address;
    struct end end;
    unsigned long inode;
};

struct wanted {
    const struct server *server;
    unsigned port, remote_port;
    unsigned long address;
    struct end end;
    int count;
};

/* Calls see(row, wanted) for each TCP socket of this network; when something was found among those
   of IPv4, those of IPv6 are not looked at. */
static void each_socket(void (*see)(const struct row *row, void *context), struct wanted *context)
{
    static const char *const files[] = {"/proc/self/net/tcp", "/proc/self/net/tcp6"};
    char line[512];

    for (int i = 0; i < 2 && context->count == 0; i++) {
        FILE *file = fopen(files[i], "r");
        if (file == NULL)
            continue;
        while (fgets(line, sizeof line, file) != NULL) {
            char local[40], remote[40];
            unsigned state, timer;
            unsigned long unsent, unread, expires;
            struct row row = {0};
            if (sscanf(line,
                       " %*d: %39[0-9A-F]:%x %39[0-9A-F]:%x %x %lx:%lx %x:%lx %*x %*u %*u %lu",
                       local, &row.local_port, remote, &row.remote_port, &state, &unsent, &unread,
                       &timer, &expires, &row.inode) != 10)
                continue;
            /* In tcp6 the last four bytes are the IPv4 address of a mapped one. */
            size_t digits = strlen(local);
            row.local_address = strtoul(local + (digits > 8 ? digits - 8 : 0), NULL, 16);
            row.end = (struct end){true,
                                   (int)state,
                                   (long)unsent,
                                   (long)unread,
                                   row.inode != 0,
                                   (int)timer,
                                   (double)expires / (double)sysconf(_SC_CLK_TCK)};
            see(&row, context);
        }
        fclose(file);
    }
}

/* Reads what sock_diag(7) answers; false where it answers that it cannot, or of one socket that
   there is none. */
static bool read_diag(int diag, bool all, void (*see)(const struct row *row, void *context),
                      struct wanted *context)
{
    _Alignas(struct nlmsghdr) char bytes[8192];

    do {
        ssize_t received = recv(diag, bytes, sizeof bytes, 0);
        if (received <= 0)
            return false;
        for (ssize_t at = 0; at < received;) {
            const struct nlmsghdr *message = (const void *)(bytes + at);
            at += NLMSG_ALIGN(message->nlmsg_len);
            if (message->nlmsg_type == NLMSG_DONE)
                return *(const int *)NLMSG_DATA(message) >= 0;
            if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY)
                return false;
            const struct inet_diag_msg *found = NLMSG_DATA(message);
            struct row row = {.local_port = ntohs(found->id.idiag_sport),
                              .remote_port = ntohs(found->id.idiag_dport),
                              .local_address =
                                  found->id.idiag_src[found->idiag_family == AF_INET6 ? 3 : 0],
                              .end = {true, found->idiag_state, (long)found->idiag_wqueue,
                                      (long)found->idiag_rqueue, found->idiag_inode != 0,
                                      found->idiag_timer, (double)found->idiag_expires / 1000},
                              .inode = found->idiag_inode};
            see(&row, context);
        }
    } while (all);
    return true;
}

/* Asks sock_diag(7) for one socket, or for all in these states. The files of /proc are made by a
   walk through the kernel's table for all connections, which takes milliseconds where there is much
   memory, empty as it may be. A kernel may be without it: then the answer is false. */
static bool ask_diag(struct inet_diag_req_v2 request, bool all,
                     void (*see)(const struct row *row, void *context), struct wanted *context)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    } ask = {{.nlmsg_len = sizeof ask,
              .nlmsg_type = SOCK_DIAG_BY_FAMILY,
              .nlmsg_flags = all ? NLM_F_REQUEST | NLM_F_DUMP : NLM_F_REQUEST},
             request};
    int diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    if (diag < 0)
        return false;
    bool answered =
        send(diag, &ask, sizeof ask, 0) == sizeof ask && read_diag(diag, all, see, context);
    close(diag);
    return answered;
}

/* each_socket() for those that listen. */
static void each_listener(void (*see)(const struct row *row, void *context), struct wanted *context)
{
    static const unsigned char families[] = {AF_INET, AF_INET6};
    bool answered = true;

    for (int i = 0; answered && i < 2 && context->count == 0; i++)
        answered = ask_diag((struct inet_diag_req_v2){.sdiag_family = families[i],
                                                      .sdiag_protocol = IPPROTO_TCP,
                                                      .idiag_states = 1 << TCP_STATE_LISTEN},
                            true, see, context);
    if (!answered)
        each_socket(see, context);
}

static void see_connection(const struct row *row, void *context)
{
    struct wanted *wanted = context;

    if (row->local_port == wanted->port && row->remote_port == wanted->remote_port &&
        row->end.state != TCP_STATE_LISTEN) {
        wanted->end = row->end;
        wanted->count++;
    }
}

struct end server_end(const struct server *server, int client)
{
    struct sockaddr_in ours = {.sin_family = AF_INET}, its = {.sin_family = AF_INET};
    socklen_t size = sizeof ours;
    struct wanted wanted = {.port = (unsigned)server->port};

    if (getsockname(client, (struct sockaddr *)&ours, &size) == 0)
        wanted.remote_port = ntohs(ours.sin_port);
    size = sizeof its;
    bool connected = getpeername(client, (struct sockaddr *)&its, &size) == 0;
    struct inet_diag_req_v2 request = {.sdiag_family = AF_INET,
                                       .sdiag_protocol = IPPROTO_TCP,
                                       .idiag_states = ~0U,
                                       .id = {its.sin_port,
                                              ours.sin_port,
                                              {its.sin_addr.s_addr},
                                              {ours.sin_addr.s_addr},
                                              0,
                                              {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}};
    if (!connected || !ask_diag(request, false, see_connection, &wanted))
        each_socket(see_connection, &wanted);
    return wanted.end;
}

static bool owns(const struct server *server, unsigned long inode)
{
    char path[64], link[400], target[64], name[64];
    bool found = false;

    snprintf(path, sizeof path, "/proc/%d/fd", server->pid);
    snprintf(name, sizeof name, "socket:[%lu]", inode);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
        snprintf(link, sizeof link, "%s/%s", path, entry->d_name);
        ssize_t length = readlink(link, target, sizeof target - 1);
        if (length > 0) {
            target[length] = '\0';
            found = strcmp(target, name) == 0;
        }
    }
    closedir(folder);
    return found;
}

static void see_listener(const struct row *row, void *context)
{
    struct wanted *wanted = context;

    if (row->end.state != TCP_STATE_LISTEN || row->local_port != wanted->port)
        return;
    wanted->count++;
    wanted->end = row->end;
    wanted->address = row->local_address;
}

int listeners(const struct server *server)
{
    struct wanted wanted = {.port = (unsigned)server->port};

    each_listener(see_listener, &wanted);
    return wanted.count;
}

long waiting(const struct server *server)
{
    struct wanted wanted = {.port = (unsigned)server->port};

    each_listener(see_listener, &wanted);
    return wanted.end.unread;
}

/* A listener on another port, which is this server's. */
static void see_stray(const struct row *row, void *context)
{
    struct wanted *wanted = context;

    if (row->end.state == TCP_STATE_LISTEN && row->local_port != (unsigned)wanted->server->port &&
        (private_network || owns(wanted->server, row->inode))) {
        wanted->count++;
        wanted->port = row->local_port;
    }
}

static int count_entries(const struct server *server, const char *what)
{
    char path[64];
    int entries = 0;

    snprintf(path, sizeof path, "/proc/%d/%s", server->pid, what);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return -1;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        entries += entry->d_name[0] != '.';
    closedir(folder);
    return entries;
}

int descriptors(const struct server *server)
{
    return count_entries(server, "fd");
}

int threads(const struct server *server)
{
    return count_entries(server, "task");
}

static bool read_proc(const struct server *server, const char *what, char *text, size_t size)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", server->pid, what);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
    return true;
}

double cpu_seconds(const struct server *server)
{
    char text[PLENTY];
    unsigned long user, kernel;

    if (!read_proc(server, "stat", text, sizeof text))
        return -1;
    char *rest = strrchr(text, ')');
    if (rest == NULL ||
        sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        return -1;
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

long resident_kib(const struct server *server)
{
    char text[PLENTY];
    long value = -1;

    if (!read_proc(server, "status", text, sizeof text))
        return -1;
    char *line = strstr(text, "VmRSS:");
    if (line == NULL || sscanf(line, "VmRSS: %ld", &value) != 1)
        return -1;
    return value;
}

/* Seconds that a process has waited for a processor, which is the machine's fault and not its own
   (the second number of schedstat, in ns). */
double waited_for_processor(int pid)
{
    char path[64];
    unsigned long long ran = 0, waited = 0;

    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &ran, &waited) != 2)
        waited = 0;
    fclose(file);
    return (double)waited / 1e9;
}

double machine_delay(void)
{
    double longest = 0;

    for (int i = 0; i < count; i++)
        if (!servers[i].ended && waited_for_processor(servers[i].pid) > longest)
            longest = waited_for_processor(servers[i].pid);
    return longest;
}

/* Seconds for which that of the servers had a processor that had it longest. */
double most_used(void)
{
    double most = 0;

    for (int i = 0; i < count; i++)
        if (!servers[i].ended && cpu_seconds(&servers[i]) > most)
            most = cpu_seconds(&servers[i]);
    return most;
}

/* ---- what it said, and how it ended ---- */

/* The last line with something in it, of what it wrote to a file; "" where there is none. */
static void last_line(int file, char *line, size_t size)
{
    char text[PLENTY];
    off_t end = lseek(file, 0, SEEK_END);
    off_t from = end > (off_t)sizeof text - 1 ? end - ((off_t)sizeof text - 1) : 0;
    ssize_t length = pread(file, text, sizeof text - 1, from);

    line[0] = '\0';
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    if (length <= 0)
        return;
    text[length] = '\0';
    char *start = strrchr(text, '\n');
    snprintf(line, size, "%.300s", start == NULL ? text : start + 1);
}

/* Whether text is in what it wrote to stdout or stderr. */
bool server_printed(const struct server *server, const char *bytes, size_t size)
{
    static char text[1 << 16];
    const int files[] = {server->output, server->log};

    for (int i = 0; i < 2; i++) {
        ssize_t length = pread(files[i], text, sizeof text, 0);
        if (length > 0 && memmem(text, (size_t)length, bytes, size) != NULL)
            return true;
    }
    return false;
}

const char *signal_name(int number)
{
    static char text[32];
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGPIPE, "SIGPIPE"}, {SIGSEGV, "SIGSEGV"}, {SIGABRT, "SIGABRT"},
                 {SIGTERM, "SIGTERM"}, {SIGKILL, "SIGKILL"}, {SIGBUS, "SIGBUS"},
                 {SIGFPE, "SIGFPE"},   {SIGILL, "SIGILL"},   {SIGALRM, "SIGALRM"}};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].number == number)
            return names[i].name;
    snprintf(text, sizeof text, "signal %d", number);
    return text;
}

const char *how_it_ended(struct server *server)
{
    static char text[700];
    char words[400];

    last_line(server->log, words, sizeof words);
    if (words[0] == '\0')
        last_line(server->output, words, sizeof words);
    if (WIFSIGNALED(server->status))
        snprintf(text, sizeof text, "the server was ended by %s",
                 signal_name(WTERMSIG(server->status)));
    else
        snprintf(text, sizeof text, "the server ended with status %d", WEXITSTATUS(server->status));
    if (words[0] != '\0')
        snprintf(text + strlen(text), sizeof text - strlen(text), "; its last words: %s", words);
    return text;
}

/* What an end that nobody asked for comes from. */
void explain_end(struct server *server)
{
    if (WIFSIGNALED(server->status)) {
        switch (WTERMSIG(server->status)) {
        case SIGPIPE:
            so("it sent to a connection that was gone, and the signal SIGPIPE ended it: send with "
               "MSG_NOSIGNAL, or ignore SIGPIPE, and look at what send returns");
            return;
        case SIGSEGV:
        case SIGBUS:
            so("it used memory that is not its own: is a pointer not set, or an array too small?");
            return;
        case SIGABRT:
            so("it found its own memory damaged, or called abort: is recv told of more room than "
               "the buffer has, or is something freed twice?");
            return;
        default:
            return;
        }
    }
    if (strstr(how_it_ended(server), "UnicodeDecodeError") != NULL)
        so("what comes are bytes, and not always a text: send back what recv returned, without "
           "decoding it");
    else if (WEXITSTATUS(server->status) == 127)
        so("the command could not be run: is its name right?");
    else if (WEXITSTATUS(server->status) == 0)
        so("main came to its end after a client: a server goes on with the next one, in a loop "
           "around accept");
    else
        so("one client's misfortune ended the whole server: after an error on a connection close "
           "that one, and go on with the next accept");
}

struct server *server_that_ended(void)
{
    for (int i = 0; i < count; i++)
        if (!servers[i].stopped && has_ended(&servers[i], 0))
            return &servers[i];
    return NULL;
}

/* ---- start and stop ---- */

/* Whether a thread of a process has work to do; its main thread, which the process's own stat
   tells of, may wait for a client meanwhile. */
static bool thread_works(int pid)
{
    char path[64];
    bool found = false;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
        struct server one = {.pid = pid};
        char what[32], text[PLENTY], state;
        snprintf(what, sizeof what, "task/%d/stat", atoi(entry->d_name));
        if (!read_proc(&one, what, text, sizeof text))
            continue;
        const char *rest = strrchr(text, ')');
        found = rest != NULL && sscanf(rest, ") %c", &state) == 1 && (state == 'R' || state == 'D');
    }
    closedir(folder);
    return found;
}

/* Whether a process of the server's, itself or one that it has started, has work to do. */
static bool works(const struct server *server)
{
    DIR *folder = opendir("/proc");
    bool found = false;

    if (folder == NULL)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
        struct server one = {.pid = atoi(entry->d_name)};
        char text[PLENTY];
        int group;
        if (one.pid <= 0 || !read_proc(&one, "stat", text, sizeof text))
            continue;
        const char *rest = strrchr(text, ')');
        found = rest != NULL && sscanf(rest, ") %*c %*d %d", &group) == 1 && group == server->pid &&
                thread_works(one.pid);
    }
    closedir(folder);
    return found;
}

bool wait_for_rest(const struct server *server)
{
    enum { LOOKS = 5, MOST_WORK = 1, LONGEST = 10 };
    double used = cpu_seconds(server);
    int64_t begun = clock_ns();

    /* Its own seconds, since on a busy machine it may not have got to its work yet. */
    for (int idle = 0; idle < LOOKS; nap(0.002)) {
        idle = works(server) ? 0 : idle + 1;
        if (cpu_seconds(server) - used > MOST_WORK || clock_seconds_since(begun) > LONGEST)
            return false;
    }
    return true;
}

bool is_busy(const struct server *server, double seconds)
{
    enum { LOOKS = 20, MOST_IDLE = 4 };
    double begin = cpu_seconds(server), used = 0;
    int64_t begun = clock_ns();
    int looks = 0, idle = 0;

    /* How much of a processor it gets is up to the others; but it is hardly ever found asleep. */
    while ((looks < LOOKS || used < seconds / 4) && clock_seconds_since(begun) < 16 * seconds) {
        nap(seconds / LOOKS);
        looks++;
        idle += !works(server);
        if (idle > MOST_IDLE && 4 * idle > looks)
            return false;
        used = cpu_seconds(server) - begin;
    }
    return used > 0;
}

bool servers_work(void)
{
    for (int i = 0; i < count; i++)
        if (!servers[i].ended && works(&servers[i]))
            return true;
    return false;
}

bool listens(struct server *server, int wanted, double seconds)
{
    enum { MOST_WORK = 5, LONGEST = 60, IDLE_LOOKS = 30 };
    struct limit limit = limit_of(seconds);
    int64_t begun = clock_ns();
    int idle = 0;

    /* One that still works on its start, and does not wait for anything, gets more time: a large
       interpreter on a busy machine. The looks are counted, and not timed, since on a slow machine
       they take longer, too. */
    while (listeners(server) < wanted && !has_ended(server, 0)) {
        if (time_left(&limit) <= 0) {
            idle = works(server) ? 0 : idle + 1;
            if (seconds < SOON || idle > IDLE_LOOKS || cpu_seconds(server) > MOST_WORK ||
                clock_seconds_since(begun) > LONGEST)
                break;
        }
        nap(0.008);
    }
    return !has_ended(server, 0) && listeners(server) >= wanted;
}

_Noreturn void explain_no_listener(struct server *server)
{
    struct wanted stray = {.server = server};
    int port = server->port, swapped = (port & 0xff) << 8 | port >> 8;

    if (has_ended(server, 0)) {
        if (server->options[0] != '\0') {
            struct server *plain = launch("");
            if (listens(plain, 1, SOON)) {
                so("with --port alone it listens; with %s it does not: does it know this option? "
                   "given.h reads them all",
                   server->options);
                fail("%s", how_it_ended(server));
            }
        }
        if (!WIFSIGNALED(server->status) && WEXITSTATUS(server->status) == 0) {
            so("main came to its end. A server has none: socket, bind and listen, and then accept "
               "in a loop");
            fail("%s; nothing listens on port %d", how_it_ended(server), port);
        }
        explain_end(server);
        if (!WIFSIGNALED(server->status) && WEXITSTATUS(server->status) != 127)
            so("a call on the way to listen failed: its last words say which, and why");
        fail("%s; nothing listens on port %d", how_it_ended(server), port);
    }
    each_listener(see_stray, &stray);
    if (stray.count > 0 && (int)stray.port == swapped) {
        so("%d is %d with its two bytes swapped: htons(port) puts them in network order", swapped,
           port);
        fail("it listens on port %d", swapped);
    }
    if (stray.count > 0) {
        so("is the port the number behind --port? And was bind called, and did it succeed? "
           "Without an address listen takes a port that the kernel chooses");
        fail("it listens on port %u instead", stray.port);
    }
    int sockets = 0;
    char path[64], link[400], target[64];
    snprintf(path, sizeof path, "/proc/%d/fd", server->pid);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        snprintf(link, sizeof link, "%s/%s", path, entry->d_name);
        ssize_t length = readlink(link, target, sizeof target - 1);
        sockets += length > 7 && memcmp(target, "socket:", 7) == 0;
    }
    if (folder != NULL)
        closedir(folder);
    if (sockets > 0)
        so("there is a socket, but it does not listen: does listen come after bind, and before "
           "anything that waits? And did each of these calls succeed (-1: perror says why)?");
    else
        so("the program has no socket yet: does it wait for something before it calls socket, "
           "bind and listen?");
    fail("it runs, but nothing listens on port %d", port);
}

struct server *start(const char *options)
{
    struct server *server = launch(options);

    if (!listens(server, 1, SOON))
        explain_no_listener(server);
    return server;
}

struct server *start_one_at_a_time(const char *options)
{
    static char told[256]; /* a server keeps its options */
    struct server *server;

    snprintf(told, sizeof told, "%s%s--max-clients 1", options, options[0] == '\0' ? "" : " ");
    server = launch(told);
    if (listens(server, 1, SOON))
        return server;
    kill_server(server);
    return start(options);
}

void stop(struct server *server)
{
    char text[PLENTY] = "";

    server->stopped = true;
    kill(server->pid, SIGTERM);
    if (has_ended(server, SOON))
        return;
    read_proc(server, "status", text, sizeof text);
    char *line = strstr(text, "SigCgt:"), *blocked = strstr(text, "SigBlk:"),
         *ignored = strstr(text, "SigIgn:");
    uint64_t term = UINT64_C(1) << (SIGTERM - 1);
    if (ignored != NULL && strtoull(ignored + 7, NULL, 16) & term)
        so("it ignores SIGTERM");
    else if (blocked != NULL && strtoull(blocked + 7, NULL, 16) & term)
        so("it blocks SIGTERM, and nobody waits for it");
    else if (line != NULL && strtoull(line + 7, NULL, 16) & term)
        so("its handler ran, but the program went on in the call that it was in: a flag is not "
           "looked at there. Without a handler of yours SIGTERM ends the program");
    fail("it still ran 2 s later");
}

bool interrupt(struct server *server)
{
    siginfo_t change = {0};

    bool rests = wait_for_rest(server);
    kill(-server->pid, SIGSTOP);
    WITHIN (SOON, change.si_pid == server->pid || has_ended(server, 0))
        waitid(P_PID, (id_t)server->pid, &change, WSTOPPED | WNOHANG);
    kill(-server->pid, SIGCONT);
    return rests;
}

void kill_server(struct server *server)
{
    server->stopped = true;
    kill(-server->pid, SIGKILL);
    has_ended(server, SOON);
}

void end_servers(void)
{
    for (int i = 0; i < count; i++) {
        if (servers[i].pid <= 0)
            continue;
        kill(-servers[i].pid, SIGKILL);
        if (!servers[i].ended) {
            kill(servers[i].pid, SIGKILL); /* it may not have its group yet */
            waitpid(servers[i].pid, &servers[i].status, 0);
        }
    }
}
