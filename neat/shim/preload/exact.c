/* What the kernel says of a descriptor of ours, made exact: a unix socket's answer differs from TCP's in
 * details, and a token may be there of which the bytes are taken already. */
#include "exact.h"

#include "../data.h"
#include "../readiness.h"
#include "../setup.h"

#define MANY 32
#define INPUT (POLLIN | POLLRDNORM)
#define OUTPUT (POLLOUT | POLLWRNORM)
#define DEAD (INPUT | OUTPUT | POLLRDHUP | POLLERR | POLLHUP)

/* What holds of a connection whatever its descriptor says. Room that is wanted and not there makes the
 * descriptor unwritable. */
static short readiness(struct neat_socket *s, int fd, short wanted) {
    struct view view;
    if (!s->end.shared)
        return 0;
    neat_view_set(&s->end, true, &view);
    return (short)neat_readiness(&view, s, fd, (uint32_t)(unsigned short)wanted);
}

short known_events(struct neat_socket *s, int fd, short wanted) {
    if (s->type == SOCK_DGRAM)
        return neat_datagram_events(s);
    switch (load(&s->stage)) {
    case STAGE_NEW:
    case STAGE_BOUND:
        return OUTPUT | POLLHUP | (load(&s->setup.dissolved) ? POLLERR : 0);
    case STAGE_CONNECTED:
        return readiness(s, fd, wanted);
    case STAGE_LOST:
        return load(&s->reset_seen) ? DEAD & ~POLLERR : DEAD;
    default:
        return 0;
    }
}

/* Readable, the kernel says, but nothing is there to read: take the token out. */
static void take_stale_token(struct neat_socket *s, int fd) {
    struct neat_sock *shared = s->end.shared;
    if (s->type == SOCK_DGRAM) {
        neat_subsockets_read(s, fd, MANY);
        return;
    }
    if (load(&s->stage) != STAGE_CONNECTED || neat_lock_rx(&s->end, fd) < 0)
        return;
    /* Less than SO_RCVLOWAT may stay behind without a token: the next bytes bring one. */
    if (!(known_events(s, fd, 0) & INPUT) && neat_take_token(&s->end, fd, 0, true) &&
        (known_events(s, fd, 0) & INPUT))
        neat_notify(&s->end);
    neat_unlock(&shared->rx_lock);
}

static bool established(const struct neat_socket *s) {
    return s->end.shared && (load(&s->end.shared->status) & NEAT_ST_CONNECTED);
}

short exact_events(struct neat_socket *s, int fd, short wanted, short kernel) {
    short now = known_events(s, fd, wanted);
    uint32_t stage = load(&s->stage);
    if (kernel & POLLNVAL)
        return POLLNVAL;
    if (stage == STAGE_LISTENING)
        return kernel;
    if (stage == STAGE_CONNECTING)
        return kernel & POLLHUP && !established(s) ? DEAD : kernel;
    if ((kernel & POLLERR) && stage == STAGE_CONNECTED)
        neat_reset_heard(&s->end);
    if (stage == STAGE_CONNECTED && (load(&s->end.shared->status) & NEAT_ST_ERROR))
        kernel &= (short)~POLLERR;             /* it is in `now`, until it was told */
    if (kernel & (POLLERR | POLLHUP))
        return now | kernel;
    if ((kernel & INPUT) && !(now & INPUT)) {
        take_stale_token(s, fd);
        now |= known_events(s, fd, 0);
    }
    return now | (kernel & (OUTPUT | POLLWRBAND | POLLRDHUP));
}
