/* Members that are not in the kernel's epoll: TCP sockets of NEaT, signalled in shared memory. Caller holds the instance's lock. */
#include <sys/eventfd.h>

#include "epoll.h"

#define REFUSED_NS 1000000000      /* a segment that had no place for us is not asked again so soon */

static bool trackable(const struct instance *instance, const struct item *item, const struct neat_socket *s) {
    uint32_t stage = load(&s->stage);
    return !instance->exposed && !instance->foreign && !item->demoted && s->type == SOCK_STREAM &&
           (stage == STAGE_CONNECTING || stage == STAGE_CONNECTED) && endpoint_current(&s->end) && !load(&s->end.segment->dead);
}

/* Our place in a segment; taken when there is none yet. */
static struct watcher *watcher_of(struct instance *instance, int epfd, struct segment *segment) {
    struct watcher *w = instance->watchers;
    while (w && w->segment != segment)
        w = w->next;
    if (w || (segment->refused_at && neat_now() - segment->refused_at < REFUSED_NS))
        return w;
    w = neat_watcher_open(segment);
    if (w) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
        w->number = instance->watcher_count++;
        event.data.u64 = (uint64_t)MARK_BELL << 32 | w->number;
        if (libc(epoll_ctl)(epfd, EPOLL_CTL_ADD, w->bell, &event) == 0) {
            w->next = instance->watchers;
            instance->watchers = w;
            return w;
        }
        neat_watcher_close(w, true);
    }
    segment->refused_at = neat_now();
    return NULL;
}

bool track(struct instance *instance, int epfd, struct item *item, struct neat_socket *s) {
    item->socket = s;
    if (!trackable(instance, item, s)) {
        neat_unwatch(s, item->fd);
        return false;
    }
    struct watcher *w = watcher_of(instance, epfd, s->end.segment);
    if (!w || !neat_watcher_take(w, &s->end, item, &item->watched)) {
        neat_unwatch(s, item->fd);
        return false;
    }
    item->watcher = w;
    item->tracked = true;
    instance->kernel_members--;
    instance->tracked_members++;
    ready_add(instance, item);
    kick(instance, epfd);
    return true;
}

void untrack(struct instance *instance, struct item *item) {
    if (!item->tracked)
        return;
    neat_watcher_leave(item->watcher, &item->watched, item);
    ready_remove(instance, item);
    item->tracked = false;
    instance->kernel_members++;
    instance->tracked_members--;
}

void demote(struct instance *instance, int epfd, struct item *item) {
    if (neat_watcher_has(item->watcher, &item->watched) && load(&item->socket->end.shared) == item->watched.shared)
        neat_unwatch(item->socket, item->fd);
    untrack(instance, item);
    item->demoted = true;
    if (item_register(instance, epfd, item, EPOLL_CTL_ADD) == -EEXIST)
        item_register(instance, epfd, item, EPOLL_CTL_MOD);
}

struct harvesting {
    struct instance *instance;
    int epfd;
};

static void told(void *context, void *owner) {
    struct harvesting *h = context;
    struct item *item = owner;
    if (!item)
        return;
    if (!neat_watcher_has(item->watcher, &item->watched))
        demote(h->instance, h->epfd, item);
    else if ((neat_edges(&item->watched) & (item->events | ALWAYS)) || !(item->events & EPOLLET))
        ready_add(h->instance, item);
}

void harvest(struct instance *instance, int epfd) {
    struct harvesting h = {instance, epfd};
    for (struct watcher *w = instance->watchers; w; w = w->next)
        if (w->count)
            neat_watcher_harvest(w, told, &h);
}

/* Its replica is gone: all its sockets are over. */
void watcher_died(struct instance *instance, struct watcher *w) {
    for (uint32_t i = 0; i < w->segment->nsock; i++)
        if (w->owners[i])
            ready_add(instance, w->owners[i]);
}

void watchers_forget(struct instance *instance, bool ours) {
    while (instance->watchers) {
        struct watcher *next = instance->watchers->next;
        neat_watcher_close(instance->watchers, ours);
        instance->watchers = next;
    }
    instance->watcher_count = 0;
}

/* The eventfd is never read: each write is an edge, and its first registration finds it readable. */
void kick(struct instance *instance, int epfd) {
    uint64_t one = 1;
    if (!instance->sleepers)
        return;
    bool fresh = instance->kick < 0;
    if (fresh) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return;
        instance->kick = neat_hide_fd(fd);
    }
    (void)!libc(write)(instance->kick, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = (uint64_t)MARK_KICK << 32};
    if (fresh)
        libc(epoll_ctl)(epfd, EPOLL_CTL_ADD, instance->kick, &event);
}
