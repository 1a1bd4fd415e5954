#include "common/stream.h"

#include <errno.h>
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

ssize_t receive_exactly(int socket, void *buffer, size_t size)
{
    char *bytes = buffer;
    size_t total = 0;

    while (total < size) {
        ssize_t received = recv(socket, bytes + total, size - total, 0);
        if (received < 0 && errno == EINTR)
            continue;
        if (received < 0)
            return -1;
        if (received == 0)
            break;
        log_bytes("received", bytes + total, (size_t)received);
        total += (size_t)received;
    }
    return (ssize_t)total;
}
