/* load: clients that each send a message, wait for the whole reply, and send the next.
 *
 * One thread drives them all by epoll(7), with as few system calls for a request as a client
 * can have, so that the server is what is measured. load.busy tells where it was not so.
 */
#ifndef TESTS_BENCH_LOAD_H
#define TESTS_BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { LOAD_MOST = 1000 }; /* connections */

struct load {
    double per_second;  /* requests answered */
    double median, p99; /* seconds from the send of a message to the end of its reply */
    double busy;        /* the part of the time that the calling thread was computing */
    double server_busy; /* and the server */
};

/* A connection to the server, with TCP_NODELAY; -1 with errno where there is none. */
int load_connect(const struct sockaddr_in *server);

/* Sends a message and receives as many bytes; false with errno where they do not come (0: the
   server has ended the connection). */
bool load_exchange(int connection, const void *message, size_t size);

/* Loads the server, which is the process pid, for so many seconds. Each of the connections has one
   reply before the time begins to count; at the end all have their last one, and the server has
   closed them. size is at most 4096. Exits with 1, and the reason in the log, where a reply does
   not come. */
struct load load_run(const struct sockaddr_in *server, pid_t pid, int connections, double seconds,
                     const void *message, size_t size);

#endif
