/*
 * pack and unpack: any format, up to a zero byte, and any bytes behind it. What is unpacked and
 * packed again is what it was, by way of words too.
 */
#include "common/pack.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { LONGEST_FORMAT = 200, MOST_DIGITS = 3, MOST_BYTES = 4096, MOST_VALUES = 4096 };

/* What a format has, counted without the help of pack.c. */
struct shape {
    size_t values;
    bool texts;
    bool exact; /* its bytes stand for values, and for nothing else */
};

static struct shape shape_of(const char *format)
{
    struct shape shape = {.exact = *format != '\0' && strchr("!<>=", *format) != NULL};

    for (size_t count = 1, digits = 0; *format != '\0'; format++) {
        if (isdigit((unsigned char)*format)) {
            count = (digits++ > 0 ? count * 10 : 0) + (size_t)(*format - '0');
            continue;
        }
        if (isalpha((unsigned char)*format) || *format == '?')
            shape.values += *format == 'x' ? 0 : *format == 's' ? 1 : count;
        shape.texts = shape.texts || *format == 's' || *format == 'c';
        shape.exact = shape.exact && *format != 'x' && *format != '?';
        count = 1;
        digits = 0;
    }
    return shape;
}

/* A count of many digits takes its time, and shows nothing more. */
static bool counts_are_small(const char *format)
{
    for (int digits = 0; *format != '\0'; format++)
        if ((digits = isdigit((unsigned char)*format) ? digits + 1 : 0) > MOST_DIGITS)
            return false;
    return true;
}

static bool has_nan(const struct pack_value *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((values[i].code == 'f' && isnan(values[i].as.f)) ||
            (values[i].code == 'd' && isnan(values[i].as.d)))
            return true;
    return false;
}

/* Numbers written as words and read again pack to the same bytes. */
static void check_words(const char *format, const struct pack_value *values, size_t count,
                        const uint8_t *packed, size_t size)
{
    enum { LONGEST_WORD = 32 };
    char(*text)[LONGEST_WORD] = calloc(count + 1, sizeof *text);
    const char **words = calloc(count + 1, sizeof *words);
    struct pack_value *read = calloc(count + 1, sizeof *read);
    uint8_t *again = malloc(size + 1);
    struct pack_error error;

    assert(text != NULL && words != NULL && read != NULL && again != NULL);
    for (size_t i = 0; i < count; i++) {
        pack_words(&values[i], 1, text[i], sizeof text[i]);
        words[i] = text[i];
    }
    assert(pack_parse(format, words, count, read, &error) == 0);
    assert(pack(format, read, count, again, size, &error) == (ssize_t)size);
    assert(memcmp(again, packed, size) == 0);
    free(text);
    free(words);
    free(read);
    free(again);
}

static void check_format(const char *format, const uint8_t *bytes, size_t given)
{
    struct pack_error error = {""};
    ssize_t size = pack_size(format, &error);
    struct shape shape = shape_of(format);

    if (size < 0) {
        assert(*error.text != '\0');
        return;
    }
    if (size > MOST_BYTES || shape.values > MOST_VALUES)
        return;

    size_t needed = (size_t)size;
    struct pack_value *values = calloc(shape.values + 1, sizeof *values);
    struct pack_value *others = calloc(shape.values + 1, sizeof *others);
    uint8_t *message = calloc(1, needed > 0 ? needed : 1), *packed = malloc(needed + 1);
    uint8_t *again = malloc(needed + 1);
    assert(values != NULL && others != NULL && message != NULL && packed != NULL && again != NULL);
    memcpy(message, bytes, given < needed ? given : needed);

    assert(unpack(format, message, needed, values, shape.values, &error) == size);
    assert(unpack(format, message, needed + 1, values, shape.values, &error) == -1);
    assert(unpack(format, message, needed, values, shape.values + 1, &error) == -1);
    assert(pack(format, values, shape.values, packed, needed, &error) == size);
    assert(!shape.exact || memcmp(packed, message, needed) == 0);
    assert(needed == 0 || pack(format, values, shape.values, packed, needed - 1, &error) == -1);

    assert(unpack(format, packed, needed, others, shape.values, &error) == size);
    assert(pack(format, others, shape.values, again, needed, &error) == size);
    assert(memcmp(packed, again, needed) == 0);

    for (size_t room = 0; room <= 40; room += 8) {
        char *text = malloc(room + 1);
        assert(text != NULL);
        pack_words(values, shape.values, text, room);
        assert(room == 0 || memchr(text, '\0', room) != NULL);
        free(text);
    }
    if (!shape.texts && !has_nan(values, shape.values))
        check_words(format, values, shape.values, packed, needed);
    free(values);
    free(others);
    free(message);
    free(packed);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(bytes, '\0', size) : NULL;
    size_t length = end != NULL ? (size_t)(end - bytes) : size;
    char format[LONGEST_FORMAT + 1];

    if (length > LONGEST_FORMAT)
        return 0;
    if (length > 0)
        memcpy(format, bytes, length);
    format[length] = '\0';
    if (counts_are_small(format))
        check_format(format, bytes + length, size - length);
    return 0;
}
