/* Time; sleeping on any descriptor, and how long; how long to spin, where that is affordable. */
#include <sched.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#include "base.h"

#define SPIN_NS 20000
#define SPIN_CPUS 4                /* fewer: who spins takes the processor from whom he waits for */

static int64_t spin_ns = -1;       /* not decided yet */
bool (*neat_restarts)(void);
bool neat_looks_first;

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
    while (libc(ppoll)(&entry, 1, timeout_ns < 0 ? NULL : &limit, NULL) < 0) {
        /* With a time limit Linux says EINTR all the same. */
        if (errno != EINTR || timeout_ns >= 0 || !load(&neat_restarts) || !neat_restarts())
            return -errno;
    }
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
    if (libc(getsockopt)(fd, SOL_SOCKET, name, &at, &length) < 0 || (at.tv_sec == 0 && at.tv_usec == 0))
        return -1;
    return (int64_t)at.tv_sec * 1000000000 + (int64_t)at.tv_usec * 1000;
}

/* NEAT_SPIN_US decides, else the number of processors that we may use. */
static int64_t decide_spinning(void) {
    const char *set = getenv("NEAT_SPIN_US");
    cpu_set_t cpus;
    if (set && *set)
        return strtoll(set, NULL, 10) > 0 ? strtoll(set, NULL, 10) * 1000 : 0;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) >= SPIN_CPUS ? SPIN_NS : 0;
}

int64_t neat_spin_ns(void) {
    if (load(&spin_ns) < 0)
        store(&spin_ns, decide_spinning());
    return load(&spin_ns);
}
