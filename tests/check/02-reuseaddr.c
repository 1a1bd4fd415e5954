/* Stage 02: the address after a restart. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/check.h"

/* Leaves a connection behind on the port that the server closed first, as one has it that is
   stopped while a client is connected. It is killed, so that no handler of its own has a say. */
static void leave_behind(struct server *server)
{
    int client = connect_to(server);

    exchange(server, client, "x", 1);
    kill_server(server);
    WITHIN (SOON, wait_for_end(client, 0.01) != OPEN)
        continue;
    close(client);
}

static void restarts_at_once(void)
{
    struct server *server = start("");

    leave_behind(server);
    server = launch("");
    if (listens(server, 1, SOON)) {
        int client = connect_to(server);
        exchange(server, client, "x", 1);
        close(client);
        return;
    }
    so("the first server's connection is in TIME_WAIT on this port. SO_REUSEADDR allows a bind "
       "all the same: it is set on the listener, before bind, and by both servers");
    if (has_ended(server, 0))
        fail("the second start failed: %s", how_it_ended(server));
    fail("the second server runs, but does not listen");
}

static void off_means_off(void)
{
    struct server *server = start("--reuse-addr off");

    leave_behind(server);
    server = launch("--reuse-addr off");
    if (!listens(server, 1, SOON))
        return;
    so("is the value that --reuse-addr had (given.reuse_addr) what setsockopt is given? And "
       "SO_REUSEPORT, if it is set, would let it in as well");
    fail("the second server listens");
}

static void shares_the_port(void)
{
    struct server *first = start("--reuse-port on"), *second = launch("--reuse-port on");

    did("started two servers with --reuse-port on");
    expected("both listen");
    if (!listens(second, 2, SOON)) {
        so("SO_REUSEPORT has to be set on both listeners, before bind");
        if (has_ended(second, 0))
            fail("the second start failed: %s", how_it_ended(second));
        fail("%d listener on the port", listeners(first));
    }
    kill_server(first);
    kill_server(second);
    did("started two servers without the option");
    expected("the first listens, the second is refused");
    start("");
    second = launch("");
    if (listens(second, 2, SOON)) {
        so("SO_REUSEPORT is set although nobody asked for it: two copies then run side by side, "
           "and neither says so. It is for --reuse-port on alone");
        fail("both listen, each gets a part of the clients");
    }
    if (!has_ended(second, SOON)) {
        so("what bind or listen returns is not looked at: -1 means that there is no listener");
        fail("the second runs, but does not listen");
    }
}

#define READ "docs/02-reuseaddr.md#the-lines-that-matter"

const struct step steps_02[] = {
    {"it can be started again at once",
     "ended it (SIGKILL) while a client was connected, and started it again on the same port",
     "the second server listens within 2 s",
     READ,
     {"Who holds the port after the first server has gone? `ss -tan` shows it.",
      "One setsockopt on the listener, between socket and bind: SOL_SOCKET, SO_REUSEADDR, an int "
      "that is 1."},
     NULL,
     restarts_at_once},
    {"--reuse-addr off leaves the option out",
     "the same, started with --reuse-addr off",
     "the second server is refused, since the address is in use",
     READ,
     {"What does your program do with the words behind --port N?",
      "given.h reads all options: given.reuse_addr is true unless --reuse-addr off was given. That "
      "is the int for setsockopt."},
     NULL,
     off_means_off},
    {"--reuse-port on lets two servers share the port, and only that",
     "started two servers with --reuse-port on, then two without",
     "two listen, then one",
     READ,
     {"SO_REUSEADDR let the second server in over what was left behind. What lets it in beside a "
      "server that runs?",
      "The same setsockopt with SO_REUSEPORT, and given.reuse_port as its value."},
     NULL,
     shares_the_port},
    {0},
};
