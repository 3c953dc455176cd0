/* Waiting on a socket: asleep inside a call, spinning, lingering in close(). */
#include <time.h>

#include "readiness.h"

#define LINGER_NS 200000           /* between two looks of a close() that waits; doubles up to */
#define LINGER_MOST_NS 10000000
#define LOOKS 16                   /* between two looks at the clock */

#if defined(__x86_64__)
#define relax() __builtin_ia32_pause()
#else
#define relax() __asm__ volatile("yield")
#endif

void neat_linger(const struct neat_socket *s) {
    int64_t deadline = neat_now() + (int64_t)s->settings.linger_ms * 1000000, pause = LINGER_NS;
    while (endpoint_current(&s->end) && !endpoint_lost(&s->end) && neat_now() < deadline) {
        uint32_t state = __atomic_load_n(&s->end.shared->tcp_state, __ATOMIC_RELAXED);
        bool text = load(&s->end.shared->tx_tail) != load(&s->end.shared->tx_head);
        if (!text && state != NEAT_TCP_FIN_WAIT_1 && state != NEAT_TCP_CLOSING &&
            state != NEAT_TCP_LAST_ACK &&
            state != NEAT_TCP_ESTABLISHED && state != NEAT_TCP_CLOSE_WAIT)
            return;
        nanosleep(&(struct timespec){0, pause}, NULL);
        pause = pause * 2 < LINGER_MOST_NS ? pause * 2 : LINGER_MOST_NS;
    }
}

bool neat_spin(const struct endpoint *end) {
    const struct neat_sock *shared = end->shared;
    uint32_t status = load(&shared->status);
    int64_t deadline = neat_now() + neat_spin_ns();
    do {
        for (int i = 0; i < LOOKS; i++) {
            if (load(&shared->rx_tail) != load(&shared->rx_head) || load(&shared->status) != status)
                return true;
            relax();
        }
    } while (neat_now() < deadline);
    return false;
}

/* A thread that sleeps on a connection's descriptor is counted meanwhile. */
struct sleeper {
    struct neat_socket *s;
    bool counted;
};

static void wake(struct sleeper *sleeper) {
    if (sleeper->counted)
        neat_wait_end(&sleeper->s->end);
}

/* pthread_cancel(3): the thread leaves its call. */
static void cancelled_in_sleep(void *argument) {
    struct sleeper *sleeper = argument;
    wake(sleeper);
    neat_put(sleeper->s);
}

int neat_sleep(struct neat_socket *s, int fd, short events, int64_t timeout_ns) {
    struct sleeper sleeper = {s, s->type == SOCK_STREAM && s->end.shared};
    int got = events;
    pthread_cleanup_push(cancelled_in_sleep, &sleeper);
    if (sleeper.counted)
        neat_wait_begin(s->end.shared);
    if (!sleeper.counted ||
        !(load(&s->end.shared->status) & (NEAT_ST_ERROR | NEAT_ST_CLOSED | NEAT_ST_WRCLOSED)))
        got = neat_poll(fd, events, timeout_ns);
    pthread_cleanup_pop(0);
    wake(&sleeper);
    return got;
}
