/* wire: the cable between the two hosts, carried by a thread of our own, frame by frame.
 *
 * It can delay, lose, limit the rate of and cut what goes over it, drop or hold just the frames
 * that a function picks, and it keeps the headers of every frame, with its times.
 */
#ifndef TESTS_LABS_WIRE_WIRE_H
#define TESTS_LABS_WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/labs/wire/hosts.h"
#include "tests/labs/wire/segment.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How one direction of the cable is. All zero: as fast as the relay can carry, nothing lost. */
struct cable {
    int64_t delay_ns; /* from one end to the other */
    int64_t rate;     /* bits per second, 0 is no limit: how fast frames go into the cable */
    int queue;        /* with a rate: frames that may wait for their turn; 0 stands for 1000 */
    double loss;      /* 0 to 1: this part of the frames is lost */
    uint64_t seed;    /* of the loss: the same seed loses the same frames, counted from here */
};

enum frame_fate {
    FRAME_UNDER_WAY,
    FRAME_DELIVERED,
    FRAME_LOST,       /* by cable.loss */
    FRAME_QUEUE_FULL, /* it met more than cable.queue others */
    FRAME_CUT,        /* the cable was cut when it came */
    FRAME_DROPPED,    /* the judge said so */
    FRAME_HELD,       /* the judge said so; wire_release() sends it on */
    FRAME_TOO_LONG,   /* longer than the interface takes: somebody switched an offload on */
};

/* A frame that came from a host. Times are those of clock_ns(). */
struct frame {
    int64_t sent_ns;      /* it came out of the sender: the kernel's own receive time */
    int64_t delivered_ns; /* it was given to the other host; 0 if it was not (yet) */
    enum host from;
    enum frame_fate fate;
    uint32_t size; /* in bytes, from the Ethernet header on */
    uint32_t kept; /* how many of them are in bytes */
    bool tcp;      /* whether segment is filled in */
    struct segment segment;
    uint8_t bytes[192];
};

struct wire;

/* Starts to carry frames, both ways like cable, and to keep them. When it returns, with the
   caller on the client's host, the first frame can come. For a process after hosts_create().
   Exits with 1, and the reason in the log, where the kernel has no packet sockets (packet(7)). */
struct wire *wire_start(const struct cable *cable);

/* Stops, forgets what is under way, and frees. */
void wire_stop(struct wire *wire);

/* Changes what comes from one host from now on. What is under way keeps its time. */
void wire_set(struct wire *wire, enum host from, const struct cable *cable);

/* Cut, nothing that comes is carried, in either direction; what is in the cable still arrives. */
void wire_cut(struct wire *wire, bool cut);

/* Asks judge(frame, context) about each frame that comes, in the relay's thread; NULL ends it.
   The judge must not call the wire. When this returns the judge before is no longer in use. */
enum wire_verdict { WIRE_PASS, WIRE_DROP, WIRE_HOLD };
typedef enum wire_verdict wire_judge(const struct frame *frame, void *context);
void wire_set_judge(struct wire *wire, wire_judge *judge, void *context);

/* Sends on what was held, in the order it came. */
void wire_release(struct wire *wire);

/* How many of the frames kept so far match(frame, context) says true of. */
typedef bool wire_match(const struct frame *frame, void *context);
size_t wire_count(struct wire *wire, wire_match *match, void *context);

/* Whether nothing is under way: all that has come is delivered, or will not be. */
bool wire_is_idle(struct wire *wire);

/* The frames kept so far, in the order they came: a copy, for the caller to free(3). */
struct capture {
    struct frame *frames;
    size_t count;
    size_t missed;       /* came, but there was no room to keep or even to carry them */
    int64_t real_offset; /* what to add to a frame's times for CLOCK_REALTIME */
};
struct capture wire_capture(struct wire *wire);

/* Copies frames that are kept, from number first on, at most so many, up to one that is still
   under way. Returns how many: for who follows what happens. */
size_t wire_copy(struct wire *wire, size_t first, struct frame *frames, size_t most);

/* Throws away the frames kept so far. */
void wire_forget(struct wire *wire);

/* Writes a capture for tcpdump and Wireshark: a .pcap with times in nanoseconds, those at which
   the frames came out of their senders, lost ones too. Returns 0, or -1 with errno. */
int capture_write(const struct capture *capture, FILE *file);

#ifdef __cplusplus
}
#endif
#endif
