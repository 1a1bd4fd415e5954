/*
 * check: what make start, check, hint, compare and progress call.
 *
 *   check start [NN] [--python]     a file to write in: mine/NN/server.c
 *   check check [NN] [--server COMMAND] [--name NAME] [--all] [--watch] [--tap] [--brief]
 *               [--junit FILE] [--source FILE] [--from NN] [--only STEP]
 *                                   takes it through the steps of 01 … NN
 *   check hint [NN]                 the next hint for the step that failed last
 *   check compare NN                the learner's server beside the course's
 *   check progress                  all stages and steps, by the last checks
 *   check steps                     all steps, as a list
 *   check answer NN.STEP [--python] the server that the hints up to a step lead to
 *
 * It is run from the folder that has the Makefile. CC, CFLAGS and BUILD say how to compile.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check/answer.h"
#include "tests/check/report.h"
#include "tests/check/run.h"

const struct stage stages[STAGES] = {
    {"an echo, one client after another", "01-basic", NULL, steps_01,
     "it says who came and how each connection ended (-v: each byte); which call failed and why, "
     "in words; takes --host; refuses a port above 65535; pauses when accept fails because too "
     "many files are open.",
     "Read docs/02-reuseaddr.md, then: make start-02"},
    {"the address after a restart", "02-reuseaddr", "01", steps_02,
     "it reads both options back and logs what the kernel made of them, and names the process that "
     "holds a port that is taken.",
     "Read docs/03-listen-queue.md, then: make start-03"},
    {"the queue before the door", "03-listen-queue", "02", steps_03,
     "it logs the limits of both queues, warns where the backlog is above net.core.somaxconn, and "
     "says after each accept how many still wait.",
     "Read docs/04-timeout.md, then: make start-04"},
    {"how long to wait", "04-timeout", "03", steps_04,
     "it logs how long a handshake may take, and tells a connection that timed out from one that "
     "failed.",
     "Read docs/05-bufsize.md, then: make start-05"},
    {"how much may be on its way", "05-bufsize", "04", steps_05,
     "it logs for each buffer what was asked, what the kernel made of it, and the limit.",
     "Read docs/06-keepalive-nodelay.md, then: make start-06"},
    {"when to send", "06-keepalive-nodelay", "05", steps_06,
     "it reads each option back, and warns where net.ipv4.tcp_fastopen does not allow servers.",
     "Read docs/07-binary-struct.md, then: make start-07"},
    {"messages in a stream", "07-binary-struct", "06", steps_07,
     "it takes a record apart by a format and puts it together again (common/pack), and logs how "
     "much of a record was cut short.",
     "Read docs/08-threaded.md, then: make start-08"},
    {"a thread for each client", "08-threaded", "07", steps_08,
     "it names its threads, gives each a small stack, ends idle clients at once when it is asked "
     "to "
     "stop, answers who waits in the accept queue then, and goes on when no thread can be had.",
     "Read docs/09-event-loop.md, then: make start-09"},
    {"one thread for all clients", "09-event-loop", "07", steps_09,
     "it has no buffer for a client that is idle, so that 10000 of them cost next to nothing, and "
     "ends as cleanly as stage 08.",
     "That was the last stage. docs/options.md has what the course left out."},
};

static const char *build_folder, *mine;

static void say_and_exit(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(2);
}

/* ---- the learner's folder ---- */

struct file {
    char path[256];
    bool python;
    bool there;
    struct timespec changed;
};

static bool file_at(const char *path, struct timespec *changed)
{
    struct stat state;

    if (stat(path, &state) < 0)
        return false;
    if (changed != NULL)
        *changed = state.st_mtim;
    return true;
}

static bool later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* The learner's server of a stage; of two the one that was changed last. */
static struct file server_file(int stage)
{
    struct file c = {.python = false}, python = {.python = true};

    snprintf(c.path, sizeof c.path, "%s/%02d/server.c", mine, stage + 1);
    snprintf(python.path, sizeof python.path, "%s/%02d/server.py", mine, stage + 1);
    c.there = file_at(c.path, &c.changed);
    python.there = file_at(python.path, &python.changed);
    return python.there && (!c.there || later(&python.changed, &c.changed)) ? python : c;
}

/* The stage whose file was changed last, that of a server or of a check; -1: none. */
static int last_worked_on(const char *name)
{
    int last = -1;
    struct timespec latest = {0, 0};

    for (int stage = 0; stage < STAGES; stage++) {
        char path[256];
        struct file file = server_file(stage);
        if (name != NULL) {
            snprintf(path, sizeof path, "%s/%02d/%s", mine, stage + 1, name);
            file.there = file_at(path, &file.changed);
        }
        if (file.there && (last < 0 || !later(&latest, &file.changed))) {
            last = stage;
            latest = file.changed;
        }
    }
    return last;
}

static void make_folder(const char *path)
{
    if (mkdir(path, 0777) < 0 && errno != EEXIST) {
        perror(path);
        exit(EXIT_FAILURE);
    }
}

/* ---- what the last check found: mine/NN/checked ---- */

static FILE *open_checked(int stage, const char *mode)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%02d/checked", mine, stage + 1);
    return fopen(path, mode);
}

struct checked {
    bool there;
    struct timespec when;
    char server[128];
    enum outcome outcomes[STAGES][MOST_STEPS];
    int failed_stage, failed_step, hints;
};

static struct checked read_checked(int stage)
{
    struct checked checked = {.failed_stage = -1};
    FILE *file = open_checked(stage, "r");
    char line[256], word[32];
    int number, step;

    if (file == NULL)
        return checked;
    struct stat state;
    checked.there = fstat(fileno(file), &state) == 0;
    checked.when = state.st_mtim;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "server %127[^\n]", checked.server) == 1)
            continue;
        if (sscanf(line, "hints %d.%d %d", &number, &step, &checked.hints) == 3) {
            checked.failed_stage = number - 1;
            checked.failed_step = step - 1;
        } else if (sscanf(line, "%d.%d %31s", &number, &step, word) == 3 && number >= 1 &&
                   number <= STAGES && step >= 1 && step <= MOST_STEPS)
            checked.outcomes[number - 1][step - 1] = strcmp(word, "passed") == 0   ? PASSED
                                                     : strcmp(word, "failed") == 0 ? FAILED
                                                                                   : SKIPPED;
    }
    fclose(file);
    return checked;
}

static void write_checked(int stage, const struct checked *checked)
{
    static const char *const words[] = {"", "passed", "failed", "skipped"};
    FILE *file = open_checked(stage, "w");

    if (file == NULL)
        return; /* a folder that cannot be written: the check itself was all right */
    fprintf(file, "server %s\n", checked->server);
    for (int i = 0; i <= stage; i++)
        for (int step = 0; step < steps_of(i); step++)
            if (checked->outcomes[i][step] != NOT_RUN)
                fprintf(file, "%02d.%d %s\n", i + 1, step + 1, words[checked->outcomes[i][step]]);
    if (checked->failed_stage >= 0)
        fprintf(file, "hints %02d.%d %d\n", checked->failed_stage + 1, checked->failed_step + 1,
                checked->hints);
    fclose(file);
}

static void remember(const struct report *report)
{
    char path[256];
    struct checked old = read_checked(report->last_stage), now = {.failed_stage = -1};

    snprintf(path, sizeof path, "%s/%02d", mine, report->last_stage + 1);
    make_folder(mine);
    make_folder(path);
    snprintf(now.server, sizeof now.server, "%s", report->server);
    for (int stage = 0; stage <= report->last_stage; stage++)
        for (int step = 0; step < MOST_STEPS; step++)
            now.outcomes[stage][step] = report->results[stage][step].outcome;
    now.failed_stage = report->failed_stage;
    now.failed_step = report->failed_step;
    if (old.failed_stage == now.failed_stage && old.failed_step == now.failed_step)
        now.hints = old.hints;
    write_checked(report->last_stage, &now);
}

/* ---- build ---- */

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : otherwise;
}

static bool mentions(const char *path, const char *text)
{
    FILE *file = fopen(path, "r");
    char line[1024];
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file) != NULL)
        found = strstr(line, text) != NULL;
    fclose(file);
    return found;
}

/* The interpreter itself, and not a script that looks for it at each start. */
static const char *python(void)
{
    static char path[512];
    const char *name = setting("PYTHON", "python3");
    char line[600];

    if (path[0] != '\0')
        return path;
    snprintf(line, sizeof line, "%s -c 'import sys; print(sys.executable)'", name);
    FILE *answer = popen(line, "r");
    if (answer == NULL || fgets(path, sizeof path, answer) == NULL)
        snprintf(path, sizeof path, "%s", name);
    if (answer != NULL)
        pclose(answer);
    path[strcspn(path, "\n")] = '\0';
    return path;
}

/* Puts into command what starts the file as a server. Returns whether it could be built; what the
   compiler says goes where it says it. */
static bool build(const struct file *file, const char *name, char *command, size_t size)
{
    char line[2048], program[512];

    if (file->python) {
        setenv("PYTHONPATH", "tests/check", 1); /* given.py, where there is none beside it */
        setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
        snprintf(command, size, "%s '%s'", python(), file->path);
        return true;
    }
    snprintf(program, sizeof program, "%s/mine", build_folder);
    make_folder(build_folder);
    make_folder(program);
    snprintf(program, sizeof program, "%s/mine/%s", build_folder, name);
    /* What a stage of the course is made of, where the file uses it. */
    snprintf(line, sizeof line,
             "%s -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -g -pthread -I. -Itests/check '%s' %s%s "
             "-lm -o '%s'",
             setting("CC", "cc"), file->path, mentions(file->path, "\"common/") ? build_folder : "",
             mentions(file->path, "\"common/") ? "/common/*.o" : "", program);
    fflush(stdout);
    if (system(line) != 0)
        return false;
    snprintf(command, size, "'%s'", program);
    return true;
}

/* ---- check ---- */

struct wishes {
    const char *server, *name, *junit, *source;
    bool all, watch, tap, brief, python;
    int from; /* the first stage, from 0 */
    int only; /* the one step of the last stage, from 0; -1: all */
};

static int check_once(int stage, const struct wishes *wishes, const struct file *file)
{
    static struct report report;
    char command[2048], name[64];

    report.form = wishes->tap ? FOR_TAP : wishes->brief ? ONE_LINE : FOR_READERS;
    report.first_stage = wishes->from;
    report.last_stage = stage;
    report.server = wishes->name != NULL     ? wishes->name
                    : wishes->server != NULL ? wishes->server
                                             : file->path;
    report.colours = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
    report.hints = wishes->source == NULL;
    snprintf(command, sizeof command, "%s", wishes->server != NULL ? wishes->server : "");
    snprintf(name, sizeof name, "%02d-server%s", stage + 1, wishes->source != NULL ? "-other" : "");
    if (wishes->server == NULL && !build(file, name, command, sizeof command)) {
        report_unbuilt(&report, file->path);
        if (wishes->junit != NULL && report_junit(&report, wishes->junit, "does not compile") < 0)
            perror(wishes->junit);
        return EXIT_FAILURE;
    }
    report_begin(&report);
    int failed =
        run_steps(command, wishes->from, stage, wishes->only, wishes->all, report_step, &report);
    report_end(&report);
    fflush(stdout);
    if (wishes->source == NULL)
        remember(&report);
    if (wishes->junit != NULL && report_junit(&report, wishes->junit, NULL) < 0) {
        perror(wishes->junit);
        return EXIT_FAILURE;
    }
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The latest change of a file, or of the given.h or given.py beside it. */
static struct timespec changed(const struct file *file)
{
    struct timespec latest = {0, 0}, other;
    char path[300];

    file_at(file->path, &latest);
    snprintf(path, sizeof path, "%.*sgiven.%s", (int)(strrchr(file->path, '/') + 1 - file->path),
             file->path, file->python ? "py" : "h");
    if (file_at(path, &other) && later(&other, &latest))
        latest = other;
    return latest;
}

static int check(int stage, const struct wishes *wishes)
{
    if (stage < 0)
        stage = last_worked_on(NULL);
    if (stage < 0)
        say_and_exit("there is no server of yours yet: make start");
    struct file file = server_file(stage);
    if (wishes->source != NULL) {
        const char *dot = strrchr(wishes->source, '.');
        snprintf(file.path, sizeof file.path, "%s", wishes->source);
        file.python = dot != NULL && strcmp(dot, ".py") == 0;
        file.there = file_at(file.path, &file.changed);
    }
    if (wishes->server == NULL && !file.there) {
        fprintf(stderr, "%s is not there: make start-%02d\n", file.path, stage + 1);
        return 2;
    }
    if (!wishes->watch)
        return check_once(stage, wishes, &file);
    for (;;) {
        struct timespec seen = changed(&file), now = seen;
        fputs(isatty(STDOUT_FILENO) ? "\033[H\033[2J\033[3J" : "\n", stdout);
        check_once(stage, wishes, &file);
        printf("\nwatching %s; Ctrl-C ends it\n", file.path);
        fflush(stdout);
        /* Asked again and again, since not every file system can tell of a change by itself. */
        while (!later(&now, &seen) && !later(&seen, &now)) {
            nap(0.2);
            now = changed(&file);
            if (now.tv_sec == 0)
                now = seen; /* an editor is just putting the new file in place of the old one */
        }
    }
}

/* ---- start ---- */

static bool copy_file(const char *from, const char *to)
{
    char bytes[4096];
    size_t size;
    FILE *in = fopen(from, "r"), *out = in == NULL ? NULL : fopen(to, "wx");

    while (out != NULL && (size = fread(bytes, 1, sizeof bytes, in)) > 0)
        fwrite(bytes, 1, size, out);
    if (in != NULL)
        fclose(in);
    return out != NULL && fclose(out) == 0;
}

static char *read_text(const char *path)
{
    char *text = NULL, bytes[4096];
    size_t size = 0, part;
    FILE *in = fopen(path, "r"), *out;

    if (in == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    out = open_memstream(&text, &size);
    while ((part = fread(bytes, 1, sizeof bytes, in)) > 0)
        fwrite(bytes, 1, part, out);
    fclose(in);
    fclose(out);
    return text;
}

/* Copies a server of stage 01, with given.h in the place of its own look at the command line.
   Returns whether the lines of the skeleton were still there to be replaced. */
static bool copy_with_given(const char *from, const char *to, bool python)
{
    char *text = read_text(from);
    char *gone = answer_part(python, MOMENT(2, 0), false);
    char *come = answer_part(python, MOMENT(2, 0), true);
    /* The first line that comes is the include, the others take the place of those that go. */
    char *rest = strchr(come, '\n') + 1;
    char *place = strstr(text, gone), *include = NULL;
    bool found = place != NULL && gone[0] != '\0';

    for (char *line = text; line != NULL && (place == NULL || line < place);
         line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "#include", 8) == 0 || strncmp(line, "import ", 7) == 0 ||
            strncmp(line, "from ", 5) == 0)
            include = strchr(line, '\n') + 1;
        if (*line == '\0')
            break;
    }
    found =
        found && include != NULL && strstr(text, python ? "import given" : "\"given.h\"") == NULL;
    FILE *out = fopen(to, "wx");
    if (out == NULL) {
        perror(to);
        exit(EXIT_FAILURE);
    }
    if (found)
        fprintf(out, "%.*s\n%.*s%.*s%s%s", (int)(include - text), text, (int)(rest - come), come,
                (int)(place - include), include, rest, place + strlen(gone));
    else
        fputs(text, out);
    fclose(out);
    free(text);
    free(gone);
    free(come);
    return found;
}

/* Writes the includes of new, one kind of them, that old does not have. */
static void add_includes(FILE *out, const char *old, const char *new, const char *kind)
{
    for (const char *line = strstr(new, kind); line != NULL; line = strstr(line + 1, kind)) {
        char text[128];
        snprintf(text, sizeof text, "%.*s", (int)strcspn(line, "\n") + 1, line);
        if (strstr(old, text) == NULL)
            fputs(text, out);
    }
}

/* Writes a stage of the course with the option table of the next one, and the includes of both, so
   that what is left to write is the idea. The table begins with the variable of --host. */
static void write_course(const char *from, const char *next, const char *to)
{
    static const char *const table_begin = "static const char *host";
    static const char *const table_end = "    OPTION_END,\n};\n";
    char *old = read_text(from), *new = read_text(next);
    char *includes = strstr(old, "#include <"), *own = strstr(old, "#include \"");
    char *begin = strstr(old, table_begin), *end = strstr(old, table_end);
    char *new_begin = strstr(new, table_begin), *new_end = strstr(new, table_end);
    FILE *out = fopen(to, "wx");

    if (out == NULL) {
        perror(to);
        exit(EXIT_FAILURE);
    }
    if (includes == NULL || own == NULL || begin == NULL || end == NULL || new_begin == NULL ||
        new_end == NULL) {
        fputs(old, out); /* a stage of another shape: as it is */
    } else {
        fprintf(out, "%.*s", (int)(includes - old), old);
        add_includes(out, old, new, "#include <");
        fprintf(out, "%.*s", (int)(own - includes), includes);
        add_includes(out, old, new, "#include \"");
        fprintf(out, "%.*s%.*s%s", (int)(begin - own), own, (int)(new_end - new_begin), new_begin,
                end);
    }
    fclose(out);
    free(old);
    free(new);
}

static struct timespec changed(const struct file *file);

/* Whether the learner's server of a stage passes all its steps: by the last check, if the server
   was not changed since, or by one made now. */
/* Whether the last check was of this file, as it is now. */
static bool is_checked(const struct checked *last, const struct file *file)
{
    struct timespec edited = changed(file);

    return last->there && strcmp(last->server, file->path) == 0 && later(&last->when, &edited);
}

static bool passes(int stage)
{
    struct file file = server_file(stage);
    char command[2048], name[64];
    static struct report report;

    if (!file.there)
        return false;
    struct checked last = read_checked(stage);
    if (is_checked(&last, &file) && last.failed_stage < 0)
        return true;
    snprintf(name, sizeof name, "%02d-server", stage + 1);
    if (!build(&file, name, command, sizeof command))
        return false;
    report = (struct report){.form = ONE_LINE, .last_stage = stage, .server = file.path};
    report.failed_stage = -1;
    int failed = run_steps(command, 0, stage, -1, false, report_step, &report);
    remember(&report);
    return failed == 0;
}

static int base_of(int stage)
{
    return stages[stage].base == NULL ? -1 : atoi(stages[stage].base) - 1;
}

static int start_stage(int stage, bool python)
{
    char folder[256], path[300], given[300], helper[300];
    struct file own = server_file(stage);
    int number = stage + 1, base = base_of(stage);

    if (own.there) {
        printf("%s is there already and is kept. Go on with: WATCH=1 make check-%02d\n", own.path,
               number);
        return EXIT_SUCCESS;
    }
    snprintf(folder, sizeof folder, "%s/%02d", mine, number);
    make_folder(mine);
    make_folder(folder);
    snprintf(path, sizeof path, "%s/server.%s", folder, python ? "py" : "c");
    snprintf(given, sizeof given, "%s/given.%s", folder, python ? "py" : "h");
    snprintf(helper, sizeof helper, "tests/check/given.%s", python ? "py" : "h");
    if (base >= 0)
        copy_file(helper, given);

    if (base < 0) {
        FILE *out = fopen(path, "wx");
        if (out == NULL) {
            perror(path);
            return EXIT_FAILURE;
        }
        answer_write(out, python, MOMENT(1, 0));
        fclose(out);
        printf("%s is a skeleton: fill in what its comments name.\n", path);
    } else {
        struct file before = server_file(base);
        bool usable = before.there && before.python == python && passes(base);
        if (usable && base == 0) {
            bool changed = copy_with_given(before.path, path, python);
            printf("%s is your own stage 01%s.\n", path,
                   changed ? ", which now has its options from given (the file beside it)" : "");
            if (!changed && python)
                puts("Put \"from given import given\" below its imports, and take the port from "
                     "given.port:\ngiven.py beside it reads all the options of the course.");
            else if (!changed)
                puts("Put #include \"given.h\" below its includes, call read_options(argc, argv) "
                     "first\nin main, and take the port from given.port: given.h beside it reads "
                     "all the\noptions of the course.");
        } else if (usable) {
            copy_file(before.path, path);
            printf("%s is your own stage %02d.\n", path, base + 1);
        } else if (python) {
            FILE *out = fopen(path, "wx");
            if (out == NULL) {
                perror(path);
                return EXIT_FAILURE;
            }
            answer_write(out, true, MOMENT(base + 1, 99));
            fclose(out);
            printf("%s is a stage %02d of ours%s; the options come from given.py.\n", path,
                   base + 1,
                   before.there && before.python ? ",\nsince yours does not pass all its steps"
                                                 : ", since there is none of yours in Python");
        } else {
            char from[128], next[128];
            snprintf(from, sizeof from, "%s/server.c", stages[base].folder);
            snprintf(next, sizeof next, "%s/server.c", stages[stage].folder);
            write_course(from, next, path);
            printf("%s is the course's %s%s.\nIts option table has the options of %02d already; it "
                   "uses common/, not given.h.\n",
                   path, from,
                   before.there && !before.python ? ",\nsince yours does not pass all its steps"
                                                  : ", since there is none of yours",
                   number);
        }
    }
    printf("Next: edit it, with 'WATCH=1 make check-%02d' in a second terminal.\n"
           "'make hint-%02d' helps.\n",
           number, number);
    return EXIT_SUCCESS;
}

static int start_next(int stage, bool python)
{
    if (stage >= 0)
        return start_stage(stage, python);
    for (stage = 0; stage < STAGES; stage++) {
        struct file file = server_file(stage);
        if (!file.there || file.python != python)
            break;
        if (!passes(stage)) {
            struct checked last = read_checked(stage);
            printf("%s does not pass all its steps yet", file.path);
            if (is_checked(&last, &file) && last.failed_stage >= 0)
                printf(" (%02d.%d fails)", last.failed_stage + 1, last.failed_step + 1);
            printf(". Go on with: WATCH=1 make check-%02d\n", stage + 1);
            return EXIT_SUCCESS;
        }
    }
    if (stage == STAGES) {
        puts("All nine stages are there, and all their steps pass: make progress");
        return EXIT_SUCCESS;
    }
    return start_stage(stage, python);
}

/* ---- hint, compare, progress, steps ---- */

static int hint(int stage)
{
    if (stage < 0)
        stage = last_worked_on("checked");
    struct checked checked = {0};
    if (stage >= 0)
        checked = read_checked(stage);
    if (!checked.there) { /* a hint is for the step that failed last */
        char number[16] = "";
        if (stage >= 0)
            snprintf(number, sizeof number, "-%02d", stage + 1);
        printf("Nothing was checked yet. First: make check%s\n", number);
        return EXIT_SUCCESS;
    }
    if (checked.failed_stage < 0) {
        printf("In the last check of stage %02d no step failed.\n", stage + 1);
        return EXIT_SUCCESS;
    }
    const struct step *step = &stages[checked.failed_stage].steps[checked.failed_step];
    bool python = server_file(stage).python;
    int number = checked.hints < 3 ? ++checked.hints : 3;
    printf("%02d.%d  %s\n\nhint %d of 3: ", checked.failed_stage + 1, checked.failed_step + 1,
           step->name, number);
    if (number < 3) {
        print_wrapped(step->hints[number - 1], 13, 13);
    } else {
        int shown_stage = checked.failed_stage + 1, shown_step = checked.failed_step + 1;
        if (shown_stage == 8 && stage + 1 == 9) { /* the loop is another answer to the same */
            shown_stage = 9;
            shown_step = 1;
            puts("lines of 09.1 that do it (+ comes, - goes):\n");
        } else if (step->shows != NULL) {
            sscanf(step->shows, "%d.%d", &shown_stage, &shown_step);
            printf("the lines of step %s do it (+ comes, - goes):\n\n", step->shows);
        } else
            puts("lines that do it (+ comes, - goes):\n");
        answer_show(stdout, python, MOMENT(shown_stage, shown_step));
    }
    write_checked(stage, &checked);
    return EXIT_SUCCESS;
}

static int compare(int stage)
{
    char line[2048], other[300];
    if (stage < 0)
        stage = last_worked_on(NULL);
    if (stage < 0)
        say_and_exit("there is no server of yours yet: make start");
    struct file file = server_file(stage);

    if (!file.there) {
        fprintf(stderr, "%s is not there: make start-%02d\n", file.path, stage + 1);
        return 2;
    }
    snprintf(other, sizeof other, "%s/server.c", stages[stage].folder);
    if (file.python) {
        /* The course is in C; beside Python stands the same server in Python. */
        snprintf(other, sizeof other, "%s/mine/server.py", build_folder);
        make_folder(build_folder);
        snprintf(line, sizeof line, "%s/mine", build_folder);
        make_folder(line);
        FILE *out = fopen(other, "w");
        if (out == NULL) {
            perror(other);
            return EXIT_FAILURE;
        }
        answer_write(out, true, MOMENT(stage + 1, 99));
        fclose(out);
    }
    printf("%s on the left, %s on the right\n", file.path,
           file.python ? "the same stage with all hints put in" : other);
    fflush(stdout);
    snprintf(line, sizeof line,
             "diff -y -b --expand-tabs -W \"${COLUMNS:-160}\" '%s' '%s' 2>/dev/null; "
             "[ $? -le 1 ] || { diff -u '%s' '%s'; [ $? -le 1 ]; }",
             file.path, other, file.path, other);
    return system(line) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int progress(void)
{
    int next = -1;

    for (int stage = 0; stage < STAGES; stage++) {
        struct checked checked = read_checked(stage);
        int passed = 0, count = steps_of(stage);
        printf("%02d  %-36s", stage + 1, stages[stage].title);
        for (int step = 0; step < count; step++) {
            enum outcome outcome = checked.outcomes[stage][step];
            fputs(outcome == PASSED    ? "✓"
                  : outcome == FAILED  ? "✗"
                  : outcome == SKIPPED ? "-"
                                       : "·",
                  stdout);
            passed += outcome == PASSED || outcome == SKIPPED;
        }
        printf("%*s%2d of %2d", 12 - count, "", passed, count);
        printf("  %s\n", checked.there ? checked.server : "");
        if (next < 0 && passed < count)
            next = stage;
    }
    if (next < 0)
        puts("\nAll of it is done.");
    else if (server_file(next).there)
        printf("\nNext: make check-%02d\n", next + 1);
    else
        printf("\nNext: make start-%02d\n", next + 1);
    return EXIT_SUCCESS;
}

static int list_steps(void)
{
    for (int stage = 0; stage < STAGES; stage++)
        for (int i = 0; i < steps_of(stage); i++) {
            const struct step *step = &stages[stage].steps[i];
            printf("%02d.%d\t%s\t%s\t%s\t%s\n", stage + 1, i + 1, step->name, step->read,
                   step->hints[0], step->hints[1]);
        }
    return EXIT_SUCCESS;
}

/* ---- the command line ---- */

int main(int argc, char **argv)
{
    static const struct option options[] = {{"python", no_argument, NULL, 'p'},
                                            {"server", required_argument, NULL, 's'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"all", no_argument, NULL, 'a'},
                                            {"watch", no_argument, NULL, 'w'},
                                            {"tap", no_argument, NULL, 't'},
                                            {"brief", no_argument, NULL, 'b'},
                                            {"junit", required_argument, NULL, 'j'},
                                            {"source", required_argument, NULL, 'f'},
                                            {"from", required_argument, NULL, 'F'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"mine", required_argument, NULL, 'm'},
                                            {NULL, 0, NULL, 0}};
    struct wishes wishes = {.only = -1};
    int option, number = 0, step = 0;

    build_folder = setting("BUILD", "build");
    mine = "mine";
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
        switch (option) {
        case 'p':
            wishes.python = true;
            break;
        case 's':
            wishes.server = optarg;
            break;
        case 'n':
            wishes.name = optarg;
            break;
        case 'a':
            wishes.all = true;
            break;
        case 'w':
            wishes.watch = true;
            break;
        case 't':
            wishes.tap = true;
            break;
        case 'b':
            wishes.brief = true;
            break;
        case 'j':
            wishes.junit = optarg;
            break;
        case 'f':
            wishes.source = optarg;
            break;
        case 'F':
            wishes.from = atoi(optarg) - 1;
            break;
        case 'o':
            wishes.only = atoi(optarg) - 1;
            break;
        case 'm':
            mine = optarg;
            break;
        default:
            return 2;
        }
    const char *command = optind < argc ? argv[optind++] : "";
    if (optind < argc &&
        (sscanf(argv[optind], "%d.%d", &number, &step) < 1 || number < 1 || number > STAGES))
        say_and_exit("stages are 01 to 09");
    if (strcmp(command, "start") == 0)
        return start_next(number - 1, wishes.python);
    if (strcmp(command, "check") == 0)
        return check(number - 1, &wishes);
    if (strcmp(command, "hint") == 0)
        return hint(number - 1);
    if (strcmp(command, "compare") == 0)
        return compare(number - 1);
    if (strcmp(command, "progress") == 0)
        return progress();
    if (strcmp(command, "steps") == 0)
        return list_steps();
    if (strcmp(command, "answer") == 0 && number > 0) {
        answer_write(stdout, wishes.python, MOMENT(number, step));
        return EXIT_SUCCESS;
    }
    say_and_exit("usage: check start|check|hint|compare|progress|steps|answer; see tests/check/");
}
