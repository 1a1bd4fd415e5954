/* address: an IPv4 address and port, from the words on the command line and back to text. */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include <netinet/in.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The IPv4 address of host, in network byte order, as sin_addr holds it (ip(7)). host is a
   dotted address, a name as getaddrinfo(3) resolves it, localhost, which is 127.0.0.1 even
   where nothing resolves names (RFC 6761, 6.3), or '' for every interface (INADDR_ANY).
   Exits with 1, after a line in the log, when the name has no address. */
struct in_addr resolve_ipv4(const char *host);

/* "127.0.0.1:9999". The text is part of the returned value: address_text(&a).text lasts as
   long as the expression it stands in. */
struct address_text {
    char text[sizeof "255.255.255.255:65535"];
};
struct address_text address_text(const struct sockaddr_in *address);

/* The ready line: "listening on 127.0.0.1:9999" on stdout, flushed, so that whoever started
   the program knows from when and where it can be reached. Exits with 1 if stdout is full. */
void announce_address(const struct sockaddr_in *address);

#ifdef __cplusplus
}
#endif
#endif
