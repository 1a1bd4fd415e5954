/* report: what came of the steps, for a reader and for machines that grade. */
#ifndef TESTS_CHECK_REPORT_H
#define TESTS_CHECK_REPORT_H

#include "tests/check/run.h"

enum form { FOR_READERS, FOR_TAP, ONE_LINE };

struct report {
    enum form form;
    int first_stage, last_stage;
    const char *server; /* its name: mine/03/server.c, or a command */
    bool colours, hints;
    struct result results[STAGES][MOST_STEPS];
    int failed_stage, failed_step; /* the first failure, from 0; -1 is none */
    /* ---- its own ---- */
    int number, line_stage;
};

void report_begin(struct report *report);
void report_step(int stage, int step, const struct result *result, void *report);
void report_end(struct report *report);

/* A server that could not even be built: its one failure. */
void report_unbuilt(struct report *report, const char *what);

/* Writes the results for a machine, as JUnit does. Returns 0, or -1 with errno. */
int report_junit(const struct report *report, const char *path, const char *unbuilt);

/* Prints text in lines of at most 80 columns, all but the first behind so many blanks. */
void print_wrapped(const char *text, int column, int indent);

#endif
