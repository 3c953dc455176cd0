/* bind, listen, accept. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "readiness.h"
#include "setup.h"

#define MAX_BACKLOG 4096
#define SURE_ACCEPTS 64            /* a look for a free descriptor number is good for so many accepts ... */
#define SURE_NS 2000000            /* ... and for so long */
#define OVER_NS 100000000          /* accept() on a listener that is over, from the second on */

/* Give the stack's end to the syscall server with a local address. Caller holds `setup.lock`. */
int neat_bind_locked(struct neat_socket *s, int fd, const struct neat_addr *local) {
    struct neat_msg message = {.op = NEAT_OP_BIND, .local = *local};
    message.options |= s->settings.reuse_address ? NEAT_BIND_REUSEADDR : 0;
    message.options |= s->settings.reuse_port ? NEAT_BIND_REUSEPORT : 0;
    message.options |= s->family == AF_INET6 ? NEAT_BIND_INET6 : 0;
    struct stat at;
    if (libc(fstat)(fd, &at) == 0) {   /* by this a program after exec finds it */
        store(&s->descriptor.inode, (uint64_t)at.st_ino);
        message.u[0] = (uint32_t)at.st_ino;
        message.u[1] = (uint32_t)((uint64_t)at.st_ino >> 32);
    }
    int status = neat_request(&message, &s->descriptor.stack_end, 1, NULL);
    if (status < 0)
        return status;
    s->setup.owner = message.token;
    s->setup.bind_id = message.bind_id;
    s->setup.any_port = !local->port;
    s->setup.local = message.local;
    s->setup.local.family = 4;
    s->setup.local.protocol = (uint8_t)s->protocol;
    neat_close_own(s->descriptor.stack_end);
    s->descriptor.stack_end = -1;
    if (s->type == SOCK_DGRAM)
        return neat_subsockets_open(s, &message);
    neat_set_stage(s, STAGE_BOUND);
    return 0;
}

int neat_bind(struct neat_socket *s, int fd, const struct sockaddr *address, socklen_t length) {
    struct neat_addr local;
    int status = neat_from_sockaddr(s, address, length, &local);
    if (status < 0)
        return status;
    pthread_mutex_lock(&s->setup.lock);
    if (load(&s->stage) != STAGE_NEW)
        status = -EINVAL;
    else if (s->settings.no_port && s->type == SOCK_STREAM && !local.port)
        s->setup.local = local;          /* IP_BIND_ADDRESS_NO_PORT: connect() chooses */
    else
        status = neat_bind_locked(s, fd, &local);
    pthread_mutex_unlock(&s->setup.lock);
    if (status == 0 && s->type == SOCK_DGRAM)
        neat_subsockets_read(s, fd, MAX_REPLICAS);
    return status;
}

void neat_listener_apply(struct neat_socket *s) {
    struct endpoint part;
    uint32_t replicas = neat_active_replicas(false);
    for (uint32_t k = 0; k < MAX_REPLICAS; k++) {
        if (!(replicas & 1u << k) ||
            neat_endpoint_open(&part, s->setup.owner, k, 0, s->setup.shared_index, 0) < 0)
            continue;
        if (part.index < NEAT_SHARED_SOCKS && part.shared->kind == NEAT_SOCK_LISTENER)
            neat_options_apply(s, &part);
        neat_endpoint_close(&part);
    }
}

int neat_listen(struct neat_socket *s, int fd, int backlog) {
    struct neat_addr any = {.family = 4, .protocol = IPPROTO_TCP};
    int status = 0;
    if (s->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&s->setup.lock);
    uint32_t stage = load(&s->stage);
    if (stage == STAGE_NEW)
        status = neat_bind_locked(s, fd, &any);
    else if (stage != STAGE_BOUND && stage != STAGE_LISTENING)
        status = -EINVAL;
    if (status == 0) {
        struct neat_msg message = {.op = NEAT_OP_LISTEN, .bind_id = s->setup.bind_id};
        message.u[0] = neat_defer_seconds(s);
        message.backlog = backlog < 0 || backlog > MAX_BACKLOG ? MAX_BACKLOG : backlog;
        status = neat_request(&message, NULL, 0, NULL);
        if (status == 0) {
            s->setup.backlog = backlog;
            s->setup.shared_index = message.sock;
            neat_set_stage(s, STAGE_LISTENING);
        }
    }
    pthread_mutex_unlock(&s->setup.lock);
    if (status == 0 && stage != STAGE_LISTENING)
        neat_listener_apply(s);    /* and so the segments are mapped while there are descriptor numbers for that */
    return status;
}

uint32_t neat_limits_seen;
static uint32_t sure;              /* accepts that need not look for a number, until: */
static int64_t sure_until;

void neat_limits_changed(void) {
    store(&sure, 0);
    neat_spares_limit_changed();
}

/* Near the limit: a connection whose segment cannot be mapped for want of numbers stays in the queue, too. */
static int map_first(const struct neat_socket *s, int listener) {
    struct neat_msg message;
    struct segment *segment;
    if (libc(recv)(listener, &message, sizeof message, MSG_PEEK | MSG_DONTWAIT) != sizeof message ||
        message.magic != NEAT_MSG_MAGIC || message.op != NEAT_EV_ACCEPT || message.replica >= MAX_REPLICAS)
        return 0;
    int status = neat_segment_get(s->setup.owner, message.replica, message.incarnation, &segment);
    if (status == 0)
        neat_segment_put(segment);
    return status == -EMFILE || status == -ENFILE ? status : 0;
}

/* Without a number for its descriptor the kernel would deliver a message all the same, and lose the connection: it stays in the queue until
 * there is one. The kernel gives the lowest that is free. While that is below half of the limit a look is good for a while: the process
 * would have to open the other half meanwhile. Near the limit each accept looks, and where the limit may change behind our back.
 * 1: there is one, but not many. */
static int look_for_number(int listener) {
    uint32_t left = load(&sure);
    if (left && neat_now() < load(&sure_until) && swap_if(&sure, &left, left - 1))
        return 0;
    struct rlimit limit;
    int spare = libc(fcntl)(listener, F_DUPFD_CLOEXEC, 0);
    if (spare < 0 && errno == EMFILE && neat_spares_drop())
        spare = libc(fcntl)(listener, F_DUPFD_CLOEXEC, 0);
    if (spare < 0)
        return -errno;
    libc(close)(spare);
    bool far = getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)spare < limit.rlim_cur / 2;
    store(&sure_until, neat_now() + SURE_NS);
    store(&sure, far && load(&neat_limits_seen) ? SURE_ACCEPTS : 0);
    return !far;
}

/* A connection comes as the listener's last accept() wanted it: where that was another way, leave word for the next ones. */
static void leave_word(const struct neat_socket *new, const struct neat_msg *message, bool nonblock) {
    uint32_t wanted = nonblock ? NEAT_OPT_NONBLOCK : 0;
    if (!new->end.segment || message->u[0] >= NEAT_SHARED_SOCKS || message->u[0] >= new->end.segment->nsock)
        return;
    struct neat_sock *listener = (struct neat_sock *)(new->end.segment->base + NEAT_SOCKS_OFFSET) + message->u[0];
    if (neat_looks_first) {
        wanted |= (uint32_t)(NEAT_OPT_LOOKS | NEAT_OPT_KEEPS);
        neat_spares_accepted(listener);
    }
    if ((message->options & NEAT_OPT_OF_ACCEPT) == wanted)
        return;
    set_bits(&listener->options, wanted);
    clear_bits(&listener->options, NEAT_OPT_OF_ACCEPT & ~wanted);
}

/* A spare of ours for a connection that came without a descriptor. -errno: there is none, and it is offered again with a new pair. */
static int bring(const struct endpoint *end, bool cloexec, bool *nonblock) {
    uint64_t name, asked = end->generation;
    int fd = neat_spare_take(end->segment, cloexec, nonblock, &name);
    if (fd >= 0 && !swap_if(&end->shared->brought, &asked, name)) {
        libc(close)(fd);           /* it is not ours any more */
        neat_spare_give_up(end->segment, name);
        return -ENOENT;
    }
    set_bits(&end->shared->request, fd < 0 ? NEAT_REQ_OFFER : NEAT_REQ_ACCEPTED);
    neat_mark(end);
    if (fd < 0)
        neat_ring(end);
    return fd;
}

/* The descriptor of this connection. -ENOENT: it is over or offered again. */
static int find_own(const struct neat_socket *s, const struct neat_msg *message, bool cloexec, bool *nonblock) {
    struct endpoint end;
    int cancel;
    if (neat_endpoint_open(&end, s->setup.owner, message->replica, message->incarnation, message->sock,
                           message->generation) < 0)
        return -ENOENT;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);   /* close() of a hidden number is no place to end */
    int fd = load(&end.shared->brought) == end.generation ? bring(&end, cloexec, nonblock) : -ENOENT;
    pthread_setcancelstate(cancel, NULL);
    neat_endpoint_close(&end);
    return fd;
}

/* pthread_cancel(3): the thread leaves its call. */
static void cancelled(void *s) {
    add(&((struct neat_socket *)s)->setup.accepting, -1);
    neat_put(s);
}

/* Sleep until there is a message in the descriptor, as that says, and take nothing. pthread_cancel(3) ends the call. While it counts as
 * accepting, neat_disconnect_locked() puts nothing else under the number: so it sleeps on the listener, or not at all. */
static int await_accept(struct neat_socket *s, int listener) {
    char first;
    ssize_t n;
    pthread_cleanup_push(cancelled, s);
    add(&s->setup.accepting, 1);
    n = load(&s->stage) == STAGE_LISTENING ? libc(recv)(listener, &first, sizeof first, MSG_PEEK) : 0;
    add(&s->setup.accepting, -1);
    pthread_cleanup_pop(0);
    return n < 0 && errno != ECONNRESET ? -errno : 0;
}

/* Shut down, or the stack is over: the descriptor is ready for ever. A server that asks again and again is slowed down. */
static int listener_over(struct neat_socket *s) {
    if (swap(&s->reset_seen, 1))
        nanosleep(&(struct timespec){0, OVER_NS}, NULL);
    return -EINVAL;
}

/* One NEAT_EV_ACCEPT from the listener's descriptor, which is the accept queue; its descriptor in *fd, which is O_NONBLOCK or not. */
static int next_accept(struct neat_socket *s, int listener, int flags, struct neat_msg *message, int *fd, bool *nonblock) {
    int got[2];
    int how = MSG_DONTWAIT | ((flags & SOCK_CLOEXEC) ? MSG_CMSG_CLOEXEC : 0);
    for (;;) {
        int status = look_for_number(listener);
        if (status > 0)
            status = map_first(s, listener);
        if (status < 0)
            return status;
        ssize_t n = neat_message_recv(listener, message, sizeof *message, how, got);
        if (n == -EAGAIN && load(&s->stage) != STAGE_LISTENING)
            return -EINVAL;        /* shut down by another thread: the number has a new pair, where nothing will come */
        if (n == -EAGAIN && neat_nonblocking(s, listener, 0))
            return -EAGAIN;
        if (n == -EAGAIN) {
            status = await_accept(s, listener);
            if (status < 0)
                return status;
            listener = neat_number(s, listener);
            continue;
        }
        if (n == 0 || n == -ECONNRESET)
            return listener_over(s);
        if (n < 0 && n != -EMSGSIZE)
            return (int)n;
        bool sound = n == sizeof *message && message->magic == NEAT_MSG_MAGIC && message->op == NEAT_EV_ACCEPT;
        *nonblock = message->options & NEAT_OPT_NONBLOCK;
        if (sound && got[0] < 0 && message->token) {
            got[0] = find_own(s, message, flags & SOCK_CLOEXEC, nonblock);
            if (got[0] == -ENOENT)
                continue;
        }
        if (sound && got[0] < 0)
            return -EMFILE;            /* its descriptor was lost, and the replica hears a hang-up; or it is offered again */
        if (sound) {
            if (got[1] >= 0)
                libc(close)(got[1]);
            *fd = got[0];
            return 0;
        }
        if (n != 1)
            tally(bad_messages);
        for (int i = 0; i < 2; i++)
            if (got[i] >= 0)
                libc(close)(got[i]);
    }
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

int neat_accept(struct neat_socket *s, int fd, struct sockaddr *address, socklen_t *length, int flags,
                struct neat_socket **out) {
    struct neat_msg message;
    int accepted = -1;
    bool nonblock, wanted = flags & SOCK_NONBLOCK;
    if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
        return -EINVAL;
    if (s->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    if (load(&s->stage) == STAGE_BOUND)
        look_again(s);
    if (load(&s->stage) != STAGE_LISTENING)
        return -EINVAL;
    int status = next_accept(s, fd, flags, &message, &accepted, &nonblock);
    if (status < 0)
        return status;
    struct neat_socket *new = neat_new(SOCK_STREAM, IPPROTO_TCP);
    if (!new) {
        libc(close)(accepted);
        return -ENOMEM;
    }
    new->setup.owner = s->setup.owner;
    new->family = s->family;
    new->settings = s->settings;
    new->setup.local = message.local;
    new->setup.remote = message.remote;
    status = neat_endpoint_open(&new->end, s->setup.owner, message.replica, message.incarnation, message.sock,
                                message.generation);
    if (status == 0 && endpoint_current(&new->end)) {
        neat_set_stage(new, STAGE_CONNECTED);
        set_bits(&new->end.shared->request, NEAT_REQ_ACCEPTED);
        neat_options_apply(new, &new->end);
        neat_mark(&new->end);
        if (!neat_looks_first)
            neat_wait_unseen(new, accepted);
    } else {
        /* Its replica died meanwhile: the application gets it all the same, and a reset from it. Nobody else may know of a spare. */
        neat_set_stage(new, STAGE_LOST);
        libc(shutdown)(accepted, SHUT_RDWR);
    }
    if (nonblock != wanted)
        libc(fcntl)(accepted, F_SETFL, wanted ? O_RDWR | O_NONBLOCK : O_RDWR);
    store(&new->descriptor.keepable, (message.options & NEAT_OPT_KEEPS) != 0);
    leave_word(new, &message, wanted);
    neat_to_sockaddr(new, &new->setup.remote, address, length);
    *out = new;
    return accepted;
}
