/*
 * parse_options: any words, with a zero byte between two, as the command line of a program that
 * has one option of each kind. Either it ends the program, saying why, or each target is in its
 * range.
 */
#include <assert.h>
#include <getopt.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tests/fuzz/fuzz.h"

static jmp_buf end_of_program;
static int exit_status;
static char logged[4096];

static _Noreturn void leave(int status)
{
    exit_status = status;
    longjmp(end_of_program, 1);
}

__attribute__((format(printf, 1, 2))) static void keep_line(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(logged, sizeof logged, format, arguments);
    va_end(arguments);
}

/* The module as it is, but for its ways out: a program that ends, and the log. Under another
   name, because the common objects that are linked have it too. */
#define exit          leave
#define log_error     keep_line
#define parse_options parse_options_to_fuzz
#include "common/options.c"
#undef exit
#undef log_error

enum { MOST_WORDS = 24 };

static const char *text;
static int number, number_or;
static double seconds;
static bool enabled;
static int choice;
static const char *values[3];
static const char *const choices[] = {"echo", "upper", "line", NULL};

static const struct option_spec table[] = {
    OPTION_TEXT("host", &text, "a text"),
    OPTION_INT("port", &number, 0, 65535, "a number"),
    OPTION_INT_OR("backlog", &number_or, 0, INT_MAX, "the kernel's", "a number, or none"),
    OPTION_SECONDS("timeout", &seconds, "none", "seconds"),
    OPTION_SWITCH("nodelay", &enabled, "a switch"),
    OPTION_CHOICE("handler", &choice, choices, "a word"),
    OPTION_VALUES("record", values, 3, "A B C", "three words"),
    OPTION_END,
};

static void set_defaults(void)
{
    text = "localhost";
    number = 9999;
    number_or = -1;
    seconds = 0;
    enabled = true;
    choice = 0;
    memset(values, 0, sizeof values);
    *logged = '\0';
    exit_status = -1;
    optind = 0; /* getopt(3): begin again, with a new vector */
}

static void check_targets(void)
{
    assert(text != NULL);
    assert(number >= 0 && number <= 65535);
    assert(number_or >= -1);
    assert(seconds >= 0 && seconds <= 1000000);
    assert(choice >= 0 && choice <= 2);
    assert((values[0] == NULL) == (values[1] == NULL) &&
           (values[1] == NULL) == (values[2] == NULL));
}

static bool among(char **argv, int count, const char *word)
{
    for (int i = 1; i < count; i++)
        if (strcmp(argv[i], word) == 0)
            return true;
    return false;
}

static void check_line(char **argv, int count, const char *operands)
{
    char *given[MOST_WORDS + 2];

    memcpy(given, argv, sizeof given);
    set_defaults();
    if (setjmp(end_of_program) == 0) {
        int first = parse_options(count, argv, table, operands);
        assert(first >= 1 && first <= count);
        assert(operands != NULL || first == count);
        check_targets();
    } else if (exit_status == EXIT_SUCCESS) {
        /* An option may be shortened as long as it is clear which is meant (getopt_long(3)). */
        assert(among(given, count, "--help") || among(given, count, "--hel") ||
               among(given, count, "--he"));
    } else {
        assert(exit_status == EXIT_USAGE);
        assert(*logged != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static bool quiet;
    char program[] = "server", *argv[MOST_WORDS + 2] = {program};
    int count = 1;
    char *words = calloc(1, size + 1);

    assert(words != NULL);
    if (!quiet) /* where --help goes */
        quiet = freopen("/dev/null", "w", stdout) != NULL;
    if (size > 0)
        memcpy(words, bytes, size);
    for (size_t at = 0; at < size && count <= MOST_WORDS; at += strlen(words + at) + 1)
        argv[count++] = words + at;

    char *again[MOST_WORDS + 2];
    memcpy(again, argv, sizeof again);
    check_line(argv, count, "[MESSAGE...]");
    check_line(again, count, NULL);
    free(words);
    return 0;
}
