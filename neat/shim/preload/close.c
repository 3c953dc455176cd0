/* close() and its kin: the table follows what becomes of each number. Descriptors of our own (../own.c)
 * are not there for the application: closing one says EBADF. */
#include <sys/single_threaded.h>

#include "preload.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2u
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

/* CLOSE_RANGE_UNSHARE gives the calling thread a table of its own. In a program of one thread that is what
 * it has; else the others still have what this one closes, so our table, which is one for all, stays as it
 * is. */
NEAT_API int close_range(unsigned first, unsigned last, int flags) {
    bool apart = ((unsigned)flags & CLOSE_RANGE_UNSHARE) && !__libc_single_threaded;
    if (first > last || ((unsigned)flags & ~CLOSE_RANGE_UNSHARE))
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
