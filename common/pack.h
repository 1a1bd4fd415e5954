/* pack: numbers and texts to the bytes of a message, and back, by a format string.
 *
 * The format is that of Python's struct module: a character for the byte order, then a code
 * for each value, with a count before it if need be; blanks between them mean nothing.
 *
 *   !  >  network byte order: big-endian      @  as the C compiler lays it out: native order,
 *   <     little-endian                          sizes and alignment; a format without any of
 *   =     native order                           these characters means @ too
 *
 *   x      a byte of padding, no value         c       one byte, as text
 *   b B    8 bits, signed, unsigned            ?       a truth value: 0 or 1
 *   h H    16 bits                             f       a float, IEEE 754, 32 bits
 *   i I    32 bits; so l L, but with @ a long  d       a double, IEEE 754, 64 bits
 *   q Q    64 bits                             s       text: 2s is one value of 2 bytes
 *
 * A count before any other code repeats it: 2h is h h. What is @ differs from machine to
 * machine, and has no place in a message; it is here to show just that.
 */
#ifndef COMMON_PACK_H
#define COMMON_PACK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One value, tagged with its code so that it cannot be taken for another. */
struct pack_value {
    char code;
    union {
        int64_t i;  /* b h i l q */
        uint64_t u; /* B H I L Q, and ? as 0 or 1 */
        float f;    /* f */
        double d;   /* d */
        struct {
            const void *bytes; /* c s; never owned by the value */
            size_t size;
        } text;
    } as;
};

/* What was wrong, in words: "field 3 (h): 40000 is not from -32768 to 32767". Fields count
   from 1. The functions below fill it in before they return -1; errno says nothing. */
struct pack_error {
    char text[128];
};

/* How many bytes a format makes, or -1 where it is not one. */
ssize_t pack_size(const char *format, struct pack_error *error);

/* Writes count values into buffer, which must have room for pack_size() bytes; returns that
   many. Or -1: the format is wrong, count is not its number of values, a value has another
   code than its field, a number does not fit, a text is longer than its field (a shorter one
   is filled up with zero bytes), or size is too small. The buffer may then be half written. */
ssize_t pack(const char *format, const struct pack_value *values, size_t count, void *buffer,
             size_t size, struct pack_error *error);

/* Reads count values from exactly pack_size() bytes; returns how many bytes. Texts point into
   buffer, and last as long as it does. Or -1: the format is wrong, count is not its number of
   values, or size is not its size. Any bytes are values: no content is wrong. */
ssize_t unpack(const char *format, const void *buffer, size_t size, struct pack_value *values,
               size_t count, struct pack_error *error);

/* Makes values from words as a person types them, for a command line. Texts point to the
   words. Returns 0, or -1: a word that is not of its field's kind, or does not fit. */
int pack_parse(const char *format, const char *const *words, size_t count,
               struct pack_value *values, struct pack_error *error);

/* Writes values as words, with a blank between two, always ended by '\0' and cut to size. A
   byte of a text that cannot be printed is written \x00. A float has the 9 digits, a double
   the 17, that bring back the same bits. */
void pack_words(const struct pack_value *values, size_t count, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
