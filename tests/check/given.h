/* given.h: reads the course's options from the command line, so that a stage of your own is its
 * idea and nothing else. First in main:  read_options(argc, argv);  then use given.port and the
 * others. Copy it, change it: it is yours. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct {
    const char *host;                                        /* 01: an IPv4 address */
    int port;                                                /* 01 */
    bool reuse_addr, reuse_port;                             /* 02 */
    int backlog;                                             /* 03 */
    double timeout, accept_timeout, user_timeout;            /* 04: seconds; 0 is none */
    int recv_buffer, send_buffer;                            /* 05: bytes; 0: leave them alone */
    bool keepalive;                                          /* 06 */
    int keepalive_idle, keepalive_interval, keepalive_count; /* 06: seconds, and questions */
    bool nodelay, quickack;                                  /* 06 */
    int fastopen;                                            /* 06: its queue; 0 is off */
    const char *handler;                                     /* 07: echo upper line record */
    bool threads;                                            /* 08 */
    int max_clients;                                         /* 08 */
    double grace;                                            /* 08: seconds */
    int loops;                                               /* 09 */
} given = {"127.0.0.1", 9999, true, false, SOMAXCONN, 0, 0,      0,    0,    0, true,
           1800,        15,   9,    true,  false,     0, "echo", true, 1000, 5, 1};

static inline void read_options(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum { TEXT, SWITCH, NUMBER, SECONDS } kind;
        void *target;
        /* clang-format off */
    } rows[] = {
        {"host", TEXT, &given.host}, {"port", NUMBER, &given.port},
        {"reuse-addr", SWITCH, &given.reuse_addr}, {"reuse-port", SWITCH, &given.reuse_port},
        {"backlog", NUMBER, &given.backlog}, {"timeout", SECONDS, &given.timeout},
        {"accept-timeout", SECONDS, &given.accept_timeout},
        {"user-timeout", SECONDS, &given.user_timeout},
        {"recv-buffer", NUMBER, &given.recv_buffer}, {"send-buffer", NUMBER, &given.send_buffer},
        {"keepalive", SWITCH, &given.keepalive},
        {"keepalive-idle", NUMBER, &given.keepalive_idle},
        {"keepalive-interval", NUMBER, &given.keepalive_interval},
        {"keepalive-count", NUMBER, &given.keepalive_count}, {"nodelay", SWITCH, &given.nodelay},
        {"quickack", SWITCH, &given.quickack}, {"fastopen", NUMBER, &given.fastopen},
        {"handler", TEXT, &given.handler}, {"threads", SWITCH, &given.threads},
        {"max-clients", NUMBER, &given.max_clients}, {"grace", SECONDS, &given.grace},
        {"loops", NUMBER, &given.loops}
    };
    /* clang-format on */
    enum { ROWS = sizeof rows / sizeof rows[0] };
    struct option options[ROWS + 1] = {{NULL, 0, NULL, 0}};
    int row;

    for (int i = 0; i < ROWS; i++)
        options[i] = (struct option){rows[i].name, required_argument, NULL, i};
    while ((row = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (row >= ROWS)
            exit(2); /* getopt_long has said which option it does not know */
        if (rows[row].kind == TEXT)
            *(const char **)rows[row].target = optarg;
        else if (rows[row].kind == SWITCH)
            *(bool *)rows[row].target = strcmp(optarg, "on") == 0;
        else if (rows[row].kind == NUMBER)
            *(int *)rows[row].target = atoi(optarg);
        else
            *(double *)rows[row].target = atof(optarg);
    }
}
