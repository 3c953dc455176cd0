/* poll() and ppoll(); select.c rests on them.
 *
 * Descriptors are real, so the kernel does the waiting; who waits on a connection is counted meanwhile, so
 * that its descriptor shows what comes. What the kernel says of a socket of ours is then made exact: a
 * unix socket's answer differs from TCP's in details, and a token may be there of which the bytes are
 * taken already.
 */
#include "../readiness.h"
#include "exact.h"
#include "poll.h"

#define FEW 64
#define INPUT (POLLIN | POLLRDNORM)
#define OUTPUT (POLLOUT | POLLWRNORM)
#define ALWAYS (POLLERR | POLLHUP | POLLNVAL)

/* Events that its descriptor may be asked for. The band-wide ones are a datagram socket's; nothing of ours
 * is urgent. */
static short askable(const struct neat_socket *s, short events) {
    if (load(&s->stage) == STAGE_LISTENING)
        return events & (INPUT | POLLRDHUP);
    return events & (INPUT | OUTPUT | POLLRDHUP | (s->type == SOCK_DGRAM ? POLLWRBAND : 0));
}

struct polled {
    struct pollfd *fds;            /* the application's */
    struct pollfd *asked;          /* what the kernel is asked */
    struct neat_socket **sockets;  /* ours, held; NULL: the kernel's */
    struct neat_sock **counted;    /* where this thread is among the waiters; NULL: nowhere */
    nfds_t count;
    bool ours;                     /* one of them is */
    bool in_ms;                    /* it was asked with poll() */
};

/* Hold what is ours. */
static void look_up(struct polled *p) {
    for (nfds_t i = 0; i < p->count; i++) {
        int fd = p->fds[i].fd;
        struct neat_socket *s = p->sockets[i] = fd_get(fd);
        p->counted[i] = NULL;
        if (s) {
            p->ours = true;
        } else if (epoll_is_instance(fd)) {
            epoll_expose(fd);
        }
    }
}

/* From here until it has slept this thread is among those who wait. */
static void begin_waiting(struct polled *p) {
    for (nfds_t i = 0; i < p->count; i++) {
        struct neat_socket *s = p->sockets[i];
        p->counted[i] = s && s->type == SOCK_STREAM ? load(&s->end.shared) : NULL;
        if (p->counted[i])
            neat_wait_begin(p->counted[i]);
    }
}

static void end_waiting(struct polled *p) {
    for (nfds_t i = 0; i < p->count; i++) {
        struct neat_sock *shared = p->counted[i];
        p->counted[i] = NULL;
        if (shared && shared == load(&p->sockets[i]->end.shared))
            neat_wait_end(&p->sockets[i]->end);
    }
}

/* What the kernel is asked. Returns whether something holds already. */
static bool ask_for_poll(struct polled *p) {
    bool ready = false;
    for (nfds_t i = 0; i < p->count; i++) {
        struct neat_socket *s = p->sockets[i];
        p->asked[i] = p->fds[i];
        p->asked[i].revents = 0;
        if (!s)
            continue;
        p->asked[i].events = askable(s, p->fds[i].events);
        ready |= (known_events(s, p->fds[i].fd, p->fds[i].events) & (p->fds[i].events | ALWAYS)) != 0;
    }
    return ready;
}

/* Returns how many are ready. */
static int tell(struct polled *p) {
    int count = 0;
    for (nfds_t i = 0; i < p->count; i++) {
        struct neat_socket *s = p->sockets[i];
        short revents = p->asked[i].revents;
        if (s)
            revents = exact_events(s, p->fds[i].fd, p->fds[i].events, revents) & (p->fds[i].events | ALWAYS);
        p->fds[i].revents = revents;
        count += revents != 0;
    }
    return count;
}

static void give_back(void *argument) {
    struct polled *p = argument;
    if (p->ours)
        end_waiting(p);
    for (nfds_t i = 0; p->ours && i < p->count; i++)
        if (p->sockets[i])
            neat_put(p->sockets[i]);
    if (p->count > FEW) {
        free(p->asked);
        free(p->counted);
        free(p->sockets);
    }
}

/* Where poll() can say it, it is poll(): a sandbox may know no other. */
static int ask_kernel(struct polled *p, const struct timespec *limit, const sigset_t *mask) {
    int64_t ns = limit ? limit->tv_sec * INT64_C(1000000000) + limit->tv_nsec : -1;
    if (mask || (ns > 0 && !p->in_ms))
        return libc(ppoll)(p->asked, p->count, limit, mask);
    return libc(poll)(p->asked, p->count, ns < 0 ? -1 : (int)((ns + 999999) / 1000000));
}

/* pthread_cancel(3) ends it. */
static int sleep_in(struct polled *p, const struct timespec *limit, const sigset_t *mask) {
    int got;
    pthread_cleanup_push(give_back, p);
    got = ask_kernel(p, limit, mask);
    pthread_cleanup_pop(0);
    return got;
}

/* -errno, or how many are ready; 0: the time is over. `deadline` -1: none. */
static int wait_for(struct polled *p, int64_t deadline, const sigset_t *mask) {
    for (;;) {
        begin_waiting(p);
        bool ready = ask_for_poll(p);
        int64_t left = deadline < 0 ? 0 : deadline - neat_now();
        if (ready || left < 0)
            left = 0;
        struct timespec limit = {left / 1000000000, left % 1000000000};
        if (ready)
            end_waiting(p);        /* it does not sleep */
        /* Of one stream that is ready the kernel knows nothing more. */
        if (ready && p->count == 1 && p->sockets[0]->type == SOCK_STREAM && tell(p))
            return 1;
        int got = sleep_in(p, deadline < 0 && !ready ? NULL : &limit, mask);
        end_waiting(p);
        if (got < 0)
            return -errno;
        got = tell(p);
        if (got || (deadline >= 0 && neat_now() >= deadline))
            return got;
    }
}

static int poll_some(struct pollfd *fds, nfds_t count, int64_t timeout_ns, const sigset_t *mask, bool in_ms) {
    struct pollfd few_asked[FEW];
    struct neat_socket *few_sockets[FEW];
    struct neat_sock *few_counted[FEW];
    struct polled p = {fds, few_asked, few_sockets, few_counted, count, false, in_ms};
    int status = NOT_OURS;
    if (count > FEW) {
        p.asked = malloc(count * sizeof *p.asked);
        p.sockets = malloc(count * sizeof *p.sockets);
        p.counted = malloc(count * sizeof *p.counted);
    }
    if (p.asked && p.sockets && p.counted)
        look_up(&p);
    else
        status = -ENOMEM;
    if (p.ours)
        status = wait_for(&p, timeout_ns < 0 ? -1 : neat_now() + timeout_ns, mask);
    give_back(&p);
    return status;
}

int poll_mixed(struct pollfd *fds, nfds_t count, int64_t timeout_ns, const sigset_t *mask) {
    return poll_some(fds, count, timeout_ns, mask, false);
}

/* Whether libc alone can do it: nothing here is or was ours; or it will fail anyway. */
static bool plain(const struct pollfd *fds, nfds_t count) {
    return bad_pointer(fds) || !count || (!fd_any() && !epoll_end()) || (count > FEW && count > fd_limit());
}

NEAT_API int poll(struct pollfd *fds, nfds_t count, int timeout) {
    int64_t limit = timeout < 0 ? -1 : timeout * INT64_C(1000000);
    int status = plain(fds, count) ? NOT_OURS : poll_some(fds, count, limit, NULL, true);
    return status == NOT_OURS ? libc(poll)(fds, count, timeout) : (int)result(status);
}

NEAT_API int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask) {
    int64_t limit = poll_limit(timeout);
    int status = limit < -1 || plain(fds, count) ? NOT_OURS : poll_mixed(fds, count, limit, mask);
    return status == NOT_OURS ? libc(ppoll)(fds, count, timeout, mask) : (int)result(status);
}
