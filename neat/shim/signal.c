/* What a connection's descriptor shows: tokens and fills; and how the replica is told: dirty bits, doorbells.
 * Read first: docs/contracts/readiness.md, which has the invariants.
 *
 * What a holder of rx_lock or tx_lock left half done when it was killed breaks them for relatives that
 * share the socket; whoever takes the lock over restores them (neat_lock_rx, neat_lock_tx). Whoever is
 * killed between taking `sleeping` away and the bell leaves that to the replica's tick (every 100 ms at
 * least).
 */
#include <unistd.h>

#include "readiness.h"

#define MAX_FILLS 16
#define OVER ((uint32_t)(NEAT_ST_RDHUP | NEAT_ST_ERROR | NEAT_ST_CLOSED))
#define MAX_TOKENS 16              /* taken out in one repair: honest stacks have one */

/* Messages beside the canary that make a descriptor unwritable; 0: not measured yet. */
static uint32_t fills_needed;

/* Tell the replica to look at this socket, when it is awake or wakes up next. */
void neat_mark(const struct endpoint *end) {
    uint64_t *dirty = (uint64_t *)(end->segment->base + NEAT_DIRTY_OFFSET);
    uint64_t *summary = (uint64_t *)(end->segment->base + NEAT_SUMMARY_OFFSET);
    uint32_t word = end->index / 64;
    set_bits(&dirty[word], UINT64_C(1) << (end->index % 64));
    set_bits(&summary[word / 64], UINT64_C(1) << (word % 64));
    fence();
}

/* Wake the replica if it sleeps. */
void neat_ring(const struct endpoint *end) {
    struct neat_channel *channel = (struct neat_channel *)end->segment->base;
    if (load_seq(&channel->sleeping) && swap(&channel->sleeping, 0)) {
        uint64_t one = 1;
        tally(bells);
        while (libc(write)(end->segment->bell, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
}

void neat_notify(const struct endpoint *end) {
    set_bits(&end->shared->request, (uint32_t)NEAT_REQ_NOTIFY);
    neat_mark(end);
    neat_ring(end);
}

static void have_token(struct neat_sock *shared) {
    tally(tokens);
    swap(&shared->in_token, 0);
    fence();
}

/* Take the token out, in_token = 0, fence. Caller holds rx_lock, found the ring empty, and looks at it again
 * if this is true. `stray`: a token was seen though in_token was 0.
 *
 * It is there, or comes at once, so a read() does not wait: by the word of the stack, which is not enough
 * where the program has said MSG_DONTWAIT (`flags`). And one who sleeps there may have got it, and been
 * killed before it said so. */
bool neat_take_token(const struct endpoint *end, int fd, int flags, bool stray) {
    char byte = 0;
    bool said = load(&end->shared->in_token) == 1;
    bool alone = said && !(flags & MSG_DONTWAIT) && load(&end->shared->waiters) < NEAT_WAITER;
    if (!said && (!stray || libc(recv)(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1 || byte != TOKEN))
        return false;
    if (load(&end->shared->status) & OVER)
        return false;
    ssize_t n = alone ? libc(read)(fd, &byte, 1) : libc(recv)(fd, &byte, 1, MSG_DONTWAIT);
    if (n != 1 && (alone || n >= 0 || errno != EAGAIN))
        return false;
    have_token(end->shared);
    return true;
}

/* pthread_cancel(3) in its sleep: the thread leaves its call, perhaps with the token. */
static void cancelled_in_await(void *argument) {
    struct neat_socket *s = argument;
    have_token(s->end.shared);
    neat_wait_end(&s->end);
    neat_notify(&s->end);
    neat_put(s);
}

static void cancelled_in_look(void *argument) {
    struct neat_socket *s = argument;
    neat_unlock(&s->end.shared->rx_lock);
    neat_put(s);
}

static void cancelled_in_peek(void *s) {
    neat_put(s);
}

/* Take one out, as the descriptor's O_NONBLOCK and SO_RCVTIMEO say. `byte`: room for it, in the frame
 * where pthread_cancel(3) goes on. */
static int take_message(struct neat_sock *shared, int fd, uint8_t *byte) {
    ssize_t n = libc(read)(fd, byte, 1);
    if (n < 0 && errno != ECONNRESET)
        return -errno;
    if (n != 1 || *byte != TOKEN)
        return NEAT_HUNG_UP;
    have_token(shared);
    return NEAT_TOKEN_TAKEN;
}

/* What the first one says, which stays there. `how`: MSG_DONTWAIT. */
static int peek_at_message(int fd, int how, uint8_t *byte) {
    ssize_t n = libc(recv)(fd, byte, 1, MSG_PEEK | how);
    if (n < 0 && errno != ECONNRESET)
        return -errno;
    return n == 1 && *byte == TOKEN ? NEAT_TOKEN_THERE : NEAT_HUNG_UP;
}

/* The token stays where it is with MSG_PEEK, and where programs poll past us: until the replica has sent
 * another, they would be told that what is left in the ring is not there. */
static int await_alone(struct neat_sock *shared, int fd, int flags, uint8_t *byte) {
    bool takes = neat_looks_first && !(flags & MSG_PEEK);
    return takes ? take_message(shared, fd, byte) : peek_at_message(fd, flags & MSG_DONTWAIT, byte);
}

/* The call may not wait. Where the descriptor knows that, it is the read() that the program itself would
 * make. */
int neat_look_for_message(struct neat_socket *s, int fd, int flags) {
    struct neat_sock *shared = s->end.shared;
    uint8_t byte = 0;
    int message, locked;
    tally(waits);
    if (flags & MSG_DONTWAIT) {
        pthread_cleanup_push(cancelled_in_peek, s);
        message = peek_at_message(fd, MSG_DONTWAIT, &byte);
        pthread_cleanup_pop(0);
        return message;
    }
    locked = neat_lock_rx(&s->end, fd);
    if (locked < 0)
        return locked;
    pthread_cleanup_push(cancelled_in_look, s);
    message = load(&shared->status) & OVER ? NEAT_TOKEN_THERE : await_alone(shared, fd, flags, &byte);
    pthread_cleanup_pop(0);
    neat_unlock(&shared->rx_lock);
    return message;
}

/* Beside others: one that poll() has told of may be taken by then. */
static int await_beside(int fd, int64_t limit, uint8_t *byte) {
    int woken = neat_poll(fd, POLLIN, limit);
    if (woken <= 0)
        return woken < 0 ? woken : -EAGAIN;
    int message = peek_at_message(fd, MSG_DONTWAIT, byte);
    return message == -EAGAIN ? NEAT_TOKEN_THERE : message;
}

/* Sleep until a message is in the descriptor, as its O_NONBLOCK and SO_RCVTIMEO say. `seen`: rx_tail when the
 * caller looked; `partial`: the call has some bytes already, so a signal handler ends it for sure. -EAGAIN,
 * -EINTR.
 *
 * Every sleeper must wake up, but a message wakes one read() only, and all that poll(). So who joins a
 * sleeper polls, and takes nothing. One that is killed stays counted: that costs the others a system call. */
int neat_await_message(struct neat_socket *s, int fd, int flags, bool partial, uint64_t seen) {
    struct neat_sock *shared = s->end.shared;
    uint8_t byte = 0;
    int message;
    tally(waits);
    bool beside = neat_wait_begin(shared) > 1 || partial;
    if (load(&shared->rx_tail) != seen || (load(&shared->status) & OVER)) {
        neat_wait_end(&s->end);
        return NEAT_NEWS;
    }
    int64_t limit = !beside || neat_nonblocking(s, fd, 0) ? 0 : neat_timeout(fd, SO_RCVTIMEO);
    if (partial && limit < 0)
        limit = NEAT_FOREVER;
    pthread_cleanup_push(cancelled_in_await, s);
    message = beside ? await_beside(fd, limit, &byte) : await_alone(shared, fd, flags, &byte);
    pthread_cleanup_pop(0);
    neat_wait_end(&s->end);
    return message;
}

/* How many messages make a descriptor like ours unwritable. */
static int measure_fills(void) {
    int ends[2], zero = 0, count = 0;
    if (libc(socketpair)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    libc(setsockopt)(ends[0], SOL_SOCKET, SO_SNDBUF, &zero, sizeof zero);
    bool sent = libc(send)(ends[0], "c", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
    while (sent && count < MAX_FILLS && neat_poll(ends[0], POLLOUT, 0) == POLLOUT) {
        sent = libc(send)(ends[0], "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
        count += sent;
    }
    libc(close)(ends[0]);
    libc(close)(ends[1]);
    return count ? count : 1;
}

/* Put fill messages in. Returns how many, -EPIPE or -ECONNRESET when the stack's end is gone. */
int neat_fill_first(struct neat_socket *s, int fd) {
    if (!load(&fills_needed)) {
        int measured = measure_fills();
        if (measured < 0)
            return measured;
        store(&fills_needed, (uint32_t)measured);
    }
    if (!load(&s->descriptor.small_buffer)) {
        int zero = 0;
        libc(setsockopt)(fd, SOL_SOCKET, SO_SNDBUF, &zero, sizeof zero);
        store(&s->descriptor.small_buffer, 1);
    }
    int count = 0;
    while (count < (int)fills_needed) {
        if (libc(send)(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
            if (errno == EAGAIN)
                break;
            return -errno;
        }
        count++;
    }
    return count;
}

/* The transmit ring is full: ask for room in memory; or, if somebody waits on the descriptor or the caller
 * is going to, make that unwritable. Caller holds tx_lock, and looks at tx_head after this. */
int neat_fill(struct neat_socket *s, const struct endpoint *end, int fd, bool waits) {
    uint32_t block = load(&end->shared->out_block), wanted = NEAT_OUT_WANTED;
    if (!waits && !neat_is_shown(end)) {
        if (!block)
            swap(&end->shared->out_block, NEAT_OUT_WANTED);
        fence();
        return 0;
    }
    /* What was asked for in memory is asked for here: all hear of it. */
    if (block && (block != wanted || !swap_if(&end->shared->out_block, &wanted, 0)))
        return 0;
    int count = neat_fill_first(s, fd);
    if (count < 0)
        return count;
    swap(&end->shared->out_block, (uint32_t)(count ? count : 1));
    fence();
    return 0;
}

/* The last holder of rx_lock was killed: it may have had the token in its hands. Takes out what is there
 * and asks for a new one. */
static void repair_rx(const struct endpoint *end, int fd) {
    char byte = 0;
    for (int i = 0; i < MAX_TOKENS; i++) {
        if (libc(recv)(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1 || byte != TOKEN)
            break;
        if (libc(recv)(fd, &byte, 1, MSG_DONTWAIT) != 1)
            break;
    }
    swap(&end->shared->in_token, 0);
    neat_notify(end);
}

/* The last holder of tx_lock was killed: it may have filled the descriptor and not have said so. */
static void repair_tx(const struct endpoint *end, int fd) {
    uint32_t block = load(&end->shared->out_block);
    if ((!block || block == NEAT_OUT_WANTED) && !(neat_poll(fd, POLLOUT, 0) & POLLOUT))
        swap(&end->shared->out_block, load(&fills_needed) ? load(&fills_needed) : 1);
    neat_notify(end);
}

int neat_lock_rx(const struct endpoint *end, int fd) {
    int locked = neat_lock(&end->shared->rx_lock);
    if (locked > 0)
        repair_rx(end, fd);
    return locked;
}

int neat_lock_tx(const struct endpoint *end, int fd) {
    int locked = neat_lock(&end->shared->tx_lock);
    if (locked > 0)
        repair_tx(end, fd);
    return locked;
}
