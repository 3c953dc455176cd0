/* Fcntl and ioctl. What is about the number or the open file passes: a NEaT socket's descriptor has both
 * for real. What is about the connection is answered from its rings. */
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>

#include "../readiness.h"
#include "preload.h"

/* Interface ioctls of any Internet socket (netdevice(7), arp(7), rtentry), which say nothing about the
 * socket itself. */
#define SIOC_DEVICES_FIRST 0x890B
#define SIOC_DEVICES_LAST 0x89FF

static bool takes_integer(int command) {
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
}

/* It stays set on the file when the connection is over; and the signals that it asks for come from the
 * descriptor. */
static void leave_trace(struct neat_socket *s, int fd) {
    store(&s->descriptor.traced, 1);
    add(&s->descriptor.kernel_waits, 1);
    neat_wait_unseen(s, fd);
}

/* F_SETFL, with the cache of O_NONBLOCK kept right: another thread that reads it in between sees the old
 * or the new one. */
static int set_flags(int fd, void *argument) {
    bool undecided;
    struct neat_socket *s = fd_hold(fd, &undecided);
    int status = libc(fcntl)(fd, F_SETFL, argument);
    if (s) {
        if ((uintptr_t)argument & ~(uintptr_t)(O_NONBLOCK | O_ACCMODE))
            leave_trace(s, fd);
        if (status == 0)
            store(&s->descriptor.nonblock, ((uintptr_t)argument & O_NONBLOCK) != 0);
        fd_release(s, undecided);
    }
    return status;
}

/* Who is signalled, and how. */
static bool sets_owner(int command) {
    return command == F_SETOWN || command == F_SETOWN_EX || command == F_SETSIG;
}

static void set_owner(int fd) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return;
    leave_trace(s, fd);
    neat_put(s);
}

static int control(int fd, int command, void *argument) {
    if (neat_is_own(fd)) {
        errno = EBADF;
        return -1;
    }
    if (takes_integer(command))
        return fd_copy(fd, command, (int)(intptr_t)argument);
    if (command == F_SETFL && fd_any())
        return set_flags(fd, argument);
    if (sets_owner(command) && fd_any())
        set_owner(fd);
    return libc(fcntl)(fd, command, argument);
}

/* Every argument is read as a pointer: as libc does, since the kernel takes a long. */
NEAT_API int fcntl(int fd, int command, ...) {
    va_list values;
    va_start(values, command);
    void *argument = va_arg(values, void *);
    va_end(values);
    return control(fd, command, argument);
}

NEAT_API int fcntl64(int fd, int command, ...) {
    va_list values;
    va_start(values, command);
    void *argument = va_arg(values, void *);
    va_end(values);
    return control(fd, command, argument);
}

/* By a kernel socket made for it. */
static int ask_kernel_socket(unsigned long request, void *argument) {
    int fd = libc(socket)(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int status = libc(ioctl)(fd, request, argument);
    status = status < 0 ? -errno : status;
    libc(close)(fd);
    return status;
}

static int set_nonblocking(struct neat_socket *s, int fd, const int *on) {
    int status = libc(ioctl)(fd, FIONBIO, on);
    if (status < 0)
        return -errno;
    store(&s->descriptor.nonblock, *on != 0);
    return status;
}

/* tcp(7), udp(7): what a listener is asked for is EINVAL, what UDP does not know ENOTTY. */
static int count_bytes(struct neat_socket *s, int *out, int (*count)(struct neat_socket *)) {
    if (load(&s->stage) == STAGE_LISTENING)
        return -EINVAL;
    if (!out)
        return -EFAULT;
    *out = s->type == SOCK_STREAM && neat_stage(s) != STAGE_CONNECTED ? 0 : count(s);
    return 0;
}

static int at_mark(struct neat_socket *s, int *out) {
    if (s->type != SOCK_STREAM)
        return -ENOTTY;
    if (!out)
        return -EFAULT;
    *out = 0;                      /* there is no urgent data */
    return 0;
}

static int socket_ioctl(struct neat_socket *s, int fd, unsigned long request, void *argument) {
    switch (request) {
    case FIONREAD:
        return count_bytes(s, argument, neat_inq);
    case TIOCOUTQ:
        return count_bytes(s, argument, neat_outq);
    case SIOCATMARK:
        return at_mark(s, argument);
    case FIONBIO:
        return set_nonblocking(s, fd, argument);
    case FIOASYNC: case FIOSETOWN: case SIOCSPGRP:
        leave_trace(s, fd);
        /* fallthrough */
    case FIOCLEX: case FIONCLEX: case FIOGETOWN: case SIOCGPGRP:
        return libc(ioctl)(fd, request, argument) < 0 ? -errno : 0;
    case SIOCGSTAMP_OLD: case SIOCGSTAMPNS_OLD:
        return -ENOENT;            /* no packet was stamped, as SO_TIMESTAMP was never set */
    case SIOCOUTQNSD:
        log_refused(NEAT_REFUSED_IOCTL, 0, (int)request);
        return -ENOTTY;
    default:
        if (request >= SIOC_DEVICES_FIRST && request <= SIOC_DEVICES_LAST)
            return ask_kernel_socket(request, argument);
        /* A unix socket answers as any socket: ENOTTY */
        return libc(ioctl)(fd, request, argument) < 0 ? -errno : 0;
    }
}

NEAT_API int ioctl(int fd, unsigned long request, ...) {
    va_list values;
    va_start(values, request);
    void *argument = va_arg(values, void *);
    va_end(values);
    if (neat_is_own(fd)) {
        errno = EBADF;
        return -1;
    }
    request = (unsigned)request;   /* the kernel takes 32 bits; programs pass an int with its sign */
    bool undecided;
    struct neat_socket *s = fd_hold(fd, &undecided);
    if (!s)
        return libc(ioctl)(fd, request, argument);
    int status;
    if (!undecided)
        status = socket_ioctl(s, fd, request, argument);
    else if (request == FIONBIO && argument)
        status = set_nonblocking(s, fd, argument);
    else
        status = libc(ioctl)(fd, request, argument) < 0 ? -errno : 0;
    fd_release(s, undecided);
    return (int)result(status);
}
