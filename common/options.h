/* options: one table says what a program's command line may hold; getopt_long(3) reads it. */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum option_kind {
    OPTION_KIND_END,
    OPTION_KIND_TEXT,
    OPTION_KIND_INT,
    OPTION_KIND_SECONDS,
    OPTION_KIND_SWITCH,
    OPTION_KIND_CHOICE,
    OPTION_KIND_VALUES,
};

/* One row of the table, one option. Write rows with the macros below. */
struct option_spec {
    const char *name; /* without the two dashes */
    enum option_kind kind;
    void *target;             /* what the option sets; it holds the default before */
    int minimum, maximum;     /* the range of a number; how many words a VALUES takes */
    const char *unset;        /* how --help calls a default that stands for another thing */
    const char *const *words; /* the choices of a CHOICE, with NULL after the last */
    const char *help;         /* a line for --help: what it means, and its unit */
};

/* --name TEXT; target is a const char *, set to point into argv. */
#define OPTION_TEXT(name, target, help)                  \
    {                                                    \
        name, OPTION_KIND_TEXT, target, 0, 0, 0, 0, help \
    }

/* --name N; target is an int, from minimum to maximum. */
#define OPTION_INT(name, target, minimum, maximum, help)            \
    {                                                               \
        name, OPTION_KIND_INT, target, minimum, maximum, 0, 0, help \
    }

/* The same with a default outside of the range, which means: leave it as it is. Then --help
   shows unset, for example "the kernel's". */
#define OPTION_INT_OR(name, target, minimum, maximum, unset, help)      \
    {                                                                   \
        name, OPTION_KIND_INT, target, minimum, maximum, unset, 0, help \
    }

/* --name S; target is a double, in seconds, fractions allowed, from 0 to a million (11 days).
   unset is how --help calls a default of 0 where that means something of its own, else NULL. */
#define OPTION_SECONDS(name, target, unset, help)                     \
    {                                                                 \
        name, OPTION_KIND_SECONDS, target, 0, 1000000, unset, 0, help \
    }

/* --name on|off; target is a bool. */
#define OPTION_SWITCH(name, target, help)                  \
    {                                                      \
        name, OPTION_KIND_SWITCH, target, 0, 0, 0, 0, help \
    }

/* --name WORD, one of words; target is an int, set to the word's place in words. */
#define OPTION_CHOICE(name, target, words, help)               \
    {                                                          \
        name, OPTION_KIND_CHOICE, target, 0, 0, 0, words, help \
    }

/* --name WORD WORD …, count words one after another, whatever they begin with; target is an
   array of count const char *, set to point into argv, all NULL where the option is not
   given. shape is how --help writes the words. */
#define OPTION_VALUES(name, target, count, shape, help)                \
    {                                                                  \
        name, OPTION_KIND_VALUES, target, count, count, shape, 0, help \
    }

/* Ends the table, of at most 64 rows. */
#define OPTION_END                           \
    {                                        \
        0, OPTION_KIND_END, 0, 0, 0, 0, 0, 0 \
    }

/* Reads the command line into the targets: "--name value" and "--name=value", besides -v and
   -q for the level of the log, and --help, which prints the table and exits with 0. operands
   is how --help calls the words that are not options, or NULL where there may be none.
   Returns the index of the first such word in argv; getopt_long(3) moves them to its end.
   Anything wrong is logged with the option, the value and what is allowed; exit status 2.
   A program calls this first: it also calls guard_standard_streams() (common/descriptors.h), and
   so ignores SIGPIPE from here on. Exits with 1 if the help cannot be written. */
int parse_options(int argc, char **argv, const struct option_spec *options, const char *operands);

/* Exit status of a program whose command line was wrong. */
enum { EXIT_USAGE = 2 };

#ifdef __cplusplus
}
#endif
#endif
