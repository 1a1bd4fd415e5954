/* sysctl: reads the kernel's settings, the numbers below /proc/sys. */
#ifndef COMMON_SYSCTL_H
#define COMMON_SYSCTL_H

#ifdef __cplusplus
extern "C" {
#endif

/* Reads the first number of a setting into *value: "net.core.somaxconn" is the file
   /proc/sys/net/core/somaxconn (proc(5), sysctl(8)). Returns 0; or -1 with errno set: that
   of open(2) or read(2), ENAMETOOLONG for the name, EINVAL where no number stands there. */
int sysctl_read(const char *name, long *value);

/* The same for a program that can go on without: where the setting cannot be read, the log
   says so and the answer is fallback. */
long sysctl_or(const char *name, long fallback);

#ifdef __cplusplus
}
#endif
#endif
