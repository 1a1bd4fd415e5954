/*
 * How exact is the wire of the labs, and how much does it carry?
 *
 * A byte goes to and fro over a cable of 10 ms each way, and each round trip is timed; then one
 * host sends to the other as fast as it can over a cable without delay.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/options.h"
#include "common/stream.h"
#include "tests/labs/wire/wire.h"

enum { PORT = 9999, MOST_TRIPS = 10000, NOT_ALLOWED = 77 };

static int trips = 300;
static double bulk_seconds = 1;

static const struct option_spec options[] = {
    OPTION_INT("trips", &trips, 10, MOST_TRIPS, "round trips to time"),
    OPTION_SECONDS("bulk", &bulk_seconds, NULL, "how long to send as fast as possible"),
    OPTION_END,
};

static struct sockaddr_in server_address(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};

    inet_pton(AF_INET, SERVER_ADDRESS, &address.sin_addr);
    return address;
}

/* On the server's host: sends back each byte of the first connection, and only counts what
   comes on the second. */
static void serve(int listener)
{
    static char bytes[1 << 16];
    int on = 1;
    int client = accept(listener, NULL, NULL);

    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (recv(client, bytes, 1, 0) == 1)
        if (send_all(client, bytes, 1) < 0)
            die("send");
    close(client);
    client = accept(listener, NULL, NULL);
    while (recv(client, bytes, sizeof bytes, 0) > 0)
        continue;
    exit(EXIT_SUCCESS);
}

static int connect_server(void)
{
    struct sockaddr_in address = server_address();
    int server = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return server;
}

static int compare_numbers(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static void measure_trips(void)
{
    static double times[MOST_TRIPS];
    int server = connect_server();
    char byte = 'x';

    for (int i = 0; i < trips; i++) {
        int64_t start = clock_ns();
        if (send_all(server, &byte, 1) < 0 || receive_exactly(server, &byte, 1) != 1)
            die("round trip");
        times[i] = clock_seconds_since(start) * 1e3;
    }
    close(server);
    qsort(times, (size_t)trips, sizeof *times, compare_numbers);
    printf("wire, round trip of 20 ms, %d times: least %.2f, median %.2f, 99%% within %.2f, "
           "most %.2f ms\n",
           trips, times[0], times[trips / 2], times[trips * 99 / 100], times[trips - 1]);
}

static void measure_bulk(void)
{
    static const char bytes[1 << 16];
    int server = connect_server();
    int64_t start = clock_ns();
    double sent = 0;

    while (clock_seconds_since(start) < bulk_seconds) {
        if (send_all(server, bytes, sizeof bytes) < 0)
            die("send");
        sent += sizeof bytes;
    }
    shutdown(server, SHUT_WR);
    char end;
    recv(server, &end, 1, 0); /* returns when the server has read all */
    printf("wire, no delay, as fast as it goes: %.0f Mbit/s\n",
           sent * 8 / 1e6 / clock_seconds_since(start));
    close(server);
}

int main(int argc, char **argv)
{
    struct cable slow = {.delay_ns = 10000000}, fast = {.delay_ns = 0};
    struct sockaddr_in address = server_address();
    struct hosts_refusal refusal = {""};
    int status = 0;

    parse_options(argc, argv, options, NULL);
    if (hosts_create(&refusal) < 0) {
        printf("wire: not measured. %s\n", refusal.text);
        return NOT_ALLOWED;
    }
    hosts_enter(HOST_SERVER);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 2) < 0)
        die("listener");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener);
    }
    close(listener);
    struct wire *wire = wire_start(&slow);
    measure_trips();
    wire_set(wire, HOST_CLIENT, &fast);
    wire_set(wire, HOST_SERVER, &fast);
    measure_bulk();
    wire_stop(wire);
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
