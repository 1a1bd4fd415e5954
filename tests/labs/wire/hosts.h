/* hosts: two hosts, client and server, in network namespaces of their own; needs no right.
 *
 * A network namespace has its own interfaces, addresses, ports, counters and settings below
 * /proc/sys/net (network_namespaces(7)). An ordinary user may make one inside a user namespace
 * (user_namespaces(7)). Nothing refers to these but descriptors and threads of the process
 * that made them, so when it ends, however it ends, the kernel takes all of it away.
 */
#ifndef TESTS_LABS_WIRE_HOSTS_H
#define TESTS_LABS_WIRE_HOSTS_H

#ifdef __cplusplus
extern "C" {
#endif

/* The two hosts, and the place between them, which only the wire enters. */
enum host { HOST_CLIENT, HOST_SERVER, HOST_WIRE };
#define CLIENT_ADDRESS "10.0.0.1"
#define SERVER_ADDRESS "10.0.0.2"

/* The ends of the two cables in the place between the hosts; on the hosts they are eth0. */
#define WIRE_TO_CLIENT "to-client"
#define WIRE_TO_SERVER "to-server"

/* Why the kernel made no hosts: what failed, and what would allow it, by name. */
struct hosts_refusal {
    char text[1024];
};

/* Makes both hosts, once for a process, which must have one thread only. It then has the rights
   of root inside of its namespaces and no more than before outside. Interfaces are up, with
   addresses, static neighbours, and without offloads, so that a frame on the wire is a segment
   as TCP sends it. Nothing goes from one host to the other until a wire is started.
   Returns 0 with the caller on the client's host; or -1 with the reason in *refusal. */
int hosts_create(struct hosts_refusal *refusal);

/* Moves the calling thread to a host: the sockets that it opens, and the programs that it
   starts, are there. Exits with 1 if that fails, which it does not after hosts_create(). */
void hosts_enter(enum host host);

/* Writes a setting of the calling thread's host: ("net.ipv4.tcp_syncookies", "0"). Returns 0,
   or -1 with errno: ENOENT where the kernel does not have it, EROFS where /proc/sys cannot be
   written, as in many containers. */
int hosts_set(const char *name, const char *value);

#ifdef __cplusplus
}
#endif
#endif
