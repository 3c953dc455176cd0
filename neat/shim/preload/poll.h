/* poll.c, for select.c. */
#ifndef NEAT_PRELOAD_POLL_H
#define NEAT_PRELOAD_POLL_H

#include <sys/resource.h>

#include "preload.h"

#define NOT_OURS INT32_MIN

/* poll() of descriptors of which some may be ours: how many are ready, -errno, or NOT_OURS: none is,
 * nothing was done. timeout_ns -1: none. mask may be NULL. */
int poll_mixed(struct pollfd *fds, nfds_t count, int64_t timeout_ns, const sigset_t *mask);

/* In ns; -1: none; -2: no valid time. */
static inline int64_t poll_limit(const struct timespec *timeout) {
    if (!timeout)
        return -1;
    if (bad_pointer(timeout) || timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)
        return -2;
    return timeout->tv_sec > INT32_MAX ? -1 : timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec;
}

/* More descriptors than this are an error to the kernel. */
static inline uint64_t fd_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 1024 : limit.rlim_cur;
}

#endif
