/* TIME_WAIT and the restart of a server; several servers on one port, and the death of one. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stream.h"
#include "tests/labs/lab.h"
#include "tests/labs/plot.h"
#include "tests/labs/program.h"

/* A TIME_WAIT that has just begun has at least so many of its 60 seconds to go; outside of the
   namespaces the port may have older ones, of other servers. */
enum { NEW_TIME_WAIT = 50 };

/* What became of a server that was stopped and started again. */
struct restart {
    double time_wait[2]; /* by enum host: seconds that its TIME_WAIT had to go; 0: it had none */
    bool ready;
    double ms; /* until it was ready, or had failed */
};

/* Starts the old server, lets a client connect, lets one of the two close first, and starts the
   new server on the same port. */
static struct restart restart_once(const char *old_stage, const char *old_options,
                                   const char *new_stage, const char *new_options,
                                   bool server_first)
{
    struct restart result = {0};

    lab_new_port();
    struct program *old = server_start(old_stage, "%s", old_options);
    if (server_first) {
        struct program *client = silent_client(old);
        program_stop(old);
        /* The client must not close before it has the server's FIN. */
        for (int64_t start = clock_ns(); lab_sockets(SOCKET_CLOSE_WAIT, 0, lab_port()).count == 0;)
            if (!lab_waits(start, 10))
                lab_fail("the client has not heard of the server's end");
        program_stop(client);
    } else {
        client_run("02-reuseaddr", "Hello");
        program_stop(old);
    }
    lab_settle();
    int port = lab_port(), first = server_first ? HOST_SERVER : HOST_CLIENT;
    for (int64_t start = clock_ns();
         result.time_wait[first] < NEW_TIME_WAIT && lab_waits(start, 5);) {
        lab_enter(HOST_SERVER);
        result.time_wait[HOST_SERVER] = lab_sockets(SOCKET_TIME_WAIT, port, 0).timer;
        lab_enter(HOST_CLIENT);
        result.time_wait[HOST_CLIENT] = lab_sockets(SOCKET_TIME_WAIT, 0, port).timer;
    }
    int64_t start = clock_ns();
    struct program *new = server_try(new_stage, "%s", new_options);
    result.ms = clock_seconds_since(start) * 1e3;
    result.ready = new->port != 0;
    if (result.ready)
        program_stop(new);
    else if (new->status != EXIT_FAILURE || program_count(new, strerror(EADDRINUSE)) == 0)
        lab_fail("the server ended otherwise; its log is %s", new->log_path);
    return result;
}

/* On a machine that stands still for a while TIME_WAIT can be missing: a FIN that is sent twice is
   acknowledged twice, the second ACK finds no socket, and a reset answers it (RFC 1337). Then once
   more. */
static struct restart restart(const char *old_stage, const char *old_options, const char *new_stage,
                              const char *new_options, bool server_first)
{
    enum { TRIES = 3 };
    struct restart result = {0};

    int first = server_first ? HOST_SERVER : HOST_CLIENT;
    for (int i = 0; i < TRIES && result.time_wait[first] < NEW_TIME_WAIT; i++)
        result = restart_once(old_stage, old_options, new_stage, new_options, server_first);
    return result;
}

static void add_row(const char *old, const char *new, const char *first, struct restart result)
{
    char text[2][32] = {"-", "-"};

    for (int host = 0; host < 2; host++)
        if (result.time_wait[host] > 0)
            snprintf(text[host], sizeof text[host], "%.0f s to go", result.time_wait[host]);
    lab_row("%s\t%s\t%s\t%s\t%s\t%s", old, new, first, text[HOST_SERVER], text[HOST_CLIENT],
            result.ready ? "ready" : "Address already in use");
}

static void show_restart(void)
{
    static const char first[] = "01-basic", second[] = "02-reuseaddr";
    static const char off[] = "--reuse-addr off", on[] = "--reuse-addr on";

    struct restart without = restart(first, " ", first, " ", true);
    if (lab_wire != NULL)
        lab_ladder(NULL, &(struct ladder){
                             .title = "The server closes first",
                             .note = "with the last ACK its socket is in TIME_WAIT, for a minute"});
    struct restart with = restart(second, " ", second, " ", true);
    program_show(false);
    struct restart client_first = restart(first, " ", first, " ", false);
    struct restart only_new = restart(second, off, second, on, true);
    struct restart only_old = restart(second, on, second, off, true);

    lab_table("old server\tnew server\tclosed first\tTIME_WAIT at the server\tat the client\tthe "
              "new server is");
    add_row("stage 01", "stage 01", "server", without);
    add_row("stage 02", "stage 02", "server", with);
    add_row("stage 01", "stage 01", "client", client_first);
    add_row("02, option off", "02, option on", "server", only_new);
    add_row("02, option on", "02, option off", "server", only_old);
    lab_table_end();
    lab_answer(without.ready ? 0 : 2);
    bool seen = !without.ready && without.time_wait[HOST_SERVER] >= NEW_TIME_WAIT && with.ready &&
                with.time_wait[HOST_SERVER] >= NEW_TIME_WAIT;
    lab_timed_verdict(seen, 100,
                      "with SO_REUSEADDR a server restarts over TIME_WAIT; without it, it would "
                      "have to wait");
    lab_timed_verdict(client_first.ready && client_first.time_wait[HOST_SERVER] == 0 &&
                          client_first.time_wait[HOST_CLIENT] >= NEW_TIME_WAIT,
                      100, "a client that closes first keeps the TIME_WAIT itself");
    lab_timed_verdict(!only_new.ready && !only_old.ready, 100,
                      "both the old server and the new one must have set it");
    if (seen) {
        char text[2][64];
        snprintf(text[0], sizeof text[0], "refused, %.0f s to go", without.time_wait[HOST_SERVER]);
        snprintf(text[1], sizeof text[1], "ready after %.0f ms", with.ms);
        lab_compare("SO_REUSEADDR", text[0], text[1],
                    without.time_wait[HOST_SERVER] * 1e3 / with.ms);
    }
    lab_look("server$ ss -tano 'sport = :9999'   (the state, and the timer of TIME_WAIT)");
}

static void show_spread(void)
{
    enum { SPREAD = 4, CLIENTS = 1000 };
    struct program *servers[SPREAD];
    int counts[SPREAD], least = CLIENTS, most = 0, sum = 0, answered = 0;

    for (int i = 0; i < SPREAD; i++)
        servers[i] = server_start("02-reuseaddr", "--reuse-port on");
    lab_say("%d clients, of the lab's own, one after another: connect, send, receive, close",
            CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        char reply[5];
        int client = lab_connect();
        answered += send_all(client, "Hello", 5) == 0 && receive_exactly(client, reply, 5) == 5;
        close(client);
    }
    lab_table("server\tconnections");
    plot_begin(&(struct plot){.title = "1000 connections over 4 servers with SO_REUSEPORT",
                              .x = "server",
                              .y = "connections",
                              .unit = "connections"});
    plot_series("connections", PLOT_BOXES);
    for (int i = 0; i < SPREAD; i++) {
        program_stop(servers[i]);
        counts[i] = program_count(servers[i], " connected");
        least = counts[i] < least ? counts[i] : least;
        most = counts[i] > most ? counts[i] : most;
        sum += counts[i];
        lab_row("%d\t%d", i + 1, counts[i]);
        plot_point(i + 1, counts[i]);
    }
    lab_table_end();
    plot_end();
    lab_answer(least);
    lab_verdict(answered == CLIENTS && sum == CLIENTS && least > CLIENTS * 15 / 100 &&
                    most < CLIENTS * 35 / 100,
                "the kernel spread %d connections over the servers: %d to %d each", sum, least,
                most);
    lab_look("server$ ss -ltn 'sport = :9999'   (one line for each server)");
}

/* Kills one of two servers while clients wait in both queues. Returns how many were reset. */
static int reset_by_death(const char *migrate, int *ended, int *connected)
{
    enum { CLIENTS = 40 };
    int clients[CLIENTS], reset = 0;
    char byte;

    lab_try_set("net.ipv4.tcp_migrate_req", migrate); /* without the setting it is always off */
    lab_new_port();
    struct program *one = server_start("02-reuseaddr", "--reuse-port on");
    struct program *two = server_start("02-reuseaddr", "--reuse-port on");
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = lab_connect();
    lab_settle();
    program_kill(one);
    lab_settle();
    *ended = *connected = 0;
    for (int i = 0; i < CLIENTS; i++) {
        ssize_t count = recv(clients[i], &byte, 1, MSG_DONTWAIT);
        reset += count < 0 && errno == ECONNRESET;
        *ended += count == 0;
        *connected += count < 0 && errno == EAGAIN;
    }
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    program_kill(two);
    return reset;
}

static void show_death(void)
{
    int ended[2], connected[2], reset[2];

    /* Debian's 5.10 takes the setting, and resets them all the same. */
    bool can_migrate = lab_kernel_since(5, 14) && lab_try_set("net.ipv4.tcp_migrate_req", "1");
    int settings = can_migrate ? 2 : 1;

    lab_say("40 clients connect, none says anything, and one of two servers is killed");
    reset[0] = reset_by_death("0", &ended[0], &connected[0]);
    program_show(false);
    if (can_migrate)
        reset[1] = reset_by_death("1", &ended[1], &connected[1]);
    lab_table("net.ipv4.tcp_migrate_req\treset\tended (was being served)\tstill connected");
    for (int i = 0; i < settings; i++)
        lab_row("%d\t%d\t%d\t%d", i, reset[i], ended[i], connected[i]);
    lab_table_end();
    lab_answer(reset[0]);
    if (!can_migrate) {
        lab_verdict(reset[0] > 5, "who waited in the queue of the server that died was reset");
        lab_setting_not_here("net.ipv4.tcp_migrate_req");
    }
    lab_verdict(reset[0] > 5 && reset[1] == 0,
                "who waited in the queue of the server that died was reset; with tcp_migrate_req "
                "the other server took them over");
    lab_look("server$ sysctl net.ipv4.tcp_migrate_req; nstat -az TcpOutRsts");
}

/* ---- the ports of a client ---- */

enum { FEW_PORTS = 10, SERVERS = 2 };

/* Connects to two servers in turn, until it fails or there were more than it has ports for.
   Returns how many connections each has; *error is why there are no more. */
static void use_up_ports(int first_port, bool bound, bool without_port, int counts[SERVERS],
                         int *error)
{
    int sockets[SERVERS * (FEW_PORTS + 1)], opened = 0, on = 1;
    struct sockaddr_in own = {.sin_family = AF_INET};
    char range[32];

    inet_pton(AF_INET, CLIENT_ADDRESS, &own.sin_addr);
    snprintf(range, sizeof range, "%d %d", first_port, first_port + FEW_PORTS - 1);
    lab_set("net.ipv4.ip_local_port_range", range);
    counts[0] = counts[1] = *error = 0;
    for (int i = 0; i < SERVERS * (FEW_PORTS + 1) && *error == 0; i++) {
        int client = sockets[opened++] = lab_socket();
        struct sockaddr_in server = lab_server_address();
        server.sin_port = htons((uint16_t)(9999 + i % SERVERS));
        if (without_port &&
            setsockopt(client, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0)
            lab_not_here("IP_BIND_ADDRESS_NO_PORT", "4.2");
        if ((bound && bind(client, (struct sockaddr *)&own, sizeof own) < 0) ||
            connect(client, (struct sockaddr *)&server, sizeof server) < 0)
            *error = errno;
        else
            counts[i % SERVERS]++;
    }
    for (int i = 0; i < opened; i++)
        close(sockets[i]);
}

static void show_ports(void)
{
    static const char *const what[] = {"connect", "bind, connect", "with IP_BIND_ADDRESS_NO_PORT"};
    int counts[3][SERVERS], error[3];

    lab_say("the client has %d ports (net.ipv4.ip_local_port_range), and two servers", FEW_PORTS);
    server_start("02-reuseaddr", " ");
    lab_new_port();
    server_start("02-reuseaddr", " ");
    lab_table("each time\tfirst server\tsecond\tthen");
    for (int i = 0; i < 3; i++) {
        use_up_ports(40000 + 100 * i, i > 0, i == 2, counts[i], &error[i]);
        lab_row("%s\t%d\t%d\t%s", what[i], counts[i][0], counts[i][1],
                error[i] == 0 ? "-" : error_text(error[i]).text);
    }
    lab_table_end();
    lab_answer(counts[0][0] + counts[0][1]);
    lab_verdict(counts[0][0] == FEW_PORTS && counts[0][1] == FEW_PORTS &&
                    error[0] == EADDRNOTAVAIL && counts[1][0] + counts[1][1] == FEW_PORTS &&
                    error[1] == EADDRINUSE && counts[2][0] == FEW_PORTS &&
                    counts[2][1] == FEW_PORTS,
                "%d ports are enough for %d connections to each server; who binds an address "
                "first has %d in all, unless the port is left to connect",
                FEW_PORTS, FEW_PORTS, FEW_PORTS);
    lab_look("client$ sysctl net.ipv4.ip_local_port_range; ss -tan | wc -l");
}

/* ---- steering ---- */

static int connect_from(int port)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in server = lab_server_address();
    int client = lab_socket();

    if (bind(client, (struct sockaddr *)&own, sizeof own) < 0 ||
        connect(client, (struct sockaddr *)&server, sizeof server) < 0)
        lab_fail("connect from port %d: %s", port, error_text(errno).text);
    return client;
}

/* Two listeners on one port. Of the clients, how many came to the listener that a program would
   choose by their ports: the first for an even one, the second for an odd one? */
static int steered(bool attached)
{
    enum { CLIENTS = 40 };
    /* The number of the listener is the lowest bit of the source port, which stands behind an IP
       header of 20 bytes: a program for the kernel (socket(7), SO_ATTACH_REUSEPORT_CBPF). */
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (unsigned)SKF_NET_OFF + 20),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 1),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    int listeners[SERVERS], clients[CLIENTS], right = 0, accepted = 0, on = 1;

    lab_new_port();
    lab_enter(HOST_SERVER);
    for (int i = 0; i < SERVERS; i++) {
        struct sockaddr_in address = lab_server_address();
        socklen_t size = sizeof address;
        listeners[i] = lab_socket();
        if (setsockopt(listeners[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
            bind(listeners[i], (struct sockaddr *)&address, sizeof address) < 0 ||
            listen(listeners[i], CLIENTS) < 0 || fcntl(listeners[i], F_SETFL, O_NONBLOCK) < 0 ||
            getsockname(listeners[i], (struct sockaddr *)&address, &size) < 0)
            lab_fail("a listener: %s", error_text(errno).text);
        lab_use_port(ntohs(address.sin_port));
    }
    if (attached && setsockopt(listeners[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
                               sizeof program) < 0)
        lab_not_allowed("SO_ATTACH_REUSEPORT_CBPF: %s", error_text(errno).text);
    lab_enter(HOST_CLIENT);
    /* Left alone, connect() would take even ports only, as long as there are any. */
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = connect_from((attached ? 51000 : 50000) + i);
    for (int64_t start = clock_ns(); accepted < CLIENTS && lab_waits(start, 10);)
        for (int i = 0; i < SERVERS; i++) {
            struct sockaddr_in peer;
            socklen_t size = sizeof peer;
            int connection = accept(listeners[i], (struct sockaddr *)&peer, &size);
            if (connection < 0)
                continue;
            accepted++;
            right += (ntohs(peer.sin_port) & 1) == i;
            close(connection);
        }
    if (accepted < CLIENTS)
        lab_fail("%d of %d connections were accepted", accepted, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    for (int i = 0; i < SERVERS; i++)
        close(listeners[i]);
    return right;
}

static void show_steering(void)
{
    lab_say("two listeners of the lab's own, and 40 clients, of whom one listener is meant for");
    lab_say("those with an even port, the other for those with an odd one");
    int by_hash = steered(false), by_program = steered(true);
    lab_table("who chooses the listener\tclients at the one that is meant for them");
    lab_row("the kernel's hash\t%d of 40", by_hash);
    lab_row("a program (SO_ATTACH_REUSEPORT_CBPF)\t%d of 40", by_program);
    lab_table_end();
    lab_verdict(by_hash < 35 && by_program == 40,
                "a program of three instructions put each connection where it belongs; the hash "
                "hits by chance");
    lab_look("server$ ss -ltnp 'sport = :9999'");
}

static const struct part parts[] = {
    {.name = "restart",
     .question = "A server is stopped while a client is connected. Can it start again at once?",
     .run = show_restart,
     .guess =
         "Stage 01 is stopped while a client is connected. When can it start again on its port?",
     .choices =
         (const char *const[]){"at once", "once the client has closed too", "a minute later", NULL},
     .quick = true},
    {.name = "spread",
     .question = "Four servers share a port: who gets the connections?",
     .run = show_spread,
     .guess = "1000 connections, four servers: how many get to the one with the fewest?",
     .unit = "connections",
     .near = 0.1},
    {.name = "death",
     .question = "What becomes of those who wait at a server that dies?",
     .run = show_death,
     .guess =
         "40 clients wait at two servers, and one of them is killed. How many clients are reset?",
     .unit = "clients",
     .near = 0.5,
     .needs_wire = true},
    {.name = "ports",
     .question = "How many connections does a client have ports for?",
     .run = show_ports,
     .guess = "A client has 10 ports of its own, and two servers to connect to. How many "
              "connections can it have in all?",
     .unit = "connections",
     .needs_wire = true},
    {.name = "steering",
     .question = "Can one choose which of the servers on a port has a connection?",
     .run = show_steering,
     .needs_wire = true},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "02", "TIME_WAIT, and sharing a port", parts);
}
