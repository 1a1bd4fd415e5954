#include "common/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/descriptors.h"
#include "common/log.h"

enum { MOST_OPTIONS = 64, HELP_CODE = 1000, FIRST_CODE = 1001 };

/* What may stand after the option, for --help and for the message when something else does. */
static void describe_allowed(const struct option_spec *option, char *text, size_t size)
{
    switch (option->kind) {
    case OPTION_KIND_INT:
        snprintf(text, size, "a whole number from %d to %d", option->minimum, option->maximum);
        break;
    case OPTION_KIND_SECONDS:
        snprintf(text, size, "seconds from %d to %d, with a fraction if need be", option->minimum,
                 option->maximum);
        break;
    case OPTION_KIND_SWITCH:
        snprintf(text, size, "on or off");
        break;
    case OPTION_KIND_CHOICE: {
        size_t end = 0;
        for (const char *const *word = option->words; *word != NULL && end < size; word++)
            end += (size_t)snprintf(text + end, size - end, "%s%s",
                                    word == option->words ? "" : ", ", *word);
        break;
    }
    case OPTION_KIND_VALUES:
        snprintf(text, size, "%d words: %s", option->maximum, option->unset);
        break;
    case OPTION_KIND_TEXT:
    case OPTION_KIND_END:
        snprintf(text, size, "a text");
        break;
    }
}

static void describe_default(const struct option_spec *option, char *text, size_t size)
{
    int number = 0;
    double seconds = 0;

    switch (option->kind) {
    case OPTION_KIND_TEXT:
        snprintf(text, size, "%s", *(const char **)option->target);
        break;
    case OPTION_KIND_INT:
        number = *(int *)option->target;
        if (number < option->minimum || number > option->maximum)
            snprintf(text, size, "%s", option->unset);
        else
            snprintf(text, size, "%d", number);
        break;
    case OPTION_KIND_SECONDS:
        seconds = *(double *)option->target;
        if (seconds == 0 && option->unset != NULL)
            snprintf(text, size, "%s", option->unset);
        else
            snprintf(text, size, "%g s", seconds);
        break;
    case OPTION_KIND_SWITCH:
        snprintf(text, size, "%s", *(bool *)option->target ? "on" : "off");
        break;
    case OPTION_KIND_CHOICE:
        snprintf(text, size, "%s", option->words[*(int *)option->target]);
        break;
    case OPTION_KIND_VALUES:
    case OPTION_KIND_END:
        snprintf(text, size, "none");
        break;
    }
}

static void print_help(const char *program, const struct option_spec *options, const char *operands)
{
    printf("usage: %s [OPTION...]%s%s\n\n", program, operands ? " " : "", operands ? operands : "");
    for (; options->kind != OPTION_KIND_END; options++) {
        char allowed[160];
        char standard[64];
        const char *shape = "";
        describe_allowed(options, allowed, sizeof allowed);
        describe_default(options, standard, sizeof standard);
        switch (options->kind) {
        case OPTION_KIND_TEXT:
            shape = "TEXT";
            break;
        case OPTION_KIND_INT:
            shape = "N";
            break;
        case OPTION_KIND_SECONDS:
            shape = "S";
            break;
        case OPTION_KIND_SWITCH:
            shape = "on|off";
            break;
        case OPTION_KIND_CHOICE:
            shape = "WORD";
            break;
        case OPTION_KIND_VALUES:
            shape = options->unset;
            break;
        case OPTION_KIND_END:
            break;
        }
        printf("  --%s %s\n      %s\n      (%s; default: %s)\n", options->name, shape,
               options->help, allowed, standard);
    }
    printf("  -v\n      show every send and receive with its bytes\n"
           "  -q\n      show only errors\n"
           "  --help\n      show this\n");
    if (fflush(stdout) != 0 || ferror(stdout))
        die("stdout");
}

static void reject(const struct option_spec *option, const char *value)
{
    char allowed[160];

    describe_allowed(option, allowed, sizeof allowed);
    log_error("--%s %.200s: not allowed; it takes %s", option->name, *value == '\0' ? "''" : value,
              allowed);
    exit(EXIT_USAGE);
}

/* strtol(3) and strtod(3) would pass over leading blanks; a command line should not. */
static bool begins_like_a_number(const char *text)
{
    return *text != '\0' && strchr("+-.0123456789", *text) != NULL;
}

static void set_option_value(const struct option_spec *option, const char *value, int argc,
                             char **argv)
{
    char *end = NULL;

    errno = 0;
    switch (option->kind) {
    case OPTION_KIND_TEXT:
        *(const char **)option->target = value;
        break;
    case OPTION_KIND_INT: {
        long number = strtol(value, &end, 10);
        if (!begins_like_a_number(value) || *end != '\0' || errno != 0 ||
            number < option->minimum || number > option->maximum)
            reject(option, value);
        *(int *)option->target = (int)number;
        break;
    }
    case OPTION_KIND_SECONDS: {
        double seconds = strtod(value, &end);
        if (!begins_like_a_number(value) || strpbrk(value, "xXnN") != NULL || *end != '\0' ||
            errno != 0 || !(seconds >= option->minimum && seconds <= option->maximum))
            reject(option, value);
        *(double *)option->target = seconds;
        break;
    }
    case OPTION_KIND_SWITCH:
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
            reject(option, value);
        *(bool *)option->target = strcmp(value, "on") == 0;
        break;
    case OPTION_KIND_CHOICE: {
        int place = 0;
        while (option->words[place] != NULL && strcmp(option->words[place], value) != 0)
            place++;
        if (option->words[place] == NULL)
            reject(option, value);
        *(int *)option->target = place;
        break;
    }
    case OPTION_KIND_VALUES: {
        const char **target = option->target;
        /* getopt_long took one word and stands behind it; the others follow there. */
        if (argc - optind < option->maximum - 1)
            reject(option, value);
        *target++ = value;
        for (int i = 1; i < option->maximum; i++)
            *target++ = argv[optind++];
        break;
    }
    case OPTION_KIND_END:
        break;
    }
}

int parse_options(int argc, char **argv, const struct option_spec *options, const char *operands)
{
    struct option long_options[MOST_OPTIONS + 2] = {{0}};
    char allowed[160];
    int count = 0;
    int code;

    log_name_program(argv[0]);
    guard_standard_streams();
    for (; count < MOST_OPTIONS && options[count].kind != OPTION_KIND_END; count++) {
        long_options[count].name = options[count].name;
        long_options[count].has_arg = required_argument;
        long_options[count].val = FIRST_CODE + count;
    }
    long_options[count].name = "help";
    long_options[count].has_arg = no_argument;
    long_options[count].val = HELP_CODE;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":vq", long_options, NULL)) != -1) {
        switch (code) {
        case 'v':
            log_set_level(LOG_BYTES);
            break;
        case 'q':
            log_set_level(LOG_ERRORS);
            break;
        case HELP_CODE:
            print_help(argv[0], options, operands);
            exit(EXIT_SUCCESS);
        case ':':
            describe_allowed(&options[optopt - FIRST_CODE], allowed, sizeof allowed);
            log_error("--%s: needs a value: %s", options[optopt - FIRST_CODE].name, allowed);
            exit(EXIT_USAGE);
        case '?':
            /* optopt is the letter of a short option; of a long one argv has the name. */
            log_error("%s: no such option, or it takes no value; --help lists them all",
                      optopt > 0 && optopt < HELP_CODE ? (char[]){'-', (char)optopt, '\0'}
                                                       : argv[optind - 1]);
            exit(EXIT_USAGE);
        default:
            set_option_value(&options[code - FIRST_CODE], optarg, argc, argv);
        }
    }
    if (operands == NULL && optind < argc) {
        log_error("%s: not allowed; there is nothing to say but options, see --help", argv[optind]);
        exit(EXIT_USAGE);
    }
    return optind;
}
