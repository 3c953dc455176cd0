/* What is ready, and who waits for it. Read first: docs/contracts/readiness.md. */
#include <unistd.h>

#include "readiness.h"

#define INPUT (EPOLLIN | EPOLLRDNORM)
#define OUTPUT (EPOLLOUT | EPOLLWRNORM)
#define EVERYTHING (INPUT | OUTPUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define SHUT (NEAT_REQ_SHUT_RD | NEAT_REQ_SHUT_WR)

void neat_view_set(const struct endpoint *end, bool polled, struct view *out) {
    const struct segment *segment = end->segment;
    *out = (struct view){.shared = end->shared, .index = end->index, .generation = end->generation};
    out->polled = polled;
    out->tx_size = segment->tx_size;
    out->rx_size = segment->rx_size;
    out->over = &((const struct neat_channel *)segment->base)->over;
    out->lost = load(&end->lost);
    out->tail = load(&end->shared->rx_tail);
    out->head = load(&end->shared->tx_head);
    out->status = load(&end->shared->status);
    out->request = load(&end->shared->request) & SHUT;
}

static bool has_send_room(const struct neat_sock *shared, uint32_t limit) {
    uint64_t used = load(&shared->tx_tail) - load(&shared->tx_head);
    return used <= limit - limit / 3;
}

/* Linux: sk_stream_is_writable(). What is not there is asked for: in memory, or by an unwritable
 * descriptor. */
static bool writable(const struct view *view, struct neat_socket *s, int fd) {
    struct neat_sock *shared = view->shared;
    uint32_t limit = load(&shared->sndbuf), none = 0;
    if (!limit || limit > view->tx_size)
        limit = view->tx_size;
    if (has_send_room(shared, limit))
        return true;
    if (!view->polled) {
        swap_if(&shared->out_block, &none, NEAT_OUT_WANTED);
        fence();
        return has_send_room(shared, limit);
    }
    int locked = load(&s->end.shared) == shared ? neat_lock_tx(&s->end, fd) : -EAGAIN;
    if (locked < 0)
        return false;
    neat_fill(s, &s->end, fd, true);
    neat_unlock(&shared->tx_lock);
    if (!has_send_room(shared, limit))
        return false;
    neat_notify(&s->end);
    return true;
}

/* An error that getsockopt(SO_ERROR) or a call has told is over. */
static bool error_pending(const struct view *view, const struct neat_socket *s) {
    return load(&s->end.shared) != view->shared ||
           load(&s->end.error_seen) != load(&view->shared->error_count);
}

uint32_t neat_readiness(const struct view *view, struct neat_socket *s, int fd, uint32_t wanted) {
    const struct neat_sock *shared = view->shared;
    uint32_t status = load(&shared->status), request = load(&shared->request), ready = 0;
    uint64_t tail = load(&shared->rx_tail), held = tail - load(&shared->rx_head);
    if (load(view->over) || view->lost || load(&shared->generation) != view->generation ||
        held > view->rx_size)
        return EVERYTHING;
    if (!(status & (NEAT_ST_CONNECTED | NEAT_ST_CLOSED | NEAT_ST_ERROR)))
        return 0;                  /* connecting */
    bool no_input = (status & NEAT_ST_RDHUP) || (request & NEAT_REQ_SHUT_RD);
    bool no_output = (status & NEAT_ST_WRCLOSED) || (request & NEAT_REQ_SHUT_WR);
    if ((status & NEAT_ST_ERROR) && error_pending(view, s))
        ready |= EPOLLERR;
    if ((status & NEAT_ST_CLOSED) || (no_input && no_output))
        ready |= EPOLLHUP;
    if (no_input || (status & NEAT_ST_CLOSED))
        ready |= INPUT | EPOLLRDHUP;
    else if (held && held >= load(&shared->rcvlowat))
        ready |= INPUT;
    if (no_output || (status & NEAT_ST_CLOSED) || ((wanted & OUTPUT) && writable(view, s, fd)))
        ready |= OUTPUT;
    return ready;
}

uint32_t neat_edges(struct view *view) {
    uint64_t tail = load(&view->shared->rx_tail), head = load(&view->shared->tx_head);
    uint32_t status = load(&view->shared->status), edges = 0;
    uint32_t request = load(&view->shared->request) & SHUT;
    if (tail != view->tail)
        edges |= INPUT;
    if (head != view->head)
        edges |= OUTPUT;
    if (status != view->status || request != view->request || load(view->over) || view->lost ||
        load(&view->shared->generation) != view->generation)
        edges = EVERYTHING;
    view->tail = tail;
    view->head = head;
    view->status = status;
    view->request = request;
    return edges;
}

void neat_wait_unseen(struct neat_socket *s, int fd) {
    struct endpoint *end = &s->end;
    if (!end->shared || !endpoint_current(end) ||
        (set_bits(&end->shared->waiters, NEAT_WAITERS_UNSEEN) & NEAT_WAITERS_UNSEEN))
        return;
    if (load(&end->shared->out_block) == NEAT_OUT_WANTED && neat_lock_tx(end, fd) >= 0) {
        neat_fill(s, end, fd, true);   /* until the replica has found room, below */
        neat_unlock(&end->shared->tx_lock);
    }
    neat_notify(end);
}

void neat_wait_seen(struct neat_socket *s, int fd) {
    bool seen = neat_flags_known(s) && !load(&s->descriptor.kernel_waits);
    if (!seen || !(load(&s->end.shared->waiters) & NEAT_WAITERS_UNSEEN))
        return;
    clear_bits(&s->end.shared->waiters, NEAT_WAITERS_UNSEEN);
    if (load(&s->descriptor.kernel_waits))
        neat_wait_unseen(s, fd);   /* another thread has told the kernel meanwhile */
}

/* The bits for who asks next; the replica wakes those who sleep. */
void neat_changed(const struct endpoint *end) {
    struct neat_channel *channel = (struct neat_channel *)end->segment->base;
    uint64_t *events = (uint64_t *)(end->segment->base + NEAT_EVENTS_OFFSET);
    uint64_t waiters = load(&end->shared->waiters);
    uint32_t word = end->index / 64;
    for (uint32_t slot = 0; slot < NEAT_POLLERS; slot++) {
        if (!(waiters >> slot & 1))
            continue;
        set_bits(&events[slot * NEAT_SOCK_WORDS + word], UINT64_C(1) << (end->index % 64));
        set_bits(&channel->pollers[slot].summary[word / 64], UINT64_C(1) << (word % 64));
    }
    set_bits(&end->shared->request, (uint32_t)NEAT_REQ_NOTIFY);
}
