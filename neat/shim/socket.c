/* socket(), shutdown(), and the calls that look at a socket's type first. */
#include <fcntl.h>
#include <unistd.h>

#include "data.h"
#include "readiness.h"
#include "setup.h"

#define RECV_FLAGS \
    (MSG_PEEK | MSG_DONTWAIT | MSG_WAITALL | MSG_TRUNC | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC | NEAT_MSG_RINGS)
#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_CONFIRM | MSG_EOR | NEAT_MSG_RINGS)
#define MAX_IOV 1024

int neat_socket(int family, int type, int protocol, struct neat_socket **out) {
    int flags = type & (SOCK_NONBLOCK | SOCK_CLOEXEC), fd;
    type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (family != AF_INET)
        return -EAFNOSUPPORT;
    if (type != SOCK_STREAM && type != SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    int only = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
    if (protocol && protocol != only)
        return -EPROTONOSUPPORT;
    struct neat_socket *s = neat_new(type, only);
    if (!s)
        return -ENOMEM;
    int status = neat_pair(&fd, &s->descriptor.stack_end);
    if (status < 0) {
        neat_undup(s);
        return status;
    }
    s->descriptor.small_buffer = 1;
    if (!(flags & SOCK_CLOEXEC))
        libc(fcntl)(fd, F_SETFD, 0);
    if (flags & SOCK_NONBLOCK)
        libc(fcntl)(fd, F_SETFL, libc(fcntl)(fd, F_GETFL) | O_NONBLOCK);
    *out = s;
    return fd;
}

/* As Linux, also one without a peer is shut: that wakes up who receives there. */
static int shutdown_datagram(struct neat_socket *s, int fd, int how) {
    set_bits(&s->datagram.shut, how == SHUT_RDWR ? 1u << SHUT_RD | 1u << SHUT_WR : 1u << how);
    if (how != SHUT_WR)
        libc(shutdown)(fd, SHUT_RD);
    return load(&s->settings.options) & NEAT_OPT_PEER ? 0 : -ENOTCONN;
}

int neat_shutdown(struct neat_socket *s, int fd, int how) {
    uint32_t stage = neat_stage(s), wanted = 0;
    if (how < SHUT_RD || how > SHUT_RDWR)
        return -EINVAL;
    bool reading = how != SHUT_WR, writing = how != SHUT_RD;
    if (stage == STAGE_CONNECTING) {
        int status = neat_connect_end(s, fd);
        if (status <= 0)
            return status;
        stage = STAGE_CONNECTED;
    }
    if (stage == STAGE_LISTENING && reading) {     /* Linux: it does not listen any more */
        pthread_mutex_lock(&s->setup.lock);
        int status = load(&s->stage) == stage ? neat_disconnect_locked(s, fd) : 0;
        pthread_mutex_unlock(&s->setup.lock);
        return status;
    }
    if (stage == STAGE_LISTENING)
        return 0;
    if (s->type == SOCK_DGRAM)
        return shutdown_datagram(s, fd, how);
    if (stage != STAGE_CONNECTED || !endpoint_current(&s->end) || endpoint_lost(&s->end) ||
        endpoint_closed(&s->end))
        return -ENOTCONN;
    wanted |= reading ? NEAT_REQ_SHUT_RD : 0;
    wanted |= writing ? NEAT_REQ_SHUT_WR : 0;
    wanted |= set_bits(&s->end.shared->request, wanted);
    /* What comes after this is no news: the replica may give the connection up before our descriptor is
     * closed. */
    if ((wanted & NEAT_REQ_SHUT_RD) && (wanted & NEAT_REQ_SHUT_WR))
        store(&s->reset_seen, 1);
    if (neat_is_polled(&s->end))
        neat_changed(&s->end);
    neat_mark(&s->end);
    neat_ring(&s->end);
    /* Makes the descriptor readable for ever, as Linux does. Never SHUT_WR: to the replica that is a
     * hang-up. */
    if (reading)
        libc(shutdown)(fd, SHUT_RD);
    return 0;
}

ssize_t neat_recvmsg(struct neat_socket *s, int fd, struct msghdr *message, int flags) {
    if (s->type == SOCK_DGRAM)
        flags &= ~MSG_OOB;         /* Linux: no datagram is urgent */
    if (flags & (MSG_OOB | ~RECV_FLAGS)) {
        tally(flags_refused);
        return flags & MSG_ERRQUEUE ? -EAGAIN : flags & MSG_OOB ? -EINVAL : -EOPNOTSUPP;
    }
    if (message->msg_iovlen > MAX_IOV)
        return -EMSGSIZE;
    if (__builtin_expect(load(&s->late_error) != 0, 0))
        return -(ssize_t)swap(&s->late_error, 0);
    if (s->type == SOCK_DGRAM)
        return neat_datagram_recv(s, fd, message, flags);
    ssize_t n = neat_stream_recv(s, fd, message->msg_iov, (int)message->msg_iovlen, flags);
    if (n >= 0) {
        message->msg_namelen = 0;
        message->msg_flags = 0;
        if (__builtin_expect(message->msg_controllen != 0, 0))
            neat_put_stream_control(s, n > 0, message);
    }
    return n;
}

ssize_t neat_sendmsg(struct neat_socket *s, int fd, const struct msghdr *message, int flags) {
    if (flags & ~SEND_FLAGS) {
        tally(flags_refused);
        return -EOPNOTSUPP;
    }
    if (message->msg_iovlen > MAX_IOV)
        return -EMSGSIZE;
    if (message->msg_controllen) {
        tally(flags_refused);
        return -EINVAL;
    }
    if (s->type == SOCK_DGRAM)
        return neat_datagram_send(s, fd, message, flags);
    return neat_stream_send(s, fd, message->msg_iov, (int)message->msg_iovlen, flags);
}

ssize_t neat_recvfrom(struct neat_socket *s, int fd, void *data, size_t length, int flags,
                      struct sockaddr *address, socklen_t *address_length) {
    struct iovec part = {data, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_name = address};
    message.msg_namelen = address && address_length ? *address_length : 0;
    ssize_t n = neat_recvmsg(s, fd, &message, flags);
    if (n >= 0 && address_length)
        *address_length = message.msg_namelen;
    return n;
}

ssize_t neat_recv(struct neat_socket *s, int fd, void *data, size_t length, int flags) {
    return neat_recvfrom(s, fd, data, length, flags, NULL, NULL);
}

ssize_t neat_sendto(struct neat_socket *s, int fd, const void *data, size_t length, int flags,
                    const struct sockaddr *address, socklen_t address_length) {
    struct iovec part = {(void *)data, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_name = (void *)address};
    message.msg_namelen = address ? address_length : 0;
    return neat_sendmsg(s, fd, &message, flags);
}

ssize_t neat_send(struct neat_socket *s, int fd, const void *data, size_t length, int flags) {
    return neat_sendto(s, fd, data, length, flags, NULL, 0);
}
