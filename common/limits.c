#include "common/limits.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/sysctl.h"

void report_limits(int backlog)
{
    if (!log_shows(LOG_NORMAL))
        return;

    long most = sysctl_or("net.core.somaxconn", SOMAXCONN);
    long effective = backlog < most ? backlog : most;

    log_info("backlog: asked %d, effective %ld; limit net.core.somaxconn = %ld", backlog, effective,
             most);
    if (backlog > most)
        log_info("warning: the backlog is above net.core.somaxconn, and cut to it");
    log_info("accept queue: limit %ld, and one more", effective);
    log_info("SYN queue: limit %ld; net.ipv4.tcp_max_syn_backlog = %ld counts only where "
             "net.ipv4.tcp_syncookies = 0 (it is %ld)",
             effective, sysctl_or("net.ipv4.tcp_max_syn_backlog", 0),
             sysctl_or("net.ipv4.tcp_syncookies", 1));
}

void report_queue(int listener)
{
#ifdef __linux__
    struct tcp_info info;
    socklen_t size = sizeof info;
    int saved_errno = errno;

    if (log_shows(LOG_NORMAL) && getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        log_info("accept queue: %u waiting, backlog %u", info.tcpi_unacked, info.tcpi_sacked);
    errno = saved_errno;
#else
    (void)listener;
#endif
}

void report_handshake(void)
{
    if (!log_shows(LOG_NORMAL))
        return;

    long retries = sysctl_or("net.ipv4.tcp_synack_retries", 5);
    long total = 0;

    for (long i = 0, wait = 1; i <= retries; i++, wait = wait < 60 ? 2 * wait : 120)
        total += wait;
    log_info("longest handshake: %ld s; net.ipv4.tcp_synack_retries = %ld", total, retries);
}

void report_fastopen_limit(void)
{
    long allowed = sysctl_or("net.ipv4.tcp_fastopen", 0);

    log_info("net.ipv4.tcp_fastopen = %ld: %s", allowed,
             allowed & 2 ? "servers may" : "warning: servers may not, 0x2 is not set");
}
