/* An accepted socket keeps the time that it inherited from the listener. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "given.h"

/* Sends all of it. */
static int send_all(int client, const char *bytes, int size)
{
    int sent;

    for (; size > 0; bytes += sent, size -= sent)
        if ((sent = send(client, bytes, size, MSG_NOSIGNAL)) < 0)
            return -1;
    return 0;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    int port = given.port, on = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {0};

    on = given.reuse_addr;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    on = given.reuse_port;
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("bind");
        return 1;
    }
    struct timeval wait = {given.accept_timeout,
                           (given.accept_timeout - (int)given.accept_timeout) * 1e6};
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    listen(listener, given.backlog);
    printf("listening on 127.0.0.1:%d\n", port);
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (given.timeout > 0) {
            struct timeval time = {given.timeout, (given.timeout - (int)given.timeout) * 1e6};
            setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
            setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
        }
        char buffer[4096];
        int n;
        while ((n = recv(client, buffer, sizeof buffer, 0)) > 0)
            if (send_all(client, buffer, n) < 0)
                break;
        close(client);
    }
}
