/*
 * replay FILE: hands a target the inputs on record, without a fuzzer. An input is a line of the
 * file; a byte that cannot be printed is written \xNN, and so is the backslash.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

/* Turns a line into the bytes that it stands for, in its own place; returns how many. */
static size_t unescape(char *line)
{
    size_t size = 0;

    for (const char *next = line; *next != '\0' && *next != '\n'; size++) {
        if (next[0] == '\\' && next[1] == 'x' && isxdigit((unsigned char)next[2]) &&
            isxdigit((unsigned char)next[3])) {
            char digits[3] = {next[2], next[3], '\0'};
            line[size] = (char)strtoul(digits, NULL, 16);
            next += 4;
        } else {
            line[size] = *next++;
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    char *line = NULL;
    size_t room = 0;
    int inputs = 0;

    if (file == NULL) {
        fprintf(stderr, "usage: %s FILE (inputs, one in a line)\n", argv[0]);
        return EXIT_FAILURE;
    }
    while (getline(&line, &room, file) > 0) {
        size_t size = unescape(line);
        /* Of just that size, so that a sanitizer sees a read behind its end. */
        uint8_t *bytes = malloc(size > 0 ? size : 1);
        if (bytes == NULL)
            break;
        memcpy(bytes, line, size);
        inputs++;
        LLVMFuzzerTestOneInput(bytes, size);
        free(bytes);
    }
    free(line);
    fclose(file);
    fprintf(stderr, "%s: %d inputs\n", argv[0], inputs);
    return inputs > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
