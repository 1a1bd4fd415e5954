/* socket_option: sets a socket option, reads back what the kernel made of it, and says so. */
#ifndef COMMON_SOCKET_OPTION_H
#define COMMON_SOCKET_OPTION_H

#include <netinet/tcp.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Options that not every system has. Where one is missing the programs still compile, and
   setting it is a line in the log that says so. */
enum { NO_SUCH_OPTION = -1 };
#ifndef TCP_USER_TIMEOUT
#define TCP_USER_TIMEOUT NO_SUCH_OPTION
#endif
#ifndef TCP_SYNCNT
#define TCP_SYNCNT NO_SUCH_OPTION
#endif
#ifndef TCP_KEEPIDLE
#define TCP_KEEPIDLE NO_SUCH_OPTION
#endif
#ifndef TCP_QUICKACK
#define TCP_QUICKACK NO_SUCH_OPTION
#endif
#ifndef TCP_FASTOPEN
#define TCP_FASTOPEN NO_SUCH_OPTION
#endif
#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT NO_SUCH_OPTION
#endif

#ifndef TCPI_OPT_SYN_DATA
#define TCPI_OPT_SYN_DATA 32 /* as in <linux/tcp.h>; not every C library has it */
#endif

/* setsockopt(2) with an int, then a line in the log: "TCP_NODELAY: asked 1, got 1". level is
   SOL_SOCKET or IPPROTO_TCP, name the option (socket(7), tcp(7)); the unit is the option's
   own. Returns 0, or -1 with errno from setsockopt and no line. */
#define set_option(socket, level, name, value) set_named_option(socket, level, name, #name, value)
int set_named_option(int socket, int level, int name, const char *label, int value);

/* SO_RCVTIMEO or SO_SNDTIMEO: how long one receive or send on the socket may block, in
   seconds; 0 is for ever. A time is rounded up to a microsecond, so that a tiny one does not
   become "for ever"; the kernel rounds it further, to its own ticks. Returns as above. */
#define set_time_option(socket, name, seconds) set_named_time_option(socket, name, #name, seconds)
int set_named_time_option(int socket, int name, const char *label, double seconds);

/* SO_RCVBUF or SO_SNDBUF, in bytes. The line also gives the kernel's limit, net.core.rmem_max
   or wmem_max, and warns where that cut what was asked. Returns as above. */
#define set_buffer_option(socket, name, bytes) set_named_buffer_option(socket, name, #name, bytes)
int set_named_buffer_option(int socket, int name, const char *label, int bytes);

#ifdef __cplusplus
}
#endif
#endif
