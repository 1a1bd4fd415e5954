/* segment: what the headers of a frame say, if it holds a segment of TCP over IPv4. */
#ifndef TESTS_LABS_WIRE_SEGMENT_H
#define TESTS_LABS_WIRE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The control bits of RFC 9293, section 3.1. */
enum {
    SEGMENT_FIN = 0x01,
    SEGMENT_SYN = 0x02,
    SEGMENT_RST = 0x04,
    SEGMENT_PSH = 0x08,
    SEGMENT_ACK = 0x10,
    SEGMENT_URG = 0x20,
};

struct segment {
    uint16_t source_port, destination_port;
    uint32_t sequence, acknowledgement;
    uint16_t window;     /* as sent, not yet scaled */
    uint8_t flags;       /* the bits above */
    uint8_t scale;       /* of a SYN: the window scale it offers (RFC 7323); 0 where none */
    bool scales;         /* of a SYN: whether it offers one, be it 0 */
    uint8_t cookie;      /* of a SYN: 1 asks for a Fast Open cookie, more is a cookie (RFC 7413) */
    uint16_t payload;    /* bytes of data */
    uint16_t data_start; /* where they begin in the frame */
};

/* Reads the headers of an Ethernet frame of which size bytes are there; the data itself may be
   cut off. Returns false, and leaves *segment undefined, for anything that is not an unbroken
   TCP header in an unfragmented IPv4 packet. */
bool segment_read(const uint8_t *frame, size_t size, struct segment *segment);

/* The flags as words, "PSH ACK", into text of size bytes. */
void segment_flags_text(uint8_t flags, char *text, size_t size);

/* The options of a header that segment_read() has read, in words and in their order: "MSS 1460,
   SACK permitted, time stamps 1 0, window scale 7"; empty where there are none. */
void segment_options_text(const uint8_t *frame, const struct segment *segment, char *text,
                          size_t size);

#ifdef __cplusplus
}
#endif
#endif
