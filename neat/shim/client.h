/* The client core: sockets of a NEaT stack inside an application, over shared memory (ARCHITECTURE.md,
 * "Sockets").
 *
 * A `struct neat_socket` is what POSIX calls an open file description: dup() and fork() share it. It is
 * counted: it lives while an application has a descriptor for it (neat_socket, neat_accept, neat_dup;
 * neat_close) or a thread is inside a call (neat_get, neat_put around it). Every call gets the descriptor
 * too, because it waits on it; any copy of it will do.
 *
 * Results are Linux's: a count, a descriptor or 0; else a negative errno. No call raises SIGPIPE (-EPIPE
 * asks the caller to, unless MSG_NOSIGNAL), starts a thread, installs a handler, or allocates while it
 * moves data. All may be used from any thread.
 */
#ifndef NEAT_CLIENT_H
#define NEAT_CLIENT_H

#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NEAT_API __attribute__((visibility("default")))

/* For neat_recv*: look at the rings only, without a system call: -EAGAIN when nothing is there. */
#define NEAT_MSG_RINGS 0x00800000

struct neat_socket;

/* What this process has met; for `neat status` and for tests. */
struct neat_client_stats {
    uint64_t options_refused;      /* get/setsockopt of an option that is not supported */
    uint64_t flags_refused;        /* a send or receive flag that is not supported */
    /* A ring offset from the stack that made no sense: that socket was reset. */
    uint64_t bad_offsets;
    uint64_t bad_messages;         /* a message from the stack that made no sense: dropped */
    uint64_t bad_segments;         /* a segment that failed its checks: not mapped */
    uint64_t dead_owners;          /* a lock whose holder was gone */
    uint64_t resets;               /* connections whose replica went away */
    uint64_t reconnects;           /* new connections to a restarted syscall server */
    uint64_t bells, waits, tokens; /* doorbells rung, sleeps, tokens read back */
};

/* Life cycle. neat_socket() returns a descriptor, and its socket in *out; type may carry SOCK_NONBLOCK,
 * SOCK_CLOEXEC. */
NEAT_API int neat_socket(int family, int type, int protocol, struct neat_socket **out);
NEAT_API struct neat_socket *neat_get(struct neat_socket *s);
NEAT_API void neat_put(struct neat_socket *s);
/* The application has made one more descriptor for it. */
NEAT_API struct neat_socket *neat_dup(struct neat_socket *s);
/* Close `fd`; when threads are inside calls on this socket, as soon as they are out. */
NEAT_API int neat_close(struct neat_socket *s, int fd);
NEAT_API int neat_shutdown(struct neat_socket *s, int fd, int how);

/* Set-up. neat_accept: flags SOCK_NONBLOCK, SOCK_CLOEXEC; address may be NULL. */
NEAT_API int neat_bind(struct neat_socket *s, int fd, const struct sockaddr *address, socklen_t length);
NEAT_API int neat_listen(struct neat_socket *s, int fd, int backlog);
NEAT_API int neat_accept(struct neat_socket *s, int fd, struct sockaddr *address, socklen_t *length,
                         int flags, struct neat_socket **out);
NEAT_API int neat_connect(struct neat_socket *s, int fd, const struct sockaddr *address, socklen_t length);

/* Data. */
NEAT_API ssize_t neat_recv(struct neat_socket *s, int fd, void *data, size_t length, int flags);
NEAT_API ssize_t neat_send(struct neat_socket *s, int fd, const void *data, size_t length, int flags);
NEAT_API ssize_t neat_recvfrom(struct neat_socket *s, int fd, void *data, size_t length, int flags,
                               struct sockaddr *address, socklen_t *address_length);
NEAT_API ssize_t neat_sendto(struct neat_socket *s, int fd, const void *data, size_t length, int flags,
                             const struct sockaddr *address, socklen_t address_length);
NEAT_API ssize_t neat_recvmsg(struct neat_socket *s, int fd, struct msghdr *message, int flags);
NEAT_API ssize_t neat_sendmsg(struct neat_socket *s, int fd, const struct msghdr *message, int flags);
/* File to socket without a copy between: like sendfile(2), offset may be NULL. */
NEAT_API ssize_t neat_sendfile(struct neat_socket *s, int fd, int file, off_t *offset, size_t count);
/* Bytes that can be read now (of UDP: length of the next datagram); bytes not yet acknowledged. */
NEAT_API int neat_inq(struct neat_socket *s);
NEAT_API int neat_outq(struct neat_socket *s);

/* Options and names. */
NEAT_API int neat_getsockopt(struct neat_socket *s, int fd, int level, int name, void *value,
                             socklen_t *length);
NEAT_API int neat_setsockopt(struct neat_socket *s, int fd, int level, int name, const void *value,
                             socklen_t length);
NEAT_API int neat_getsockname(struct neat_socket *s, struct sockaddr *address, socklen_t *length);
NEAT_API int neat_getpeername(struct neat_socket *s, struct sockaddr *address, socklen_t *length);

/* Wait until poll() says one of `events`, or `timeout_ns` is over (negative: for ever). 1, 0, or -EINTR. */
NEAT_API int neat_wait(int fd, short events, int64_t timeout_ns);

NEAT_API void neat_stats(struct neat_client_stats *out);

#endif
