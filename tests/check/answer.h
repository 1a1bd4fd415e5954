/* answer: the skeleton, and the lines that each step adds to it.
 *
 * answers/server.c and answers/server.py hold all of it in one text. Lines between "//+ 01.3" and
 * "//." (in Python "#+" and "#.") belong to it from step 01.3 on, between "//+ 01.2 01.3" from 01.2
 * until 01.3. A step number of 0 is what make start does before the first step of a stage. So the
 * skeleton, the third hints and the server that they lead to cannot come apart.
 */
#ifndef TESTS_CHECK_ANSWER_H
#define TESTS_CHECK_ANSWER_H

#include <stdbool.h>
#include <stdio.h>

/* A moment in the making of the server: 03.2 is 302. */
#define MOMENT(stage, step) ((stage)*100 + (step))

/* Writes the server as it is at a moment. */
void answer_write(FILE *file, bool python, int moment);

/* Prints the lines that come at a moment, and those that go, with a line or two around them.
   Returns how many came or went. */
int answer_show(FILE *file, bool python, int moment);

/* The lines that come at a moment, or those that go: for the caller to free(3). */
char *answer_part(bool python, int moment, bool come);

#endif
