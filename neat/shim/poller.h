/* Pollers: waiting for many connections in shared memory. Read first: docs/contracts/readiness.md. */
#ifndef NEAT_POLLER_H
#define NEAT_POLLER_H

#include "readiness.h"

/* A poller's place in one segment: neat_channel.pollers[slot]. Nothing here is locked: the owner does
 * that. */
struct poller {
    struct poller *next;
    struct segment *segment;       /* one reference */
    uint32_t slot, number;         /* `number` is the owner's */
    /* Read end of a pipe: the replica, which has the other, writes a byte to wake us. */
    int bell;
    uint32_t rings;                /* bytes that may be in it */
    uint32_t count;                /* who took a socket and has not left it yet */
    void *owners[];                /* [nsock], by index: the owner's */
};

/* A place in `segment`. NULL: none is free, or the stack does not answer. */
struct poller *neat_poller_open(struct segment *segment);
/* `ours`: give the slot back; false in a forked child. */
void neat_poller_close(struct poller *poller, bool ours);
/* From now on it hears of this connection. False: that is over. The caller looks at its readiness after
 * this. */
bool neat_poller_take(struct poller *poller, const struct endpoint *end);
/* No longer. */
void neat_poller_leave(struct poller *poller, const struct view *view);
/* Take the event bits; `each` for each socket that has an owner. */
void neat_poller_harvest(struct poller *poller, void (*each)(void *context, void *owner), void *context);
void neat_poller_asleep(struct poller *poller);        /* before the last look */
void neat_poller_awake(struct poller *poller);
/* Its bell was heard: `hung_up` says whether the replica is gone. */
void neat_poller_heard(struct poller *poller, bool hung_up);

#endif
