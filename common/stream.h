/* stream: whole messages over a connection that knows only bytes, for blocking sockets. */
#ifndef COMMON_STREAM_H
#define COMMON_STREAM_H

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sends all size bytes: send(2) may take fewer than it was given, then the rest is sent
   again. A peer that is gone is an error here (EPIPE, ECONNRESET), not a SIGPIPE. Returns 0,
   or -1 with errno as send(2) sets it; EAGAIN where SO_SNDTIMEO ran out. Some of the bytes
   may have gone by then. */
int send_all(int socket, const void *bytes, size_t size);

/* Receives size bytes, however many calls of recv(2) it takes. Returns size; less, where the
   peer ended its stream first (0: it sent nothing more at all); or -1 with errno as recv(2)
   sets it, EAGAIN where SO_RCVTIMEO ran out. */
ssize_t receive_exactly(int socket, void *buffer, size_t size);

/* Reads a connection line by line. Set socket, and start and end to 0. What has come but is
   not asked for yet waits in bytes, from start to end. */
enum { LINE_LIMIT = 8192 };
struct line_reader {
    int socket;
    size_t start, end;
    char bytes[LINE_LIMIT];
};

/* Points *line at the next line, up to and with its '\n', and returns its length. The last
   line of a stream may lack the '\n'. The line belongs to the reader, may be changed, and
   lasts until the next call. Returns 0 at the end of the stream; -1 with errno as recv(2)
   sets it, or EMSGSIZE where LINE_LIMIT bytes have come and no '\n' is among them. */
ssize_t read_line(struct line_reader *reader, char **line);

#ifdef __cplusplus
}
#endif
#endif
