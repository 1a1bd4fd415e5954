/* peer: what a client's own socket tells of the server's. */
#ifndef TESTS_CHECK_PEER_H
#define TESTS_CHECK_PEER_H

#include "tests/check/check.h"

/* Fields of the kernel's struct tcp_info, by their place: the C library's has fewer. */
enum peer_field { PEER_SEGMENTS_IN = 140, PEER_WINDOW = 228 };

/* The value of one, or -1 where this kernel does not have it. */
long peer_value(int client, enum peer_field field);

/* From now on nothing that comes for this client gets to it: it has vanished. */
void vanish(int client);

#endif
