/* A thread for each client: who waits for whom, how many at once, and what a client costs. */
#include <math.h>
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

/* Three clients at once, while a silent one is there: how many have their reply within so many
   seconds, and how long the slowest of them took, in ms. */
static int served_beside_silent(const char *stage, double limit, double *slowest)
{
    double times[3] = {0};

    lab_new_port();
    struct program *server = server_start(stage, " ");
    lab_forget();
    struct program *silent = silent_client(server);
    struct program *clients = client_run("08-threaded", "--clients 3 --timeout %g Hello", limit);
    int served = program_numbers(clients, "reply of 5 bytes after ", times, 3);
    *slowest = 0;
    for (int i = 0; i < served; i++)
        *slowest = times[i] > *slowest ? times[i] : *slowest;
    if (served > 0)
        lab_ladder(NULL, &(struct ladder){
                             .title = "A silent client (a), and three others answered beside it",
                             .note = "ACKs alone are left out",
                             .keep = lab_no_bare_ack});
    program_stop(silent);
    program_stop(server);
    return served;
}

static void show_silent(void)
{
    double slowest[2];
    int served[2];

    served[0] = served_beside_silent("07-binary-struct", 1, &slowest[0]);
    served[1] = served_beside_silent("08-threaded", 5, &slowest[1]);
    if (served[0] == 0 && served[1] == 3 && slowest[1] >= 1e3)
        lab_too_slow("three clients at once had their replies after %.0f ms", slowest[1]);
    lab_table("server\tof 3 clients have a reply within 1 s\tthe slowest after");
    lab_row("stage 07\t%d\t-", served[0]);
    if (served[1] > 0)
        lab_row("stage 08\t%d\t%.2f ms", served[1], slowest[1]);
    else
        lab_row("stage 08\t0\t-");
    lab_table_end();
    lab_answer(served[0]);
    bool seen = served[0] == 0 && served[1] == 3;
    lab_verdict(seen, "a silent client stops all others at stage 07, and nobody at stage 08");
    if (seen) {
        char text[64];
        snprintf(text, sizeof text, "%.2f ms", slowest[1]);
        lab_compare("--threads on", "no reply in 1 s", text, -1e3 / slowest[1]);
    }
    lab_look("server$ ps -T -p SERVER   (a line for each thread)");
}

/* ---- all at once ---- */

/* How long it takes until each of so many clients, that come together, has its reply, in ms. */
static double all_at_once(const char *stage, int clients)
{
    double seconds = 0;

    lab_new_port();
    struct program *server = server_start(stage, "-q");
    struct program *crowd = client_run("08-threaded", "--clients %d Hello", clients);
    if (crowd->status != 0)
        lab_fail("not every client had its reply; the log is %s", crowd->log_path);
    program_numbers(crowd, "had every reply, in ", &seconds, 1);
    program_stop(server);
    return seconds * 1e3;
}

static void show_all_at_once(void)
{
    static const int clients[] = {2, 10, 100, 1000};
    enum { COUNT = sizeof clients / sizeof clients[0] };
    double one_by_one[COUNT], threads[COUNT];

    /* What a client costs the machine, without a cable's delay: a round trip must be far more,
       or it would be the machine that is measured. */
    lab_delay(0);
    program_show(false);
    double cost = all_at_once("08-threaded", 100) / 100;
    int trip_ms = (int)fmax(2, 2 * ceil(2.5 * cost));
    if (trip_ms > 60)
        lab_too_slow("a client costs it %.1f ms", cost);
    lab_delay(trip_ms * MILLISECOND / 2);
    program_show(true);
    int count = trip_ms > 4 ? COUNT - 1 : COUNT;

    lab_say("each client connects, sends 5 bytes, reads the reply and ends; a round trip is %d ms",
            trip_ms);
    for (int i = 0; i < count; i++) {
        one_by_one[i] = all_at_once("07-binary-struct", clients[i]);
        threads[i] = all_at_once("08-threaded", clients[i]);
        program_show(false);
    }
    lab_table("clients\t07, time\t08, time\t07, clients per second\t08, clients per second");
    for (int i = 0; i < count; i++)
        lab_row("%d\t%.0f ms\t%.0f ms\t%.0f\t%.0f", clients[i], one_by_one[i], threads[i],
                clients[i] / one_by_one[i] * 1e3, clients[i] / threads[i] * 1e3);
    lab_table_end();
    char title[80];
    snprintf(title, sizeof title, "Until all clients have their reply (round trip %d ms)", trip_ms);
    plot_begin(&(struct plot){
        .title = title, .x = "clients at once", .y = "ms", .unit = "ms", .log_x = 10, .log_y = 10});
    plot_series("stage 07, one at a time", PLOT_LINE);
    for (int i = 0; i < count; i++)
        plot_point(clients[i], one_by_one[i]);
    plot_series("stage 08, a thread each", PLOT_LINE);
    for (int i = 0; i < count; i++)
        plot_point(clients[i], threads[i]);
    plot_end();
    lab_answer(threads[2]);
    lab_timed_verdict(one_by_one[2] > 4 * threads[2], 50,
                      "one at a time, each client costs all others a round trip: 100 took %.0f ms, "
                      "with threads %.0f ms",
                      one_by_one[2], threads[2]);
    lab_look("make bench   (and without a round trip to wait for?)");
}

/* ---- speed and memory, as make bench measures them ---- */

static void show_speed(void)
{
    char line[256], name[16];
    double count, first, second, third, ratio, each = 0, worst = 0;
    double bare[8][2] = {{0}}, memory[8][2] = {{0}};
    int rows = 0, sizes = 0, bare_rows = 0;

    struct program *tool = tool_run(
        "tests/bench/bench", "--build %s --only threads,08 --rounds 3 --round 0.1", lab_build);
    FILE *bench = fopen(tool->output_path, "r");
    if (bench == NULL)
        lab_fail("%s", tool->output_path);
    plot_begin(&(struct plot){.name = "requests",
                              .title = "Requests per second, 64 bytes each",
                              .x = "connections",
                              .y = "requests/s",
                              .unit = "requests/s",
                              .log_x = 10});
    plot_series("stage 08", PLOT_LINE);
    while (fgets(line, sizeof line, bench) != NULL) {
        int fields =
            sscanf(line, "%lf %15s %lf %lf %lf %lf", &count, name, &first, &second, &third, &ratio);
        if (fields == 6 && strcmp(name, "08") == 0) {
            plot_point(count, first);
            rows++;
        } else if (fields == 6 && bare_rows < 8) {
            bare[bare_rows][0] = count;
            bare[bare_rows++][1] = first;
            worst = worst == 0 || ratio < worst ? ratio : worst;
        } else if (fields == 5 && sizes < 8) {
            memory[sizes][0] = count;
            memory[sizes++][1] = first / 1024;
            each = second;
        }
        if (*line != '\n')
            printf("    %s", line);
    }
    fclose(bench);
    plot_series("a bare loop with threads", PLOT_LINE);
    for (int i = 0; i < bare_rows; i++)
        plot_point(bare[i][0], bare[i][1]);
    plot_end();
    plot_begin(&(struct plot){.name = "memory",
                              .title = "What idle clients cost stage 08",
                              .x = "idle clients",
                              .y = "MiB resident",
                              .unit = "MiB"});
    plot_series("stage 08", PLOT_LINE);
    for (int i = 0; i < sizes; i++)
        plot_point(memory[i][0], memory[i][1]);
    plot_end();
    if (tool->status != 0 || rows != 4)
        lab_fail("the bench ended with status %d and %d rows", tool->status, rows);
    lab_timed_verdict(worst > 0.5, 10,
                      "stage 08 costs little beside the bare loop: %.2f of its requests at worst",
                      worst);
    lab_answer(each);
    lab_verdict(sizes > 0 && each > 0 && each < 64,
                "an idle client costs %.1f KiB of the process's memory", each);
    lab_look("make bench");
}

/* ---- the limit ---- */

static bool has_reply(int client)
{
    char bytes[8];

    return recv(client, bytes, sizeof bytes, MSG_DONTWAIT) > 0;
}

static int accept_queue(void)
{
    lab_enter(HOST_SERVER);
    int waiting = lab_sockets(SOCKET_LISTEN, lab_port(), 0).waiting;
    lab_enter(HOST_CLIENT);
    return waiting;
}

static void show_limit(void)
{
    struct program *server = server_start("08-threaded", "--max-clients 2");
    struct program *first = silent_client(server), *second = silent_client(server);
    int third = lab_connect();

    lab_say("a third client connects, and sends Hello");
    send_all(third, "Hello", 5);
    for (int64_t start = clock_ns(); accept_queue() == 0 && lab_waits(start, 5);)
        continue;
    lab_sleep(0.3);
    int waiting = accept_queue();
    bool early = has_reply(third);
    program_stop(first);
    bool answered = false;
    for (int64_t start = clock_ns(); !answered && lab_waits(start, 10);)
        answered = has_reply(third);
    lab_table("clients being served\taccept queue\tthe third has a reply");
    lab_row("2, the limit\t%d\t%s", waiting, early ? "yes" : "no");
    lab_row("2, one has left and the third come in\t%d\t%s", accept_queue(),
            answered ? "yes" : "no");
    lab_table_end();
    lab_verdict(waiting == 1 && !early && answered,
                "at --max-clients the queue of stage 03 holds the others until one leaves");
    lab_look("server$ ss -ltn 'sport = :9999'   (Recv-Q)");
    close(third);
    program_stop(second);
    program_stop(server);
}

static const struct part parts[] = {
    {.name = "silent",
     .question = "One client says nothing. What of three others?",
     .run = show_silent,
     .guess = "One client says nothing. Of three others at stage 07, how many have a reply within "
              "a second?",
     .unit = "clients",
     .quick = true},
    {.name = "all-at-once",
     .question = "How long until everybody is answered?",
     .run = show_all_at_once,
     .guess = "100 clients come at once, and a round trip takes 2 ms. With a thread for each, "
              "after how many milliseconds does the last have its reply?",
     .unit = "milliseconds",
     .near = 0.5,
     .delay_ns = MILLISECOND,
     .needs_wire = true},
    {.name = "speed",
     .question = "And what does a client cost, in time and in memory?",
     .run = show_speed,
     .guess = "How many KiB of memory does an idle client cost stage 08?",
     .unit = "KiB",
     .near = 0.5},
    {.name = "limit", .question = "What if more come than --max-clients?", .run = show_limit},
    {.name = NULL},
};

int main(int argc, char **argv)
{
    return lab_main(argc, argv, "08", "a thread for each client", parts);
}
