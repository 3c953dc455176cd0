/* close, dup and their kin: the table follows what becomes of each number. Descriptors of our own (../own.c) are not there for the
 * application: closing one says EBADF, and a number that it asks for by name is made free. */
#include <sys/single_threaded.h>

#include "preload.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2u
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

NEAT_API int close(int fd) {
    if (neat_is_own(fd)) {
        errno = EBADF;
        return -1;
    }
    struct neat_socket *s = fd_leave(fd);
    epoll_forget(fd);
    return s ? (int)result(neat_close(s, fd)) : libc(close)(fd);
}

/* first..last without ours, as few calls as there are gaps. The first error is the result. */
static int close_around(unsigned first, unsigned last) {
    unsigned end = (unsigned)neat_own_end();
    for (unsigned fd = first; fd < end && fd <= last; fd++) {
        if (!neat_is_own((int)fd))
            continue;
        if (fd > first && libc(close_range)(first, fd - 1, 0) < 0)
            return -1;
        first = fd + 1;
    }
    return first <= last ? libc(close_range)(first, last, 0) : 0;
}

/* CLOSE_RANGE_UNSHARE gives the calling thread a table of its own. In a program of one thread that is what it has; else the others
 * still have what this one closes, so our table, which is one for all, stays as it is. */
NEAT_API int close_range(unsigned first, unsigned last, int flags) {
    bool apart = ((unsigned)flags & CLOSE_RANGE_UNSHARE) && !__libc_single_threaded;
    if (first > last || ((unsigned)flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) || ((unsigned)flags & CLOSE_RANGE_CLOEXEC))
        return libc(close_range)(first, last, flags);
    if (apart) {
        if (libc(close_range)(~0u, ~0u, flags) < 0)
            return -1;
        return close_around(first, last);
    }
    unsigned end = (unsigned)fd_end();
    for (unsigned fd = first; fd < end && fd <= last; fd++) {
        struct neat_socket *s = fd_leave((int)fd);
        if (s) {
            epoll_forget((int)fd);
            neat_close(s, (int)fd);
        }
    }
    end = (unsigned)epoll_end();
    for (unsigned fd = first; fd < end && fd <= last; fd++)
        epoll_forget((int)fd);
    return close_around(first, last);
}

NEAT_API void closefrom(int lowest) {
    close_range(lowest < 0 ? 0 : (unsigned)lowest, ~0u, 0);
}

/* dup() and F_DUPFD: `command` with `lowest`. */
int fd_copy(int fd, int command, int lowest) {
    if (neat_is_own(fd)) {
        errno = EBADF;
        return -1;
    }
    bool undecided;
    struct neat_socket *s = fd_hold(fd, &undecided);
    int copy = libc(fcntl)(fd, command, lowest);
    if (copy < 0 && errno == EMFILE && neat_spares_drop())
        copy = libc(fcntl)(fd, command, lowest);
    if (fd_fresh(copy) >= 0)
        epoll_copied(fd, copy);
    if (s) {
        if (copy >= 0)
            fd_enter(copy, neat_dup(s), undecided);
        fd_release(s, undecided);
    }
    return copy;
}

NEAT_API int dup(int fd) {
    return fd_copy(fd, F_DUPFD, 0);
}

/* `to` becomes a copy of `from`, which is open and not `to`. */
static int replace(int from, int to, int flags) {
    if (neat_is_own(to) && neat_move_own(to) < 0) {
        errno = EBUSY;
        return -1;
    }
    bool undecided, was = false;
    struct neat_socket *s = fd_hold(from, &undecided), *seen = fd_get_any(to, &was), *old;
    if (seen)
        neat_put(seen);
    epoll_forget(to);
    old = fd_leave(to);
    if (old)
        neat_leave(old, to);
    int copy = libc(dup3)(from, to, flags);
    if (copy >= 0)
        epoll_copied(from, copy);
    if (copy >= 0 && s)
        fd_enter(copy, neat_dup(s), undecided);
    if (s)
        fd_release(s, undecided);
    stdio_replace(copy);
    if (copy < 0 && old)
        fd_enter(to, old, was);
    else if (old)
        neat_undup(old);
    return copy;
}

static bool is_open(int fd) {
    return !neat_is_own(fd) && libc(fcntl)(fd, F_GETFD) >= 0;
}

NEAT_API int dup2(int from, int to) {
    if (neat_is_own(from)) {
        errno = EBADF;
        return -1;
    }
    if (from == to || to < 0 || !is_open(from))
        return libc(dup2)(from, to);
    return replace(from, to, 0);
}

NEAT_API int dup3(int from, int to, int flags) {
    if (neat_is_own(from)) {
        errno = EBADF;
        return -1;
    }
    if (from == to || to < 0 || (flags & ~O_CLOEXEC) || !is_open(from))
        return libc(dup3)(from, to, flags);
    return replace(from, to, flags);
}
