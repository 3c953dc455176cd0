/* accept(). Read first: docs/contracts/accept.md, which has the invariants. */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "readiness.h"
#include "setup.h"

#define OVER_NS 100000000          /* accept() on a listener that is over, from the second on */

/* pthread_cancel(3): the thread leaves its call. */
static void cancelled(void *s) {
    add(&((struct neat_socket *)s)->setup.accepting, -1);
    neat_put(s);
}

/* Sleep until there is a message in the descriptor, as that says, and take nothing. pthread_cancel(3) ends
 * the call. While it counts as accepting, neat_disconnect_locked() puts nothing else under the number: so
 * it sleeps on the listener, or not at all. */
static int await_message(struct neat_socket *s, int listener) {
    char first;
    ssize_t n;
    pthread_cleanup_push(cancelled, s);
    add(&s->setup.accepting, 1);
    n = load(&s->stage) == STAGE_LISTENING ? libc(recv)(listener, &first, sizeof first, MSG_PEEK) : 0;
    add(&s->setup.accepting, -1);
    pthread_cleanup_pop(0);
    return n < 0 && errno != ECONNRESET ? -errno : 0;
}

/* Shut down, or the stack is over: the descriptor is ready for ever. A server that asks again and again is
 * slowed down. */
static int listener_over(struct neat_socket *s) {
    if (swap(&s->reset_seen, 1))
        nanosleep(&(struct timespec){0, OVER_NS}, NULL);
    return -EINVAL;
}

/* One NEAT_EV_ACCEPT from the listener's descriptor, which is the accept queue; without one, what accept()
 * returns, or -EAGAIN: sleep. No descriptor comes with it. Waits for nobody. */
static int take_message(struct neat_socket *s, int listener, struct neat_msg *message) {
    for (;;) {
        ssize_t n = libc(recv)(listener, message, sizeof *message, MSG_DONTWAIT | MSG_TRUNC);
        if (n == sizeof *message && message->magic == NEAT_MSG_MAGIC && message->op == NEAT_EV_ACCEPT)
            return 0;
        if (n < 0 && errno == EAGAIN)
            /* shut down by another thread: the number has a new pair */
            return load(&s->stage) == STAGE_LISTENING ? -EAGAIN : -EINVAL;
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return listener_over(s);
        if (n < 0)
            return -errno;
        if (n != 1)
            tally(bad_messages);
    }
}

/* A message, and a pair in reserve before that is taken: so a process without descriptors loses no
 * connection. `cancel`: whether pthread_cancel(3) ends its sleep; it has nothing in its hands then. */
static int next_message(struct neat_socket *s, int listener, int cancel, struct neat_msg *message,
                        struct spare **reserve) {
    for (;;) {
        int status = neat_segments_corded(s->setup.owner);
        if (status != -EMFILE && status != -ENFILE)
            status = neat_spare_reserve(reserve);
        if (status < 0)
            return status;
        status = take_message(s, listener, message);
        if (status == 0)
            return 0;
        neat_spare_back(*reserve);
        if (status != -EAGAIN || neat_nonblocking(s, listener, 0))
            return status;
        pthread_setcancelstate(cancel, NULL);
        status = await_message(s, listener);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        if (status < 0)
            return status;
        listener = neat_number(s, listener);
    }
}

/* Give the replica the stack's end of a connection that was claimed. A connection that cannot get it is
 * reset: at its peer by the request, in the application by the end that is closed. */
static void send_stack_end(const struct endpoint *end, const struct neat_msg *offer, struct spare *pair) {
    struct neat_msg message = {.magic = NEAT_MSG_MAGIC, .op = NEAT_OP_STACK_END, .sock = offer->sock,
                               .generation = offer->generation};
    message.u[0] = offer->u[0];
    if (neat_cord_send(end->segment, &message, neat_spare_stack_end(pair)) < 0) {
        set_bits(&end->shared->request, (uint32_t)(NEAT_REQ_ABORT | NEAT_REQ_CLOSE));
        neat_mark(end);
        neat_ring(end);
    }
}

/* Claim the connection, and say which pair it gets; the one that is not needed of two goes back. NULL: it
 * is not there any more. */
static struct spare *claim(const struct endpoint *end, const struct neat_msg *offer, struct spare *reserve,
                           bool nonblock) {
    uint64_t offered = end->generation, name;
    struct spare *pair = neat_spare_choose(reserve, end->segment, nonblock, &name);
    uint64_t by_cord = (uint64_t)load(&end->segment->cord_number) << 32 | NEAT_CLAIM_CORD;
    if (!swap_if(&end->shared->claim, &offered, name ? name : by_cord)) {
        if (pair != reserve)
            neat_spare_back(pair);
        return NULL;
    }
    if (!neat_looks_first)
        set_bits(&end->shared->waiters, NEAT_WAITERS_UNSEEN);  /* before the replica can have the pair */
    if (pair == reserve)
        send_stack_end(end, offer, pair);
    else
        neat_spare_back(reserve);
    return pair;
}

/* The descriptor of the connection that `message` is about, of which `new` is made. -ENOENT: it is over,
 * or another process's. */
static int take_connection(struct neat_socket *new, const struct neat_msg *message, struct spare *reserve,
                           int flags) {
    bool wanted = flags & SOCK_NONBLOCK;
    struct endpoint *end = &new->end;
    struct spare *pair = reserve;
    int status = neat_endpoint_open(end, new->setup.owner, message->replica, message->incarnation,
                                    message->sock, message->generation);
    if (status == 0)
        status = neat_cord_open(end->segment);
    if (status == 0)
        pair = claim(end, message, reserve, wanted);
    if (!pair)
        return -ENOENT;
    bool nonblock = neat_spare_nonblock(pair);
    /* closes a stack's end that is still here: the application is told of a reset */
    int fd = neat_spare_number(pair, flags & SOCK_CLOEXEC);
    if (nonblock != wanted)
        libc(fcntl)(fd, F_SETFL, wanted ? O_RDWR | O_NONBLOCK : O_RDWR);
    neat_set_stage(new, status == 0 ? STAGE_CONNECTED : STAGE_LOST);
    if (status < 0)
        return fd;                 /* its replica died meanwhile */
    set_bits(&end->shared->request, NEAT_REQ_ACCEPTED);
    neat_options_apply(new, end);
    neat_mark(end);
    return fd;
}

/* A bound socket that another process has, too: that one may have made a listener of it. */
static void look_again(struct neat_socket *s) {
    uint64_t inode = load(&s->descriptor.inode);
    struct neat_msg message = {.op = NEAT_OP_ADOPT, .u = {(uint32_t)inode, (uint32_t)(inode >> 32)}};
    if (!inode || neat_flags_known(s) || neat_request(&message, NULL, 0, NULL) < 0)
        return;
    pthread_mutex_lock(&s->setup.lock);
    if (load(&s->stage) == STAGE_BOUND && message.bind_id == s->setup.bind_id && message.backlog >= 0)
        neat_set_stage(s, STAGE_LISTENING);
    pthread_mutex_unlock(&s->setup.lock);
}

static struct neat_socket *born(const struct neat_socket *listener, const struct neat_msg *message) {
    struct neat_socket *new = neat_new(SOCK_STREAM, IPPROTO_TCP);
    if (!new)
        return NULL;
    new->setup.owner = listener->setup.owner;
    new->family = listener->family;
    new->settings = listener->settings;
    new->setup.local = message->local;
    new->setup.remote = message->remote;
    return new;
}

/* The next connection that is still there: its descriptor, and its socket in *out. */
static int accept_next(struct neat_socket *s, int listener, int flags, int cancel, struct neat_socket **out) {
    struct neat_msg message;
    struct spare *reserve;
    for (;;) {
        int status = next_message(s, listener, cancel, &message, &reserve);
        if (status < 0)
            return status;
        *out = born(s, &message);
        int fd = *out ? take_connection(*out, &message, reserve, flags) : -ENOMEM;
        if (fd >= 0)
            return fd;
        neat_spare_back(reserve);
        if (*out)
            neat_undup(*out);
        if (fd != -ENOENT)
            return fd;
        listener = neat_number(s, listener);
    }
}

static void give_back(void *s) {
    neat_put(s);
}

int neat_accept(struct neat_socket *s, int fd, struct sockaddr *address, socklen_t *length, int flags,
                struct neat_socket **out) {
    int cancel;
    if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
        return -EINVAL;
    if (s->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    if (load(&s->stage) == STAGE_BOUND)
        look_again(s);
    if (load(&s->stage) != STAGE_LISTENING)
        return -EINVAL;
    pthread_cleanup_push(give_back, s);
    pthread_testcancel();
    pthread_cleanup_pop(0);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    int accepted = accept_next(s, fd, flags, cancel, out);
    pthread_setcancelstate(cancel, NULL);
    if (accepted < 0)
        return accepted;
    store(&(*out)->descriptor.keepable, neat_looks_first && swap(&s->setup.accepted, 1));
    neat_to_sockaddr(*out, &(*out)->setup.remote, address, length);
    return accepted;
}
