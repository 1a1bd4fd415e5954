#include "tests/labs/wire/segment.h"

#include <stdio.h>

enum { ETHERNET_HEADER = 14, IP_HEADER = 20, TCP_HEADER = 20, PROTOCOL_TCP = 6 };
enum {
    OPTION_END_OF_LIST,
    OPTION_NOTHING,
    OPTION_SEGMENT_SIZE,
    OPTION_WINDOW_SCALE,
    OPTION_SACK_PERMITTED,
    OPTION_SACK,
    OPTION_TIME_STAMPS = 8,
    OPTION_FAST_OPEN = 34
};

static uint16_t number_16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t number_32(const uint8_t *bytes)
{
    return (uint32_t)number_16(bytes) << 16 | number_16(bytes + 2);
}

/* Where the next option begins, from *at on, which then is behind it: its kind, its length, and
   its value. NULL at the end, or where what comes is no option. */
static const uint8_t *next_option(const uint8_t *options, size_t size, size_t *at)
{
    while (*at < size && options[*at] == OPTION_NOTHING)
        (*at)++;
    const uint8_t *option = options + *at;
    if (*at + 1 >= size || *option == OPTION_END_OF_LIST || option[1] < 2 || option[1] > size - *at)
        return NULL;
    *at += option[1];
    return option;
}

/* The options of a SYN that we know. */
static void read_options(const uint8_t *options, size_t size, struct segment *segment)
{
    size_t at = 0;

    for (const uint8_t *option; (option = next_option(options, size, &at)) != NULL;) {
        if (*option == OPTION_WINDOW_SCALE && option[1] == 3) {
            segment->scale = option[2];
            segment->scales = true;
        }
        if (*option == OPTION_FAST_OPEN)
            segment->cookie = (uint8_t)(option[1] - 1);
    }
}

void segment_flags_text(uint8_t flags, char *text, size_t size)
{
    static const struct {
        uint8_t flag;
        const char *name;
    } names[] = {{SEGMENT_SYN, "SYN"}, {SEGMENT_FIN, "FIN"}, {SEGMENT_RST, "RST"},
                 {SEGMENT_PSH, "PSH"}, {SEGMENT_URG, "URG"}, {SEGMENT_ACK, "ACK"}};
    size_t length = 0;

    *text = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0] && length < size; i++)
        if (flags & names[i].flag)
            length += (size_t)snprintf(text + length, size - length, "%s%s", length == 0 ? "" : " ",
                                       names[i].name);
}

static void option_text(const uint8_t *option, char *text, size_t size)
{
    if (*option == OPTION_SEGMENT_SIZE && option[1] == 4)
        snprintf(text, size, "MSS %u", number_16(option + 2));
    else if (*option == OPTION_WINDOW_SCALE && option[1] == 3)
        snprintf(text, size, "window scale %u", option[2]);
    else if (*option == OPTION_SACK_PERMITTED)
        snprintf(text, size, "SACK permitted");
    else if (*option == OPTION_SACK)
        snprintf(text, size, "SACK, blocks: %d", (option[1] - 2) / 8);
    else if (*option == OPTION_TIME_STAMPS && option[1] == 10)
        snprintf(text, size, "time stamps %u %u", number_32(option + 2), number_32(option + 6));
    else if (*option == OPTION_FAST_OPEN)
        snprintf(text, size, "Fast Open cookie, %d bytes", option[1] - 2);
    else
        snprintf(text, size, "option %u", *option);
}

void segment_options_text(const uint8_t *frame, const struct segment *segment, char *text,
                          size_t size)
{
    size_t start = ETHERNET_HEADER + (size_t)(frame[ETHERNET_HEADER] & 15) * 4 + TCP_HEADER;
    size_t end = segment->data_start, at = 0, length = 0;
    const uint8_t *options = frame + start;

    *text = '\0';
    if (end < start)
        return;
    for (const uint8_t *option;
         length < size && (option = next_option(options, end - start, &at)) != NULL;) {
        char one[64];
        option_text(option, one, sizeof one);
        length +=
            (size_t)snprintf(text + length, size - length, "%s%s", length == 0 ? "" : ", ", one);
    }
}

bool segment_read(const uint8_t *frame, size_t size, struct segment *segment)
{
    if (size < ETHERNET_HEADER + IP_HEADER + TCP_HEADER || number_16(frame + 12) != 0x0800)
        return false;

    const uint8_t *ip = frame + ETHERNET_HEADER;
    size_t ip_header = (size_t)(ip[0] & 15) * 4, packet = number_16(ip + 2);
    bool fragment = (number_16(ip + 6) & 0x3fff) != 0; /* an offset, or more to come */
    if (ip[0] >> 4 != 4 || ip_header < IP_HEADER || ip[9] != PROTOCOL_TCP || fragment ||
        size < ETHERNET_HEADER + ip_header + TCP_HEADER)
        return false;

    const uint8_t *tcp = ip + ip_header;
    size_t tcp_header = (size_t)(tcp[12] >> 4) * 4, headers = ip_header + tcp_header;
    if (tcp_header < TCP_HEADER || packet < headers || size < ETHERNET_HEADER + headers)
        return false;

    *segment = (struct segment){
        .source_port = number_16(tcp),
        .destination_port = number_16(tcp + 2),
        .sequence = number_32(tcp + 4),
        .acknowledgement = number_32(tcp + 8),
        .flags = tcp[13] & 0x3f,
        .window = number_16(tcp + 14),
        .payload = (uint16_t)(packet - headers),
        .data_start = (uint16_t)(ETHERNET_HEADER + headers),
    };
    if (segment->flags & SEGMENT_SYN)
        read_options(tcp + TCP_HEADER, tcp_header - TCP_HEADER, segment);
    return true;
}
