#include "common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"

struct sockaddr_in resolve_ipv4(const char *host, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    if (*host == '\0') {
        address.sin_addr.s_addr = htonl(INADDR_ANY);
    } else if (strcmp(host, "localhost") == 0) {
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else {
        struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
        struct addrinfo *found;
        int error = getaddrinfo(host, NULL, &hints, &found);
        if (error != 0) {
            log_error("resolve %s: %s", host,
                      error == EAI_SYSTEM ? error_text(errno).text : gai_strerror(error));
            exit(EXIT_FAILURE);
        }
        memcpy(&address, found->ai_addr, sizeof address);
        freeaddrinfo(found);
    }
    address.sin_port = htons((uint16_t)port);
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
