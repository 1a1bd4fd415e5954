#include "tests/check/peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

long peer_value(int client, enum peer_field field)
{
    char info[512];
    socklen_t size = sizeof info;
    unsigned value;

    if (getsockopt(client, IPPROTO_TCP, TCP_INFO, info, &size) < 0 ||
        size < (socklen_t)field + sizeof value)
        return -1;
    memcpy(&value, info + field, sizeof value);
    return (long)value;
}

void vanish(int client)
{
    /* One instruction for the kernel's packet filter, "return 0 bytes": let nothing through. */
    struct {
        unsigned short code;
        unsigned char if_true, if_false;
        unsigned value;
    } nothing = {0x06, 0, 0, 0};
    struct {
        unsigned short count;
        void *instructions;
    } filter = {1, &nothing};

    if (setsockopt(client, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0)
        skip("no packet filter: %s", strerror(errno));
}
