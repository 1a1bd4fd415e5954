/* limits: what the kernel's settings allow a listener, in words, for the log. */
#ifndef COMMON_LIMITS_H
#define COMMON_LIMITS_H

#ifdef __cplusplus
extern "C" {
#endif

/* The two queues that the kernel keeps for a listener (listen(2), tcp(7)): the SYN queue, of
   handshakes under way, and the accept queue, of finished ones. Logs what a backlog allows
   them, with net.core.somaxconn and the other settings that have a say, and warns where the
   backlog is cut to one. */
void report_limits(int backlog);

/* Logs how many connections wait in the accept queue of a listener, and its backlog: TCP_INFO
   of a listener is about that queue, in tcpi_unacked and tcpi_sacked. Nothing where it cannot
   be asked. errno is left as it was. */
void report_queue(int listener);

/* Logs how long a handshake may take, or the client that began it be gone, in seconds: the
   kernel sends its SYN-ACK again after 1, 2, 4 … s, at most 120 s apart, as often as
   net.ipv4.tcp_synack_retries says (tcp(7)). Under a flood of SYNs it is more impatient. */
void report_handshake(void);

/* Logs whether net.ipv4.tcp_fastopen lets a server take data in a SYN (its value 0x2, tcp(7)):
   where it does not, TCP_FASTOPEN is taken and has no effect. */
void report_fastopen_limit(void);

#ifdef __cplusplus
}
#endif
#endif
