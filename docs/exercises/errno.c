/* What pthread_create returns, and what is in errno then. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void *wait_for_ever(void *argument)
{
    pause();
    return argument;
}

int main(void)
{
    /* So little address space that soon there is no room for one more stack. */
    struct rlimit limit = {64 << 20, 64 << 20};
    pthread_t thread;
    int error;

    setrlimit(RLIMIT_AS, &limit);
    do {
        errno = 0;
        error = pthread_create(&thread, NULL, wait_for_ever, NULL);
    } while (error == 0);
    printf("returned %d, EAGAIN; errno %d, %s\n", error, errno,
           errno == error ? "the same" : "another one");
    return 0;
}
