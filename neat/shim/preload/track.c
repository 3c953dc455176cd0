/* Members that are not in the kernel's epoll: TCP sockets of NEaT, signalled in shared memory. Caller holds the instance's lock. */
#include <sys/eventfd.h>
#include <sys/single_threaded.h>

#include "epoll.h"

#define REFUSED_NS 1000000000      /* a segment that had no place for us is not asked again so soon */

#define HINT (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static bool is_connection(const struct neat_socket *s) {
    uint32_t stage = load(&s->stage);
    return s->type == SOCK_STREAM && (stage == STAGE_CONNECTING || stage == STAGE_CONNECTED) && load(&s->end.shared);
}

/* Places in dead segments where no socket is left. */
static void sweep(struct instance *instance) {
    for (struct watcher **link = &instance->watchers; *link;) {
        struct watcher *w = *link;
        if (w->count || !segment_over(w->segment)) {
            link = &w->next;
            continue;
        }
        *link = w->next;
        neat_watcher_close(w, true);
    }
}

/* Our place in a segment; taken when there is none yet. */
static struct watcher *watcher_of(struct instance *instance, int epfd, struct segment *segment) {
    struct watcher *w = instance->watchers;
    while (w && w->segment != segment)
        w = w->next;
    if (w || (segment->refused_at && neat_now() - segment->refused_at < REFUSED_NS))
        return w;
    sweep(instance);
    w = neat_watcher_open(segment);
    if (w) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
        w->number = instance->watcher_count++ & (PAGES * ITEMS_A_PAGE - 1);
        event.data.u64 = marker(MARK_BELL, w->number);
        if (libc(epoll_ctl)(epfd, EPOLL_CTL_ADD, w->bell, &event) == 0) {
            w->next = instance->watchers;
            instance->watchers = w;
            if (instance->sleepers)
                neat_watcher_asleep(w);
            return w;
        }
        neat_watcher_close(w, true);
    }
    segment->refused_at = neat_now();
    return NULL;
}

static void told(void *context, void *owner);

struct harvesting {
    struct instance *instance;
    int epfd;
};

/* Who had its place among the owners hears now what became of its socket, as nothing would tell it later. */
static void make_way(struct instance *instance, int epfd, const struct watcher *w, const struct item *item) {
    struct harvesting h = {instance, epfd};
    struct item *before = w->owners[item->socket->end.index];
    if (before && before != item)
        told(&h, before);
}

static void become_ours(struct instance *instance, int epfd, struct item *item) {
    item->early = false;
    instance->ours++;
    ready_add(instance, item);
    kick(instance, epfd);
}

/* Who is not counted may find its socket watched by another, and hear nothing. */
static void count_hint(struct neat_sock *shared, uint32_t generation, int change) {
    if (load(&shared->generation) == generation)
        add(&shared->hinted, (uint32_t)change);
}

static bool hint(struct instance *instance, int epfd, struct item *item, bool registered) {
    struct neat_socket *s = item->socket;
    struct neat_sock *shared = load(&s->end.shared);
    if (!shared)
        return false;
    count_hint(shared, s->end.generation, 1);
    neat_unwatch(s, item->fd);
    if (item_register(epfd, item, registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, HINT) < 0) {
        count_hint(shared, s->end.generation, -1);
        return false;
    }
    item->kind = HINTED;
    item->held = s->end.segment;
    neat_segment_keep(item->held);
    neat_watched_set(&s->end, true, &item->watched);
    become_ours(instance, epfd, item);
    return true;
}

bool track(struct instance *instance, int epfd, struct item *item, bool registered) {
    struct neat_socket *s = item->socket;
    if (!s || !is_connection(s)) {
        item->early = s != NULL;
        return false;
    }
    bool possible = !instance->exposed && !segment_over(s->end.segment);
    struct watcher *w = possible ? watcher_of(instance, epfd, s->end.segment) : NULL;
    if (w)
        make_way(instance, epfd, w, item);
    if (w && neat_watcher_take(w, &s->end, item, &item->watched)) {
        if (registered)
            libc(epoll_ctl)(epfd, EPOLL_CTL_DEL, item->fd, &(struct epoll_event){0});
        item->watcher = w;
        item->kind = TRACKED;
        become_ours(instance, epfd, item);
        return true;
    }
    if (!instance->exposed)
        return hint(instance, epfd, item, registered);
    neat_unwatch(s, item->fd);
    return false;
}

/* Its descriptor is being closed; or nobody waits there, nor is the kernel to tell of it. */
static bool is_unheard(const struct neat_socket *s) {
    return load(&s->ending) || (__libc_single_threaded && neat_flags_known(s) && !load(&s->traced) && !neat_in_use(s));
}

void untrack(struct instance *instance, struct item *item) {
    ready_remove(instance, item);
    if (item->kind == TRACKED && !instance->foreign)
        neat_watcher_leave(item->watcher, &item->watched, item, is_unheard(item->socket));
    if (item->kind == HINTED && !instance->foreign)
        count_hint(item->watched.shared, item->watched.generation, -1);
    if (item->kind == HINTED)
        neat_segment_put(item->held);
    instance->ours -= item->kind != KERNEL;
    item->kind = KERNEL;
}

static bool still_there(const struct item *item) {
    return load(&item->socket->end.shared) == item->watched.shared && item->socket->end.generation == item->watched.generation;
}

void give_up(struct instance *instance, int epfd, struct item *item) {
    bool registered = item->kind == HINTED;
    if (item->kind == TRACKED && still_there(item))
        neat_unwatch(item->socket, item->fd);
    untrack(instance, item);
    item->early = false;
    uint32_t events = item->events & ~HOW ? item->events : item->events & HOW;
    if (item_register(epfd, item, registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, events) == -EEXIST)
        item_register(epfd, item, EPOLL_CTL_MOD, events);
}

void leave_behind(struct instance *instance, struct item *item) {
    if (item->kind != KERNEL) {
        count_hint(item->watched.shared, item->watched.generation, 1);
        give_up(instance, instance->epfd, item);
    }
    item->early = false;
    item_stray(instance, item);
}

/* Somebody took it off our poller: it is hinted from now on. */
static void demote(struct instance *instance, int epfd, struct item *item) {
    untrack(instance, item);
    if (instance->exposed || !hint(instance, epfd, item, false))
        give_up(instance, epfd, item);
}

/* A connection that did not come about is over, until the application connects the socket again. */
bool renew(struct instance *instance, int epfd, struct item *item) {
    if (still_there(item) || !is_connection(item->socket))
        return false;
    untrack(instance, item);
    return track(instance, epfd, item, false);
}

static void look_at(struct instance *instance, struct item *item) {
    uint32_t edges = neat_edges(&item->watched);
    if ((edges & item->events) || !(item->events & EPOLLET))
        ready_add(instance, item);
}

/* A token whose bytes were read before it came would stay, and no other one comes, so no edge, while it is there. */
static void take_stale(const struct item *item) {
    struct neat_socket *s = item->socket;
    struct neat_sock *shared = item->watched.shared;
    if (!still_there(item) || load(&shared->rx_tail) != load(&shared->rx_head) || neat_lock(&shared->rx_lock) < 0)
        return;
    bool taken = load(&shared->rx_tail) == load(&shared->rx_head) && neat_take_token(&s->end, item->fd, 0, true);
    neat_unlock(&shared->rx_lock);
    if (taken && load(&shared->rx_tail) != load(&shared->rx_head))
        neat_resignal(&s->end);
}

/* A reset shows on the descriptor alone when its replica died. */
void hinted(struct instance *instance, struct item *item, uint32_t events) {
    if (events & EPOLLIN)
        take_stale(item);
    if ((events & EPOLLERR) && !(load(&item->watched.shared->status) & NEAT_ST_ERROR)) {
        item->watched.lost = true;
        if (still_there(item))
            neat_reset_heard(&item->socket->end);
    }
    look_at(instance, item);
}

static void told(void *context, void *owner) {
    struct harvesting *h = context;
    struct item *item = owner;
    if (!item)
        return;
    bool has = neat_watcher_has(item->watcher, &item->watched);
    if (!has)
        neat_watcher_lost(item->watcher, &item->watched, item);
    if (has || !still_there(item))
        look_at(h->instance, item);
    else
        demote(h->instance, h->epfd, item);
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
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = marker(MARK_KICK, 0)};
    if (fresh)
        libc(epoll_ctl)(epfd, EPOLL_CTL_ADD, instance->kick, &event);
}
