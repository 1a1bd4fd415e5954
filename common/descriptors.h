/* descriptors: stdin, stdout and stderr as a server needs them, and how many files and sockets
   this process may have open. */
#ifndef COMMON_DESCRIPTORS_H
#define COMMON_DESCRIPTORS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Before a program opens anything; parse_options() calls it. Afterwards
   - no socket can become descriptor 0, 1 or 2, and be read as stdin or get the log: one that was
     closed is /dev/null, open the wrong way round, so that using it still fails (EBADF);
   - a write to a pipe that nobody reads any more is an error, EPIPE: SIGPIPE is ignored
   (signal(7));
   - stderr, if it is a pipe or a terminal, is an open file of our own with O_NONBLOCK, so that the
     log can give up (common/log.h), and other programs that have the same stderr notice nothing.
   Exits with 1 if /dev/null cannot be opened. */
void guard_standard_streams(void);

/* Before execve(2), which passes on both: SIGPIPE and a stderr that waits, as programs expect
   them. */
void restore_standard_streams(void);

/* Makes room for count sockets beside the few descriptors that every program has: raises the
   soft limit RLIMIT_NOFILE (setrlimit(2)) as far as the hard one allows. Where that is not
   far enough, a line in the log says so. Returns how many sockets there is room for. */
long allow_sockets(long count);

#ifdef __cplusplus
}
#endif
#endif
