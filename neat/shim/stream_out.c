/* Bytes of a connection: into its transmit ring. Read first: stream.c, signal.c (invariants).
 *
 * MSG_MORE is TCP_CORK for as long as the last send had it: the stack holds an incomplete segment back,
 * for 200 ms at most (tcp(7)).
 */
#include <unistd.h>

#include "data.h"
#include "readiness.h"

#define MAX_FRUITLESS 4
#define DOUBTFUL_NS 10000000

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
    return __builtin_expect(endpoint_lost(end), 0) ? neat_gone(s, -EPIPE) : 0;
}

struct writing {
    /* NULL: from `file` at `offset`; -1: from a pipe, which has `room` bytes. */
    const struct iovec *iov;
    int count, file;
    bool more;                     /* MSG_MORE */
    off_t offset;
    size_t room, done;
};

static ssize_t read_file(const struct endpoint *end, struct writing *w, uint64_t at, size_t part) {
    uint32_t size = end->segment->tx_size, start = (uint32_t)at & (size - 1);
    size_t first = part < size - start ? part : size - start;
    struct iovec pieces[2] = {{end->tx + start, first}, {end->tx, part - first}};
    int count = part > first ? 2 : 1;
    ssize_t n = w->offset < 0 ? libc(readv)(w->file, pieces, count)
                              : libc(preadv)(w->file, pieces, count, w->offset);
    if (n < 0)
        return -errno;
    if (w->offset >= 0)
        w->offset += n;
    return n;
}

/* A file that cannot be read, or is at its end, is no reason to wait for room. 0: wait. */
static ssize_t look_at_file(const struct writing *w) {
    char first;
    if (w->iov || w->offset < 0 || w->done)
        return 0;
    ssize_t n = libc(pread)(w->file, &first, sizeof first, w->offset);
    return n < 0 ? -errno : !n;
}

/* Put in what fits. Caller holds tx_lock. Returns bytes; -EAGAIN when the ring is full. Then, as whenever
 * it gets full, room is asked for; `waits`: the caller is going to sleep until the descriptor is writable. */
static ssize_t put(struct neat_socket *s, int fd, struct writing *w, bool waits) {
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
        if (w->more)
            set_bits(&shared->options, (uint32_t)NEAT_OPT_CORK);
        if (!swap_if(&shared->tx_tail, &tail, tail + part))
            return neat_gone(s, -EPIPE);
        if (!w->more && (load(&shared->options) & NEAT_OPT_CORK) &&
            !(load(&s->settings.options) & NEAT_OPT_CORK))
            clear_bits(&shared->options, (uint32_t)NEAT_OPT_CORK);
        neat_mark(end);
        neat_ring(end);
        tail += part;
    }
    if (part == free) {
        status = neat_fill(s, end, fd, waits);
        if (status < 0 && !part)
            return neat_gone(s, -EPIPE);
        if (tail - load(&shared->tx_head) <= limit - limit / 3 || (load(&shared->request) & NEAT_REQ_SHUT_WR))
            neat_notify(end);
    }
    return part ? (ssize_t)part : -EAGAIN;
}

static ssize_t locked_put(struct neat_socket *s, int fd, struct writing *w, bool waits) {
    uint32_t *lock = &s->end.shared->tx_lock;
    int locked = neat_lock_tx(&s->end, fd);
    if (locked < 0)
        return locked;
    ssize_t n = put(s, fd, w, waits);
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
static int await_room(struct neat_socket *s, int fd, int flags, struct waiting *w, bool partial) {
    if (w->hung_up || endpoint_lost(&s->end))
        return neat_gone(s, -EPIPE);
    if (!w->asked) {
        w->asked = true;
        w->wait = !neat_nonblocking(s, fd, flags);
        int64_t limit = w->wait ? neat_timeout(fd, SO_SNDTIMEO) : -1;
        w->deadline = limit < 0 ? -1 : neat_now() + limit;
        if (w->wait)
            return 0;              /* now the descriptor has to be made unwritable */
    }
    if (!w->wait && neat_is_polled(&s->end))
        return -EAGAIN;
    int64_t left = !w->wait ? 0 : w->deadline < 0 ? (partial ? NEAT_FOREVER : -1) : w->deadline - neat_now();
    if ((w->wait && w->deadline >= 0 && left <= 0) || (!w->wait && w->fruitless))
        return -EAGAIN;
    /* A stack that says "writable" over and over without making room gets asked less often. */
    bool doubtful = ++w->fruitless > MAX_FRUITLESS;
    int got = neat_sleep(s, fd, doubtful ? 0 : POLLOUT, doubtful ? DOUBTFUL_NS : left);
    if (got < 0)
        return got;
    w->hung_up = got & (POLLHUP | POLLERR);
    return got || w->wait ? 0 : -EAGAIN;
}

static ssize_t push(struct neat_socket *s, int fd, struct writing *w, int flags) {
    int status = neat_ready_to_move(s, fd, flags, true);
    struct waiting waiting = {.deadline = -1};
    if (status < 0)
        return status;
    do {
        ssize_t n = locked_put(s, fd, w, waiting.wait);
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
        ssize_t unreadable = look_at_file(w);
        if (unreadable)
            return unreadable < 0 ? unreadable : 0;
        status = await_room(s, fd, flags, &waiting, w->done > 0);
        if (status < 0)
            return w->done ? (ssize_t)w->done : status;
        fd = neat_number(s, fd);
    } while (w->done < w->room);
    return (ssize_t)w->done;
}

ssize_t neat_stream_send(struct neat_socket *s, int fd, const struct iovec *iov, int count, int flags) {
    struct writing w = {.iov = iov, .count = count, .room = neat_iov_bytes(iov, count),
                        .more = flags & MSG_MORE};
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

ssize_t neat_splice_out(struct neat_socket *s, int fd, int pipe, size_t count) {
    struct writing w = {.file = pipe, .offset = -1, .room = count};
    return s->type == SOCK_STREAM ? push(s, fd, &w, 0) : -EINVAL;
}
