/* run: one step after another, each in a process of its own, and what came of them. */
#ifndef TESTS_CHECK_RUN_H
#define TESTS_CHECK_RUN_H

#include "tests/check/check.h"

enum outcome { NOT_RUN, PASSED, FAILED, SKIPPED };

struct result {
    enum outcome outcome;
    double seconds; /* that it took */
    double delay;   /* of these its process and its server waited for a processor */
    double used;    /* and so long its server had one */
    char did[600], expected[600], saw[1400], so[600]; /* saw is the reason of a skip */
};

/* Runs the steps of the stages from first to last, at most so many at a time, against a command.
   Of the last stage only one step is run, or with -1 all of them.
   Without all it stops at the first that fails. After each step, in order, done() is called.
   Returns how many failed. */
typedef void step_done(int stage, int step, const struct result *result, void *context);
int run_steps(const char *command, int first_stage, int last_stage, int only, bool all,
              step_done *done, void *context);

int steps_of(int stage);

/* ---- for the parts that run in a step's process ---- */

extern const char *check_command;
extern int check_port;

void end_servers(void);
double waited_for_processor(int pid);
double most_used(void);
void explain_end(struct server *server);
struct server *server_that_ended(void);
bool server_printed(const struct server *server, const char *bytes, size_t size);
const char *signal_name(int number);

#endif
