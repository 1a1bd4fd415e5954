#include "common/pack.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { PADDING, SIGNED, UNSIGNED, TRUTH, FLOAT, DOUBLE, TEXT };

struct code {
    char letter;
    enum kind kind;
    size_t size;             /* with ! < > = */
    size_t native_size;      /* with @ */
    size_t native_alignment; /* with @ */
};

static const struct code codes[] = {
    {'x', PADDING, 1, 1, 1},
    {'c', TEXT, 1, 1, 1},
    {'b', SIGNED, 1, 1, 1},
    {'B', UNSIGNED, 1, 1, 1},
    {'?', TRUTH, 1, sizeof(bool), alignof(bool)},
    {'h', SIGNED, 2, sizeof(short), alignof(short)},
    {'H', UNSIGNED, 2, sizeof(short), alignof(short)},
    {'i', SIGNED, 4, sizeof(int), alignof(int)},
    {'I', UNSIGNED, 4, sizeof(int), alignof(int)},
    {'l', SIGNED, 4, sizeof(long), alignof(long)},
    {'L', UNSIGNED, 4, sizeof(long), alignof(long)},
    {'q', SIGNED, 8, sizeof(long long), alignof(long long)},
    {'Q', UNSIGNED, 8, sizeof(long long), alignof(long long)},
    {'f', FLOAT, 4, sizeof(float), alignof(float)},
    {'d', DOUBLE, 8, sizeof(double), alignof(double)},
    {'s', TEXT, 1, 1, 1},
};

/* A walk through a format, one field at a time. */
struct walk {
    const char *next; /* the rest of the format */
    bool native;      /* @ */
    bool big_endian;
    size_t repeat; /* how many more fields the last code stands for */
    size_t end;    /* where the last field ended, in bytes */

    /* the field the walk stands on */
    int number; /* counted from 1, without padding */
    const struct code *code;
    size_t offset, size;
};

enum { LARGEST = INT_MAX };

static bool machine_is_big_endian(void)
{
    const uint16_t one = 1;
    unsigned char first;

    memcpy(&first, &one, 1);
    return first == 0;
}

static int fail(struct pack_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int fail(struct pack_error *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return -1;
}

static int fail_field(struct pack_error *error, const struct walk *walk, const char *reason)
{
    return fail(error, "field %d (%c): %s", walk->number, walk->code->letter, reason);
}

static struct walk walk_begin(const char *format)
{
    struct walk walk = {.next = format, .big_endian = machine_is_big_endian()};

    switch (*format) {
    case '!':
    case '>':
        walk.big_endian = true;
        walk.next++;
        break;
    case '<':
        walk.big_endian = false;
        walk.next++;
        break;
    case '=':
        walk.next++;
        break;
    case '@':
        walk.next++;
        walk.native = true;
        break;
    default:
        walk.native = true;
    }
    return walk;
}

static const struct code *find_code(char letter)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].letter == letter)
            return &codes[i];
    return NULL;
}

/* Reads the next code, with its count. 1: it stands for at least one field, or for bytes of
   padding, which are passed here; 0: the format is at its end; -1: it is wrong. */
static int walk_code(struct walk *walk, struct pack_error *error)
{
    size_t count = 1;

    while (isspace((unsigned char)*walk->next))
        walk->next++;
    if (*walk->next == '\0')
        return 0;
    if (isdigit((unsigned char)*walk->next)) {
        for (count = 0; isdigit((unsigned char)*walk->next); walk->next++) {
            size_t digit = (size_t)(*walk->next - '0');
            if (count > (LARGEST - digit) / 10) /* asked before: a size_t may have 32 bits */
                return fail(error, "format: a count over %d", LARGEST);
            count = count * 10 + digit;
        }
    }
    walk->code = find_code(*walk->next);
    if (walk->code == NULL) {
        if (*walk->next == '\0' || isspace((unsigned char)*walk->next))
            return fail(error, "format: a count without a code behind it");
        return fail(error, "format: '%c' is no code", *walk->next);
    }
    walk->next++;

    size_t size = walk->native ? walk->code->native_size : walk->code->size;
    size_t alignment = walk->native ? walk->code->native_alignment : 1;
    walk->end = (walk->end + alignment - 1) / alignment * alignment;
    if (walk->end > LARGEST || count > (LARGEST - walk->end) / size)
        return fail(error, "format: over %d bytes", LARGEST);
    if (walk->code->letter == 's') {
        walk->size = count;
        walk->repeat = 1;
    } else if (walk->code->kind == PADDING) {
        walk->end += count;
        walk->repeat = 0;
    } else {
        walk->size = size;
        walk->repeat = count;
    }
    return 1;
}

/* Steps to the next field that has a value. 1: the walk stands on it; 0: there is no more,
   and walk->end is the size of it all; -1: the format is wrong. */
static int walk_next(struct walk *walk, struct pack_error *error)
{
    while (walk->repeat == 0) {
        int found = walk_code(walk, error);
        if (found <= 0)
            return found;
    }
    walk->repeat--;
    walk->offset = walk->end;
    walk->end += walk->size;
    walk->number++;
    return 1;
}

/* The size of all fields, and in *count how many have a value; -1: the format is wrong. */
static ssize_t measure(const char *format, size_t *count, struct pack_error *error)
{
    struct walk walk = walk_begin(format);
    int found;

    *count = 0;
    while ((found = walk_next(&walk, error)) > 0)
        ++*count;
    return found < 0 ? -1 : (ssize_t)walk.end;
}

ssize_t pack_size(const char *format, struct pack_error *error)
{
    size_t count;

    return measure(format, &count, error);
}

/* The size, where the format is right and has count values. */
static ssize_t check(const char *format, size_t count, struct pack_error *error)
{
    size_t expected;
    ssize_t size = measure(format, &expected, error);

    if (size >= 0 && count != expected)
        return fail(error, "the format has %zu values, not %zu", expected, count);
    return size;
}

static void store(unsigned char *bytes, size_t size, bool big_endian, uint64_t number)
{
    for (size_t i = 0; i < size; i++)
        bytes[big_endian ? size - 1 - i : i] = (unsigned char)(number >> (8 * i));
}

static uint64_t load(const unsigned char *bytes, size_t size, bool big_endian)
{
    uint64_t number = 0;

    for (size_t i = 0; i < size; i++)
        number |= (uint64_t)bytes[big_endian ? size - 1 - i : i] << (8 * i);
    return number;
}

static int64_t least_signed(size_t size)
{
    assert(size > 0);
    return size == 8 ? INT64_MIN : -((int64_t)1 << (8 * size - 1));
}

static uint64_t most_unsigned(size_t size)
{
    return size == 8 ? UINT64_MAX : ((uint64_t)1 << (8 * size)) - 1;
}

static int check_range(const struct walk *walk, const struct pack_value *value,
                       struct pack_error *error)
{
    int64_t least = least_signed(walk->size);
    int64_t most = -(least + 1);
    uint64_t most_u = walk->code->kind == TRUTH ? 1 : most_unsigned(walk->size);
    char reason[96];

    if (walk->code->kind == SIGNED && (value->as.i < least || value->as.i > most))
        snprintf(reason, sizeof reason, "%" PRId64 " is not from %" PRId64 " to %" PRId64,
                 value->as.i, least, most);
    else if (walk->code->kind != SIGNED && value->as.u > most_u)
        snprintf(reason, sizeof reason, "%" PRIu64 " is not from 0 to %" PRIu64, value->as.u,
                 most_u);
    else
        return 0;
    return fail_field(error, walk, reason);
}

static int pack_field(const struct walk *walk, const struct pack_value *value, unsigned char *bytes,
                      struct pack_error *error)
{
    uint32_t float_bits;
    uint64_t number = 0;

    if (value->code != walk->code->letter)
        return fail_field(error, walk, "the value is of another kind");
    switch (walk->code->kind) {
    case SIGNED:
    case UNSIGNED:
    case TRUTH:
        if (check_range(walk, value, error) < 0)
            return -1;
        number = walk->code->kind == SIGNED ? (uint64_t)value->as.i : value->as.u;
        break;
    case FLOAT:
        memcpy(&float_bits, &value->as.f, sizeof float_bits);
        number = float_bits;
        break;
    case DOUBLE:
        memcpy(&number, &value->as.d, sizeof number);
        break;
    case TEXT:
        if (value->as.text.size > walk->size)
            return fail_field(error, walk, "the text is longer than the field");
        if (walk->code->letter == 'c' && value->as.text.size != 1)
            return fail_field(error, walk, "it takes exactly one byte");
        memset(bytes, 0, walk->size);
        if (value->as.text.size > 0)
            memcpy(bytes, value->as.text.bytes, value->as.text.size);
        return 0;
    case PADDING:
        return 0;
    }
    store(bytes, walk->size, walk->big_endian, number);
    return 0;
}

ssize_t pack(const char *format, const struct pack_value *values, size_t count, void *buffer,
             size_t size, struct pack_error *error)
{
    struct walk walk = walk_begin(format);
    ssize_t needed = check(format, count, error);

    if (needed < 0)
        return -1;
    if (size < (size_t)needed)
        return fail(error, "the buffer has %zu bytes, the format needs %zd", size, needed);
    if (needed > 0)
        memset(buffer, 0, (size_t)needed);
    while (walk_next(&walk, error) > 0)
        if (pack_field(&walk, values++, (unsigned char *)buffer + walk.offset, error) < 0)
            return -1;
    return needed;
}

static struct pack_value unpack_field(const struct walk *walk, const unsigned char *bytes)
{
    struct pack_value value = {.code = walk->code->letter};

    if (walk->code->kind == TEXT) {
        value.as.text.bytes = bytes;
        value.as.text.size = walk->size;
        return value;
    }

    uint64_t number = load(bytes, walk->size, walk->big_endian);
    uint32_t float_bits = (uint32_t)number;
    switch (walk->code->kind) {
    case SIGNED:
        /* The sign is the top bit of the field; above it the number continues with it. */
        if (number > most_unsigned(walk->size) / 2)
            number |= ~most_unsigned(walk->size);
        memcpy(&value.as.i, &number, sizeof number);
        break;
    case TRUTH:
        value.as.u = number != 0;
        break;
    case FLOAT:
        memcpy(&value.as.f, &float_bits, sizeof float_bits);
        break;
    case DOUBLE:
        memcpy(&value.as.d, &number, sizeof number);
        break;
    default:
        value.as.u = number;
    }
    return value;
}

ssize_t unpack(const char *format, const void *buffer, size_t size, struct pack_value *values,
               size_t count, struct pack_error *error)
{
    struct walk walk = walk_begin(format);
    ssize_t needed = check(format, count, error);

    if (needed < 0)
        return -1;
    if (size != (size_t)needed)
        return fail(error, "there are %zu bytes, the format needs %zd", size, needed);
    while (walk_next(&walk, error) > 0)
        *values++ = unpack_field(&walk, (const unsigned char *)buffer + walk.offset);
    return needed;
}

static int parse_field(const struct walk *walk, const char *word, struct pack_value *value,
                       struct pack_error *error)
{
    char *end = NULL;
    bool blank = *word == '\0' || isspace((unsigned char)*word);

    value->code = walk->code->letter;
    errno = 0;
    switch (walk->code->kind) {
    case SIGNED:
        value->as.i = strtoll(word, &end, 10);
        break;
    case UNSIGNED:
    case TRUTH:
        /* strtoull(3) takes -1 for the largest number. */
        value->as.u = strtoull(word, &end, 10);
        if (*word == '-')
            return fail_field(error, walk, "it cannot be negative");
        break;
    case FLOAT:
        value->as.f = strtof(word, &end);
        if (errno == ERANGE && isinf(value->as.f))
            return fail_field(error, walk, "the number is too large for a float");
        errno = 0;
        break;
    case DOUBLE:
        value->as.d = strtod(word, &end);
        if (errno == ERANGE && isinf(value->as.d))
            return fail_field(error, walk, "the number is too large for a double");
        errno = 0;
        break;
    case TEXT:
        value->as.text.bytes = word;
        value->as.text.size = strlen(word);
        if (value->as.text.size > walk->size)
            return fail_field(error, walk, "the text is longer than the field");
        if (walk->code->letter == 'c' && value->as.text.size != 1)
            return fail_field(error, walk, "it takes exactly one byte");
        return 0;
    case PADDING:
        return 0;
    }
    if (blank || *end != '\0')
        return fail_field(error, walk, "that is not a number");
    if (errno == ERANGE)
        return fail_field(error, walk, "the number does not fit into 64 bits");
    if (walk->code->kind == FLOAT || walk->code->kind == DOUBLE)
        return 0;
    return check_range(walk, value, error);
}

int pack_parse(const char *format, const char *const *words, size_t count,
               struct pack_value *values, struct pack_error *error)
{
    struct walk walk = walk_begin(format);

    if (check(format, count, error) < 0)
        return -1;
    while (walk_next(&walk, error) > 0)
        if (parse_field(&walk, *words++, values++, error) < 0)
            return -1;
    return 0;
}

/* Writes one value into text; returns the length, as snprintf(3) does. */
static int print_value(const struct pack_value *value, char *text, size_t size)
{
    switch (find_code(value->code)->kind) {
    case SIGNED:
        return snprintf(text, size, "%" PRId64, value->as.i);
    case UNSIGNED:
    case TRUTH:
        return snprintf(text, size, "%" PRIu64, value->as.u);
    case FLOAT:
        return snprintf(text, size, "%.9g", (double)value->as.f);
    case DOUBLE:
        return snprintf(text, size, "%.17g", value->as.d);
    default:
        break;
    }

    const unsigned char *bytes = value->as.text.bytes;
    int length = 0;
    for (size_t i = 0; i < value->as.text.size && (size_t)length < size; i++)
        length += snprintf(text + length, size - (size_t)length,
                           isprint(bytes[i]) ? "%c" : "\\x%02x", bytes[i]);
    return length;
}

void pack_words(const struct pack_value *values, size_t count, char *text, size_t size)
{
    size_t end = 0;

    if (size > 0)
        *text = '\0';
    for (size_t i = 0; i < count && end < size; i++) {
        if (i > 0)
            end += (size_t)snprintf(text + end, size - end, " ");
        if (end < size)
            end += (size_t)print_value(&values[i], text + end, size - end);
    }
}
