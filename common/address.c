#include "common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"

struct in_addr resolve_ipv4(const char *host)
{
    struct in_addr address = {htonl(INADDR_ANY)};
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;

    if (*host == '\0')
        return address;
    if (strcmp(host, "localhost") == 0) {
        address.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }
    int error = getaddrinfo(host, NULL, &hints, &found);
    if (error != 0) {
        log_error("resolve %s: %s", host,
                  error == EAI_SYSTEM ? error_text(errno).text : gai_strerror(error));
        exit(EXIT_FAILURE);
    }
    address = ((struct sockaddr_in *)found->ai_addr)->sin_addr;
    freeaddrinfo(found);
    return address;
}

struct address_text address_text(const struct sockaddr_in *address)
{
    struct address_text text;
    char host[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &address->sin_addr, host, sizeof host);
    snprintf(text.text, sizeof text.text, "%s:%u", host, (unsigned)ntohs(address->sin_port));
    return text;
}

void announce_address(const struct sockaddr_in *address)
{
    if (printf("listening on %s\n", address_text(address).text) < 0 || fflush(stdout) != 0)
        die("stdout");
}
