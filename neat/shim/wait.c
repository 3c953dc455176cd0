/* Sleeping on a descriptor, and how long. */
#include <fcntl.h>
#include <sys/time.h>
#include <time.h>

#include "internal.h"

int64_t neat_now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

int neat_poll(int fd, short events, int64_t timeout_ns) {
    struct pollfd entry = {.fd = fd, .events = events};
    struct timespec limit = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    if (timeout_ns)
        tally(waits);
    if (ppoll(&entry, 1, timeout_ns < 0 ? NULL : &limit, NULL) < 0)
        return -errno;
    return entry.revents;
}

int neat_wait(int fd, short events, int64_t timeout_ns) {
    int got = neat_poll(fd, events, timeout_ns);
    return got > 0 ? 1 : got;
}

/* The descriptor carries SO_RCVTIMEO and SO_SNDTIMEO itself: so its copies in other processes share them. */
int64_t neat_timeout(int fd, int name) {
    struct timeval at = {0};
    socklen_t length = sizeof at;
    if (getsockopt(fd, SOL_SOCKET, name, &at, &length) < 0 || (at.tv_sec == 0 && at.tv_usec == 0))
        return -1;
    return (int64_t)at.tv_sec * 1000000000 + (int64_t)at.tv_usec * 1000;
}

bool neat_nonblocking(int fd, int flags) {
    return (flags & MSG_DONTWAIT) || (fcntl(fd, F_GETFL) & O_NONBLOCK);
}
