#include "common/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"

int send_all(int socket, const void *bytes, size_t size)
{
    const char *rest = bytes;

    while (size > 0) {
        ssize_t sent = send(socket, rest, size, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        log_bytes("sent", rest, (size_t)sent);
        rest += sent;
        size -= (size_t)sent;
    }
    return 0;
}

/* One recv(2) that a signal does not end. */
static ssize_t receive_some(int socket, void *buffer, size_t size)
{
    ssize_t received;

    do
        received = recv(socket, buffer, size, 0);
    while (received < 0 && errno == EINTR);
    if (received > 0)
        log_bytes("received", buffer, (size_t)received);
    return received;
}

ssize_t receive_exactly(int socket, void *buffer, size_t size)
{
    size_t total = 0;

    while (total < size) {
        ssize_t received = receive_some(socket, (char *)buffer + total, size - total);
        if (received < 0)
            return -1;
        if (received == 0)
            break;
        total += (size_t)received;
    }
    return (ssize_t)total;
}

ssize_t read_line(struct line_reader *reader, char **line)
{
    size_t searched = 0;

    for (;;) {
        char *start = reader->bytes + reader->start;
        size_t held = reader->end - reader->start;
        char *newline = memchr(start + searched, '\n', held - searched);
        if (newline != NULL) {
            size_t length = (size_t)(newline - start) + 1;
            reader->start += length;
            *line = start;
            return (ssize_t)length;
        }
        if (held == sizeof reader->bytes) {
            errno = EMSGSIZE;
            return -1;
        }

        searched = held;
        memmove(reader->bytes, start, held);
        reader->start = 0;
        reader->end = held;
        ssize_t received =
            receive_some(reader->socket, reader->bytes + held, sizeof reader->bytes - held);
        if (received < 0)
            return -1;
        if (received == 0) {
            reader->end = 0;
            *line = reader->bytes;
            return (ssize_t)held;
        }
        reader->end += (size_t)received;
    }
}
