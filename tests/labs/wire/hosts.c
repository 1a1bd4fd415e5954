#include "tests/labs/wire/hosts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sysctl.h"

static int namespaces[] = {-1, -1, -1}; /* by enum host */

static int write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t written = -1;

    if (file < 0)
        return -1;
    written = write(file, text, strlen(text));
    close(file);
    return written < 0 ? -1 : 0;
}

static bool file_has(const char *path, const char *text)
{
    char content[8192] = "";
    FILE *file = fopen(path, "r");

    if (file == NULL)
        return false;
    content[fread(content, 1, sizeof content - 1, file)] = '\0';
    fclose(file);
    return strstr(content, text) != NULL;
}

static bool setting_is(const char *name, long wanted)
{
    long value;

    return sysctl_read(name, &value) == 0 && value == wanted;
}

/* Read before there is a user namespace, inside of which they are others. */
static bool no_user_namespaces, no_network_namespaces;

/* Below a chroot no mount is at "/", and the kernel makes no user namespace. */
static bool in_chroot(void)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "r");
    char line[4096];
    bool root = false;

    if (mounts == NULL)
        return false;
    while (fgets(line, sizeof line, mounts) != NULL) {
        char *place = line;
        for (int field = 1; field < 5 && place != NULL; field++)
            place = strchr(place + 1, ' ');
        root = root || (place != NULL && strncmp(place, " / ", 3) == 0);
    }
    fclose(mounts);
    return !root;
}

static int refuse(struct hosts_refusal *refusal, const char *what)
{
    int error = errno;
    const char *cure;

    if (file_has("/proc/version", "Microsoft"))
        cure = "WSL 1 has no Linux kernel; WSL 2 has one: wsl --set-version DISTRIBUTION 2";
    else if (file_has("/proc/version", "4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"))
        cure = "gVisor has no Linux kernel below it; run the container with the runtime runc";
    else if (in_chroot())
        cure = "the kernel makes no user namespace in a chroot; use a container or pivot_root";
    else if (setting_is("kernel.apparmor_restrict_unprivileged_userns", 1))
        cure = "AppArmor forbids it (Ubuntu 24.04); to allow it until the next start:\n"
               "    sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
    else if (setting_is("kernel.unprivileged_userns_clone", 0))
        cure = "the kernel leaves it to root (older Debian); to allow it until the next start:\n"
               "    sudo sysctl -w kernel.unprivileged_userns_clone=1";
    else if (no_user_namespaces)
        cure = "user namespaces are switched off; to allow them until the next start:\n"
               "    sudo sysctl -w user.max_user_namespaces=10000";
    else if (no_network_namespaces)
        cure = "network namespaces are switched off; to allow them until the next start:\n"
               "    sudo sysctl -w user.max_net_namespaces=10000";
    else if (error == EOPNOTSUPP)
        cure = "the kernel's part for virtual cables is not loaded: sudo modprobe veth";
    else if (error == EROFS)
        cure = "/proc/sys cannot be written, as in many containers; docker and podman allow it "
               "with\n    --security-opt systempaths=unconfined";
    else if (file_has("/proc/self/status", "Seccomp:\t2"))
        cure = "a seccomp profile, as a container has one, forbids it; docker and podman allow it "
               "with\n    --security-opt seccomp=unconfined --security-opt apparmor=unconfined";
    else if (error == EINVAL || error == ENOSYS)
        cure = "this kernel was built without CONFIG_USER_NS or CONFIG_NET_NS";
    else
        cure = "a private network needs user namespaces; 'unshare -Urn true' shows if they work";
    snprintf(refusal->text, sizeof refusal->text, "%s: %s\n  %s", what, error_text(error).text,
             cure);
    return -1;
}

/* ---- the cable: rtnetlink(7), veth(4) ---- */

struct message {
    struct nlmsghdr header;
    struct ifinfomsg link;
    char attributes[512];
};

static void *end_of(struct message *message)
{
    return (char *)message + NLMSG_ALIGN(message->header.nlmsg_len);
}

static struct rtattr *add(struct message *message, unsigned short type, const void *data,
                          size_t size)
{
    struct rtattr *attribute = end_of(message);

    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size > 0)
        memcpy(RTA_DATA(attribute), data, size);
    message->header.nlmsg_len =
        NLMSG_ALIGN(message->header.nlmsg_len) + (unsigned)RTA_ALIGN(attribute->rta_len);
    return attribute;
}

/* An attribute that holds others reaches from where it was added up to here. */
static void close_attribute(struct message *message, struct rtattr *attribute)
{
    attribute->rta_len = (unsigned short)((char *)end_of(message) - (char *)attribute);
}

/* A pair of interfaces that are the two ends of one cable: one here, called name, the other,
   called eth0, in the namespace of the descriptor. Returns 0, or -1 with errno. */
static int make_cable(const char *name, int other_namespace)
{
    struct message message = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                   .nlmsg_type = RTM_NEWLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK}};
    struct {
        struct nlmsghdr header;
        struct nlmsgerr result;
        char rest[sizeof message];
    } answer;

    add(&message, IFLA_IFNAME, name, strlen(name) + 1);
    struct rtattr *info = add(&message, IFLA_LINKINFO, NULL, 0);
    add(&message, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = add(&message, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *peer = add(&message, VETH_INFO_PEER, NULL, 0);
    message.header.nlmsg_len += (unsigned)sizeof(struct ifinfomsg); /* of the peer: all zero */
    add(&message, IFLA_IFNAME, "eth0", sizeof "eth0");
    add(&message, IFLA_NET_NS_FD, &other_namespace, sizeof other_namespace);
    close_attribute(&message, peer);
    close_attribute(&message, data);
    close_attribute(&message, info);

    int link = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (link < 0)
        return -1;
    if (send(link, &message, message.header.nlmsg_len, 0) < 0 ||
        recv(link, &answer, sizeof answer, 0) < 0)
        answer.result.error = -errno;
    close(link);
    errno = -answer.result.error;
    return answer.result.error == 0 ? 0 : -1;
}

/* ---- interfaces: netdevice(7), arp(7) ---- */

static struct ifreq request_for(const char *interface)
{
    struct ifreq request;

    memset(&request, 0, sizeof request);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    return request;
}

static int bring_up(int any_socket, const char *interface)
{
    struct ifreq request = request_for(interface);

    if (ioctl(any_socket, SIOCGIFFLAGS, &request) < 0)
        return -1;
    request.ifr_flags |= IFF_UP;
    return ioctl(any_socket, SIOCSIFFLAGS, &request);
}

static void store_address(struct sockaddr *where, const char *dotted)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    inet_pton(AF_INET, dotted, &address.sin_addr);
    memcpy(where, &address, sizeof address);
}

/* What a network card might do for TCP: cut large segments, put received ones together, fill
   in checksums. Here TCP does it all, so that the wire carries what a real one would. */
static int switch_off_offloads(int any_socket)
{
    static const unsigned commands[] = {ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM};
    struct ifreq request = request_for("eth0");

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        struct ethtool_value off = {.cmd = commands[i], .data = 0};
        request.ifr_data = (void *)&off;
        if (ioctl(any_socket, SIOCETHTOOL, &request) < 0)
            return -1;
    }
    return 0;
}

/* The host's interfaces, up; its hardware address to *hardware. */
static int set_up_host(int any_socket, const char *address, struct sockaddr *hardware)
{
    struct ifreq request = request_for("eth0");

    store_address(&request.ifr_addr, address);
    if (ioctl(any_socket, SIOCSIFADDR, &request) < 0)
        return -1;
    store_address(&request.ifr_netmask, "255.255.255.0");
    if (ioctl(any_socket, SIOCSIFNETMASK, &request) < 0 || switch_off_offloads(any_socket) < 0 ||
        bring_up(any_socket, "lo") < 0 || bring_up(any_socket, "eth0") < 0 ||
        ioctl(any_socket, SIOCGIFHWADDR, &request) < 0)
        return -1;
    *hardware = request.ifr_hwaddr;
    return 0;
}

/* So that no ARP request comes before the first segment. */
static int add_neighbour(int any_socket, const char *address, const struct sockaddr *hardware)
{
    struct arpreq request;

    memset(&request, 0, sizeof request);
    store_address(&request.arp_pa, address);
    request.arp_ha = *hardware;
    request.arp_flags = ATF_COM | ATF_PERM;
    snprintf(request.arp_dev, sizeof request.arp_dev, "eth0");
    return ioctl(any_socket, SIOCSARP, &request);
}

/* ---- */

/* A new network namespace, entered; returns a descriptor that keeps it, or -1 with errno. */
static int enter_new_namespace(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        return -1;
    int descriptor = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    /* IPv6 would send frames that nobody asked for; a kernel without IPv6 is as good. */
    hosts_set("net.ipv6.conf.all.disable_ipv6", "1");
    hosts_set("net.ipv6.conf.default.disable_ipv6", "1");
    return descriptor;
}

/* Root inside of a new user namespace, who is the caller outside. */
static int become_root_inside(void)
{
    char users[64], groups[64];

    snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
    snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
    if (unshare(CLONE_NEWUSER) < 0)
        return -1;
    write_file("/proc/self/setgroups", "deny"); /* or gid_map stays closed (user_namespaces(7)) */
    if (write_file("/proc/self/uid_map", users) < 0)
        return -1;
    /* Who gains rights is hidden from debuggers and sanitizers (prctl(2)); these gain nothing. */
    prctl(PR_SET_DUMPABLE, 1);
    return write_file("/proc/self/gid_map", groups);
}

int hosts_create(struct hosts_refusal *refusal)
{
    static const char *const addresses[] = {CLIENT_ADDRESS, SERVER_ADDRESS};
    struct sockaddr hardware[2];
    int sockets[3];

    no_user_namespaces = setting_is("user.max_user_namespaces", 0);
    no_network_namespaces = setting_is("user.max_net_namespaces", 0);
    /* Root can do without the user namespace, where that is what is forbidden. */
    if (become_root_inside() < 0 && geteuid() != 0)
        return refuse(refusal, "no user namespace");
    for (enum host host = HOST_CLIENT; host <= HOST_WIRE; host++) {
        namespaces[host] = enter_new_namespace();
        sockets[host] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (namespaces[host] < 0 || sockets[host] < 0)
            return refuse(refusal, "no network namespace");
    }
    if (make_cable(WIRE_TO_CLIENT, namespaces[HOST_CLIENT]) < 0 ||
        make_cable(WIRE_TO_SERVER, namespaces[HOST_SERVER]) < 0)
        return refuse(refusal, "no virtual cable");
    if (bring_up(sockets[HOST_WIRE], WIRE_TO_CLIENT) < 0 ||
        bring_up(sockets[HOST_WIRE], WIRE_TO_SERVER) < 0)
        return refuse(refusal, "the wire's interfaces");
    for (enum host host = HOST_CLIENT; host <= HOST_SERVER; host++)
        if (set_up_host(sockets[host], addresses[host], &hardware[host]) < 0)
            return refuse(refusal, "the hosts' interfaces");
    for (int i = 0; i < 2; i++) {
        enum host host = i == 0 ? HOST_SERVER : HOST_CLIENT; /* so that the client's is entered */
        if (add_neighbour(sockets[host], addresses[1 - host], &hardware[1 - host]) < 0)
            return refuse(refusal, "the hosts' neighbours");
        hosts_enter(host);
        /* Reno is in every kernel, and the one the textbooks tell of. What the kernel learns of
           a path it would otherwise keep for the next connection. */
        if (hosts_set("net.ipv4.tcp_congestion_control", "reno") < 0 ||
            hosts_set("net.ipv4.tcp_no_metrics_save", "1") < 0)
            return refuse(refusal, "the hosts' settings");
    }
    for (enum host host = HOST_CLIENT; host <= HOST_WIRE; host++)
        close(sockets[host]);
    return 0;
}

void hosts_enter(enum host host)
{
    if (setns(namespaces[host], CLONE_NEWNET) < 0)
        die("enter the network namespace of a host");
}

int hosts_set(const char *name, const char *value)
{
    char path[256];
    int length = snprintf(path, sizeof path, "/proc/sys/%s", name);

    if (length >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *letter = path + strlen("/proc/sys/"); *letter != '\0'; letter++)
        if (*letter == '.')
            *letter = '/';
    return write_file(path, value);
}
