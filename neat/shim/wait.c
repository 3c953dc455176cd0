/* Sleeping on a descriptor, and how long; spinning, where that is affordable. */
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#include "internal.h"

#define SPIN_NS 20000
#define SPIN_CPUS 4                /* fewer: who spins takes the processor from whom he waits for */
#define LINGER_NS 200000           /* between two looks of a close() that waits; doubles up to */
#define LINGER_MOST_NS 10000000
#define LOOKS 16                   /* between two looks at the clock */

#if defined(__x86_64__)
#define relax() __builtin_ia32_pause()
#else
#define relax() __asm__ volatile("yield")
#endif

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

/* A new generation each time that another process may have got descriptors of ours. */
static uint32_t flags_generation = 1;

void neat_flags_shared(void) {
    add(&flags_generation, 1);
}

uint32_t neat_flags_now(void) {
    return load(&flags_generation);
}

void neat_flags_born(struct neat_socket *s, bool nonblock, uint32_t now) {
    store(&s->nonblock, (uint32_t)nonblock);
    store(&s->flags_known, now);
}

bool neat_flags_known(const struct neat_socket *s) {
    return load(&s->flags_known) == load(&flags_generation);
}

void neat_linger(const struct neat_socket *s) {
    int64_t deadline = neat_now() + (int64_t)s->settings.linger_ms * 1000000, pause = LINGER_NS;
    while (endpoint_current(&s->end) && !endpoint_lost(&s->end) && neat_now() < deadline) {
        uint32_t state = __atomic_load_n(&s->end.shared->tcp_state, __ATOMIC_RELAXED);
        bool text = load(&s->end.shared->tx_tail) != load(&s->end.shared->tx_head);
        if (!text && state != NEAT_TCP_FIN_WAIT_1 && state != NEAT_TCP_CLOSING && state != NEAT_TCP_LAST_ACK &&
            state != NEAT_TCP_ESTABLISHED && state != NEAT_TCP_CLOSE_WAIT)
            return;
        nanosleep(&(struct timespec){0, pause}, NULL);
        pause = pause * 2 < LINGER_MOST_NS ? pause * 2 : LINGER_MOST_NS;
    }
}

bool neat_nonblocking(const struct neat_socket *s, int fd, int flags) {
    if (flags & MSG_DONTWAIT)
        return true;
    return neat_flags_known(s) ? load(&s->nonblock) : (libc(fcntl)(fd, F_GETFL) & O_NONBLOCK) != 0;
}

/* NEAT_SPIN_US decides, else the number of processors that we may use. */
static int64_t decide(void) {
    const char *set = getenv("NEAT_SPIN_US");
    cpu_set_t cpus;
    if (set && *set)
        return strtoll(set, NULL, 10) > 0 ? strtoll(set, NULL, 10) * 1000 : 0;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) >= SPIN_CPUS ? SPIN_NS : 0;
}

bool neat_spins(void) {
    if (load(&spin_ns) < 0)
        store(&spin_ns, decide());
    return load(&spin_ns) > 0;
}

bool neat_spin(const struct endpoint *end) {
    const struct neat_sock *shared = end->shared;
    uint32_t status = load(&shared->status);
    int64_t deadline = neat_now() + load(&spin_ns);
    do {
        for (int i = 0; i < LOOKS; i++) {
            if (load(&shared->rx_tail) != load(&shared->rx_head) || load(&shared->status) != status)
                return true;
            relax();
        }
    } while (neat_now() < deadline);
    return false;
}
