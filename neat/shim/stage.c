/* Where a socket stands. A connect() comes about in the replica, and the first call that asks finds that
 * out. */
#include "object.h"

void neat_set_stage(struct neat_socket *s, enum stage stage) {
    store(&s->stage, (uint32_t)stage);
}

/* Caller holds `setup.lock`. */
uint32_t neat_settle(struct neat_socket *s) {
    if (load(&s->stage) == STAGE_CONNECTING && endpoint_current(&s->end) &&
        (load(&s->end.shared->status) & NEAT_ST_CONNECTED))
        neat_set_stage(s, STAGE_CONNECTED);
    return load(&s->stage);
}

/* A signal handler that closes a socket may have interrupted its own thread with `setup.lock` in hand: what
 * that finds out is as good. */
uint32_t neat_stage(struct neat_socket *s) {
    uint32_t stage = load(&s->stage);
    if (__builtin_expect(stage != STAGE_CONNECTING, 1) || pthread_mutex_trylock(&s->setup.lock))
        return stage;
    stage = neat_settle(s);
    pthread_mutex_unlock(&s->setup.lock);
    return stage;
}
