/* The parts of a UDP socket: one endpoint in each replica, under one shared index and one descriptor.
 *
 * NEAT_EV_REPLICA on the descriptor says that a replica (the first time, or a successor) has its part. An
 * endpoint is replaced whole, by a pointer; the old one stays until the socket goes, because another thread
 * may be inside it.
 *
 * All parts send their tokens to one descriptor, and a token does not say whose it is. So whoever takes
 * messages out, sets every in_token to 0, fences, and looks at every ring: one that is not empty is
 * signalled again. That errs on the side of a wake-up too many.
 */
#include <stdlib.h>
#include <unistd.h>

#include "readiness.h"
#include "setup.h"

static void install(struct neat_socket *s, uint32_t replica, uint64_t incarnation, uint32_t index) {
    if (replica >= MAX_REPLICAS)
        return;
    struct endpoint *old = neat_subsocket(s, replica);
    if (old && old->segment->incarnation == incarnation && endpoint_current(old))
        return;
    struct endpoint *new = calloc(1, sizeof *new);
    if (!new)
        return;
    if (neat_endpoint_open(new, s->setup.owner, replica, incarnation, index, 0) < 0) {
        free(new);
        return;
    }
    neat_options_apply(s, new);
    neat_mark(new);
    store(&s->datagram.parts[replica], new);
    if (old) {
        old->next = s->datagram.retired;
        s->datagram.retired = old;
    }
}

/* After NEAT_OP_BIND. Caller holds `setup.lock`. */
int neat_subsockets_open(struct neat_socket *s, const struct neat_msg *bound) {
    s->datagram.index = bound->sock;
    for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++)
        if (bound->replica & (1u << replica))
            install(s, replica, 0, bound->sock);
    neat_set_stage(s, STAGE_UDP);
    return 0;
}

static void renew(struct neat_socket *s, const struct neat_msg *event) {
    if (event->magic != NEAT_MSG_MAGIC || event->op != NEAT_EV_REPLICA || event->sock != s->datagram.index) {
        tally(bad_messages);
        return;
    }
    pthread_mutex_lock(&s->setup.lock);
    install(s, event->replica, event->incarnation, s->datagram.index);
    pthread_mutex_unlock(&s->setup.lock);
}

/* Take up to `limit` messages out of the descriptor. Returns whether there were any; then look at the
 * rings again. */
bool neat_subsockets_read(struct neat_socket *s, int fd, int limit) {
    struct neat_msg event;
    int got[2], count = 0;
    for (; count < limit; count++) {
        ssize_t n = neat_message_recv(fd, &event, sizeof event, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, got);
        for (int i = 0; i < 2; i++)
            if (got[i] >= 0)
                libc(close)(got[i]);
        if (n <= 0 && n != -EMSGSIZE)
            break;
        if (n == sizeof event)
            renew(s, &event);
        else if (n == 1)
            tally(tokens);
        else
            tally(bad_messages);
    }
    if (!count)
        return false;
    for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++) {
        struct endpoint *end = neat_subsocket(s, replica);
        if (!end)
            continue;
        if (load(&end->shared->in_token))
            swap(&end->shared->in_token, 0);
        fence();
        if (load(&end->shared->rx_tail) != load(&end->shared->rx_head))
            neat_notify(end);
    }
    return true;
}
