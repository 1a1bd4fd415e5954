/* ladder: draws which segments went between the two hosts, and when: time runs downwards. */
#ifndef TESTS_LABS_WIRE_LADDER_H
#define TESTS_LABS_WIRE_LADDER_H

#include "tests/labs/wire/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ladder {
    const char *title;
    const char *note;            /* a line below the title; NULL: none */
    const char *client, *server; /* what stands above the two lines; NULL: name and address */
    /* Which frames: those that keep(frame, context) says true of; NULL: all that are TCP. */
    wire_match *keep;
    void *context;
    /* Segments of one connection that are alike (data, or ACKs alone) and leave one host within
       this time of each other are drawn as one arrow: "10 segments, 14480 bytes". 0: never. */
    int64_t together_ns;
    /* At most so many arrows; of more, the last ones are left out, and counted. 0: all. */
    size_t at_most;
};

/* For a terminal, about 90 columns: the time at the client on the left, at the server on the
   right, from the first segment drawn. A segment is named as in tcpdump: its flags; its data as
   first and last byte, counted from 1 in each direction; an ACK alone with the next byte that
   it asks for; a window of 0 is told. What did not arrive ends in a cross, with the reason. Of
   several connections each has a letter. */
void ladder_text(FILE *file, const struct ladder *ladder, const struct capture *capture);

/* The same a line at a time, as it happens. ladder_begin() writes what stands above; the ladder
   must last. ladder_add() writes a line for a frame, if it is to be kept; ladder_end() frees.
   Nothing is drawn together, and there is no end to it: together_ns and at_most do not count. */
struct live_ladder;
struct live_ladder *ladder_begin(FILE *file, const struct ladder *ladder);
void ladder_add(struct live_ladder *live, const struct frame *frame);
void ladder_end(struct live_ladder *live);

/* The same as a picture, with its own colours for light and dark pages. What a segment's header
   says shows when the pointer is on it (a title, SVG 2, 5.7). */
void ladder_svg(FILE *file, const struct ladder *ladder, const struct capture *capture);

#ifdef __cplusplus
}
#endif
#endif
