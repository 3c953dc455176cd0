/* A poller's place in a segment, and what it sees of a socket. Read first: ARCHITECTURE.md, "Pollers".
 *
 * No wake-up is lost, because:
 * 1. The replica changes a socket object (rx_tail, status, tx_head), fences, and then reads `watcher`. Whoever writes `watcher` fences, and looks at the
 *    socket object after that. So either the replica sees the new watcher, or the one who wrote it sees the change; when it was given up
 *    (0), NEAT_REQ_RESIGNAL makes the replica look a second time, after it has seen the 0.
 * 2. The replica sets the event bit after the change. The poller takes the bit away before it looks. So a change that it did not see has its
 *    bit set.
 * 3. The replica sets the bit, fences, and reads `asleep`. The poller sets `asleep`, fences, and looks at the bits once more before it blocks. So
 *    a bit that it did not see finds `asleep` set, and rings. The bell is edge-triggered: each byte in it wakes, read or not.
 * 4. Pollers share words of the bitmap, and take only the bits of their own sockets away. There is no summary: one that took a summary bit for
 *    a word where it has only some bits would hide the others from whoever is about to sleep.
 * 5. A replica that does not know the bell yet (NEAT_OP_ADD_POLLER is on its way) leaves the bit, and `asleep`. It rings a new bell once.
 * 6. Room is signalled while out_block is not 0. Whoever finds too little room sets NEAT_OUT_WANTED, fences, and looks at tx_head again;
 *    the replica moves tx_head, fences, and looks at out_block.
 * 7. A poller may take a bit away that another should have: the socket has changed hands, or its index was given to another one. Whoever took
 *    a bit of a socket that is not its own looks at `watcher` after that, and passes the bit on (NEAT_REQ_TELL).
 * 8. NEAT_NOBODY_YET is a watcher that hears nothing. Whoever takes its place looks at the socket object after that (1), so nothing that came
 *    before is missed; and whoever waits on a descriptor takes it away first, as it does with any other watcher (neat_unwatch).
 * 9. The bell's other end is in no process but the replica (after NEAT_OP_POLLER has left the syscall server). So its hang-up says that the
 *    replica is gone, and every socket of the segment is ready for ever.
 */
#include <signal.h>
#include <unistd.h>

#include "watch.h"

#define INPUT (EPOLLIN | EPOLLRDNORM)
#define OUTPUT (EPOLLOUT | EPOLLWRNORM)
#define EVERYTHING (INPUT | OUTPUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define LINE_WORDS 8               /* of the bitmap in a cache line: NEAT_EVENTS_OFFSET and NEAT_MAX_SOCKS / 64 are multiples */
#define MANY_RINGS 1024            /* the bell is emptied after so many: less than any pipe holds, rings that were not heard included */

static struct neat_channel *channel_of(const struct watcher *w) {
    return (struct neat_channel *)w->segment->base;
}

/* The slot of a process that has died is free, too. */
static int claim(struct neat_channel *channel) {
    uint32_t me = (uint32_t)getpid();
    for (int slot = 0; slot < (int)NEAT_POLLERS; slot++) {
        uint32_t owner = load(&channel->pollers[slot].owner);
        if (owner && (kill((pid_t)owner, 0) == 0 || errno != ESRCH))
            continue;
        if (swap_if(&channel->pollers[slot].owner, &owner, me))
            return slot;
    }
    return -1;
}

/* Get our end of a bell whose other end the replica has got. */
static int introduce(const struct segment *segment, int slot, int *bell) {
    int got[2];
    struct neat_msg message = {.op = NEAT_OP_POLLER, .replica = segment->replica, .incarnation = segment->incarnation};
    message.u[0] = (uint32_t)slot;
    int status = neat_request(&message, NULL, 0, got);
    if (status < 0)
        return status;
    if (got[0] < 0)
        return -EPROTO;
    *bell = neat_hide_fd(got[0]);
    return 0;
}

struct watcher *neat_watcher_open(struct segment *segment) {
    struct neat_channel *channel = (struct neat_channel *)segment->base;
    struct watcher *w = calloc(1, sizeof *w + segment->nsock * sizeof w->owners[0]);
    int slot = w ? claim(channel) : -1;
    if (slot < 0) {
        free(w);
        return NULL;
    }
    store(&channel->pollers[slot].asleep, 0);
    if (introduce(segment, slot, &w->bell) < 0) {
        store(&channel->pollers[slot].owner, 0);
        free(w);
        return NULL;
    }
    neat_segment_keep(segment);
    w->segment = segment;
    w->slot = (uint32_t)slot;
    w->low = NEAT_MAX_SOCKS / 64;
    return w;
}

void neat_watcher_close(struct watcher *w, bool ours) {
    if (ours) {
        store(&channel_of(w)->pollers[w->slot].asleep, 0);
        store(&channel_of(w)->pollers[w->slot].owner, 0);
    }
    neat_close_own(w->bell);
    neat_segment_put(w->segment);
    free(w);
}

/* Take the place of nobody, or of one that has died with its process. */
static bool take_over(const struct watcher *w, struct neat_sock *shared) {
    uint32_t seen = 0;
    if (swap_if(&shared->watcher, &seen, w->slot + 1))
        return true;
    if (seen > NEAT_POLLERS || seen == w->slot + 1)
        return swap_if(&shared->watcher, &seen, w->slot + 1);
    uint32_t owner = load(&channel_of(w)->pollers[seen - 1].owner);
    if (owner && (kill((pid_t)owner, 0) == 0 || errno != ESRCH))
        return false;
    return swap_if(&shared->watcher, &seen, w->slot + 1);
}

void neat_watched_set(const struct endpoint *end, bool polled, struct watched *out) {
    const struct segment *segment = end->segment;
    *out = (struct watched){.shared = end->shared, .index = end->index, .generation = end->generation, .polled = polled};
    out->tx_size = segment->tx_size;
    out->rx_size = segment->rx_size;
    out->over = &((const struct neat_channel *)segment->base)->over;
    out->lost = load(&end->lost);
    out->tail = load(&end->shared->rx_tail);
    out->head = load(&end->shared->tx_head);
    out->status = load(&end->shared->status);
    out->request = load(&end->shared->request) & (NEAT_REQ_SHUT_RD | NEAT_REQ_SHUT_WR);
}

/* Somebody waits on its descriptor, who would hear nothing if it was watched. Who begins to wait there is counted first, and looks at `watcher`
 * after that. */
static bool is_awaited(const struct neat_sock *shared) {
    return load(&shared->hinted) || load(&shared->sleepers);
}

/* From now on its descriptor tells, also what we were told only. `unheard`: nobody waits there, so nothing needs to be said. */
static void give_back(const struct watcher *w, struct neat_sock *shared, uint32_t index, bool unheard) {
    uint32_t mine = w->slot + 1;
    if (!swap_if(&shared->watcher, &mine, unheard ? NEAT_NOBODY_YET : 0))
        return;
    fence();
    if (unheard)
        return;
    struct endpoint end = {.segment = w->segment, .shared = shared, .index = index};
    neat_resignal(&end);
}

bool neat_watcher_take(struct watcher *w, const struct endpoint *end, void *owner, struct watched *out) {
    uint32_t word = end->index / 64;
    if (end->segment != w->segment || !endpoint_current(end))
        return false;
    if (w->owners[end->index] && load(&end->shared->watcher) == w->slot + 1)
        return false;              /* ours already, under another number */
    if (is_awaited(end->shared) || !take_over(w, end->shared))
        return false;
    fence();
    if (is_awaited(end->shared)) {
        give_back(w, end->shared, end->index, false);
        return false;
    }
    w->count++;
    w->owners[end->index] = owner;
    w->mask[word] |= UINT64_C(1) << (end->index % 64);
    w->low = word < w->low ? word : w->low;
    w->high = word >= w->high ? word + 1 : w->high;
    neat_watched_set(end, false, out);
    return true;
}

bool neat_watcher_has(const struct watcher *w, const struct watched *at) {
    return load(&at->shared->generation) == at->generation && load(&at->shared->watcher) == w->slot + 1;
}

/* No bit of that index is for this one any more. */
static void let_go(struct watcher *w, const struct watched *at, const void *owner) {
    if (w->owners[at->index] != owner)
        return;
    w->owners[at->index] = NULL;
    w->mask[at->index / 64] &= ~(UINT64_C(1) << (at->index % 64));
}

void neat_watcher_lost(struct watcher *w, const struct watched *at, const void *owner) {
    let_go(w, at, owner);
    fence();
    uint32_t watcher = load(&at->shared->watcher);
    if (!watcher || watcher == w->slot + 1)
        return;
    struct endpoint end = {.segment = w->segment, .shared = at->shared, .index = at->index};
    neat_watch_poke(&end);
    neat_mark(&end);
    neat_ring(&end);
}

void neat_watcher_leave(struct watcher *w, struct watched *at, void *owner, bool unheard) {
    let_go(w, at, owner);
    w->count--;
    if (load(&at->shared->generation) == at->generation)
        give_back(w, at->shared, at->index, unheard);
}

/* Whether a cache line of the bitmap has no bit at all: of 10,000 sockets few have news, and to look at each word costs more than they do. */
static bool no_news(const uint64_t *line) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < LINE_WORDS; i++)
        all |= load(&line[i]);
    return !all;
}

void neat_watcher_harvest(struct watcher *w, void (*each)(void *context, void *owner), void *context) {
    uint64_t *events = channel_of(w)->events;
    for (uint32_t i = w->low; i < w->high; i++) {
        while (i % LINE_WORDS == 0 && i < w->high && no_news(&events[i]))
            i += LINE_WORDS;
        uint64_t bits = i < w->high ? load(&events[i]) & w->mask[i] : 0;
        if (!bits)
            continue;
        bits &= clear_bits(&events[i], bits);
        for (; bits; bits &= bits - 1)
            each(context, w->owners[i * 64 + (uint32_t)__builtin_ctzll(bits)]);
    }
}

void neat_watcher_asleep(struct watcher *w) {
    store(&channel_of(w)->pollers[w->slot].asleep, 1);
    fence();
}

void neat_watcher_awake(struct watcher *w) {
    store(&channel_of(w)->pollers[w->slot].asleep, 0);
}

static void empty(struct watcher *w) {
    char bytes[MANY_RINGS * 2];
    (void)!libc(read)(w->bell, bytes, sizeof bytes);
    w->rings = 0;
}

void neat_watcher_heard(struct watcher *w, bool hung_up) {
    if (hung_up)
        neat_segment_end(w->segment);
    else if (++w->rings >= MANY_RINGS)
        empty(w);
}

static bool has_room(const struct neat_sock *shared, uint32_t limit) {
    uint64_t used = load(&shared->tx_tail) - load(&shared->tx_head);
    return used <= limit - limit / 3;
}

/* Linux: sk_stream_is_writable(). What is not there is asked for: in memory, or by an unwritable descriptor. */
static bool writable(const struct watched *at, struct neat_socket *s, int fd) {
    struct neat_sock *shared = at->shared;
    uint32_t limit = load(&shared->sndbuf), none = 0;
    if (!limit || limit > at->tx_size)
        limit = at->tx_size;
    if (has_room(shared, limit))
        return true;
    if (!at->polled) {
        swap_if(&shared->out_block, &none, NEAT_OUT_WANTED);
        fence();
        return has_room(shared, limit);
    }
    int locked = load(&s->end.shared) == shared ? neat_lock(&shared->tx_lock) : -EAGAIN;
    if (locked < 0)
        return false;
    neat_fill(s, &s->end, fd);
    neat_unlock(&shared->tx_lock);
    if (!has_room(shared, limit))
        return false;
    neat_resignal(&s->end);
    return true;
}

/* An error that getsockopt(SO_ERROR) or a call has told is over. */
static bool error_pending(const struct watched *at, const struct neat_socket *s) {
    return load(&s->end.shared) != at->shared || load(&s->end.error_seen) != load(&at->shared->error_count);
}

uint32_t neat_readiness(const struct watched *at, struct neat_socket *s, int fd, uint32_t wanted) {
    const struct neat_sock *shared = at->shared;
    uint32_t status = load(&shared->status), request = load(&shared->request), ready = 0;
    uint64_t tail = load(&shared->rx_tail), held = tail - load(&shared->rx_head);
    if (load(at->over) || at->lost || load(&shared->generation) != at->generation || held > at->rx_size)
        return EVERYTHING;
    if (!(status & (NEAT_ST_CONNECTED | NEAT_ST_CLOSED | NEAT_ST_ERROR)))
        return 0;                  /* connecting */
    bool no_input = (status & NEAT_ST_RDHUP) || (request & NEAT_REQ_SHUT_RD);
    bool no_output = (status & NEAT_ST_WRCLOSED) || (request & NEAT_REQ_SHUT_WR);
    if ((status & NEAT_ST_ERROR) && error_pending(at, s))
        ready |= EPOLLERR;
    if ((status & NEAT_ST_CLOSED) || (no_input && no_output))
        ready |= EPOLLHUP;
    if (no_input || (status & NEAT_ST_CLOSED))
        ready |= INPUT | EPOLLRDHUP;
    else if (held && held >= load(&shared->rcvlowat))
        ready |= INPUT;
    if (no_output || (status & NEAT_ST_CLOSED) || ((wanted & OUTPUT) && writable(at, s, fd)))
        ready |= OUTPUT;
    return ready;
}

uint32_t neat_edges(struct watched *at) {
    uint64_t tail = load(&at->shared->rx_tail), head = load(&at->shared->tx_head);
    uint32_t status = load(&at->shared->status), edges = 0;
    uint32_t request = load(&at->shared->request) & (NEAT_REQ_SHUT_RD | NEAT_REQ_SHUT_WR);
    if (tail != at->tail)
        edges |= INPUT;
    if (head != at->head)
        edges |= OUTPUT;
    if (status != at->status || request != at->request || load(at->over) || at->lost ||
        load(&at->shared->generation) != at->generation)
        edges = EVERYTHING;
    at->tail = tail;
    at->head = head;
    at->status = status;
    at->request = request;
    return edges;
}

/* The bit for whoever asks next in this process; the replica wakes those who sleep. */
void neat_watch_poke(const struct endpoint *end) {
    uint64_t *events = ((struct neat_channel *)end->segment->base)->events;
    set_bits(&events[end->index / 64], UINT64_C(1) << (end->index % 64));
    set_bits(&end->shared->request, NEAT_REQ_TELL);
}

/* Of what happened since its birth a descriptor would say nothing that it does not say already. */
static bool is_quiet(const struct neat_sock *shared) {
    return load(&shared->rx_tail) == load(&shared->rx_head) && !load(&shared->out_block) &&
           !(load(&shared->status) & (NEAT_ST_RDHUP | NEAT_ST_ERROR | NEAT_ST_CLOSED));
}

void neat_unwatch(struct neat_socket *s, int fd) {
    struct endpoint *end = &s->end;
    uint32_t wanted = NEAT_OUT_WANTED;
    uint32_t before = end->shared && load(&end->shared->watcher) && endpoint_current(end) ? swap(&end->shared->watcher, 0) : 0;
    if (!before)
        return;
    fence();
    if (before == NEAT_NOBODY_YET && is_quiet(end->shared))
        return;
    int locked = neat_lock(&end->shared->tx_lock);
    if (locked >= 0) {
        if (swap_if(&end->shared->out_block, &wanted, 0))
            neat_fill(s, end, fd);     /* until the replica has found room, below */
        neat_unlock(&end->shared->tx_lock);
    }
    neat_watch_poke(end);
    neat_resignal(end);
}
