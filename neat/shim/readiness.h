/* What is ready, and who waits for it. Read first: docs/contracts/readiness.md, which has the invariants. */
#ifndef NEAT_READINESS_H
#define NEAT_READINESS_H

#include "object.h"

/* signal.c: what a descriptor shows, and how the replica is told. */
void neat_mark(const struct endpoint *end);
void neat_ring(const struct endpoint *end);
/* The replica is to tell all who wait, as if something had changed. */
void neat_notify(const struct endpoint *end);
bool neat_take_token(const struct endpoint *end, int fd, int flags, bool stray);
/* NEWS: nothing was looked at, memory says more. */
enum neat_message { NEAT_HUNG_UP, NEAT_TOKEN_THERE, NEAT_TOKEN_TAKEN, NEAT_NEWS };
/* One of those, or -errno. */
int neat_look_for_message(struct neat_socket *s, int fd, int flags);
int neat_await_message(struct neat_socket *s, int fd, int flags, bool partial, uint64_t seen);
int neat_fill(struct neat_socket *s, const struct endpoint *end, int fd, bool waits);
int neat_fill_first(struct neat_socket *s, int fd);
/* The locks of these names, and what a holder that was killed has left half done on the descriptor. As
 * neat_lock(). */
int neat_lock_rx(const struct endpoint *end, int fd);
int neat_lock_tx(const struct endpoint *end, int fd);

/* readiness.c */
/* One connection, as somebody who waits for it sees it. The caller keeps its segment. */
struct view {
    struct neat_sock *shared;      /* NULL: none */
    uint32_t index, generation;
    uint32_t tx_size, rx_size;
    const uint32_t *over;          /* neat_channel.over of its segment */
    bool lost;                     /* endpoint.lost */
    bool polled;                   /* on its descriptor: room that is awaited must show there */
    uint64_t tail, head;           /* rx_tail, tx_head, status and request when they were last looked at */
    uint32_t status, request;
};

void neat_view_set(const struct endpoint *end, bool polled, struct view *out);
/* EPOLL* bits that hold now, as Linux's tcp_poll. When EPOLLOUT is wanted and does not hold, its coming
 * will be told. */
uint32_t neat_readiness(const struct view *view, struct neat_socket *s, int fd, uint32_t wanted);
/* What is new since the last look: EPOLL* bits that may count as an edge. */
uint32_t neat_edges(struct view *view);

/* Somebody waits on its descriptor: the replica sees to it that this shows what holds. */
static inline bool neat_is_shown(const struct endpoint *end) {
    return load(&end->shared->waiters) >= NEAT_WAITERS_UNSEEN;
}

/* A poller hears of it: then memory alone says what there is, and a call that may not wait is over. */
static inline bool neat_is_polled(const struct endpoint *end) {
    return (load(&end->shared->waiters) & NEAT_WAITERS_POLLERS) && !segment_over(end->segment);
}

/* This thread is going to sleep on the descriptor: how many do, this one included. It looks at the socket
 * object after this. */
static inline uint32_t neat_wait_begin(struct neat_sock *shared) {
    return (uint32_t)(add(&shared->waiters, NEAT_WAITER) >> 32);
}
static inline void neat_wait_end(const struct endpoint *end) {
    if (endpoint_current(end))
        sub(&end->shared->waiters, NEAT_WAITER);
}

/* Somebody may wait on its descriptor who does not count himself: the kernel's epoll, a program without
 * us. It shows what holds after this. */
void neat_wait_unseen(struct neat_socket *s, int fd);
/* Nobody does, if this process can know that. */
void neat_wait_seen(struct neat_socket *s, int fd);

/* A call of the application has changed what is ready: its pollers look. Caller marks and rings after
 * this. */
void neat_changed(const struct endpoint *end);

/* sleep.c */
/* neat_poll() in a call on `s`, which the caller holds: a thread that is cancelled in its sleep
 * (pthread_cancel(3)) gives it back. */
int neat_sleep(struct neat_socket *s, int fd, short events, int64_t timeout_ns);
/* close() with SO_LINGER: until the peer has acknowledged all, the FIN too, or the time is over. */
void neat_linger(const struct neat_socket *s);
bool neat_spin(const struct endpoint *end);    /* a little while, for something to arrive: did it? */

#endif
