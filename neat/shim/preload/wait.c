/* Waiting in an epoll instance: what is known from shared memory, what the kernel says, and sleep. */
#include <time.h>

#include "epoll.h"
#include "exact.h"

#define LOOK_NS 100000             /* while there is always something, the kernel is asked this often */
#define MILLISECOND 1000000

static int kernel_wait(int epfd, struct epoll_event *events, int room, int64_t timeout_ns,
                       const sigset_t *mask) {
    int n, ms = timeout_ns < 0 ? -1 : (int)((timeout_ns + MILLISECOND - 1) / MILLISECOND);
    if (timeout_ns > 0 && timeout_ns % MILLISECOND) {
        struct timespec limit = {timeout_ns / 1000000000, timeout_ns % 1000000000};
        n = libc(epoll_pwait2)(epfd, events, room, &limit, mask);
        if (n >= 0 || errno != ENOSYS)
            return n < 0 ? -errno : n;
    }
    n = libc(epoll_pwait)(epfd, events, room, ms, mask);
    return n < 0 ? -errno : n;
}

static void heard(struct instance *instance, uint32_t number, uint32_t events) {
    struct poller *poller = instance->pollers;
    while (poller && poller->number != number)
        poller = poller->next;
    if (!poller)
        return;
    bool hung_up = events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR);
    neat_poller_heard(poller, hung_up);
    /* Those who sleep have not heard it, and will not: the next one is for them. The caller looks at the
     * bits after this. */
    if (instance->sleepers)
        neat_poller_asleep(poller);
    if (hung_up)
        poller_died(instance, poller);
}

/* The kernel tells of a member that we track. If it has that, a forked child has given it all members
 * (instance_expose): it has ours, too, then. */
static bool is_shared(struct instance *instance, int epfd, const struct item *item) {
    if (libc(epoll_ctl)(epfd, EPOLL_CTL_DEL, item->fd, &(struct epoll_event){0}) < 0)
        return false;              /* it was tracked after the kernel was asked */
    instance_expose(instance, epfd);
    return true;
}

/* What holds of a member that the kernel tells of. */
static uint32_t exactly(const struct item *item, uint32_t told) {
    struct neat_socket *s = item->socket ? fd_get(item->fd) : NULL;
    if (s && s == item->socket)
        told = (uint16_t)exact_events(s, item->fd, (short)item->events, (short)told) & item->events;
    if (s)
        neat_put(s);
    return told;
}

/* What the kernel told, in the application's terms; returns how many of them are left. Caller holds the
 * lock. */
static int translate(struct instance *instance, int epfd, struct epoll_event *events, int count) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        uint32_t serial = marker_serial(events[i].data.u64), told = events[i].events;
        int fd = marker_number(events[i].data.u64);
        if (!is_marker(events[i].data.u64)) {
            events[kept++] = events[i];
            continue;
        }
        if (serial == MARK_BELL)
            heard(instance, (uint32_t)fd, told);
        if (serial == MARK_BELL || serial == MARK_KICK)
            continue;
        struct item *item = item_of_marker(instance, fd, serial);
        if (!item || (item->kind == TRACKED && !is_shared(instance, epfd, item)))
            continue;
        /* Added before it was connected: the ready list says what there is, from now on. */
        if (item->early && track(instance, epfd, item, true))
            continue;
        told = exactly(item, told);
        if (!told && (item->events & EPOLLONESHOT))
            item_register(epfd, item, EPOLL_CTL_MOD, item->events);
        if (!told)
            continue;
        events[kept].events = told;
        events[kept++].data = item->data;
    }
    return kept;
}

/* What is left when there is no more room is for those who sleep. */
static int gather(struct instance *instance, int epfd, struct epoll_event *events, int room) {
    harvest(instance);
    int n = room > 0 ? ready_collect(instance, events, room) : 0;
    if (instance->queued)
        kick(instance, epfd);
    return n;
}

/* What there is now. */
static int at_once(struct instance *instance, int epfd, struct epoll_event *events, int room,
                   const sigset_t *mask) {
    int n = 0;
    instance_lock(instance);
    harvest(instance);
    int64_t now = instance->queued ? neat_now() : 0;
    if (now && now - instance->looked_at >= LOOK_NS) {
        /* Half of the room, so that neither kind hides the other. */
        instance->looked_at = now;
        instance_unlock(instance);
        n = kernel_wait(epfd, events, (room + 1) / 2, 0, mask);
        instance_lock(instance);
        n = n > 0 ? translate(instance, epfd, events, n) : 0;
    }
    n += gather(instance, epfd, events + n, room - n);
    instance_unlock(instance);
    return n;
}

/* Ask the kernel without sleeping. */
static int look(struct instance *instance, int epfd, struct epoll_event *events, int room,
                const sigset_t *mask) {
    int n = kernel_wait(epfd, events, room, 0, mask);
    if (n <= 0)
        return n;
    instance_lock(instance);
    n = translate(instance, epfd, events, n);
    n += gather(instance, epfd, events + n, room - n);
    instance_unlock(instance);
    return n;
}

static void set_asleep(struct instance *instance, bool asleep) {
    for (struct poller *at = instance->pollers; at; at = at->next) {
        if (asleep)
            neat_poller_asleep(at);
        else
            neat_poller_awake(at);
    }
}

/* This thread sleeps no longer. While others do, the bells stay armed, and what is left is theirs. Caller
 * holds the lock. */
static int leave_epoll(struct instance *instance, int epfd, struct epoll_event *events, int room) {
    instance->sleepers--;
    set_asleep(instance, instance->sleepers > 0);
    return gather(instance, epfd, events, room);
}

/* pthread_cancel(3) in its sleep. */
static void cancelled_in_epoll(void *slept_in) {
    struct instance *instance = slept_in;
    instance_lock(instance);
    instance->sleepers--;
    set_asleep(instance, instance->sleepers > 0);
    kick(instance, instance->epfd);    /* it may have heard what was for those who go on sleeping */
    instance_unlock(instance);
    instance_put(instance);
}

/* Sleep until there may be something. Returns how many events, 0 when only we were meant or the time is
 * over, -errno. */
static int sleep_once(struct instance *instance, int epfd, struct epoll_event *events, int room,
                      int64_t timeout_ns, const sigset_t *mask) {
    instance_lock(instance);
    instance->sleepers++;
    set_asleep(instance, true);
    harvest(instance);
    int n = ready_collect(instance, events, room);
    if (n) {
        instance->sleepers--;
        set_asleep(instance, instance->sleepers > 0);
        if (instance->queued)
            kick(instance, epfd);
        instance_unlock(instance);
        return n;
    }
    instance_unlock(instance);
    int got;
    pthread_cleanup_push(cancelled_in_epoll, instance);
    got = kernel_wait(epfd, events, room, timeout_ns, mask);
    pthread_cleanup_pop(0);
    instance_lock(instance);
    instance->looked_at = neat_now();
    n = got > 0 ? translate(instance, epfd, events, got) : 0;
    n += leave_epoll(instance, epfd, events + n, room - n);
    instance_unlock(instance);
    return n ? n : got < 0 ? got : 0;
}

int instance_wait(struct instance *instance, int epfd, struct epoll_event *events, int room,
                  int64_t timeout_ns, const sigset_t *mask) {
    int64_t deadline = timeout_ns > 0 ? neat_now() + timeout_ns : 0;
    int n = 0;
    if (load(&instance->ours))
        n = at_once(instance, epfd, events, room, mask);
    if (n || !timeout_ns)
        return n ? n : look(instance, epfd, events, room, mask);
    for (;;) {
        n = sleep_once(instance, epfd, events, room, timeout_ns, mask);
        if (n)
            return n;
        if (timeout_ns > 0) {
            timeout_ns = deadline - neat_now();
            if (timeout_ns <= 0)
                return 0;
        }
    }
}
