/* What the calls are named in programs that were built with _FORTIFY_SOURCE, and glibc's second names. A
 * buffer that is shorter than the caller says ends the program, as in libc (__chk_fail). */
#include <stdarg.h>

#include "preload.h"

__attribute__((noreturn)) void __chk_fail(void);

static void check(size_t length, size_t room) {
    if (length > room)
        __chk_fail();
}

NEAT_API ssize_t __read_chk(int fd, void *data, size_t length, size_t room) {
    check(length, room);
    return read(fd, data, length);
}

NEAT_API ssize_t __recv_chk(int fd, void *data, size_t length, size_t room, int flags) {
    check(length, room);
    return recv(fd, data, length, flags);
}

NEAT_API ssize_t __recvfrom_chk(int fd, void *data, size_t length, size_t room, int flags,
                                struct sockaddr *address, socklen_t *address_length) {
    check(length, room);
    return recvfrom(fd, data, length, flags, address, address_length);
}

NEAT_API int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room) {
    check(count, room / sizeof *fds);
    return poll(fds, count, timeout);
}

NEAT_API int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                         const sigset_t *mask, size_t room) {
    check(count, room / sizeof *fds);
    return ppoll(fds, count, timeout, mask);
}

/* Without a mode that they should have: glibc ends the program. */
static int checked(int flags) {
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE)
        __chk_fail();
    return flags;
}

NEAT_API int __open_2(const char *path, int flags) {
    return open(path, checked(flags));
}

NEAT_API int __open64_2(const char *path, int flags) {
    return open64(path, checked(flags));
}

NEAT_API int __openat_2(int directory, const char *path, int flags) {
    return openat(directory, path, checked(flags));
}

NEAT_API int __openat64_2(int directory, const char *path, int flags) {
    return openat64(directory, path, checked(flags));
}

/* The mode, whether it is there or not. */
#define OPENS(name, other) \
    NEAT_API int name(const char *path, int flags, ...) { \
        va_list values; \
        va_start(values, flags); \
        mode_t mode = va_arg(values, mode_t); \
        va_end(values); \
        return other(path, flags, mode); \
    }

OPENS(__open, open)
OPENS(__open64, open64)

NEAT_API int __pipe(int ends[2]) {
    return pipe(ends);
}

NEAT_API ssize_t __read(int fd, void *data, size_t length) {
    return read(fd, data, length);
}

NEAT_API ssize_t __write(int fd, const void *data, size_t length) {
    return write(fd, data, length);
}

NEAT_API ssize_t __send(int fd, const void *data, size_t length, int flags) {
    return send(fd, data, length, flags);
}

NEAT_API int __connect(int fd, const struct sockaddr *address, socklen_t length) {
    return connect(fd, address, length);
}

NEAT_API int __close(int fd) {
    return close(fd);
}

NEAT_API int __dup2(int fd, int onto) {
    return dup2(fd, onto);
}

NEAT_API int __fcntl(int fd, int command, ...) {
    va_list values;
    va_start(values, command);
    void *value = va_arg(values, void *);
    va_end(values);
    return fcntl(fd, command, value);
}

NEAT_API int __clone(int (*run)(void *), void *stack, int flags, void *argument, ...) {
    va_list values;
    va_start(values, argument);
    pid_t *parent = va_arg(values, pid_t *);
    void *storage = va_arg(values, void *);
    pid_t *child = va_arg(values, pid_t *);
    va_end(values);
    return clone(run, stack, flags, argument, parent, storage, child);
}

NEAT_API pid_t __vfork(void) {
    return vfork();
}

NEAT_API int __poll(struct pollfd *fds, nfds_t count, int timeout) {
    return poll(fds, count, timeout);
}

NEAT_API int __select(int count, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout) {
    return select(count, in, out, except, timeout);
}
