/* TIME_WAIT and the restart of a server; several servers on one port, and the death of one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/stream.h"
#include "tests/labs/lab.h"
#include "tests/labs/plot.h"
#include "tests/labs/program.h"

/* What became of a server that was stopped and started again. */
struct restart {
    double time_wait[2]; /* by enum host: seconds that its TIME_WAIT had to go; 0: it had none */
    bool ready;
    double ms; /* until it was ready, or had failed */
};

/* Starts the old server, lets a client connect, lets one of the two close first, and starts the
   new server on the same port. */
static struct restart restart(const char *old_stage, const char *old_options, const char *new_stage,
                              const char *new_options, bool server_first)
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
    for (int64_t start = clock_ns(); result.time_wait[first] == 0 && lab_waits(start, 5);) {
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
    bool seen = !without.ready && without.time_wait[HOST_SERVER] > 50 && with.ready &&
                with.time_wait[HOST_SERVER] > 50;
    lab_verdict(seen, "with SO_REUSEADDR a server restarts over TIME_WAIT; without it, it would "
                      "have to wait");
    lab_verdict(client_first.ready && client_first.time_wait[HOST_SERVER] == 0 &&
                    client_first.time_wait[HOST_CLIENT] > 50,
                "a client that closes first keeps the TIME_WAIT itself");
    lab_verdict(!only_new.ready && !only_old.ready,
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
    enum { SERVERS = 4, CLIENTS = 1000 };
    struct program *servers[SERVERS];
    int counts[SERVERS], least = CLIENTS, most = 0, sum = 0, answered = 0;

    for (int i = 0; i < SERVERS; i++)
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
    for (int i = 0; i < SERVERS; i++) {
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

    bool can_migrate = lab_try_set("net.ipv4.tcp_migrate_req", "1");
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
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "02", "TIME_WAIT, and sharing a port", parts);
}
