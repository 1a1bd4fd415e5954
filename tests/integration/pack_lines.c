/*
 * common/pack by lines, for a test that has another program to compare it with. Each line of
 * stdin is a request, whose words are separated by blanks; bytes and texts are in hexadecimal,
 * "-" where there are none:
 *
 *   size 0 FORMAT
 *   pack ROOM FORMAT VALUE...       ROOM: how many bytes the buffer has
 *   unpack COUNT FORMAT BYTES       COUNT: how many values are asked for
 *
 * A value is its code and a number or text: "h-5", "c61", "s6f6b"; of f and d the bits, so
 * that a NaN is itself: "f7fc00000". Each answer is a line: "ok" and the size, the bytes, or
 * the values; or "error" and why.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "common/pack.h"

enum { MOST_VALUES = 4096 };

static struct pack_value values[MOST_VALUES];
static void *texts[MOST_VALUES];

static void *allocate(size_t size)
{
    void *memory = calloc(1, size + 1);

    if (memory == NULL) {
        perror("calloc");
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* The bytes that a word stands for, and a zero behind them; the caller frees them. */
static char *from_hex(const char *word, size_t *size)
{
    *size = strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
    char *bytes = allocate(*size);

    for (size_t i = 0; i < *size; i++) {
        char digits[3] = {word[2 * i], word[2 * i + 1], '\0'};
        bytes[i] = (char)strtoul(digits, NULL, 16);
    }
    return bytes;
}

static void print_hex(const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;

    if (size == 0)
        printf("-");
    for (size_t i = 0; i < size; i++)
        printf("%02x", byte[i]);
}

static void read_value(char *word, struct pack_value *value, void **text)
{
    uint32_t float_bits;
    uint64_t double_bits;

    value->code = *word++;
    *text = NULL;
    switch (value->code) {
    case 'c':
    case 's':
        *text = from_hex(word, &value->as.text.size);
        value->as.text.bytes = *text;
        break;
    case 'f':
        float_bits = (uint32_t)strtoul(word, NULL, 16);
        memcpy(&value->as.f, &float_bits, sizeof float_bits);
        break;
    case 'd':
        double_bits = strtoull(word, NULL, 16);
        memcpy(&value->as.d, &double_bits, sizeof double_bits);
        break;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
        value->as.i = strtoll(word, NULL, 10);
        break;
    default:
        value->as.u = strtoull(word, NULL, 10);
    }
}

static void print_value(const struct pack_value *value)
{
    uint32_t float_bits;
    uint64_t double_bits;

    printf(" %c", value->code);
    switch (value->code) {
    case 'c':
    case 's':
        print_hex(value->as.text.bytes, value->as.text.size);
        break;
    case 'f':
        memcpy(&float_bits, &value->as.f, sizeof float_bits);
        printf("%08" PRIx32, float_bits);
        break;
    case 'd':
        memcpy(&double_bits, &value->as.d, sizeof double_bits);
        printf("%016" PRIx64, double_bits);
        break;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
        printf("%" PRId64, value->as.i);
        break;
    default:
        printf("%" PRIu64, value->as.u);
    }
}

/* The next word of the line, or "-" where there is none. */
static char *next_word(char **rest)
{
    static char none[] = "-";
    char *word = strtok_r(NULL, " \n", rest);

    return word == NULL ? none : word;
}

static void answer_size(const char *format)
{
    struct pack_error error;
    ssize_t size = pack_size(format, &error);

    if (size < 0)
        printf("error %s\n", error.text);
    else
        printf("ok %zd\n", size);
}

static void answer_pack(const char *format, size_t room, char **rest)
{
    struct pack_error error;
    unsigned char *buffer = allocate(room);
    size_t count = 0;

    for (char *word; count < MOST_VALUES && *(word = next_word(rest)) != '-'; count++)
        read_value(word, &values[count], &texts[count]);
    ssize_t size = pack(format, values, count, buffer, room, &error);
    if (size < 0) {
        printf("error %s\n", error.text);
    } else {
        printf("ok ");
        print_hex(buffer, (size_t)size);
        printf("\n");
    }
    while (count > 0)
        free(texts[--count]);
    free(buffer);
}

static void answer_unpack(const char *format, size_t count, char **rest)
{
    struct pack_error error;
    size_t size;
    char *bytes = from_hex(next_word(rest), &size);

    if (count > MOST_VALUES || unpack(format, bytes, size, values, count, &error) < 0) {
        printf("error %s\n", count > MOST_VALUES ? "too many values" : error.text);
    } else {
        printf("ok");
        for (size_t i = 0; i < count; i++)
            print_value(&values[i]);
        printf("\n");
    }
    free(bytes);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;

    while (getline(&line, &room, stdin) > 0) {
        char *rest = NULL;
        const char *request = strtok_r(line, " \n", &rest);
        if (request == NULL)
            continue;
        size_t number = strtoul(next_word(&rest), NULL, 10);
        size_t format_size;
        char *format = from_hex(next_word(&rest), &format_size);
        switch (*request) {
        case 's':
            answer_size(format);
            break;
        case 'p':
            answer_pack(format, number, &rest);
            break;
        default:
            answer_unpack(format, number, &rest);
        }
        free(format);
        fflush(stdout);
    }
    free(line);
    return EXIT_SUCCESS;
}
