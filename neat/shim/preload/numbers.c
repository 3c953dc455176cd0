/* Calls of libc that only make descriptors, none of which is ours: a number that the kernel gives out is one
 * that nobody had, whatever the table still says of it (table.c). Calls that may make one of ours are in
 * other families.
 *
 * * What libc opens for itself (fopen, opendir) does not pass here: its numbers reach the program by fileno()
 * only.
 */
#include "preload.h"

#define GIVES(name, parameters, arguments) \
    NEAT_API int name parameters { \
        return fd_fresh(libc(name) arguments); \
    }

/* Their mode is read whether it is there or not: as the kernel does. */
#define OPENS(name, parameters, last, ...) \
    NEAT_API int name parameters { \
        va_list values; \
        va_start(values, last); \
        mode_t mode = va_arg(values, mode_t); \
        va_end(values); \
        return fd_fresh(libc(name)(__VA_ARGS__, mode)); \
    }

OPENS(open, (const char *path, int flags, ...), flags, path, flags)
OPENS(open64, (const char *path, int flags, ...), flags, path, flags)
OPENS(openat, (int directory, const char *path, int flags, ...), flags, directory, path, flags)
OPENS(openat64, (int directory, const char *path, int flags, ...), flags, directory, path, flags)
GIVES(creat, (const char *path, mode_t mode), (path, mode))
GIVES(creat64, (const char *path, mode_t mode), (path, mode))
GIVES(mkstemp, (char *path), (path))
GIVES(mkstemp64, (char *path), (path))
GIVES(mkostemp, (char *path, int flags), (path, flags))
GIVES(mkostemp64, (char *path, int flags), (path, flags))
GIVES(shm_open, (const char *name, int flags, mode_t mode), (name, flags, mode))
GIVES(memfd_create, (const char *name, unsigned flags), (name, flags))
GIVES(posix_openpt, (int flags), (flags))
GIVES(eventfd, (unsigned count, int flags), (count, flags))
GIVES(timerfd_create, (clockid_t clock, int flags), (clock, flags))
GIVES(inotify_init, (void), ())
GIVES(inotify_init1, (int flags), (flags))

/* With a descriptor it changes that one. */
NEAT_API int signalfd(int fd, const sigset_t *mask, int flags) {
    int made = libc(signalfd)(fd, mask, flags);
    return fd < 0 ? fd_fresh(made) : made;
}

int fds_fresh(int status, const int ends[2]) {
    if (status == 0) {
        fd_fresh(ends[0]);
        fd_fresh(ends[1]);
    }
    return status;
}

NEAT_API int pipe(int ends[2]) {
    return fds_fresh(libc(pipe)(ends), ends);
}

NEAT_API int pipe2(int ends[2], int flags) {
    return fds_fresh(libc(pipe2)(ends, flags), ends);
}

NEAT_API int socketpair(int family, int type, int protocol, int ends[2]) {
    return fds_fresh(libc(socketpair)(family, type, protocol, ends), ends);
}
