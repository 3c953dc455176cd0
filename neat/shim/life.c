/* How a socket ends: close(), and what it tells the replica. Its memory: refs.c. */
#include <unistd.h>

#include "readiness.h"
#include "setup.h"

/* Its only descriptor, which nobody else can have, is being closed, and no call is under way. */
static bool is_ending(struct neat_socket *s) {
    return neat_is_alone(s) && neat_flags_known(s) && neat_stage(s) == STAGE_CONNECTED;
}

/* Nothing is in its end of the pair, nor set on it, and nobody else waits there: then the next connection may
 * have it. The replica has the last word. */
static bool is_keepable(const struct neat_socket *s) {
    const struct neat_sock *shared = s->end.shared;
    return load(&s->descriptor.keepable) && !load(&s->descriptor.traced) &&
           !load(&s->descriptor.small_buffer) && !(load(&s->settings.options) & NEAT_OPT_LINGER) &&
           !(load(&shared->request) & NEAT_REQ_SHUT_RD) && !load(&shared->in_token) &&
           !neat_is_shown(&s->end);
}

/* The last descriptor goes: tell the replica what its hang-up cannot tell, or will tell later. Returns the
 * copy of its end of the pair that is kept, if it may `keep` one; NULL: none. */
static struct spare *announce(struct neat_socket *s, int fd, bool keep) {
    uint32_t wanted = NEAT_REQ_CLOSE;
    if (neat_has_copies(s) || neat_stage(s) != STAGE_CONNECTED || !endpoint_current(&s->end))
        return NULL;
    if (!is_ending(s))
        return NULL;
    struct spare *spare = NULL;
    uint64_t name;
    if (keep && is_keepable(s))
        spare = neat_spare_keep(s->end.segment, fd, load(&s->descriptor.nonblock), &name);
    if (spare) {
        store(&s->end.shared->kept, name);
        wanted |= NEAT_REQ_KEPT;
    }
    set_bits(&s->end.shared->request, wanted);
    neat_mark(&s->end);
    neat_ring(&s->end);            /* who hears it from us may hear the hang-up later */
    return spare;
}

static struct spare *leave(struct neat_socket *s, int fd, bool keep) {
    struct spare *spare = announce(s, fd, keep);
    neat_park(s, fd);
    return spare;
}

void neat_leave(struct neat_socket *s, int fd) {
    leave(s, fd, false);
}

/* Whether close() has to wait (SO_LINGER with a time). Not if another process may have a copy, or a thread is
 * inside a call: then this is not the connection's end. */
static bool lingers(struct neat_socket *s) {
    return (load(&s->settings.options) & NEAT_OPT_LINGER) && s->settings.linger_ms &&
           s->type == SOCK_STREAM && !neat_has_copies(s) && neat_flags_known(s) &&
           neat_stage(s) == STAGE_CONNECTED;
}

int neat_close(struct neat_socket *s, int fd) {
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);   /* what is kept is to be settled */
    struct spare *spare = leave(s, fd, true);
    bool wait = lingers(s);
    int status = libc(close)(fd) < 0 ? -errno : 0;
    if (spare)
        /* if they are not known another thread has forked: the child has a copy */
        neat_spare_settle(spare, s->end.segment, neat_flags_known(s));
    pthread_setcancelstate(cancel, NULL);
    if (wait)
        neat_linger(s);
    neat_undup(s);
    return status;
}
