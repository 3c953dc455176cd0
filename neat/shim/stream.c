/* Bytes of a connection: in and out of its rings. Read first: signal.c (invariants), channel.h.
 *
 * Receive: bytes are copied, then rx_head moves. Send: bytes are copied, then tx_tail moves. Both move by compare-and-exchange, so that an
 * object that was born again meanwhile is left alone. A call that may sleep holds no lock while it does.
 */
#include <unistd.h>

#include "internal.h"

#define MAX_FRUITLESS 4
#define DOUBTFUL_NS 10000000

/* Its replica is gone, or says things that cannot be. Linux reports a reset once; after that, `later`. */
int neat_gone(struct neat_socket *s, int later) {
    if (swap(&s->reset_seen, 1))
        return later;
    tally(resets);
    return -ECONNRESET;
}

/* The error that the replica reported, once. Also clears the descriptor's own, which says no more than that there is one. */
int neat_endpoint_error(struct endpoint *end, int fd) {
    uint32_t count = load(&end->shared->error_count), seen = load(&end->error_seen);
    if (count == seen || !swap_if(&end->error_seen, &seen, count))
        return 0;
    int cleared;
    socklen_t length = sizeof cleared;
    libc(getsockopt)(fd, SOL_SOCKET, SO_ERROR, &cleared, &length);
    uint32_t error = load(&end->shared->error);
    return error > 0 && error < 4096 ? (int)error : ECONNRESET;
}

/* After rx_head has moved, leaving `held` bytes: does the replica have to be woken to open the window? The socket is marked already, so an
 * awake replica looks at it anyway. A sleeping one has said in rcv_wnd what the peer knows: wake it when that has at least doubled,
 * by two segments or half the ring, or grew by half the ring. */
static void open_window(const struct endpoint *end, uint64_t held) {
    uint64_t size = end->segment->rx_size, limit = load(&end->shared->rcvbuf);
    if (limit && limit < size)
        size = limit;
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
};

/* The ring is empty: what that means. -EAGAIN when there may be more. */
static ssize_t nothing(struct neat_socket *s, int fd, uint32_t status, const struct reading *r) {
    if (r->done)
        return status & (NEAT_ST_RDHUP | NEAT_ST_ERROR | NEAT_ST_CLOSED) ? 0 : -EAGAIN;
    /* Linux: after the end of the stream was told, a reset is no news to a reader. */
    int error = load(&s->end_seen) ? 0 : neat_endpoint_error(&s->end, fd);
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

/* Take what is there. Caller holds rx_lock. Returns bytes, 0 at the end, -EAGAIN when the ring is empty.
 * `stray`: the first message in the descriptor is a token, whatever in_token says. */
static ssize_t take(struct neat_socket *s, int fd, struct reading *r, bool stray) {
    struct endpoint *end = &s->end;
    struct neat_sock *shared = end->shared;
    uint32_t size = end->segment->rx_size;
    bool owed = false;             /* we took a token out: what we leave in the ring must be signalled again */
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
            if (neat_take_token(end, fd, stray)) {
                owed = true;
                continue;
            }
            return nothing(s, fd, status, r);
        }
        size_t part = held < r->room - r->done ? held : r->room - r->done;
        if (!(r->flags & MSG_TRUNC))
            neat_ring_read(end->rx, size, head, r->iov, r->count, r->done, part);
        if (r->flags & MSG_PEEK) {
            if (owed)
                neat_resignal(end);
            return (ssize_t)part;
        }
        if (!swap_if(&shared->rx_head, &head, head + part))
            return neat_gone(s, 0);
        neat_mark(end);
        open_window(end, held - part);
        if (part == held && !owed)
            owed = neat_take_token(end, fd, false);
        if (owed && load(&shared->rx_tail) != head + part)
            neat_resignal(end);
        return (ssize_t)part;
    }
}

/* Where a receive or send on this socket stands before it looks at the rings: 0, or what it returns. */
static int ready_to_move(struct neat_socket *s, int fd, int flags, bool sending) {
    uint32_t stage = load(&s->stage);
    if (stage == STAGE_CONNECTED)
        return 0;
    if (stage == STAGE_LOST)
        return neat_gone(s, sending ? -EPIPE : 1);
    if (stage != STAGE_CONNECTING)
        return sending ? -EPIPE : -ENOTCONN;
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
        int got = limit >= 0 && left <= 0 ? -EAGAIN : neat_poll(fd, POLLOUT, left);
        if (got < 0)
            return got;
        fd = neat_number(s, fd);
    }
}

static ssize_t locked_take(struct neat_socket *s, int fd, struct reading *r, bool stray) {
    uint32_t *lock = &s->end.shared->rx_lock;
    int locked = neat_lock(lock);
    if (locked < 0)
        return locked;
    if (locked > 0)
        neat_repair_rx(&s->end, fd);
    ssize_t n = take(s, fd, r, stray);
    neat_unlock(lock);
    return n;
}

ssize_t neat_stream_recv(struct neat_socket *s, int fd, const struct iovec *iov, int count, int flags) {
    struct reading r = {iov, count, flags, neat_iov_bytes(iov, count), 0};
    int status = ready_to_move(s, fd, flags, false);
    if (status)
        return status > 0 ? 0 : status;
    if (!r.room)
        return 0;
    bool stray = false, hung_up = false;
    for (;;) {
        ssize_t n = locked_take(s, fd, &r, stray);
        if (n > 0) {
            r.done += (size_t)n;
            if (r.done == r.room || !(flags & MSG_WAITALL) || (flags & MSG_PEEK))
                return (ssize_t)r.done;
            stray = false;
            continue;
        }
        if (n != -EAGAIN || (flags & NEAT_MSG_RINGS))
            return r.done ? (ssize_t)r.done : n;
        if (hung_up)
            return r.done ? (ssize_t)r.done : neat_gone(s, 0);
        if (!stray && neat_spins() && !neat_nonblocking(s, fd, flags) && neat_spin(&s->end))
            continue;
        int message = neat_await_message(fd, flags);
        if (message < 0)
            return r.done ? (ssize_t)r.done : message;
        fd = neat_number(s, fd);
        /* Anything but a token comes after the status that explains it. */
        stray = message == TOKEN + 1;
        hung_up = !stray;
    }
}

/* May this socket send? 0, or why not. Caller holds tx_lock. */
static int sendable(struct neat_socket *s, int fd) {
    struct endpoint *end = &s->end;
    uint32_t status = load(&end->shared->status);
    if (!endpoint_current(end))
        return neat_gone(s, -EPIPE);
    int error = neat_endpoint_error(end, fd);
    if (error) {
        store(&s->reset_seen, 1);
        return -error;
    }
    if ((status & (NEAT_ST_CLOSED | NEAT_ST_WRCLOSED)) || (load(&end->shared->request) & NEAT_REQ_SHUT_WR))
        return -EPIPE;
    return 0;
}

struct writing {
    const struct iovec *iov;       /* NULL: from `file` at `offset` */
    int count, file;
    off_t offset;
    size_t room, done;
};

static ssize_t read_file(const struct endpoint *end, struct writing *w, uint64_t at, size_t part) {
    uint32_t size = end->segment->tx_size, start = (uint32_t)at & (size - 1);
    size_t first = part < size - start ? part : size - start;
    struct iovec pieces[2] = {{end->tx + start, first}, {end->tx, part - first}};
    ssize_t n = libc(preadv)(w->file, pieces, part > first ? 2 : 1, w->offset);
    if (n < 0)
        return -errno;
    w->offset += n;
    return n;
}

/* Put in what fits. Caller holds tx_lock. Returns bytes; -EAGAIN when the ring is full, and then, as whenever it gets
 * full, the descriptor is unwritable. */
static ssize_t put(struct neat_socket *s, int fd, struct writing *w) {
    struct endpoint *end = &s->end;
    struct neat_sock *shared = end->shared;
    uint32_t size = end->segment->tx_size, limit = load(&shared->sndbuf);
    int status = sendable(s, fd);
    if (status)
        return status;
    uint64_t tail = load(&shared->tx_tail), used = tail - load(&shared->tx_head);
    if (used > size) {
        tally(bad_offsets);
        return neat_gone(s, -EPIPE);
    }
    if (!limit || limit > size)
        limit = size;
    size_t free = used < limit ? limit - used : 0, part = free < w->room - w->done ? free : w->room - w->done;
    if (part) {
        if (w->iov) {
            neat_ring_write(end->tx, size, tail, w->iov, w->count, w->done, part);
        } else {
            ssize_t n = read_file(end, w, tail, part);
            if (n <= 0)
                return n;
            part = (size_t)n;
        }
        if (!swap_if(&shared->tx_tail, &tail, tail + part))
            return neat_gone(s, -EPIPE);
        neat_mark(end);
        neat_ring(end);
        tail += part;
    }
    if (part == free) {
        status = neat_fill(s, end, fd);
        if (status < 0 && !part)
            return neat_gone(s, -EPIPE);
        if (tail - load(&shared->tx_head) <= limit - limit / 3)
            neat_resignal(end);
    }
    return part ? (ssize_t)part : -EAGAIN;
}

static ssize_t locked_put(struct neat_socket *s, int fd, struct writing *w) {
    uint32_t *lock = &s->end.shared->tx_lock;
    int locked = neat_lock(lock);
    if (locked < 0)
        return locked;
    if (locked > 0)
        neat_repair_tx(&s->end, fd);
    ssize_t n = put(s, fd, w);
    neat_unlock(lock);
    return n;
}

struct waiting {
    bool asked, wait;              /* O_NONBLOCK and SO_SNDTIMEO were looked at; we may sleep */
    int64_t deadline;              /* -1: none */
    bool hung_up;
    uint32_t fruitless;            /* wake-ups in a row without room */
};

/* Wait for room. 0: look again. A hang-up with the ring still full means that the replica is gone. */
static int await_room(struct neat_socket *s, int fd, int flags, struct waiting *w) {
    if (w->hung_up)
        return neat_gone(s, -EPIPE);
    if (!w->asked) {
        w->asked = true;
        w->wait = !neat_nonblocking(s, fd, flags);
        int64_t limit = w->wait ? neat_timeout(fd, SO_SNDTIMEO) : -1;
        w->deadline = limit < 0 ? -1 : neat_now() + limit;
    }
    int64_t left = !w->wait ? 0 : w->deadline < 0 ? -1 : w->deadline - neat_now();
    if ((w->wait && w->deadline >= 0 && left <= 0) || (!w->wait && w->fruitless))
        return -EAGAIN;
    /* A stack that says "writable" over and over without making room gets asked less often. */
    bool doubtful = ++w->fruitless > MAX_FRUITLESS;
    int got = neat_poll(fd, doubtful ? 0 : POLLOUT, doubtful ? DOUBTFUL_NS : left);
    if (got < 0)
        return got;
    w->hung_up = got & (POLLHUP | POLLERR);
    return got || w->wait ? 0 : -EAGAIN;
}

static ssize_t push(struct neat_socket *s, int fd, struct writing *w, int flags) {
    int status = ready_to_move(s, fd, flags, true);
    struct waiting waiting = {.deadline = -1};
    if (status < 0)
        return status;
    do {
        ssize_t n = locked_put(s, fd, w);
        if (n > 0) {
            w->done += (size_t)n;
            waiting.hung_up = false;
            waiting.fruitless = 0;
            continue;
        }
        if (n == -EAGAIN && !w->room)
            return 0;
        if (n != -EAGAIN || (flags & NEAT_MSG_RINGS))
            return w->done ? (ssize_t)w->done : n;
        status = await_room(s, fd, flags, &waiting);
        if (status < 0)
            return w->done ? (ssize_t)w->done : status;
        fd = neat_number(s, fd);
    } while (w->done < w->room);
    return (ssize_t)w->done;
}

ssize_t neat_stream_send(struct neat_socket *s, int fd, const struct iovec *iov, int count, int flags) {
    struct writing w = {.iov = iov, .count = count, .room = neat_iov_bytes(iov, count)};
    return push(s, fd, &w, flags);
}

ssize_t neat_sendfile(struct neat_socket *s, int fd, int file, off_t *offset, size_t count) {
    off_t start = offset ? *offset : libc(lseek)(file, 0, SEEK_CUR);
    if (start < 0)
        return offset ? -EINVAL : -errno;
    if (s->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    if (!count)
        return 0;
    struct writing w = {.file = file, .offset = start, .room = count};
    ssize_t n = push(s, fd, &w, 0);
    if (n > 0 && offset)
        *offset = start + n;
    else if (n > 0)
        libc(lseek)(file, start + n, SEEK_SET);
    return n;
}
