#include "tests/labs/wire/segment.h"

enum { ETHERNET_HEADER = 14, IP_HEADER = 20, TCP_HEADER = 20, PROTOCOL_TCP = 6 };
enum { OPTION_END_OF_LIST, OPTION_NOTHING, OPTION_WINDOW_SCALE = 3, OPTION_FAST_OPEN = 34 };

static uint16_t number_16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t number_32(const uint8_t *bytes)
{
    return (uint32_t)number_16(bytes) << 16 | number_16(bytes + 2);
}

/* The options of a SYN that we know. */
static void read_options(const uint8_t *options, size_t size, struct segment *segment)
{
    size_t at = 0;

    while (at < size && options[at] != OPTION_END_OF_LIST) {
        if (options[at] == OPTION_NOTHING) {
            at++;
            continue;
        }
        if (at + 1 >= size || options[at + 1] < 2 || options[at + 1] > size - at)
            break;
        if (options[at] == OPTION_WINDOW_SCALE && options[at + 1] == 3)
            segment->scale = options[at + 2];
        if (options[at] == OPTION_FAST_OPEN)
            segment->cookie = (uint8_t)(options[at + 1] - 1);
        at += options[at + 1];
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
