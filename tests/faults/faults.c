/*
 * Calls that fail when they are told to. A library for LD_PRELOAD (ld.so(8)): it stands before
 * the C library, counts the calls that a program makes, and has some of them fail.
 *
 * Which, is said in a file that the environment's FAULTS names, a struct faults. It is mapped
 * by the program and by who watches it, so that the order can be changed while the program
 * runs, and the counts can be read, also after it was killed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Not in ISO C, and needed here: a function from dlsym(3), which returns an object's address;
   and the C library's own way of declaring addresses of sockets. */
#pragma GCC diagnostic ignored "-Wpedantic"
/* Names of the C library's, and parameters of macros that no parentheses fit around. */
/* NOLINTBEGIN(bugprone-macro-parentheses,bugprone-reserved-identifier) */

#define CALLS(CALL)                 \
    CALL(accept)                    \
    CALL(accept4)                   \
    CALL(bind)                      \
    CALL(calloc)                    \
    CALL(close)                     \
    CALL(connect)                   \
    CALL(epoll_create1)             \
    CALL(epoll_ctl)                 \
    CALL(epoll_wait)                \
    CALL(eventfd)                   \
    CALL(getaddrinfo)               \
    CALL(getsockname)               \
    CALL(getsockopt)                \
    CALL(listen)                    \
    CALL(malloc)                    \
    CALL(nanosleep)                 \
    CALL(open)                      \
    CALL(pipe2)                     \
    CALL(poll)                      \
    CALL(pthread_attr_setstacksize) \
    CALL(pthread_create)            \
    CALL(read)                      \
    CALL(realloc)                   \
    CALL(recv)                      \
    CALL(send)                      \
    CALL(setsockopt)                \
    CALL(signalfd)                  \
    CALL(sigwait)                   \
    CALL(socket)                    \
    CALL(write)

enum call {
#define NUMBER(name) CALL_##name,
    CALLS(NUMBER) CALL_COUNT
};

static const char *const names[] = {
#define NAME(name) #name,
    CALLS(NAME)};

/* tests/integration/test_faults.py reads and writes this layout. */
struct faults {
    char call[32];       /* which one fails */
    int32_t first, last; /* from its first-th to its last-th call, counted from 1; 0: never */
    int32_t error;       /* with this errno; 0: it does a single byte of what it should */
    int32_t failed;      /* how often it did */
    struct {
        char name[32];
        int32_t calls;
    } counts[CALL_COUNT];
};

static struct faults *faults;

/* The C library's own function, which every one of these stands before. */
static void *own(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (function == NULL)
        abort();
    return function;
}

#define OWN(name) ((__typeof__(&name))own(#name))

__attribute__((constructor)) static void map_faults(void)
{
    const char *path = getenv("FAULTS");
    int file = path != NULL ? OWN(open)(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

    if (file < 0 || mapped == MAP_FAILED)
        abort();
    OWN(close)(file);
    faults = mapped;
    for (size_t i = 0; i < CALL_COUNT; i++)
        memcpy(faults->counts[i].name, names[i], strlen(names[i]));
}

/* Counts a call; true where it is to fail, with errno as it is to be. */
static bool fails(enum call call)
{
    if (faults == NULL)
        return false;
    int32_t calls = __atomic_add_fetch(&faults->counts[call].calls, 1, __ATOMIC_SEQ_CST);
    if (calls < faults->first || calls > faults->last || strcmp(names[call], faults->call) != 0)
        return false;
    errno = faults->error;
    __atomic_add_fetch(&faults->failed, 1, __ATOMIC_SEQ_CST);
    return true;
}

#define STAND_BEFORE(type, name, parameters, arguments) \
    type name parameters                                \
    {                                                   \
        if (fails(CALL_##name))                         \
            return -1;                                  \
        return OWN(name) arguments;                     \
    }

STAND_BEFORE(int, accept, (int listener, struct sockaddr *address, socklen_t *size),
             (listener, address, size))
STAND_BEFORE(int, accept4, (int listener, struct sockaddr *address, socklen_t *size, int flags),
             (listener, address, size, flags))
STAND_BEFORE(int, bind, (int socket, const struct sockaddr *address, socklen_t size),
             (socket, address, size))
STAND_BEFORE(int, connect, (int socket, const struct sockaddr *address, socklen_t size),
             (socket, address, size))
STAND_BEFORE(int, epoll_create1, (int flags), (flags))
STAND_BEFORE(int, epoll_ctl, (int epoll, int what, int descriptor, struct epoll_event *event),
             (epoll, what, descriptor, event))
STAND_BEFORE(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout),
             (epoll, events, most, timeout))
STAND_BEFORE(int, eventfd, (unsigned value, int flags), (value, flags))
STAND_BEFORE(int, getsockname, (int socket, struct sockaddr *address, socklen_t *size),
             (socket, address, size))
STAND_BEFORE(int, getsockopt, (int socket, int level, int option, void *value, socklen_t *size),
             (socket, level, option, value, size))
STAND_BEFORE(int, listen, (int socket, int backlog), (socket, backlog))
STAND_BEFORE(int, nanosleep, (const struct timespec *time, struct timespec *rest), (time, rest))
STAND_BEFORE(int, pipe2, (int ends[2], int flags), (ends, flags))
STAND_BEFORE(int, poll, (struct pollfd * descriptors, nfds_t count, int timeout),
             (descriptors, count, timeout))
STAND_BEFORE(int, setsockopt,
             (int socket, int level, int option, const void *value, socklen_t size),
             (socket, level, option, value, size))
STAND_BEFORE(int, signalfd, (int descriptor, const sigset_t *signals, int flags),
             (descriptor, signals, flags))
STAND_BEFORE(int, socket, (int domain, int type, int protocol), (domain, type, protocol))

/* What returns the error, instead of -1 with errno. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    if (fails(CALL_pthread_create))
        return faults->error;
    return OWN(pthread_create)(thread, attributes, run, argument);
}

int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
{
    if (fails(CALL_pthread_attr_setstacksize))
        return faults->error;
    return OWN(pthread_attr_setstacksize)(attributes, size);
}

int sigwait(const sigset_t *signals, int *number)
{
    if (fails(CALL_sigwait))
        return faults->error;
    return OWN(sigwait)(signals, number);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    if (fails(CALL_getaddrinfo))
        return EAI_AGAIN;
    return OWN(getaddrinfo)(name, service, hints, result);
}

/* What may do less than it was asked for. */
#define STAND_BEFORE_BYTES(name, parameters, arguments, few_arguments) \
    ssize_t name parameters                                            \
    {                                                                  \
        if (fails(CALL_##name))                                        \
            return faults->error != 0 ? -1 : OWN(name) few_arguments;  \
        return OWN(name) arguments;                                    \
    }

STAND_BEFORE_BYTES(recv, (int socket, void *buffer, size_t size, int flags),
                   (socket, buffer, size, flags), (socket, buffer, 1, flags))
STAND_BEFORE_BYTES(send, (int socket, const void *buffer, size_t size, int flags),
                   (socket, buffer, size, flags), (socket, buffer, 1, flags))
STAND_BEFORE_BYTES(read, (int file, void *buffer, size_t size), (file, buffer, size),
                   (file, buffer, 1))
STAND_BEFORE_BYTES(write, (int file, const void *buffer, size_t size), (file, buffer, size),
                   (file, buffer, 1))

/* By this name a program calls recv where the compiler was told to check sizes. */
ssize_t __recv_chk(int socket, void *buffer, size_t size, size_t room, int flags);
ssize_t __recv_chk(int socket, void *buffer, size_t size, size_t room, int flags)
{
    if (size > room)
        abort();
    return recv(socket, buffer, size, flags);
}

/* It closes, whatever it says (close(2)). */
int close(int descriptor)
{
    bool failed = fails(CALL_close);
    int error = errno;
    int result = OWN(close)(descriptor);

    if (!failed)
        return result;
    errno = error;
    return -1;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (fails(CALL_open))
        return -1;
    return OWN(open)(path, flags, mode);
}

/* By other names than dlsym's, which allocates memory itself. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

void *malloc(size_t size)
{
    return fails(CALL_malloc) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(CALL_calloc) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails(CALL_realloc) ? NULL : __libc_realloc(memory, size);
}
/* NOLINTEND(bugprone-macro-parentheses,bugprone-reserved-identifier) */
