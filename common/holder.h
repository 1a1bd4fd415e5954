/* holder: which process it is that has the port one wanted. */
#ifndef COMMON_HOLDER_H
#define COMMON_HOLDER_H

#include <netinet/in.h>

#ifdef __cplusplus
extern "C" {
#endif

/* After bind(2) or listen(2) failed: where errno is EADDRINUSE, and another process listens in
   the way of address, a line in the log names it, such as "NN-name/server, pid 4711, is
   listening there". It is looked for in /proc (proc_net(5), proc_pid_fd(5)), which shows an
   ordinary user only his own processes. Where none is found, as when only connections in
   TIME_WAIT are in the way, nothing is logged. errno is left as it was. */
void report_holder(const struct sockaddr_in *address);

/* For a server's way in, after bind(2) failed: the line above where there is one, then "bind
   127.0.0.1:9999: " with the words for errno; exits with status 1. */
void bind_failed(const struct sockaddr_in *address) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif
#endif
