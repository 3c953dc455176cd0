/* dup() and its kin: the table follows what each number becomes. Descriptors of our own (../own.c) are not
 * there for the application: copying one says EBADF, and a number that it asks for by name is made free. */
#include "../setup.h"
#include "preload.h"

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

static bool is_open_number(int fd) {
    return !neat_is_own(fd) && libc(fcntl)(fd, F_GETFD) >= 0;
}

NEAT_API int dup2(int from, int to) {
    if (neat_is_own(from)) {
        errno = EBADF;
        return -1;
    }
    if (from == to || to < 0 || !is_open_number(from))
        return libc(dup2)(from, to);
    return replace(from, to, 0);
}

NEAT_API int dup3(int from, int to, int flags) {
    if (neat_is_own(from)) {
        errno = EBADF;
        return -1;
    }
    if (from == to || to < 0 || (flags & ~O_CLOEXEC) || !is_open_number(from))
        return libc(dup3)(from, to, flags);
    return replace(from, to, flags);
}
