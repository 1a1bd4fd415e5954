/*
 * segment_read and the ladders: frames as they may come from any host, broken ones too.
 *
 * The input is a row of frames: a byte with direction and fate, one with the time since the
 * frame before, one with its size, then its bytes.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/labs/wire/ladder.h"
#include "tests/labs/wire/segment.h"
#include "tests/labs/wire/wire.h"

enum { MOST_FRAMES = 64, HEADER = 3 };

/* Reads a frame from memory that ends where it ends, so that a sanitizer sees a read behind it. */
static bool read_alone(const uint8_t *bytes, size_t size, struct segment *segment)
{
    uint8_t *alone = malloc(size > 0 ? size : 1);

    assert(alone != NULL);
    memcpy(alone, bytes, size);
    bool tcp = segment_read(alone, size, segment);
    free(alone);
    return tcp;
}

/* Lines of a text, or how often a word is in it. */
static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;

    for (; (text = strstr(text, word)) != NULL; text += strlen(word))
        count++;
    return count;
}

static void draw_text(const struct ladder *ladder, const struct capture *capture, size_t segments)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    assert(file != NULL);
    ladder_text(file, ladder, capture);
    fclose(file);
    size_t lines = count_of(text, "\n");
    assert(lines >= 1 && lines <= segments + 2);
    /* Each for itself, if nothing is left out or drawn together. */
    assert(ladder->at_most > 0 || ladder->together_ns > 0 || lines == segments + 1);
    free(text);
}

static void draw_svg(const struct ladder *ladder, const struct capture *capture)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    assert(file != NULL);
    ladder_svg(file, ladder, capture);
    fclose(file);
    assert(strncmp(text, "<svg ", 5) == 0 && size > 7 && strcmp(text + size - 7, "</svg>\n") == 0);
    assert(count_of(text, "<text") == count_of(text, "</text>"));
    assert(strstr(text, "nan") == NULL && strstr(text, "inf") == NULL);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct frame *frames = calloc(MOST_FRAMES, sizeof *frames);
    size_t count = 0, segments = 0;
    int64_t now = 1000000000;

    assert(frames != NULL);
    for (size_t at = 0; at + HEADER <= size && count < MOST_FRAMES; count++) {
        struct frame *frame = &frames[count];
        const uint8_t *header = bytes + at;
        size_t length = header[2] < size - at - HEADER ? header[2] : size - at - HEADER;

        now += (int64_t)header[1] * header[1] * 10000;
        frame->from = header[0] & 1 ? HOST_SERVER : HOST_CLIENT;
        frame->fate = (enum frame_fate)((header[0] >> 1) % (FRAME_TOO_LONG + 1));
        frame->sent_ns = now;
        frame->delivered_ns =
            frame->fate == FRAME_DELIVERED ? now + (int64_t)(header[0] >> 4) * 1000000 : 0;
        frame->size = (uint32_t)length;
        frame->kept = (uint32_t)(length < sizeof frame->bytes ? length : sizeof frame->bytes);
        memcpy(frame->bytes, header + HEADER, frame->kept);
        frame->tcp = read_alone(header + HEADER, length, &frame->segment);
        if (frame->tcp) {
            segments++;
            /* The length of the packet (RFC 791) is what is in front of the data, and the data. */
            size_t packet = (size_t)(header[HEADER + 16] << 8 | header[HEADER + 17]);
            assert(frame->segment.data_start <= length);
            assert(frame->segment.data_start + (size_t)frame->segment.payload == 14 + packet);
        }
        at += HEADER + length;
    }

    struct capture capture = {.frames = frames, .count = count};
    struct ladder plain = {.title = "fuzz"};
    struct ladder joined = {.title = "fuzz", .together_ns = 5000000, .at_most = 20};
    draw_text(&plain, &capture, segments);
    draw_svg(&plain, &capture);
    draw_text(&joined, &capture, segments);
    draw_svg(&joined, &capture);
    free(frames);
    return 0;
}
