/* connect(): a random active replica opens the connection; its descriptor turns writable when that is
 * done. */
#include <fcntl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "readiness.h"
#include "setup.h"

#define TRIES 3                    /* to find a replica that takes it; for a call that may wait: */
#define PATIENT_TRIES 25
#define RETRY_NS 20000000
#define LEAVING_NS 20000           /* between looks whether all have left accept() */
#define LEAVING_TRIES 50000
#define LIVES 3                    /* replicas that may die on us before we give up */
#define ANSWER_NS 2000000000       /* how long a replica may take to say NEAT_EV_CONNECTING */

/* One of the set bits of `bitmap`, at random; MAX_REPLICAS if there is none. */
static uint32_t pick(uint32_t bitmap) {
    uint32_t random = 0;
    bitmap &= (1u << MAX_REPLICAS) - 1;
    if (!bitmap)
        return MAX_REPLICAS;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)neat_now();
    for (uint32_t skip = random % (uint32_t)__builtin_popcount(bitmap); skip; skip--)
        bitmap &= bitmap - 1;
    return (uint32_t)__builtin_ctz(bitmap);
}

/* After a connect() that failed, a socket may try again (Linux), so it gets a new pair under its old
 * number. */
static int renew_pair(struct neat_socket *s, int fd) {
    int fresh, flags = libc(fcntl)(fd, F_GETFL), cloexec = libc(fcntl)(fd, F_GETFD) & FD_CLOEXEC;
    int status = neat_pair(&fresh, &s->descriptor.stack_end);
    if (status < 0)
        return status;
    libc(fcntl)(fresh, F_SETFL, flags);
    status = libc(dup3)(fresh, fd, cloexec ? O_CLOEXEC : 0) < 0 ? -errno : 0;
    libc(close)(fresh);
    store(&s->descriptor.small_buffer, 1);
    store(&s->descriptor.inode, 0);
    return status;
}

/* It has no port any more, but Linux goes on naming the one it had. An address that was bound without one
 * stays. */
static void forget_name(struct neat_socket *s) {
    s->setup.stale_port = s->setup.local.port;
    s->setup.local.port = 0;
    if (!s->settings.no_port)
        memset(s->setup.local.addr, 0, sizeof s->setup.local.addr);
}

/* Forget a connection that did not come about: its pair is used up. */
static int failed(struct neat_socket *s, int error) {
    neat_endpoint_close(&s->end);
    if (!s->setup.bind_id || s->setup.any_port)
        forget_name(s);
    if (s->descriptor.stack_end >= 0)
        neat_close_own(s->descriptor.stack_end);
    s->descriptor.stack_end = -1;
    s->setup.bind_id = 0;
    neat_set_stage(s, STAGE_NEW);
    return error;
}

/* Who sleeps in accept() has been woken: it is gone before its number means something else. Not if this is
 * its own thread, in a signal handler. */
static void await_accepting(struct neat_socket *s) {
    for (int i = 0; load(&s->setup.accepting) && i < LEAVING_TRIES; i++)
        nanosleep(&(struct timespec){0, LEAVING_NS}, NULL);
}

int neat_disconnect_locked(struct neat_socket *s, int fd) {
    struct neat_addr local = s->setup.local;
    bool bound = s->setup.bind_id && !s->setup.any_port;
    bool open = load(&s->stage) == STAGE_CONNECTED && endpoint_current(&s->end) &&
                !(load(&s->end.shared->status) & NEAT_ST_CLOSED);
    store(&s->setup.dissolved, open || load(&s->stage) == STAGE_CONNECTING ? ECONNRESET : 0);
    if (open) {
        set_bits(&s->end.shared->request, (uint32_t)(NEAT_REQ_ABORT | NEAT_REQ_CLOSE));
        neat_mark(&s->end);
        neat_ring(&s->end);
    }
    /* Every copy of the pair's end hears of it, those in other processes and in other threads' calls too. */
    libc(shutdown)(fd, SHUT_RDWR);
    if (load(&s->stage) == STAGE_CONNECTING)
        /* that of a connection stays until the next: threads may be inside calls on it */
        neat_endpoint_close(&s->end);
    if (s->descriptor.stack_end >= 0)
        neat_close_own(s->descriptor.stack_end);
    s->descriptor.stack_end = -1;
    s->setup.bind_id = 0;
    if (!bound)
        forget_name(s);
    neat_set_stage(s, STAGE_NEW);
    store(&s->reset_seen, 0);
    store(&s->end_seen, 0);
    await_accepting(s);
    int status = renew_pair(s, fd);
    if (status == 0 && bound)
        neat_bind_locked(s, fd, &local);
    return status;
}

/* Hand the stack's end to a replica, through the syscall server. *last: the one that was asked last, if
 * any. */
static int ask(struct neat_socket *s, int fd, uint32_t *last) {
    int status = neat_fill_first(s, fd);
    if (status < 0)
        return status;
    uint32_t fills = (uint32_t)status;
    int tries = neat_nonblocking(s, fd, 0) ? TRIES : PATIENT_TRIES;
    for (int i = 0; i < tries; i++) {
        if (i >= TRIES)
            nanosleep(&(struct timespec){0, RETRY_NS}, NULL);
        bool again = *last < MAX_REPLICAS;
        uint32_t bitmap = neat_active_replicas(i > 0 || again);
        /* One that just failed may be on its way out: another one, if there is any. */
        uint32_t others = again ? bitmap & ~(1u << *last) : bitmap;
        *last = pick(others ? others : bitmap);
        struct neat_msg message = {.op = NEAT_OP_CONNECT, .bind_id = s->setup.bind_id};
        message.local = s->setup.local;
        message.remote = s->setup.remote;
        message.replica = *last;
        message.options = s->settings.options;
        message.u[0] = fills;
        message.u[1] = s->settings.maxseg;
        message.u[2] = neat_receive_limit(&s->settings);
        message.u[3] = s->settings.tos | (uint32_t)s->settings.ttl << 8;
        status = -ENETDOWN;
        if (*last < MAX_REPLICAS)
            status = neat_request(&message, &s->descriptor.stack_end, s->setup.bind_id ? 0 : 1, NULL);
        if (status == 0)
            s->setup.owner = message.token;
        if ((status != -EAGAIN && status != -ENETDOWN) || !neat_registered())
            break;
    }
    if (status == 0 && s->descriptor.stack_end >= 0) {
        neat_close_own(s->descriptor.stack_end);
        s->descriptor.stack_end = -1;
    }
    return status;
}

/* The replica's word on the descriptor. 0: in progress, or the error. */
static int hear(struct neat_socket *s, int fd) {
    struct neat_msg message;
    int64_t deadline = neat_now() + ANSWER_NS;
    int got[2];
    for (;;) {
        int ready = neat_poll(fd, POLLIN, deadline - neat_now() > 0 ? deadline - neat_now() : 0);
        if (ready == -EINTR)
            continue;
        if (ready <= 0)
            return ready < 0 ? ready : -ETIMEDOUT;
        ssize_t n = neat_message_recv(fd, &message, sizeof message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, got);
        for (int i = 0; i < 2; i++)
            if (got[i] >= 0)
                libc(close)(got[i]);
        if (n == -ECONNRESET && (ready & POLLIN) && neat_poll(fd, POLLIN, 0) > 0) {
            /* The reset comes before what was said: NEAT_EV_FAILED may be behind it. */
            n = neat_message_recv(fd, &message, sizeof message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, got);
        }
        if (n == 0 || n == -ECONNRESET)
            return -ECONNRESET;
        if (n == sizeof message && message.magic == NEAT_MSG_MAGIC && message.op == NEAT_EV_FAILED)
            return message.error > 0 && message.error < 4096 ? -message.error : -ECONNRESET;
        if (n != sizeof message || message.magic != NEAT_MSG_MAGIC || message.op != NEAT_EV_CONNECTING) {
            tally(bad_messages);
            continue;
        }
        struct endpoint before = s->end, fresh;
        int status = neat_endpoint_open(&fresh, s->setup.owner, message.replica, message.incarnation,
                                        message.sock, message.generation);
        if (status < 0)
            return status;
        s->end = fresh;
        neat_endpoint_close(&before);
        s->setup.local = message.local;
        s->setup.local.family = 4;
        neat_options_apply(s, &s->end);
        neat_mark(&s->end);
        return 0;
    }
}

/* NEAT_EV_FAILED of a connection whose descriptor has hung up. */
static int last_words(int fd) {
    struct neat_msg message;
    int got[2], error = -ECONNRESET;
    for (int i = 0; i < 4; i++) {
        ssize_t n = neat_message_recv(fd, &message, sizeof message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, got);
        for (int j = 0; j < 2; j++)
            if (got[j] >= 0)
                libc(close)(got[j]);
        if (n == sizeof message && message.op == NEAT_EV_FAILED && message.error > 0 && message.error < 4096)
            error = -message.error;
        if (n == 0 || n == -EAGAIN)
            break;
    }
    return error;
}

/* Whether an attempt to connect is under way still. Caller holds `setup.lock`, has settled it, and found
 * STAGE_CONNECTING. */
static bool under_way(const struct neat_socket *s, int fd) {
    uint32_t status = load(&s->end.shared->status);
    return endpoint_current(&s->end) && !(status & NEAT_ST_ERROR) &&
           !(neat_poll(fd, 0, 0) & (POLLHUP | POLLERR));
}

static int status_locked(struct neat_socket *s, int fd) {
    uint32_t stage = neat_settle(s);
    if (stage != STAGE_CONNECTING)
        return stage == STAGE_CONNECTED ? 0 : -ENOTCONN;
    if (under_way(s, fd))
        return -EINPROGRESS;
    int error = endpoint_current(&s->end) ? neat_endpoint_error(&s->end, fd) : 0;
    return failed(s, error ? -error : last_words(fd));
}

int neat_connect_status(struct neat_socket *s, int fd) {
    pthread_mutex_lock(&s->setup.lock);
    int status = status_locked(s, fd);
    pthread_mutex_unlock(&s->setup.lock);
    return status;
}

int neat_connect_end(struct neat_socket *s, int fd) {
    int status = 0;
    pthread_mutex_lock(&s->setup.lock);
    uint32_t stage = neat_settle(s);
    if (stage == STAGE_CONNECTING)
        status = under_way(s, fd) ? neat_disconnect_locked(s, fd) : -ENOTCONN;
    pthread_mutex_unlock(&s->setup.lock);
    return stage == STAGE_CONNECTED ? 1 : status;
}

/* Start to connect. 0 when it is under way. A replica that dies before it has said a word is not the last.
 * Caller holds `setup.lock`. */
static int start(struct neat_socket *s, int fd, const struct neat_addr *remote) {
    uint32_t last = MAX_REPLICAS;
    int status = -ECONNRESET;
    /* What a process has for the stack is there before its first connection, which may be over soon. */
    uint64_t owner;
    if (neat_attach(&owner) == 0 && neat_segments_corded(owner) == 0)
        neat_spares_stock();
    store(&s->setup.dissolved, 0);
    bool bound = s->setup.bind_id != 0;
    for (int life = 0; life < (bound ? 1 : LIVES) && status == -ECONNRESET; life++) {
        status = s->descriptor.stack_end < 0 && !bound ? renew_pair(s, fd) : 0;
        s->setup.remote = *remote;
        if (status == 0)
            status = ask(s, fd, &last);
        if (status == 0)
            status = hear(s, fd);
        if (status < 0)
            failed(s, status);
    }
    if (status == 0)
        neat_set_stage(s, STAGE_CONNECTING);
    return status;
}

/* `later`: what a connect() says whose time is over. */
static int await(struct neat_socket *s, int fd, int later) {
    int64_t limit = neat_timeout(fd, SO_SNDTIMEO), deadline = neat_now() + limit;
    /* It is a connection in memory first, and a moment later on its descriptor, which the program may poll
     * next. */
    for (bool writable = false;; writable = true) {
        int status = neat_connect_status(s, fd);
        if (status != -EINPROGRESS && (status < 0 || writable))
            return status;
        int64_t left = limit < 0 ? -1 : deadline - neat_now();
        if (limit >= 0 && left <= 0)
            return status ? later : 0;
        int got = neat_sleep(s, fd, POLLOUT, left);
        if (got < 0)
            return status ? got : 0;
        fd = neat_number(s, fd);
    }
}

/* ip(7): a connected socket that was bound to the wildcard says the address that it sends from, until it is
 * connected no more. */
static void choose_source(struct neat_socket *s, bool connected) {
    static const uint8_t any[16] = {0};
    struct neat_addr own;
    uint32_t prefix;
    if (connected && !memcmp(s->setup.local.addr, any, sizeof any) &&
        neat_stack_address(&own, &prefix) == 0) {
        memcpy(s->setup.local.addr, own.addr, sizeof own.addr);
        s->setup.source_chosen = true;
    } else if (!connected && s->setup.source_chosen) {
        memset(s->setup.local.addr, 0, sizeof s->setup.local.addr);
        s->setup.source_chosen = false;
    }
}

/* UDP: only datagrams from there are received, and those without an address go there. */
static int connect_datagram(struct neat_socket *s, int fd, const struct neat_addr *peer) {
    struct neat_addr any = {.family = 4, .protocol = IPPROTO_UDP};
    int status = 0;
    pthread_mutex_lock(&s->setup.lock);
    bool bound_here = load(&s->stage) == STAGE_NEW;
    if (bound_here)
        status = neat_bind_locked(s, fd, &any);
    if (status == 0) {
        s->setup.remote = *peer;
        choose_source(s, peer->family != 0);
        if (peer->family)
            set_bits(&s->settings.options, NEAT_OPT_PEER);
        else
            clear_bits(&s->settings.options, NEAT_OPT_PEER);
    }
    pthread_mutex_unlock(&s->setup.lock);
    if (status < 0)
        return status;
    if (bound_here)
        neat_subsockets_read(s, fd, MAX_REPLICAS);
    neat_options_apply(s, NULL);
    return 0;
}

int neat_connect(struct neat_socket *s, int fd, const struct sockaddr *address, socklen_t length) {
    struct neat_addr remote = {0};
    bool none = address && length >= (socklen_t)sizeof(sa_family_t) && address->sa_family == AF_UNSPEC;
    int status = none ? 0 : neat_from_sockaddr(s, address, length, &remote);
    if (status < 0)
        return status;
    if (s->type == SOCK_DGRAM)
        return connect_datagram(s, fd, &remote);
    pthread_mutex_lock(&s->setup.lock);
    uint32_t stage = load(&s->stage);
    if (none) {
        bool fresh = stage == STAGE_NEW || stage == STAGE_BOUND;
        status = fresh ? 0 : neat_disconnect_locked(s, fd);
        pthread_mutex_unlock(&s->setup.lock);
        return status;
    }
    int later = -EINPROGRESS;
    if (stage == STAGE_NEW || stage == STAGE_BOUND) {
        status = start(s, fd, &remote);
        if (status == 0 && neat_nonblocking(s, fd, 0))
            status = -EINPROGRESS; /* Linux: also when it is established already */
    } else if (stage == STAGE_CONNECTING) {
        later = -EALREADY;
        status = status_locked(s, fd);
        if (status == -EINPROGRESS)
            status = neat_nonblocking(s, fd, 0) ? -EALREADY : 0;
    } else if (!s->setup.connect_owed) {
        status = -EISCONN;
    }
    pthread_mutex_unlock(&s->setup.lock);
    if (status == 0)
        status = await(s, fd, later);
    s->setup.connect_owed = status == -EINPROGRESS || status == -EALREADY || status == -EINTR;
    return status;
}
