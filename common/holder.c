#include "common/holder.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/log.h"

enum { LISTEN_STATE = 0x0A, LINE_SIZE = 512 };

/* The inode of the socket, if a line of /proc/net/tcp or tcp6 is about one that listens and
   keeps others from binding address; else 0. */
static unsigned long inode_in_the_way(const char *line, const struct sockaddr_in *address)
{
    char host[33];
    unsigned port, state;
    unsigned long inode;

    if (sscanf(line, " %*d: %32[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*d %*d %lu", host,
               &port, &state, &inode) != 4 ||
        state != LISTEN_STATE || port != ntohs(address->sin_port))
        return 0;
    /* An IPv4 address stands there as the number that s_addr is. Of the IPv6 ones only "::"
       takes IPv4 connections too; its digits are all zero. */
    bool every_interface = strspn(host, "0") == strlen(host);
    bool the_same = strlen(host) == 8 && (address->sin_addr.s_addr == htonl(INADDR_ANY) ||
                                          strtoul(host, NULL, 16) == address->sin_addr.s_addr);
    return every_interface || the_same ? inode : 0;
}

static bool has_socket(const char *process, unsigned long inode)
{
    char path[64], wanted[64], held[64];
    struct dirent *entry;
    bool found = false;

    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    snprintf(path, sizeof path, "/proc/%.20s/fd", process);
    DIR *descriptors = opendir(path);
    while (descriptors != NULL && !found && (entry = readdir(descriptors)) != NULL) {
        ssize_t length = readlinkat(dirfd(descriptors), entry->d_name, held, sizeof held - 1);
        held[length < 0 ? 0 : length] = '\0';
        found = strcmp(held, wanted) == 0;
    }
    if (descriptors != NULL)
        closedir(descriptors);
    return found;
}

/* Logs the program by the last two parts of its path: many are called "server". */
static void name_process(const char *process)
{
    static const char deleted[] = " (deleted)"; /* it was built again since it was started */
    char path[PATH_MAX], link[64];

    snprintf(link, sizeof link, "/proc/%.20s/exe", process);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = '\0';
    char *end = path + strlen(path);
    if (end - path >= (ssize_t)sizeof deleted && strcmp(end - strlen(deleted), deleted) == 0)
        *(end -= strlen(deleted)) = '\0';

    const char *name = end;
    for (int parts = 0; name > path; name--)
        if (name[-1] == '/' && ++parts == 2)
            break;
    log_error("%s, pid %s, is listening there", name, process);
}

/* Finds and names a process, other than this one, that has the socket open. */
static bool name_holder(unsigned long inode)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    bool found = false;

    while (processes != NULL && !found && (entry = readdir(processes)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]) || atol(entry->d_name) == getpid())
            continue;
        found = has_socket(entry->d_name, inode);
        if (found)
            name_process(entry->d_name);
    }
    if (processes != NULL)
        closedir(processes);
    return found;
}

void report_holder(const struct sockaddr_in *address)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    int saved_errno = errno;
    char line[LINE_SIZE];
    bool found = errno != EADDRINUSE;

    for (int i = 0; i < 2 && !found; i++) {
        FILE *table = fopen(tables[i], "re");
        while (table != NULL && !found && fgets(line, sizeof line, table) != NULL) {
            unsigned long inode = inode_in_the_way(line, address);
            found = inode != 0 && name_holder(inode);
        }
        if (table != NULL)
            fclose(table);
    }
    errno = saved_errno;
}

void bind_failed(const struct sockaddr_in *address)
{
    report_holder(address);
    die("bind %s", address_text(address).text);
}
