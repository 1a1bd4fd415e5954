#include "tests/labs/lab.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/options.h"
#include "common/sysctl.h"
#include "tests/labs/program.h"

enum { NOT_SHOWN = 77, LONGEST_PART = 180, MOST_PARTS = 16, HEADING_LINES = 2 };

bool lab_quick = false;
struct wire *lab_wire = NULL;
const char *lab_address = SERVER_ADDRESS;

const char *lab_build = "build";
long lab_rmem_max;

static const char *results = "build/labs";
static const char *only = "";
static const struct option_spec options[] = {
    OPTION_SWITCH("quick", &lab_quick, "the short form: the parts that show the most"),
    OPTION_TEXT("part", &only, "only the part of this name"),
    OPTION_TEXT("build", &lab_build, "where the built programs are"),
    OPTION_TEXT("results", &results, "folder for what is found, in a folder for each lab"),
    OPTION_END,
};

static const char *lab_number;

/* What a part's process tells the lab's: memory that both have. */
static struct answer {
    bool given;
    double value;
} * answers, *own_answer;

static const struct part *part; /* the one that runs in this process */
static int verdicts, verdicts_not_seen, verdicts_too_slow;

/* Why there can be no wire here; empty where there can. */
static struct hosts_refusal refusal;

/* ---- paths ---- */

struct lab_path lab_path(const char *name, const char *ending)
{
    struct lab_path path;

    snprintf(path.text, sizeof path.text, "%s/%s/%s%s", results, lab_number, name, ending);
    return path;
}

/* ---- the files of the lab's own ---- */

/* The lab keeps a list of the files that it has made in its folder, so that what somebody else
   has put there is neither removed nor written over. */
static struct lab_path list_path(void)
{
    return lab_path("made", ".list");
}

static void list_header(char header[64])
{
    snprintf(header, 64, "made by lab %s\n", lab_number);
}

/* Opens the list to read its names; NULL where there is none yet. */
static FILE *open_list(void)
{
    struct lab_path list = list_path();
    char expected[64], line[256] = "";
    FILE *file = fopen(list.text, "re");

    if (file == NULL && errno != ENOENT)
        die("%s", list.text);
    if (file == NULL)
        return NULL;
    list_header(expected);
    if (fgets(line, sizeof line, file) == NULL || strcmp(line, expected) != 0) {
        log_error("%s is not the lab's: give it another folder with --results", list.text);
        exit(EXIT_FAILURE);
    }
    return file;
}

static const char *name_of(const char *path)
{
    return strrchr(path, '/') + 1;
}

static bool is_own(const char *path)
{
    FILE *list = open_list();
    char line[256];
    bool found = false;

    while (list != NULL && !found && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strcmp(line, name_of(path)) == 0;
    }
    if (list != NULL)
        fclose(list);
    return found;
}

static void finish(FILE *file, const char *path)
{
    bool failed = ferror(file) != 0;

    if (fclose(file) != 0 || failed)
        die("%s", path);
}

/* Makes the list, where there is none yet: all at once, as parts and other runs of this lab may be
   at it too. */
static void begin_list(const char *path)
{
    char draft[sizeof(struct lab_path) + 16], header[64];

    if (access(path, F_OK) == 0)
        return;
    snprintf(draft, sizeof draft, "%s.%d", path, (int)getpid());
    FILE *file = fopen(draft, "we");
    if (file == NULL)
        die("%s", draft);
    list_header(header);
    fputs(header, file);
    finish(file, draft);
    if (link(draft, path) < 0 && errno != EEXIST && rename(draft, path) < 0)
        die("%s", path); /* some file systems have no links */
    unlink(draft);
}

void lab_claim(const char *path)
{
    struct lab_path list = list_path();

    begin_list(list.text);
    if (is_own(path))
        return;
    /* Another run of this lab may have made both the file and its entry just now. */
    if (access(path, F_OK) == 0 && !is_own(path)) {
        log_error("%s is not the lab's: move it away, or give another folder with --results", path);
        exit(EXIT_FAILURE);
    }
    FILE *file = fopen(list.text, "ae");
    if (file == NULL)
        die("%s", list.text);
    fprintf(file, "%s\n", name_of(path)); /* in one write(2), as others add to it too */
    finish(file, list.text);
}

static FILE *open_own(const char *path, const char *mode)
{
    lab_claim(path);
    FILE *file = fopen(path, mode);
    if (file == NULL)
        die("%s", path);
    return file;
}

static void remove_own(const char *path)
{
    if (is_own(path) && unlink(path) < 0 && errno != ENOENT)
        die("%s", path);
}

/* The folder for the results: without those of the last time, unless only one part of them is
   made anew. */
static void make_folder(void)
{
    struct lab_path folder = lab_path("", "");
    char line[256];

    /* Each folder of the path, where it is not there yet. */
    for (char *slash = strchr(folder.text + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder.text, 0777) < 0 && errno != EEXIST)
            die("%s", folder.text);
        *slash = '/';
    }
    FILE *list = *only == '\0' ? open_list() : NULL;
    if (list == NULL)
        return;
    bool removed = true;
    while (removed && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        removed =
            strchr(line, '/') != NULL || unlink(lab_path(line, "").text) == 0 || errno == ENOENT;
    }
    fclose(list);
    if (!removed || unlink(list_path().text) < 0)
        die("remove the results of the last time from %s", folder.text);
}

void lab_picture(const char *name, const char *ending, const char *title)
{
    struct lab_path path = lab_path(part->name, ".pictures");
    FILE *file = open_own(path.text, "ae");

    fprintf(file, "%s%s\t%s\n", name, ending, title);
    finish(file, path.text);
}

const char *lab_part_name(void)
{
    return part->name;
}

/* ---- what a part says ---- */

void lab_say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("  ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    fflush(stdout);
}

void lab_look(const char *commands)
{
    if (!lab_quick)
        lab_say("look yourself: %s", commands);
}

void lab_verdict(bool seen, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs(seen ? "  seen: " : "  NOT SEEN: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    fflush(stdout);
    verdicts++;
    verdicts_not_seen += !seen;
}

static _Atomic int64_t lateness;

/* Sleeps, and takes note of how late it was woken. */
static void *keep_time(void *nothing)
{
    static const int64_t nap = 2 * MILLISECOND;

    for (;;) {
        int64_t start = clock_ns();
        nanosleep(&(struct timespec){.tv_nsec = nap}, NULL);
        int64_t late = clock_ns() - start - nap;
        if (late > lateness)
            lateness = late;
    }
    return nothing;
}

static void start_keeping_time(void)
{
    pthread_t thread;

    errno = pthread_create(&thread, NULL, keep_time, NULL);
    if (errno != 0)
        die("start a thread");
}

double lab_lateness(void)
{
    return (double)lateness / 1e6;
}

void lab_timed_verdict(bool seen, double bearable_ms, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (seen || lab_lateness() <= bearable_ms) {
        lab_verdict(seen, "%s", text);
        return;
    }
    printf("  not shown here: this machine is too slow to tell (%.0f ms late, and %.0f ms would "
           "do): %s\n",
           lab_lateness(), bearable_ms, text);
    verdicts++;
    verdicts_too_slow++;
}

void lab_answer(double answer)
{
    *own_answer = (struct answer){true, answer};
}

void lab_compare(const char *option, const char *without, const char *with, double factor)
{
    struct lab_path path = lab_path(part->name, ".row");
    FILE *file = open_own(path.text, "ae");

    fprintf(file, "%s\t%s\t%s\t%s\t", lab_number, option, without, with);
    /* Two digits, as more would promise too much. */
    double size = fabs(factor), unit = size > 0 ? pow(10, floor(log10(size)) - 1) : 1;
    if (factor != 0)
        fprintf(file, size < 10 ? "%s%.1f\n" : "%s%.0f\n", factor < 0 ? "≥ " : "× ",
                round(size / unit) * unit);
    else
        fputs("-\n", file);
    finish(file, path.text);
}

void lab_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("  FAILED: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    exit(EXIT_FAILURE);
}

/* What could not be shown must not hide what was not seen. */
static void end_unshown(void) __attribute__((noreturn));
static void end_unshown(void)
{
    exit(verdicts_not_seen > 0 ? EXIT_FAILURE : NOT_SHOWN);
}

void lab_not_allowed(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("  not shown here: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    end_unshown();
}

static struct utsname this_kernel(void)
{
    struct utsname system;

    if (uname(&system) < 0)
        die("uname");
    return system;
}

bool lab_kernel_since(int major, int minor)
{
    struct utsname system = this_kernel();
    char *end;
    long its_major = strtol(system.release, &end, 10);
    long its_minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;

    return its_major > major || (its_major == major && its_minor >= minor);
}

void lab_not_here(const char *what, const char *since)
{
    struct utsname system = this_kernel();

    lab_not_allowed("%s is there since Linux %s; this is Linux %s", what, since, system.release);
}

void lab_too_slow(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("  not shown here: this machine is too slow to tell: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    end_unshown();
}

/* ---- tables ---- */

enum { MOST_ROWS = 64, MOST_COLUMNS = 10 };
static char *rows[MOST_ROWS];
static int row_count;

static void add_row(const char *text)
{
    if (row_count == MOST_ROWS)
        lab_fail("a table has at most %d rows", MOST_ROWS);
    rows[row_count] = strdup(text);
    if (rows[row_count++] == NULL)
        die("allocate a table");
}

void lab_table(const char *columns)
{
    row_count = 0;
    add_row(columns);
}

void lab_row(const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add_row(text);
}

/* Columns on a terminal: multi-byte characters are one wide. */
static int width_of(const char *text, size_t size)
{
    int width = 0;

    for (size_t i = 0; i < size; i++)
        width += ((unsigned char)text[i] & 0xc0) != 0x80;
    return width;
}

/* Calls visit for each cell of a row. */
static int cells(const char *row, const char *starts[MOST_COLUMNS], size_t sizes[MOST_COLUMNS])
{
    int count = 0;

    for (; count < MOST_COLUMNS; row++) {
        starts[count] = row;
        sizes[count] = strcspn(row, "\t");
        row += sizes[count++];
        if (*row == '\0')
            break;
    }
    return count;
}

void lab_table_end(void)
{
    struct lab_path path = lab_path(part->name, ".tsv");
    FILE *file = open_own(path.text, "we");
    int widths[MOST_COLUMNS] = {0};
    const char *starts[MOST_COLUMNS];
    size_t sizes[MOST_COLUMNS];

    for (int row = 0; row < row_count; row++) {
        fprintf(file, "%s\n", rows[row]);
        int count = cells(rows[row], starts, sizes);
        for (int i = 0; i < count; i++) {
            int width = width_of(starts[i], sizes[i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    finish(file, path.text);
    putchar('\n');
    for (int row = 0; row < row_count; row++) {
        int count = cells(rows[row], starts, sizes);
        fputs("    ", stdout);
        for (int i = 0; i < count; i++) {
            int pad = i + 1 < count ? widths[i] - width_of(starts[i], sizes[i]) + 2 : 0;
            printf("%.*s%*s", (int)sizes[i], starts[i], pad, "");
        }
        putchar('\n');
        free(rows[row]);
    }
    putchar('\n');
    fflush(stdout);
}

/* ---- the wire ---- */

static int64_t current_delay;

static bool any(const struct frame *frame, void *context)
{
    (void)frame;
    (void)context;
    return true;
}

bool lab_of_port(const struct frame *frame, void *context)
{
    int port = *(int *)context;

    return frame->tcp && (frame->from == HOST_CLIENT ? frame->segment.source_port
                                                     : frame->segment.destination_port) == port;
}

bool lab_no_bare_ack(const struct frame *frame, void *context)
{
    (void)context;
    return frame->tcp && (frame->segment.flags != SEGMENT_ACK || frame->segment.payload > 0);
}

int lab_first_port(void)
{
    struct capture capture = wire_capture(lab_wire);
    int port = 0;

    for (size_t i = 0; i < capture.count && port == 0; i++)
        if (capture.frames[i].tcp && capture.frames[i].from == HOST_CLIENT &&
            capture.frames[i].segment.flags & SEGMENT_SYN)
            port = capture.frames[i].segment.source_port;
    free(capture.frames);
    return port;
}

void lab_settle(void)
{
    size_t before, now = 0;

    if (lab_wire == NULL)
        return;
    int64_t start = clock_ns();
    do {
        before = now;
        lab_sleep(0.03 + 2.0 * (double)current_delay / 1e9);
        now = wire_count(lab_wire, any, NULL);
    } while ((now != before || !wire_is_idle(lab_wire)) && lab_waits(start, 5));
}

void lab_forget(void)
{
    if (lab_wire == NULL)
        return;
    lab_settle();
    wire_forget(lab_wire);
}

void lab_ladder(const char *name, const struct ladder *ladder)
{
    if (lab_wire == NULL)
        return;
    lab_settle();
    if (name == NULL)
        name = part->name;
    struct capture capture = wire_capture(lab_wire);
    struct lab_path pcap = lab_path(name, ".pcap"), svg = lab_path(name, ".svg");
    FILE *file = open_own(pcap.text, "we");

    if (capture_write(&capture, file) < 0)
        die("%s", pcap.text);
    finish(file, pcap.text);
    file = open_own(svg.text, "we");
    ladder_svg(file, ladder, &capture);
    finish(file, svg.text);
    lab_picture(name, ".svg", ladder->title);
    if (!lab_quick) {
        static bool explained;
        if (!explained)
            lab_say("a ladder: the time at the client, the segment, the time at the server; bytes "
                    "count from 1");
        explained = true;
        printf("\n    %s\n", ladder->title);
        if (ladder->note != NULL)
            printf("    (%s)\n", ladder->note);
        ladder_text(stdout, ladder, &capture);
        putchar('\n');
        fflush(stdout);
    }
    free(capture.frames);
}

void lab_enter(enum host host)
{
    if (lab_wire != NULL)
        hosts_enter(host);
}

/* In this order, so that the caller ends up where it was. */
static const enum host both[] = {HOST_SERVER, HOST_CLIENT};

/* Settings that a kernel may not have, or not in a network of an ordinary user's own. */
static const struct {
    const char *name, *since;
} younger[] = {{"net.core.somaxconn", "6.3 in a network of one's own"},
               {"net.ipv4.tcp_migrate_req", "5.14"},
               {"net.ipv4.tcp_syn_linear_timeouts", "6.5"}};

void lab_setting_not_here(const char *name)
{
    for (size_t i = 0; i < sizeof younger / sizeof younger[0]; i++)
        if (strcmp(younger[i].name, name) == 0)
            lab_not_here(name, younger[i].since);
    lab_not_allowed("this kernel has no setting %s", name);
}

void lab_set(const char *name, const char *value)
{
    if (lab_wire == NULL)
        lab_not_allowed("%s is the whole machine's, without a network of its own", name);
    for (int i = 0; i < 2; i++) {
        hosts_enter(both[i]);
        if (hosts_set(name, value) < 0 && errno == ENOENT)
            lab_setting_not_here(name);
        else if (hosts_set(name, value) < 0)
            lab_not_allowed("%s cannot be set: %s", name, error_text(errno).text);
    }
}

bool lab_try_set(const char *name, const char *value)
{
    bool done = lab_wire != NULL;

    for (int i = 0; i < 2 && done; i++) {
        hosts_enter(both[i]);
        done = hosts_set(name, value) == 0;
    }
    lab_enter(HOST_CLIENT);
    return done;
}

void lab_delay(int64_t delay_ns)
{
    struct cable cable = {.delay_ns = delay_ns};

    if (lab_wire == NULL)
        return;
    current_delay = delay_ns;
    wire_set(lab_wire, HOST_CLIENT, &cable);
    wire_set(lab_wire, HOST_SERVER, &cable);
}

void lab_sleep(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

    nanosleep(&time, NULL);
}

bool lab_waits(int64_t start, double limit)
{
    lab_sleep(0.001);
    return clock_seconds_since(start) < limit;
}

/* ---- sockets ---- */

static int used_port = 9999;
static bool port_taken; /* by a server that was started */

int lab_port(void)
{
    return used_port;
}

void lab_new_port(void)
{
    used_port = lab_wire == NULL ? 0 : port_taken ? used_port + 1 : used_port;
}

void lab_use_port(int port)
{
    used_port = port;
    port_taken = true;
}

struct sockaddr_in lab_server_address(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)lab_port())};

    inet_pton(AF_INET, lab_address, &address.sin_addr);
    return address;
}

int lab_socket(void)
{
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connection < 0)
        die("socket");
    return connection;
}

int lab_connect(void)
{
    int connection = lab_socket();
    struct sockaddr_in address = lab_server_address();

    if (connect(connection, (struct sockaddr *)&address, sizeof address) < 0)
        lab_fail("connect: %s", error_text(errno).text);
    return connection;
}

int lab_listen(int backlog)
{
    struct sockaddr_in address = lab_server_address();
    socklen_t size = sizeof address;
    int on = 1;

    lab_enter(HOST_SERVER);
    int listener = lab_socket();
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, backlog) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        lab_fail("a listener of the lab's own: %s", error_text(errno).text);
    lab_use_port(ntohs(address.sin_port));
    lab_enter(HOST_CLIENT);
    return listener;
}

pid_t lab_serve(int listener, void (*serve)(int client))
{
    fflush(stdout);
    pid_t parent = getpid(), child = fork();

    if (child < 0)
        die("fork");
    if (child > 0) {
        close(listener);
        return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
            _exit(EXIT_FAILURE);
        serve(client);
        close(client);
    }
}

void lab_end(pid_t child)
{
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
}

int lab_connect_later(void)
{
    int connection = lab_socket();
    struct sockaddr_in address = lab_server_address();

    if (fcntl(connection, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
    if (connect(connection, (struct sockaddr *)&address, sizeof address) < 0 &&
        errno != EINPROGRESS)
        lab_fail("connect: %s", error_text(errno).text);
    return connection;
}

int lab_connected(int connection)
{
    struct pollfd ready = {.fd = connection, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;

    if (poll(&ready, 1, 0) == 0)
        return 0;
    getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &size);
    errno = error;
    return error == 0 ? 1 : -1;
}

static long counter_in(const char *path, const char *name)
{
    FILE *file = fopen(path, "r");
    static char names[8192], values[8192];
    long found = -1;

    while (file != NULL && found < 0 && fgets(names, sizeof names, file) != NULL &&
           fgets(values, sizeof values, file) != NULL) {
        char *rest_names = names, *rest_values = values, *one, *value;
        while ((one = strsep(&rest_names, " \n")) != NULL &&
               (value = strsep(&rest_values, " \n")) != NULL)
            if (strcmp(one, name) == 0)
                found = strtol(value, NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    return found;
}

long lab_counter(const char *name)
{
    long value = counter_in("/proc/thread-self/net/netstat", name);

    return value >= 0 ? value : counter_in("/proc/thread-self/net/snmp", name);
}

struct lab_sockets lab_sockets(int state, int local_port, int remote_port)
{
    struct lab_sockets result = {0};
    FILE *file = fopen("/proc/thread-self/net/tcp", "r");
    char line[512];

    if (file == NULL)
        die("/proc/thread-self/net/tcp");
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned local, remote, is, unsent, waiting, timer;
        unsigned long ticks;
        if (sscanf(line, " %*d: %*8x:%x %*8x:%x %x %x:%x %x:%lx", &local, &remote, &is, &unsent,
                   &waiting, &timer, &ticks) != 7 ||
            (int)is != state || (local_port != 0 && (int)local != local_port) ||
            (remote_port != 0 && (int)remote != remote_port))
            continue;
        if (result.count++ == 0) {
            result.waiting = (int)waiting;
            result.unsent = (int)unsent;
        }
        double seconds = (double)ticks / (double)sysconf(_SC_CLK_TCK);
        result.timer = seconds > result.timer ? seconds : result.timer;
    }
    fclose(file);
    return result;
}

int lab_unsent(int connection)
{
    int unsent;

    if (ioctl(connection, SIOCOUTQ, &unsent) < 0)
        die("SIOCOUTQ");
    return unsent;
}

/* ---- the parts ---- */

static void probe_refusal(void)
{
    int answer[2];

    if (pipe(answer) < 0)
        die("pipe");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        struct cable cable = {0};
        if (hosts_create(&refusal) < 0 && write(answer[1], refusal.text, strlen(refusal.text)) < 0)
            _exit(EXIT_FAILURE);
        if (*refusal.text == '\0') {
            /* die() where there are no packet sockets. */
            dup2(answer[1], STDERR_FILENO);
            wire_stop(wire_start(&cable));
        }
        _exit(EXIT_SUCCESS);
    }
    close(answer[1]);
    size_t size = 0;
    ssize_t count;
    while ((count = read(answer[0], refusal.text + size, sizeof refusal.text - 1 - size)) > 0)
        size += (size_t)count;
    refusal.text[size] = '\0';
    close(answer[0]);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* Whether an earlier part has said why there is no wire. */
static bool refusal_told;

/* In the part's own process. */
static void run_part(void)
{
    struct cable cable = {.delay_ns = part->delay_ns};

    alarm(LONGEST_PART);
    remove_own(lab_path(part->name, ".row").text); /* both are written bit by bit */
    remove_own(lab_path(part->name, ".pictures").text);
    printf("\n%s\n", part->question); /* HEADING_LINES */
    fflush(stdout);
    if (*refusal.text == '\0') {
        if (hosts_create(&refusal) < 0)
            lab_not_allowed("%s", refusal.text);
        lab_wire = wire_start(&cable);
        start_keeping_time();
        current_delay = part->delay_ns;
        if (!lab_quick && part->delay_ns > 0)
            lab_say("(server$ and client$: the two shells of build/wire --delay %lldms)",
                    (long long)(part->delay_ns / MILLISECOND));
        else if (!lab_quick)
            lab_say("(server$ and client$: the two shells of build/wire)");
    } else if (part->needs_wire) {
        lab_not_allowed("%s", refusal_told ? "it needs the wire, as above" : refusal.text);
    } else {
        lab_address = "127.0.0.1";
        used_port = 0;
        start_keeping_time();
    }
    part->run();
    if (verdicts == 0)
        lab_fail("the part gave no verdict");
    exit(verdicts_not_seen > 0 ? EXIT_FAILURE : verdicts_too_slow > 0 ? NOT_SHOWN : EXIT_SUCCESS);
}

/* Starts a part; what it says goes to the descriptor. */
static pid_t start_part(const struct part *which, struct answer *answer, int output)
{
    fflush(stdout);
    pid_t parent = getpid(), child = fork();

    if (child < 0)
        die("fork");
    if (child > 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    dup2(output, STDOUT_FILENO);
    part = which;
    own_answer = answer;
    run_part();
    return 0;
}

/* ---- on the terminal ---- */

enum { COLUMNS = 80 };

static void print_break(const char *behind, int indent)
{
    printf("%s\n%*s", behind, indent, "");
}

/* The words of a line, and between two of them a new line where it is needed, indented; behind
   stands at the end of a line that is broken. */
static void print_words(const char *line, const char *behind, int indent)
{
    int column = 0;

    while (*line != '\0' && *line != '\n') {
        size_t blanks = strspn(line, " "), word = strcspn(line + blanks, " \n");
        const char *next = line + blanks + word;
        if (strncmp(line + blanks, "--", 2) == 0 && *next == ' ' && next[1] != '-')
            word += 1 + strcspn(next + 1, " \n"); /* an option and its value */
        int width = width_of(line, blanks + word);
        if (column > 0 && column + width + (int)strlen(behind) > COLUMNS) {
            print_break(behind, indent);
            column = indent - (int)blanks;
            line += blanks;
            blanks = 0;
        }
        printf("%.*s", (int)(blanks + word), line);
        column += width;
        line += blanks + word;
    }
}

/* A line of what a part says, within 80 columns where that is possible. Commands stay commands;
   prose is left to who reads it elsewhere than on a terminal, and tables are as wide as they are.
 */
static void print_fitting(const char *line, bool terminal)
{
    static const char look[] = "  look yourself: ";
    size_t size = strcspn(line, "\n");
    const char *dollar = strstr(line, "$ ");
    bool fits = width_of(line, size) <= COLUMNS;
    size_t indent = strspn(line, " ");
    bool command =
        dollar != NULL && (size_t)(dollar - line) == indent + strcspn(line + indent, "$ ");

    if (!fits && strncmp(line, look, strlen(look)) == 0) {
        print_break("  look yourself:", 4);
        printf("%.*s", (int)(size - strlen(look)), line + strlen(look));
    } else if (!fits && command) {
        print_words(line, " \\", 6);
    } else if (!fits && terminal && strncmp(line, "   ", 3) != 0) {
        print_words(line, "", 4);
    } else {
        printf("%.*s", (int)size, line);
    }
}

static void flush_stdout(void)
{
    if (fflush(stdout) != 0)
        die("write to stdout");
}

/* On a terminal with its colours; they are never in a file. */
static void print_line(const char *line)
{
    static int terminal = -1, colours;
    const char *colour = "", *no_colour = getenv("NO_COLOR");

    if (terminal < 0) {
        terminal = isatty(STDOUT_FILENO);
        colours = terminal && (no_colour == NULL || *no_colour == '\0');
    }
    if (colours && strncmp(line, "  seen:", 7) == 0)
        colour = "\033[32m";
    else if (colours &&
             (strncmp(line, "  NOT SEEN:", 11) == 0 || strncmp(line, "  FAILED", 8) == 0))
        colour = "\033[31m";
    else if (colours && strstr(line, "$ build/") != NULL)
        colour = "\033[36m";
    else if (colours && *line != ' ' && *line != '\n')
        colour = "\033[1m";
    fputs(colour, stdout);
    print_fitting(line, terminal);
    fputs(*colour != '\0' ? "\033[0m" : "", stdout);
    putchar('\n');
    flush_stdout();
}

/* Passes on to the terminal, but for the first lines, and to a file where there is one, what
   comes. */
static void pass_on(FILE *from, FILE *copy, int hidden_lines)
{
    char line[4096];

    while (fgets(line, sizeof line, from) != NULL) {
        if (copy != NULL)
            fputs(line, copy);
        if (hidden_lines-- <= 0)
            print_line(line);
    }
    fclose(from);
}

/* ---- guessing first ---- */

static bool asking;
static int guesses, near_guesses;

/* Only where somebody sits there, and not in a tour or a test. */
static bool somebody_to_ask(void)
{
    const char *ask = getenv("ASK");

    return !lab_quick && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && getenv("CI") == NULL &&
           (ask == NULL || strcmp(ask, "0") != 0);
}

/* What somebody wrote: a number, or the letter of a choice. False where it is neither. */
static bool read_guess(const struct part *which, const char *line, double *guess)
{
    char *end;

    if (which->choices == NULL) {
        *guess = strtod(line, &end);
        return end != line && isfinite(*guess);
    }
    for (int i = 0; which->choices[i] != NULL; i++)
        if (tolower((unsigned char)*line) == 'a' + i && line[1 + strspn(line + 1, " ")] == '\n') {
            *guess = i;
            return true;
        }
    return false;
}

/* Puts the part's question; false where it was left unanswered. */
static bool ask(const struct part *which, double *guess)
{
    static bool told;
    char line[256];

    print_line("");
    print_line(which->question);
    if (!told)
        print_line("  (guess first; who does not want to be asked: ASK=0 make lab-NN)");
    told = true;
    snprintf(line, sizeof line, "  %s", which->guess);
    print_words(line, "", 4);
    putchar('\n');
    for (int i = 0; which->choices != NULL && which->choices[i] != NULL; i++)
        printf("    %c  %s\n", 'a' + i, which->choices[i]);
    for (;;) {
        if (which->choices != NULL)
            printf("  A letter, or Enter to skip: ");
        else
            printf("  In %s, or Enter to skip: ", which->unit);
        flush_stdout();
        if (fgets(line, sizeof line, stdin) == NULL) {
            asking = false;
            putchar('\n');
            return false;
        }
        if (line[strspn(line, " ")] == '\n')
            return false;
        if (read_guess(which, line + strspn(line, " "), guess))
            return true;
    }
}

static void compare_guess(const struct part *which, double guess, const struct answer *answer)
{
    if (!answer->given)
        return;
    bool near = fabs(guess - answer->value) <= which->near * fabs(answer->value);
    if (which->choices != NULL)
        printf("  your guess: %c; what was seen: %c, %s\n", 'a' + (int)guess,
               'a' + (int)answer->value, which->choices[(int)answer->value]);
    else
        printf("  your guess: %g %s; measured: %.4g: %s\n", guess, which->unit, answer->value,
               guess == answer->value ? "exactly"
               : near                 ? "near"
                                      : "not near");
    guesses++;
    near_guesses += near;
}

/* Returns the part's status: 0, 1 or 77. */
static int end_of_part(pid_t child, const struct part *which)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) &&
        (WEXITSTATUS(status) == EXIT_SUCCESS || WEXITSTATUS(status) == NOT_SHOWN))
        return WEXITSTATUS(status);
    if (WIFSIGNALED(status))
        printf("  FAILED: the part %s was ended by signal %d%s\n", which->name, WTERMSIG(status),
               WTERMSIG(status) == SIGALRM ? ": it took too long" : "");
    return EXIT_FAILURE;
}

static int run_in_front(const struct part *which, struct answer *answer, int hidden_lines)
{
    int output[2];
    struct lab_path path = lab_path(which->name, ".txt");
    FILE *copy = open_own(path.text, "we");

    if (pipe(output) < 0)
        die("pipe");
    pid_t child = start_part(which, answer, output[1]);
    close(output[1]);
    FILE *said = fdopen(output[0], "r");
    if (said == NULL)
        die("fdopen");
    pass_on(said, copy, hidden_lines);
    finish(copy, path.text);
    return end_of_part(child, which);
}

static pid_t start_behind(const struct part *which, struct answer *answer)
{
    struct lab_path path = lab_path(which->name, ".txt");
    FILE *output = open_own(path.text, "we");
    pid_t child = start_part(which, answer, fileno(output));

    fclose(output);
    return child;
}

static int show_behind(pid_t child, const struct part *which, int hidden_lines)
{
    struct lab_path path = lab_path(which->name, ".txt");
    int status = end_of_part(child, which);
    FILE *output = fopen(path.text, "r");

    if (output == NULL)
        die("%s", path.text);
    pass_on(output, NULL, hidden_lines);
    return status;
}

static bool belongs(const struct part *which)
{
    if (*only != '\0')
        return strcmp(which->name, only) == 0;
    return !lab_quick || which->quick;
}

/* The order of the parts, for who puts the results together: all of this form, as what a run
   before found of the others is still there when one alone is made anew. */
static void write_order(const struct part *parts, const char *title)
{
    struct lab_path path = lab_path("parts", ".list");
    FILE *file = open_own(path.text, "we");

    fprintf(file, "%s\n", title);
    for (; parts->name != NULL; parts++)
        if (belongs(parts) || !lab_quick || parts->quick)
            fprintf(file, "%s\n", parts->name);
    finish(file, path.text);
}

int lab_main(int argc, char **argv, const char *number, const char *title, const struct part *parts)
{
    pid_t behind[MOST_PARTS] = {0};
    int ran = 0, not_seen = 0, not_shown = 0;
    char line[256];

    parse_options(argc, argv, options, NULL);
    signal(SIGPIPE, SIG_IGN);
    lab_number = number;
    make_folder();
    write_order(parts, title);
    if (sysctl_read("net.core.rmem_max", &lab_rmem_max) < 0)
        lab_rmem_max = 212992; /* the kernel's own default */
    probe_refusal();
    asking = somebody_to_ask();
    answers = mmap(NULL, MOST_PARTS * sizeof *answers, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (answers == MAP_FAILED)
        die("mmap");

    snprintf(line, sizeof line, "== lab %s: %s ==\n", number, title);
    print_line(line);
    for (int i = 0; parts[i].name != NULL; i++)
        if (belongs(&parts[i]) && parts[i].waits)
            behind[i] = start_behind(&parts[i], &answers[i]);
    for (int i = 0; parts[i].name != NULL; i++) {
        if (!belongs(&parts[i]))
            continue;
        bool possible = *refusal.text == '\0' || !parts[i].needs_wire, asked = false;
        double guess;
        if (asking && possible && parts[i].guess != NULL)
            asked = true;
        bool guessed = asked && ask(&parts[i], &guess);
        int hidden = asked ? HEADING_LINES : 0;
        int status = behind[i] > 0 ? show_behind(behind[i], &parts[i], hidden)
                                   : run_in_front(&parts[i], &answers[i], hidden);
        if (guessed)
            compare_guess(&parts[i], guess, &answers[i]);
        ran++;
        not_seen += status == EXIT_FAILURE;
        not_shown += status == NOT_SHOWN;
        refusal_told = refusal_told || status == NOT_SHOWN;
    }
    if (ran == 0) {
        log_error("--part %s: no such part", only);
        return EXIT_USAGE;
    }
    printf("\nlab %s: %d of %d seen", number, ran - not_seen - not_shown, ran);
    if (not_shown > 0)
        printf(", %d not shown here", not_shown);
    printf("; results in %s\n", lab_path("", "").text);
    if (guesses > 0)
        printf("your guesses: %d of %d were near\n", near_guesses, guesses);
    flush_stdout();
    return not_seen > 0 ? EXIT_FAILURE : not_shown > 0 ? NOT_SHOWN : EXIT_SUCCESS;
}
