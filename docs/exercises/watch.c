/* What it costs to wait for one of N descriptors, when one is busy and all others are idle:
 * select, poll and epoll_wait side by side. Usage: watch N... */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int busy[2]; /* what is written to the one can be read from the other */
static int last;    /* the largest descriptor */
static struct pollfd *polled;
static int epoll;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* select and poll are told with each call which descriptors are meant; epoll was told once. */
static int wait_select(int count)
{
    fd_set set;

    FD_ZERO(&set);
    for (int i = 0; i < count; i++)
        FD_SET(polled[i].fd, &set);
    return select(last + 1, &set, NULL, NULL, NULL);
}

static int wait_poll(int count)
{
    return poll(polled, (nfds_t)count, -1);
}

static int wait_epoll(int count)
{
    struct epoll_event events[16];

    (void)count;
    return epoll_wait(epoll, events, 16, -1);
}

/* Microseconds for one wait. */
static double measure(int (*wait)(int), int count)
{
    double start = now(), waits = 0;
    char byte = 'x';

    while (now() - start < 0.1) {
        if (write(busy[1], &byte, 1) != 1 || wait(count) != 1 || read(busy[0], &byte, 1) != 1)
            exit(EXIT_FAILURE);
        waits++;
    }
    return (now() - start) / waits * 1e6;
}

int main(int argc, char **argv)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    printf("descriptors   select       poll  epoll_wait   (microseconds)\n");
    for (int n = 1; n < argc; n++) {
        int count = atoi(argv[n]);
        polled = calloc((size_t)count + 1, sizeof *polled);
        epoll = epoll_create1(0);
        if (polled == NULL || epoll < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, busy) < 0)
            return EXIT_FAILURE;
        for (int i = 0; i < count; i++) {
            int idle = i == 0 ? busy[0] : socket(AF_INET, SOCK_DGRAM, 0);
            struct epoll_event event = {.events = EPOLLIN, .data.fd = idle};
            if (idle < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, idle, &event) < 0) {
                perror("socket");
                return EXIT_FAILURE;
            }
            polled[i] = (struct pollfd){.fd = idle, .events = POLLIN};
            last = idle > last ? idle : last;
        }
        printf("%11d", count);
        if (last < FD_SETSIZE)
            printf("%9.1f", measure(wait_select, count));
        else
            printf("%9s", "-");
        printf("%11.1f%12.1f\n", measure(wait_poll, count), measure(wait_epoll, count));
        for (int i = 0; i < count; i++)
            close(polled[i].fd);
        close(busy[1]);
        close(epoll);
        free(polled);
        last = 0;
    }
    return EXIT_SUCCESS;
}
