/* sendmsg(), recvmsg(), and many of them at once. */
#include <limits.h>
#include <time.h>

#include "../data.h"
#include "preload.h"

#define MOST_PARTS 1024            /* UIO_MAXIOV; also the most messages at once */

/* A message header that can be used. Linux cuts a name that is longer than any address, and wants no
 * negative length. */
static int check_header(const struct msghdr *message, bool discard) {
    if (bad_pointer(message))
        return -EFAULT;
    if (message->msg_iovlen > MOST_PARTS)
        return -EMSGSIZE;
    if (message->msg_name && (int)message->msg_namelen < 0)
        return -EINVAL;
    if (message->msg_iovlen && bad_pointer(message->msg_iov))
        return -EFAULT;
    return check_parts(message->msg_iov, (long)message->msg_iovlen, discard);
}

/* May it be sent? A stream looks at SOL_SOCKET's only (cmsg(3)). */
static bool takes_control(const struct neat_socket *s, const struct cmsghdr *c) {
    if (c->cmsg_level == SOL_SOCKET)
        return c->cmsg_type == SCM_RIGHTS || c->cmsg_type == SCM_CREDENTIALS;    /* which mean nothing here */
    /* The stack has one address, so it is the one to send from. */
    return s->type == SOCK_STREAM || (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) ||
           (s->family == AF_INET6 && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO);
}

static int check_control(const struct neat_socket *s, const struct msghdr *message) {
    const char *end = (const char *)message->msg_control + message->msg_controllen;
    if (bad_pointer(message->msg_control))
        return -EFAULT;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR((struct msghdr *)message, c)) {
        if (c->cmsg_len < sizeof *c || c->cmsg_len > (size_t)(end - (const char *)c))
            return -EINVAL;
        if (takes_control(s, c))
            continue;
        log_refused(NEAT_REFUSED_CONTROL, c->cmsg_level, c->cmsg_type);
        return -EINVAL;
    }
    return 0;
}

static ssize_t send_message(struct neat_socket *s, int fd, const struct msghdr *message, int flags) {
    int status = check_header(message, false);
    if (status < 0)
        return status;
    struct msghdr plain = *message;
    if (plain.msg_controllen)
        status = check_control(s, message);
    plain.msg_control = NULL;
    plain.msg_controllen = 0;
    return status < 0 ? status : neat_sendmsg(s, fd, &plain, send_flags(flags));
}

static ssize_t receive_message(struct neat_socket *s, int fd, struct msghdr *message, int flags) {
    int status = check_header(message, s->type == SOCK_STREAM && (flags & MSG_TRUNC));
    if (status < 0)
        return status;
    socklen_t kept = message->msg_namelen;
    ssize_t n = neat_recvmsg(s, fd, message, receive_flags(flags));
    if (n >= 0)
        message->msg_flags |= flags & MSG_CMSG_CLOEXEC;
    if (!message->msg_name)
        message->msg_namelen = kept;
    return n;
}

NEAT_API ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    struct neat_socket *s;
    int status = fd_get_to(fd, &flags, bad_pointer(message) ? NULL : message->msg_name,
                            bad_pointer(message) ? 0 : message->msg_namelen, &s);
    if (status < 0)
        return result(status);
    if (!s) {
        adopt_passed(message);
        return libc(sendmsg)(fd, message, flags);
    }
    return sent(s, send_message(s, fd, message, flags), flags);
}

NEAT_API ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    struct neat_socket *s = fd_get(fd);
    if (!s) {
        ssize_t n = libc(recvmsg)(fd, message, flags);
        if (n >= 0)
            adopt_received(message);
        return n;
    }
    ssize_t n = receive_message(s, fd, message, flags);
    neat_put(s);
    return result(n);
}

/* An error after the first message is not told: whoever goes on meets it again (sendmmsg(2)). */
NEAT_API int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    struct neat_socket *s;
    const struct msghdr *first = !bad_pointer(messages) && count ? &messages[0].msg_hdr : NULL;
    int status = fd_get_to(fd, &flags, first ? first->msg_name : NULL, first ? first->msg_namelen : 0, &s);
    if (status < 0)
        return (int)result(status);
    if (!s) {
        for (unsigned i = 0; messages && i < count; i++)
            adopt_passed(&messages[i].msg_hdr);
        return libc(sendmmsg)(fd, messages, count, flags);
    }
    unsigned done = 0;
    ssize_t n = bad_pointer(messages) && count ? -EFAULT : 0;
    for (count = count < MOST_PARTS ? count : MOST_PARTS; n >= 0 && done < count;) {
        n = send_message(s, fd, &messages[done].msg_hdr, flags);
        if (n < 0)
            break;
        messages[done].msg_len = (unsigned)n;
        size_t whole = neat_iov_bytes(messages[done].msg_hdr.msg_iov, (int)messages[done].msg_hdr.msg_iovlen);
        done++;
        if ((size_t)n < whole)
            break;
    }
    return (int)sent(s, done ? (ssize_t)done : n, flags);
}

/* The time that is left until `deadline` goes back to the caller. False: none. */
static bool time_left(struct timespec *timeout, int64_t deadline) {
    int64_t left = deadline - neat_now();
    if (left < 0)
        left = 0;
    timeout->tv_sec = left / 1000000000;
    timeout->tv_nsec = left % 1000000000;
    return left > 0;
}

/* As Linux: the timeout is looked at after each message only (recvmmsg(2), BUGS), and an error after the
 * first is kept for the next call. */
static ssize_t receive_many(struct neat_socket *s, int fd, struct mmsghdr *messages, unsigned count,
                            int flags, struct timespec *timeout) {
    int64_t deadline = 0;
    unsigned done = 0;
    ssize_t n = 0;
    if (timeout) {
        if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)
            return -EINVAL;
        deadline = timeout->tv_sec > INT_MAX ? INT64_MAX
                                             : neat_now() + timeout->tv_sec * 1000000000 + timeout->tv_nsec;
    }
    if (bad_pointer(messages) && count)
        return -EFAULT;
    for (count = count < MOST_PARTS ? count : MOST_PARTS; done < count;) {
        n = receive_message(s, fd, &messages[done].msg_hdr, flags & ~MSG_WAITFORONE);
        if (n < 0)
            break;
        messages[done++].msg_len = (unsigned)n;
        if (flags & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
        if (timeout && !time_left(timeout, deadline))
            break;
    }
    if (n < 0 && done && n != -EAGAIN)
        store(&s->late_error, (uint32_t)-n);
    return done || n >= 0 ? (ssize_t)done : n;
}

NEAT_API int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
    struct neat_socket *s = fd_get(fd);
    if (!s) {
        int received = libc(recvmmsg)(fd, messages, count, flags, timeout);
        for (int i = 0; i < received; i++)
            adopt_received(&messages[i].msg_hdr);
        return received;
    }
    ssize_t n = receive_many(s, fd, messages, count, flags, timeout);
    neat_put(s);
    return (int)result(n);
}
