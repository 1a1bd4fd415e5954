/* descriptors: how many files and sockets this process may have open. */
#ifndef COMMON_DESCRIPTORS_H
#define COMMON_DESCRIPTORS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Makes room for count sockets beside the few descriptors that every program has: raises the
   soft limit RLIMIT_NOFILE (setrlimit(2)) as far as the hard one allows. Where that is not
   far enough, a line in the log says so. Returns how many sockets there is room for. */
long allow_sockets(long count);

#ifdef __cplusplus
}
#endif
#endif
