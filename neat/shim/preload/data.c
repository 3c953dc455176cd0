/* read() and write() in all their forms, send() and recv(). Those with a struct msghdr: messages.c.
 *
 * pread(), pwrite() and lseek() need nothing: our descriptors are sockets to the kernel, too, so it says
 * ESPIPE itself.
 */
#include <limits.h>

#include "../data.h"
#include "preload.h"

/* MAX_RW_COUNT of Linux: longer transfers are cut to this. */
#define MOST_BYTES ((size_t)INT_MAX & ~(size_t)4095)
#define MOST_PARTS 1024                                 /* UIO_MAXIOV */

/* The thread that wrote gets it, as on Linux (signal(7)). */
void raise_sigpipe(void) {
    raise(SIGPIPE);
}

static size_t cut_bytes(size_t length) {
    return length < MOST_BYTES ? length : MOST_BYTES;
}

static ssize_t received(struct neat_socket *s, ssize_t n) {
    neat_put(s);
    return result(n);
}

ssize_t sent(struct neat_socket *s, ssize_t n, int flags) {
    neat_put(s);
    if (n == -EPIPE && !(flags & MSG_NOSIGNAL))
        raise_sigpipe();
    return result(n);
}

int check_parts(const struct iovec *iov, long count, bool discard) {
    size_t sum = 0;
    for (long i = 0; i < count; i++) {
        if (iov[i].iov_len > (size_t)SSIZE_MAX)
            return -EINVAL;
        if (bad_pointer(iov[i].iov_base) && iov[i].iov_len && sum < MOST_BYTES && !discard)
            return -EFAULT;
        sum = cut_bytes(sum + iov[i].iov_len);
    }
    return 0;
}

/* Linux ignores a flag that it does not know, or that means nothing here. */
int receive_flags(int flags) {
    if (flags & MSG_OOB)
        log_refused(NEAT_REFUSED_FLAGS, 0, MSG_OOB);
    return flags & (MSG_PEEK | MSG_WAITALL | MSG_DONTWAIT | MSG_TRUNC | MSG_OOB | MSG_ERRQUEUE |
                    MSG_CMSG_CLOEXEC);
}

int send_flags(int flags) {
    if (flags & MSG_OOB)
        log_refused(NEAT_REFUSED_FLAGS, 0, MSG_OOB);
    return flags & (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_OOB);
}

/* MSG_TRUNC on a stream asks for no bytes (tcp(7)). */
static bool bad_buffer(const struct neat_socket *s, const void *data, size_t length, int flags) {
    return bad_pointer(data) && length && !(s->type == SOCK_STREAM && (flags & MSG_TRUNC));
}

/* A buffer that is none is found out when there is something to put into it. */
static ssize_t receive_nowhere(struct neat_socket *s, int fd, int flags) {
    char byte;
    ssize_t n = neat_recv(s, fd, &byte, 1, receive_flags(flags) | MSG_PEEK);
    return n > 0 ? -EFAULT : n;
}

/* Before something is sent to an address. A datagram takes an undecided socket where it goes; MSG_FASTOPEN
 * connects first (as with a server that has given us no cookie, RFC 7413 §3) and is then taken out of
 * *flags. 0 or -errno; the socket, held, in *out, NULL: the kernel's. */
int fd_get_to(int fd, int *flags, const struct sockaddr *address, socklen_t length,
              struct neat_socket **out) {
    bool undecided = false;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    int status = 0;
    if (s && address && bad_pointer(address)) {
        status = -EFAULT;
    } else if (s && address && s->type == SOCK_STREAM && (*flags & MSG_FASTOPEN)) {
        *flags &= ~MSG_FASTOPEN;
        status = connect(fd, address, length) < 0 ? -errno : 0;
    } else if (s && address && s->type == SOCK_DGRAM) {
        status = fd_decide_for_peer(s, fd, address, length);
    }
    if (s && undecided) {
        neat_put(s);
        s = status < 0 ? NULL : fd_get(fd);
    } else if (s && status < 0) {
        neat_put(s);
        s = NULL;
    }
    *out = s;
    return status;
}

NEAT_API ssize_t read(int fd, void *data, size_t length) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(read)(fd, data, length);
    if (!length)
        return received(s, 0);
    bool nowhere = bad_pointer(data);
    return received(s, nowhere ? receive_nowhere(s, fd, 0) : neat_recv(s, fd, data, cut_bytes(length), 0));
}

NEAT_API ssize_t write(int fd, const void *data, size_t length) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(write)(fd, data, length);
    return sent(s, bad_pointer(data) && length ? -EFAULT : neat_send(s, fd, data, cut_bytes(length), 0), 0);
}

/* Of readv(), writev() and their kin: 0, -EINVAL, -EFAULT. */
static int check_vector(const struct iovec *iov, int count) {
    if (count < 0 || count > MOST_PARTS)
        return -EINVAL;
    if (bad_pointer(iov) && count)
        return -EFAULT;
    return check_parts(iov, count, false);
}

static ssize_t read_parts(struct neat_socket *s, int fd, const struct iovec *iov, int count, int flags) {
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    int status = check_vector(iov, count);
    if (status < 0 || !neat_iov_bytes(iov, count))
        return status;
    return neat_recvmsg(s, fd, &message, flags);
}

static ssize_t write_parts(struct neat_socket *s, int fd, const struct iovec *iov, int count, int flags) {
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    int status = check_vector(iov, count);
    return status < 0 ? status : neat_sendmsg(s, fd, &message, flags);
}

NEAT_API ssize_t readv(int fd, const struct iovec *iov, int count) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(readv)(fd, iov, count);
    return received(s, read_parts(s, fd, iov, count, 0));
}

NEAT_API ssize_t writev(int fd, const struct iovec *iov, int count) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(writev)(fd, iov, count);
    return sent(s, write_parts(s, fd, iov, count, 0), 0);
}

/* The RWF_ flags that a socket takes (readv(2)), as flags of send and recv; or -EOPNOTSUPP. */
static int transfer_flags(int flags) {
    if (flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT))
        return -EOPNOTSUPP;
    return flags & RWF_NOWAIT ? MSG_DONTWAIT : 0;
}

NEAT_API ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags) {
    struct neat_socket *s = offset == -1 ? fd_get(fd) : NULL;
    if (!s)
        return libc(preadv2)(fd, iov, count, offset, flags);
    int how = transfer_flags(flags);
    return received(s, how < 0 ? how : read_parts(s, fd, iov, count, how));
}

NEAT_API ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags) {
    struct neat_socket *s = offset == -1 ? fd_get(fd) : NULL;
    if (!s)
        return libc(pwritev2)(fd, iov, count, offset, flags);
    int how = transfer_flags(flags);
    return sent(s, how < 0 ? how : write_parts(s, fd, iov, count, how), 0);
}

NEAT_API ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags) {
    return preadv2(fd, iov, count, offset, flags);
}

NEAT_API ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags) {
    return pwritev2(fd, iov, count, offset, flags);
}

NEAT_API ssize_t recvfrom(int fd, void *data, size_t length, int flags, struct sockaddr *restrict address,
                          socklen_t *restrict address_length) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(recvfrom)(fd, data, length, flags, address, address_length);
    if (bad_buffer(s, data, length, flags) ||
        (address && (bad_pointer(address) || bad_pointer(address_length))))
        return received(s, receive_nowhere(s, fd, flags));
    return received(s, neat_recvfrom(s, fd, data, cut_bytes(length), receive_flags(flags), address,
                                     address ? address_length : NULL));
}

NEAT_API ssize_t recv(int fd, void *data, size_t length, int flags) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(recv)(fd, data, length, flags);
    if (bad_buffer(s, data, length, flags))
        return received(s, receive_nowhere(s, fd, flags));
    return received(s, neat_recv(s, fd, data, cut_bytes(length), receive_flags(flags)));
}

NEAT_API ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *address,
                        socklen_t address_length) {
    struct neat_socket *s;
    int status = fd_get_to(fd, &flags, address, address_length, &s);
    if (status < 0)
        return result(status);
    if (!s)
        return libc(sendto)(fd, data, length, flags, address, address_length);
    if (bad_pointer(data) && length)
        return sent(s, -EFAULT, flags);
    return sent(s, neat_sendto(s, fd, data, cut_bytes(length), send_flags(flags), address, address_length),
                flags);
}

NEAT_API ssize_t send(int fd, const void *data, size_t length, int flags) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(send)(fd, data, length, flags);
    if (bad_pointer(data) && length)
        return sent(s, -EFAULT, flags);
    return sent(s, neat_send(s, fd, data, cut_bytes(length), send_flags(flags)), flags);
}
