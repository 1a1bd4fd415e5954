/*
 * Stage 07's messages in a stream: whatever pieces the bytes come in, the answers are the same,
 * and what they have to be.
 *
 * The input: a byte for the handler, a byte for how many bytes without a mark come first, two
 * bytes for where a piece ends, then the bytes of the client.
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/stream.h"
#include "tests/fuzz/fuzz.h"

enum { LONGEST_LINE = 8192, FILL = 64, MOST_STREAM = 140 * FILL + 1024, SHORT = 48 };

/* What the client sends, in pieces that end at cut and then after every step bytes. */
static char stream[MOST_STREAM];
static size_t stream_size, given, cut, step;

static char answers[MOST_STREAM];
static size_t answers_size;

/* Instead of recv(2). */
static ssize_t give_piece(char *buffer, size_t room)
{
    size_t end = given < cut ? cut : given + step;

    if (end > stream_size)
        end = stream_size;
    size_t size = end - given < room ? end - given : room;
    memcpy(buffer, stream + given, size);
    given += size;
    return (ssize_t)size;
}

/* Instead of send_all(). */
static int take_answer(const char *bytes, size_t size)
{
    assert(size <= sizeof answers - answers_size);
    if (size > 0)
        memcpy(answers + answers_size, bytes, size);
    answers_size += size;
    return 0;
}

int stage_main(int argc, char **argv);
#define main                              stage_main
#define recv(socket, buffer, size, flags) give_piece(buffer, size)
#define send_all(socket, bytes, size)     take_answer(bytes, size)
#include "07-binary-struct/server.c"
#undef main
#undef recv
#undef send_all

/* What has to come of it, by looking at the whole stream. Returns the size; *too_long says that
   the connection ends there because of a line that is longer than a message may be. */
static size_t expect(char *expected, bool *too_long)
{
    size_t size = handler == RECORD ? stream_size / RECORD_SIZE * RECORD_SIZE : stream_size;

    *too_long = false;
    memcpy(expected, stream, size);
    if (handler == UPPER)
        upper_case(expected, size);
    for (size_t at = 0; handler == RECORD && at < size; at += RECORD_SIZE)
        upper_case(expected + at + 4, 2); /* the field 2s, behind I */
    for (size_t at = 0, next; handler == LINE && at < size; at = next) {
        const char *mark = memchr(stream + at, '\n', size - at);
        next = mark != NULL ? (size_t)(mark - stream) + 1 : size;
        if (next - at > LONGEST_LINE || (mark == NULL && next - at == LONGEST_LINE)) {
            *too_long = true;
            return at;
        }
        upper_case(expected + at, next - at);
    }
    return size;
}

static void run(size_t first, size_t then)
{
    static char expected[MOST_STREAM];
    bool too_long;
    size_t size = expect(expected, &too_long);

    given = answers_size = 0;
    cut = first;
    step = then;
    errno = 0;
    int result = answer(-1);
    assert(result == (too_long ? -1 : 0));
    assert(!too_long || errno == EMSGSIZE);
    assert(answers_size == size && memcmp(answers, expected, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    enum { HEADER = 4, LONGEST = 1024, FEW = 0xf0 };

    if (size < HEADER || size > LONGEST)
        return 0;
    log_set_level(LOG_ERRORS);
    handler = bytes[0] % 4;
    /* Few streams are as long as a message may be, or a little less or more: they take time. */
    size_t fill =
        bytes[1] < FEW ? 0 : LONGEST_LINE + ((size_t)bytes[1] - FEW) * FILL - (size_t)8 * FILL;
    memset(stream, 'x', fill);
    memcpy(stream + fill, bytes + HEADER, size - HEADER);
    stream_size = fill + size - HEADER;
    size_t piece = (size_t)bytes[2] << 8 | bytes[3];
    size_t least = stream_size / SHORT + 1; /* a long stream byte by byte takes its time */

    run(0, least + piece);
    if (fill > 0 && handler == RECORD)
        return 0; /* hundreds of records: each more run takes as long as a thousand short streams */
    run(0, stream_size + 1);
    run(piece, stream_size + 1);
    if (stream_size <= SHORT) {
        run(0, 1);
        for (size_t at = 1; at < stream_size; at++)
            run(at, stream_size);
    }
    return 0;
}
