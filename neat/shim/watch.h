/* Pollers: waiting for many sockets in shared memory. Read first: ARCHITECTURE.md, "Pollers"; watch.c has the invariants. */
#ifndef NEAT_WATCH_H
#define NEAT_WATCH_H

#include "internal.h"

/* One socket, as a poller sees it. The segment lives as long as the poller's place in it. */
struct watched {
    struct neat_sock *shared;      /* NULL: none */
    uint32_t index, generation;
    uint32_t tx_size, rx_size;
    const uint32_t *over;          /* neat_channel.over of its segment */
    bool lost;                     /* endpoint.lost; or its descriptor alone says that it is reset */
    bool polled;                   /* it is on its descriptor: what is awaited must show there */
    uint64_t tail, head;           /* rx_tail, tx_head, status and request when they were last looked at */
    uint32_t status, request;
};

/* A poller's place in one segment: neat_channel.pollers[slot]. Nothing here is locked: the owner does that. */
struct watcher {
    struct watcher *next;
    struct segment *segment;       /* one reference */
    uint32_t slot, number;         /* `number` is the owner's */
    int bell;                      /* read end of a pipe: the replica, which has the other, writes a byte to wake us */
    uint32_t rings;                /* bytes that may be in it */
    uint32_t low, high;            /* words of `mask` that may have bits: low <= i < high */
    uint32_t count;                /* who took a socket and has not left it yet */
    uint64_t mask[NEAT_MAX_SOCKS / 64];        /* the sockets that are ours */
    void *owners[];                /* [nsock], by index: what the owner gave */
};

/* A place in `segment`. NULL: none is free, or the stack does not answer. */
struct watcher *neat_watcher_open(struct segment *segment);
/* `ours`: give the slot back; false in a forked child. */
void neat_watcher_close(struct watcher *watcher, bool ours);
/* Watch a connection: from now on it signals us. False: it is somebody else's. The caller looks at its readiness after this. */
bool neat_watcher_take(struct watcher *watcher, const struct endpoint *end, void *owner, struct watched *out);
/* Watch it no longer: readiness is told on the descriptor again. */
/* `unheard`: nobody waits on its descriptor. */
void neat_watcher_leave(struct watcher *watcher, struct watched *watched, void *owner, bool unheard);
/* A bit of it was taken though it is not ours any more: it goes to whoever it is meant for. `owner` still has to leave. */
void neat_watcher_lost(struct watcher *watcher, const struct watched *watched, const void *owner);
/* The same for a socket that stays on its descriptor. The caller keeps the segment. */
void neat_watched_set(const struct endpoint *end, bool polled, struct watched *out);
/* Whether it is still ours. */
bool neat_watcher_has(const struct watcher *watcher, const struct watched *watched);
/* Take the event bits of our sockets; `each` for each of them. */
void neat_watcher_harvest(struct watcher *watcher, void (*each)(void *context, void *owner), void *context);
void neat_watcher_asleep(struct watcher *watcher);     /* before the last look */
void neat_watcher_awake(struct watcher *watcher);
/* Its bell was heard: `hung_up` says whether the replica is gone. */
void neat_watcher_heard(struct watcher *watcher, bool hung_up);

/* EPOLL* bits that hold now, as Linux's tcp_poll. When EPOLLOUT is wanted and does not hold, its coming will be signalled. */
uint32_t neat_readiness(const struct watched *watched, struct neat_socket *s, int fd, uint32_t wanted);
/* What is new since the last look: EPOLL* bits that may count as an edge. */
uint32_t neat_edges(struct watched *watched);

/* Take a socket off whatever poller has it, here or in another process, because it is about to be waited for on its descriptor. */
void neat_unwatch(struct neat_socket *s, int fd);

/* Its state was changed by a call of the application: whoever watches it must look. Caller marks and rings after this. */
void neat_watch_poke(const struct endpoint *end);

/* Whether its descriptor is silent, though its replica lives. */
static inline bool neat_is_watched(const struct endpoint *end) {
    return end->shared && load(&end->shared->watcher) && !segment_over(end->segment);
}

/* Whether it is told to a poller that works: then the rings alone say what there is, and a call that may not wait is over. */
static inline bool neat_is_heard(const struct endpoint *end) {
    return neat_is_watched(end) && load(&end->shared->watcher) != NEAT_NOBODY_YET;
}

#endif
