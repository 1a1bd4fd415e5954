/*
 * What the checker and the stages read about other processes below /proc: any text, as the whole
 * of the file.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check/check.h"
#include "tests/check/run.h"
#include "tests/fuzz/fuzz.h"

static const uint8_t *content;
static size_t content_size;

/* Instead of fopen(3). An empty file cannot be had from fmemopen(3) everywhere. */
static FILE *open_content(const char *path)
{
    (void)path;
    return content_size > 0 ? fmemopen((void *)(uintptr_t)content, content_size, "r")
                            : fopen("/dev/null", "r");
}

/* Stands beside main() in the checker; nothing here asks for it. */
const struct stage stages[STAGES] = {{0}};

/* Under other names, because the common objects that are linked have them too. */
#define report_holder     report_holder_to_fuzz
#define bind_failed       bind_failed_to_fuzz
#define fopen(path, mode) ((void)(mode), open_content(path))
#include "common/holder.c"
#include "tests/check/server.c"
#undef fopen

static void count_row(const struct row *row, void *context)
{
    (void)row;
    ((struct wanted *)context)->count++;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct server server = {.pid = 1, .port = 9999};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9999)};
    struct wanted wanted = {.count = 0};
    char line[LINE_SIZE];

    content = bytes;
    content_size = size;
    each_socket(count_row, &wanted);
    assert(wanted.count >= 0);
    assert(cpu_seconds(&server) >= -1);
    resident_kib(&server);
    assert(waited_for_processor(1) >= 0);

    FILE *file = open_content("");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        inode_in_the_way(line, &address);
    if (file != NULL)
        fclose(file);
    return 0;
}
