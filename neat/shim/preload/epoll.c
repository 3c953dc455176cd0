/* epoll_create, epoll_create1, epoll_ctl, epoll_wait, epoll_pwait, epoll_pwait2. */
#include "epoll.h"

#define LONGEST_NS (INT64_MAX / 4)

static int entered(int epfd) {
    if (fd_fresh(epfd) < 0 || instance_enter(epfd) == 0)
        return epfd;
    libc(close)(epfd);
    errno = ENOMEM;
    return -1;
}

NEAT_API int epoll_create(int size) {
    return entered(libc(epoll_create)(size));
}

NEAT_API int epoll_create1(int flags) {
    return entered(libc(epoll_create1)(flags));
}

/* Linux: EPOLLEXCLUSIVE goes with ADD only, and with few other flags. */
static bool exclusive_misused(int op, uint32_t events) {
    uint32_t fitting = EPOLLIN | EPOLLOUT | ALWAYS | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE;
    return (events & EPOLLEXCLUSIVE) && (op == EPOLL_CTL_MOD || (events & ~fitting));
}

/* Held and locked; NULL: the kernel's alone. */
static struct instance *begin(int epfd) {
    struct instance *instance = instance_get(epfd);
    if (!instance)
        return NULL;
    instance_lock(instance);
    if (instance->foreign && instance->ours)
        instance_expose(instance, epfd);
    return instance;
}

static void finish(struct instance *instance) {
    instance_unlock(instance);
    instance_put(instance);
}

static int add_member(struct instance *instance, int epfd, int fd, const struct epoll_event *event,
                      struct neat_socket *s) {
    struct item *old = item_find(instance, fd);
    if (old && old->kind == TRACKED && old->socket == s)
        return -EEXIST;
    if (old && old->kind == TRACKED) {
        untrack(instance, old);    /* its number was closed behind our back */
        item_drop(instance, old);
        old = NULL;
    }
    struct item *item = old ? old : item_make(instance, fd, event);
    if (!item)
        return -ENOMEM;
    if (!old) {
        item->socket = s;
        if (track(instance, epfd, item, false))
            return 0;
    }
    /* One that is known may be gone all the same, closed behind our back: the kernel says. */
    struct neat_socket *before = item->socket;
    item->socket = s;
    int status = item_register(epfd, item, EPOLL_CTL_ADD, event->events);
    if (status)
        item->socket = before;
    if (status == 0 && old) {
        item->events = event->events | ALWAYS;
        item->data = event->data;
        item->early = s != NULL;   /* it is tracked when its descriptor has told something */
    } else if (status && !old) {
        item_drop(instance, item);
    }
    return status;
}

static int change_member(struct instance *instance, int epfd, struct item *item,
                         const struct epoll_event *event) {
    int status = item->kind == KERNEL ? item_register(epfd, item, EPOLL_CTL_MOD, event->events) : 0;
    if (status)
        return status;
    item->events = event->events | ALWAYS;
    item->data = event->data;
    if (item->kind != KERNEL && !renew(instance, epfd, item)) {
        ready_add(instance, item);
        kick(instance, epfd);
    }
    return 0;
}

static int remove_member(struct instance *instance, int epfd, struct item *item) {
    int status = 0;
    if (item->kind != TRACKED)
        status = item_unregister(epfd, item);
    if (status == 0 || status == -ENOENT) {
        untrack(instance, item);
        item_drop(instance, item);
    }
    return status;
}

NEAT_API int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
    if (neat_is_own(fd) || neat_is_own(epfd))
        return (int)result(-EBADF);
    struct neat_socket *s = fd_get(fd);
    bool known = op == EPOLL_CTL_ADD || op == EPOLL_CTL_MOD || op == EPOLL_CTL_DEL;
    if (epoll_is_instance(fd) && fd != epfd && op == EPOLL_CTL_ADD)
        epoll_expose(fd);
    struct instance *instance = known && (event || op == EPOLL_CTL_DEL) ? begin(epfd) : NULL;
    int status;
    if (!instance) {
        if (s) {
            store(&s->descriptor.traced, 1);
            add(&s->descriptor.kernel_waits, 1);
            neat_wait_unseen(s, fd);
        }
        status = libc(epoll_ctl)(epfd, op, fd, event) < 0 ? -errno : 0;
    } else {
        struct item *item = item_find(instance, fd);
        if (op != EPOLL_CTL_DEL && s && exclusive_misused(op, event->events))
            status = -EINVAL;
        else if (op == EPOLL_CTL_ADD)
            status = add_member(instance, epfd, fd, event, s);
        else if (!item)
            status = libc(epoll_ctl)(epfd, op, fd, event) < 0 ? -errno : 0;
        else if (item->kind == TRACKED && item->socket != s)
            status = -EBADF;
        else
            status = op == EPOLL_CTL_MOD ? change_member(instance, epfd, item, event)
                                         : remove_member(instance, epfd, item);
        finish(instance);
    }
    if (s)
        neat_put(s);
    return (int)result(status);
}

static int wait_in(int epfd, struct epoll_event *events, int room, int64_t timeout_ns, const sigset_t *mask) {
    struct instance *instance = events && room > 0 ? begin(epfd) : NULL;
    if (!instance)
        return -ENOSYS;
    instance_unlock(instance);
    int n = instance_wait(instance, epfd, events, room, timeout_ns, mask);
    instance_put(instance);
    return n;
}

NEAT_API int epoll_pwait(int epfd, struct epoll_event *events, int room, int timeout, const sigset_t *mask) {
    int n = wait_in(epfd, events, room, timeout < 0 ? -1 : (int64_t)timeout * 1000000, mask);
    return n == -ENOSYS ? libc(epoll_pwait)(epfd, events, room, timeout, mask) : (int)result(n);
}

NEAT_API int epoll_wait(int epfd, struct epoll_event *events, int room, int timeout) {
    return epoll_pwait(epfd, events, room, timeout, NULL);
}

NEAT_API int epoll_pwait2(int epfd, struct epoll_event *events, int room, const struct timespec *timeout,
                          const sigset_t *mask) {
    int64_t ns = -1;
    int n = -ENOSYS;
    if (!timeout || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < 1000000000)) {
        if (timeout && timeout->tv_sec < LONGEST_NS / 1000000000)
            ns = timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec;
        else if (timeout)
            ns = LONGEST_NS;
        n = wait_in(epfd, events, room, ns, mask);
    }
    return n == -ENOSYS ? libc(epoll_pwait2)(epfd, events, room, timeout, mask) : (int)result(n);
}
