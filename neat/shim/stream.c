/* Bytes of a connection: out of its receive ring; and its errors. Read first: signal.c (invariants),
 * channel.h. The other way: stream_out.c.
 *
 * Receive: bytes are copied, then rx_head moves. Send: bytes are copied, then tx_tail moves. Both move by
 * compare-and-exchange, so that an object that was born again meanwhile is left alone. A call that may
 * sleep holds no lock while it does.
 */
#include <unistd.h>

#include "data.h"
#include "readiness.h"
#include "setup.h"

/* After rx_head has moved, leaving `held` bytes: does the replica have to be woken to open the window? The
 * socket is marked already, so an awake replica looks at it anyway. A sleeping one has said in rcv_wnd
 * what the peer knows: wake it when that has at least doubled, by two segments or half the ring, or grew
 * by half the ring. */
static void open_window(const struct endpoint *end, uint64_t held) {
    uint64_t size = end->segment->rx_size, limit = load(&end->shared->rcvbuf);
    uint64_t space = load(&end->shared->rcv_limit);
    if (limit && limit < size)
        size = limit;
    if (space && space < size)
        size = space;
    uint64_t free = held < size ? size - held : 0;
    uint64_t known = load(&end->shared->rcv_wnd), mss = load(&end->shared->snd_mss);
    if (free <= known)
        return;
    uint64_t grown = free - known, step = 2 * mss < size / 2 ? 2 * mss : size / 2;
    if (grown >= size / 2 || (free >= 2 * known && grown >= step))
        neat_ring(end);
}

struct reading {
    const struct iovec *iov;
    int count, flags;
    size_t room, done;
    int sink;                      /* a pipe that gets them instead of `iov`; -1 */
    /* The first message in the descriptor is a token, whatever in_token says. */
    bool stray;
    bool owed;                     /* we took a token out: what we leave in the ring must be shown again */
};

/* From the ring into a pipe, which has room for them. */
static ssize_t write_pipe(const struct endpoint *end, int pipe, uint64_t at, size_t part) {
    uint32_t size = end->segment->rx_size, start = (uint32_t)at & (size - 1);
    size_t first = part < size - start ? part : size - start;
    struct iovec pieces[2] = {{end->rx + start, first}, {end->rx, part - first}};
    ssize_t n = libc(writev)(pipe, pieces, part > first ? 2 : 1);
    return n < 0 ? -errno : n;
}

/* The ring is empty: what that means. -EAGAIN when there may be more. */
static ssize_t nothing(struct neat_socket *s, int fd, uint32_t status, const struct reading *r) {
    if (r->done)
        return status & (NEAT_ST_RDHUP | NEAT_ST_ERROR | NEAT_ST_CLOSED) ? 0 : -EAGAIN;
    /* Linux: a reset after the end of the stream is no news to a reader. */
    int error = (status & NEAT_ST_FIN) || load(&s->end_seen) ? 0 : neat_endpoint_error(&s->end, fd);
    if (error) {
        store(&s->reset_seen, 1);
        return -error;
    }
    if (!(status & (NEAT_ST_RDHUP | NEAT_ST_CLOSED)) && !(load(&s->end.shared->request) & NEAT_REQ_SHUT_RD))
        return -EAGAIN;
    if (status & NEAT_ST_RDHUP)
        store(&s->end_seen, 1);
    return 0;
}

/* Take what is there. Caller holds rx_lock. Returns bytes, 0 at the end, -EAGAIN when the ring is empty. */
static ssize_t take(struct neat_socket *s, int fd, struct reading *r) {
    struct endpoint *end = &s->end;
    struct neat_sock *shared = end->shared;
    uint32_t size = end->segment->rx_size;
    for (;;) {
        uint32_t status = load(&shared->status);
        uint64_t tail = load(&shared->rx_tail), head = load(&shared->rx_head), held = tail - head;
        if (!endpoint_current(end))
            return neat_gone(s, 0);
        if (held > size) {
            tally(bad_offsets);
            return neat_gone(s, 0);
        }
        if (!held) {
            if (neat_take_token(end, fd, r->flags, r->stray)) {
                r->owed = true;
                continue;
            }
            return nothing(s, fd, status, r);
        }
        size_t part = held < r->room - r->done ? held : r->room - r->done;
        if (!part)
            return 0;
        if (r->sink >= 0) {
            ssize_t n = write_pipe(end, r->sink, head, part);
            if (n <= 0)
                return n;
            part = (size_t)n;
        } else if (!(r->flags & MSG_TRUNC)) {
            neat_ring_read(end->rx, size, head, r->iov, r->count, r->done, part);
        }
        if (r->flags & MSG_PEEK)
            return (ssize_t)part;
        if (!swap_if(&shared->rx_head, &head, head + part))
            return neat_gone(s, 0);
        neat_mark(end);
        open_window(end, held - part);
        if (part == held && !r->owed)
            r->owed = neat_take_token(end, fd, r->flags, false);
        return (ssize_t)part;
    }
}

int neat_ready_to_move(struct neat_socket *s, int fd, int flags, bool sending) {
    uint32_t stage = load(&s->stage);
    if (stage == STAGE_CONNECTED)
        return 0;
    if (stage == STAGE_LOST)
        return neat_gone(s, sending ? -EPIPE : 1);
    if (stage == STAGE_NEW && load(&s->setup.dissolved))
        return -(int)swap(&s->setup.dissolved, 0);
    if (stage != STAGE_CONNECTING)
        return sending ? -EPIPE : s->setup.stale_port ? 1 : -ENOTCONN;
    int64_t limit = -2, deadline = 0;
    for (;;) {
        int status = neat_connect_status(s, fd);
        if (status != -EINPROGRESS)
            return status;
        if (neat_nonblocking(s, fd, flags))
            return -EAGAIN;
        if (limit == -2) {
            limit = neat_timeout(fd, sending ? SO_SNDTIMEO : SO_RCVTIMEO);
            deadline = neat_now() + limit;
        }
        int64_t left = limit < 0 ? -1 : deadline - neat_now();
        int got = limit >= 0 && left <= 0 ? -EAGAIN : neat_sleep(s, fd, POLLOUT, left);
        if (got < 0)
            return got;
        fd = neat_number(s, fd);
    }
}

static ssize_t locked_take(struct neat_socket *s, int fd, struct reading *r) {
    struct neat_sock *shared = s->end.shared;
    int locked = neat_lock_rx(&s->end, fd);
    ssize_t n = locked;
    if (locked >= 0)
        n = take(s, fd, r);
    if (r->owed && load(&shared->rx_tail) != load(&shared->rx_head) && neat_is_shown(&s->end))
        neat_notify(&s->end);
    r->stray = r->owed = false;
    if (locked >= 0)
        neat_unlock(&shared->rx_lock);
    return n;
}

/* MSG_PEEK with MSG_WAITALL has seen `seen` bytes, which are too few. Sleep until there are more: 0; or
 * why it is no use. */
static int await_more(struct neat_socket *s, int fd, const struct reading *r, size_t seen) {
    const struct endpoint *end = &s->end;
    uint32_t over = NEAT_ST_RDHUP | NEAT_ST_ERROR | NEAT_ST_CLOSED, limit = load(&end->shared->rcvbuf);
    if (!limit || limit > end->segment->rx_size)
        limit = end->segment->rx_size;
    if (seen >= limit || neat_nonblocking(s, fd, r->flags) || neat_lock_rx(end, fd) < 0)
        return -EAGAIN;
    neat_take_token(end, fd, r->flags, true);
    neat_unlock(&end->shared->rx_lock);
    int message = neat_await_message(s, fd, r->flags, true, load(&end->shared->rx_head) + seen);
    if (neat_is_shown(end))
        neat_notify(end);          /* there are bytes, so whoever else waits must hear of them */
    return message < 0 ? message : (load(&end->shared->status) & over) ? -EAGAIN : 0;
}

/* What the call does after a take() that brought `n` bytes. True: it is over, with *n. */
static bool enough(struct neat_socket *s, int fd, struct reading *r, ssize_t *n) {
    if (r->flags & MSG_PEEK)
        return !(r->flags & MSG_WAITALL) || (size_t)*n == r->room || await_more(s, fd, r, (size_t)*n) < 0;
    r->done += (size_t)*n;
    *n = (ssize_t)r->done;
    return r->done == r->room || (!(r->flags & MSG_WAITALL) && r->done >= load(&s->end.shared->rcvlowat));
}

/* Sleep, or not, until there may be something in the empty ring. 0: look at it again (`*hung_up`); or why
 * not. Whether it may sleep, the kernel knows: it is asked (fcntl) only where a poller has heard that
 * nothing is there. */
static int await_bytes(struct neat_socket *s, int *fd, struct reading *r, bool *hung_up) {
    if (endpoint_lost(&s->end)) {
        *hung_up = true;           /* its poller heard that before the descriptor says so */
        return 0;
    }
    bool known = neat_flags_known(s) || (r->flags & MSG_DONTWAIT), polled = neat_is_polled(&s->end);
    bool waits = (!known && !polled) || !neat_nonblocking(s, *fd, r->flags);
    if (!waits && polled)
        return -EAGAIN;
    if (waits && known && !r->stray && neat_spins() && neat_spin(&s->end))
        return 0;
    int message = waits ? neat_await_message(s, *fd, r->flags, r->done > 0, load(&s->end.shared->rx_head))
                        : neat_look_for_message(s, *fd, r->flags);
    if (message < 0)
        return message;
    *fd = neat_number(s, *fd);
    /* Anything but a token comes after the status that explains it. */
    r->stray = message == NEAT_TOKEN_THERE;
    r->owed = message == NEAT_TOKEN_TAKEN;
    *hung_up = message == NEAT_HUNG_UP;
    return 0;
}

static ssize_t pull(struct neat_socket *s, int fd, struct reading *r) {
    int flags = r->flags, status = neat_ready_to_move(s, fd, flags, false);
    if (status)
        return status > 0 ? 0 : status;
    bool hung_up = false;
    for (;;) {
        ssize_t n = locked_take(s, fd, r);
        if (n > 0) {
            if (enough(s, fd, r, &n))
                return n;
            continue;
        }
        if (n != -EAGAIN || (flags & NEAT_MSG_RINGS))
            return r->done ? (ssize_t)r->done : n;
        if (hung_up)
            return r->done ? (ssize_t)r->done : neat_gone(s, 0);
        status = await_bytes(s, &fd, r, &hung_up);
        if (status < 0)
            return r->done ? (ssize_t)r->done : status;
    }
}

ssize_t neat_stream_recv(struct neat_socket *s, int fd, const struct iovec *iov, int count, int flags) {
    struct reading r = {.iov = iov, .count = count, .flags = flags, .room = neat_iov_bytes(iov, count),
                        .sink = -1};
    return pull(s, fd, &r);
}

ssize_t neat_splice_in(struct neat_socket *s, int fd, int pipe, size_t count) {
    struct reading r = {.room = count, .sink = pipe};
    return s->type == SOCK_STREAM ? pull(s, fd, &r) : -EINVAL;
}
