/* stream: so many bytes, all of them, over a connection with blocking calls; and how it ended. */
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

#ifdef __cplusplus
}
#endif
#endif
