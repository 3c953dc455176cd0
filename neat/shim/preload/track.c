/* Members that are not in the kernel's epoll: TCP sockets of NEaT, told of in shared memory. Caller holds
 * the instance's lock. */
#include <sys/eventfd.h>

#include "epoll.h"

#define REFUSED_NS 1000000000      /* a segment that had no place for us is not asked again so soon */

static bool is_connection(const struct neat_socket *s) {
    uint32_t stage = load(&s->stage);
    return s->type == SOCK_STREAM && (stage == STAGE_CONNECTING || stage == STAGE_CONNECTED) &&
           load(&s->end.shared);
}

/* Places in dead segments where no socket is left. */
static void sweep_pollers(struct instance *instance) {
    for (struct poller **link = &instance->pollers; *link;) {
        struct poller *poller = *link;
        if (poller->count || !segment_over(poller->segment)) {
            link = &poller->next;
            continue;
        }
        *link = poller->next;
        neat_poller_close(poller, true);
    }
}

/* Our place in a segment; taken when there is none yet. */
static struct poller *poller_of(struct instance *instance, int epfd, struct segment *segment) {
    struct poller *poller = instance->pollers;
    while (poller && poller->segment != segment)
        poller = poller->next;
    if (poller || (segment->refused_at && neat_now() - segment->refused_at < REFUSED_NS))
        return poller;
    sweep_pollers(instance);
    poller = neat_poller_open(segment);
    if (poller) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
        poller->number = instance->poller_count++ & (PAGES * ITEMS_A_PAGE - 1);
        event.data.u64 = marker(MARK_BELL, poller->number);
        if (libc(epoll_ctl)(epfd, EPOLL_CTL_ADD, poller->bell, &event) == 0) {
            poller->next = instance->pollers;
            instance->pollers = poller;
            if (instance->sleepers)
                neat_poller_asleep(poller);
            return poller;
        }
        neat_poller_close(poller, true);
    }
    segment->refused_at = neat_now();
    return NULL;
}

/* One socket may have several numbers, and each of them is a member: what the poller hears of it is for
 * all. */
static void join_twins(struct item *item) {
    item->twin = item->poller->owners[item->view.index];
    item->poller->owners[item->view.index] = item;
}

static void leave_twins(struct item *item) {
    struct item *first = item->poller->owners[item->view.index];
    if (first == item) {
        item->poller->owners[item->view.index] = item->twin;
        return;
    }
    while (first->twin != item)
        first = first->twin;
    first->twin = item->twin;
}

bool track(struct instance *instance, int epfd, struct item *item, bool registered) {
    struct neat_socket *s = item->socket;
    item->early = s && !is_connection(s);
    if (!s || item->early || instance->exposed || instance->foreign || segment_over(s->end.segment))
        return false;
    struct poller *poller = poller_of(instance, epfd, s->end.segment);
    if (!poller || !neat_poller_take(poller, &s->end))
        return false;
    if (registered)
        item_unregister(epfd, item);
    item->kind = TRACKED;
    item->poller = poller;
    neat_view_set(&s->end, false, &item->view);
    join_twins(item);
    neat_wait_seen(s, item->fd);
    instance->ours++;
    ready_add(instance, item);
    kick(instance, epfd);
    return true;
}

void untrack(struct instance *instance, struct item *item) {
    ready_remove(instance, item);
    if (item->kind != TRACKED)
        return;
    if (!instance->foreign) {
        leave_twins(item);
        neat_poller_leave(item->poller, &item->view);
    }
    instance->ours--;
    item->kind = KERNEL;
}

void untrack_all(struct instance *instance) {
    for (int page = 0; page < PAGES && instance->ours; page++)
        for (int i = 0; instance->pages[page] && i < ITEMS_A_PAGE; i++)
            if (instance->pages[page][i] && instance->pages[page][i]->kind == TRACKED)
                untrack(instance, instance->pages[page][i]);
}

static bool still_there(const struct item *item) {
    return load(&item->socket->end.shared) == item->view.shared &&
           item->socket->end.generation == item->view.generation;
}

void give_up(struct instance *instance, int epfd, struct item *item) {
    untrack(instance, item);
    item->early = false;
    uint32_t events = item->events & ~HOW ? item->events : item->events & HOW;
    if (item_register(epfd, item, EPOLL_CTL_ADD, events) == -EEXIST)
        item_register(epfd, item, EPOLL_CTL_MOD, events);
}

void leave_behind(struct instance *instance, struct item *item) {
    if (item->kind == TRACKED)
        give_up(instance, instance->epfd, item);
    item->early = false;
    item_stray(instance, item);
}

/* A connection that did not come about is over, until the application connects the socket again. */
bool renew(struct instance *instance, int epfd, struct item *item) {
    if (still_there(item) || !is_connection(item->socket))
        return false;
    untrack(instance, item);
    return track(instance, epfd, item, false);
}

static void told(void *context, void *owner) {
    struct instance *instance = context;
    for (struct item *item = owner; item; item = item->twin) {
        uint32_t edges = neat_edges(&item->view);
        if ((edges & item->events) || !(item->events & EPOLLET))
            ready_add(instance, item);
    }
}

void harvest(struct instance *instance) {
    for (struct poller *at = instance->pollers; at; at = at->next)
        if (at->count)
            neat_poller_harvest(at, told, instance);
}

/* Its replica is gone: all its sockets are over. */
void poller_died(struct instance *instance, struct poller *poller) {
    for (uint32_t i = 0; i < poller->segment->nsock; i++)
        for (struct item *item = poller->owners[i]; item; item = item->twin)
            ready_add(instance, item);
}

void pollers_forget(struct instance *instance, bool ours) {
    while (instance->pollers) {
        struct poller *next = instance->pollers->next;
        neat_poller_close(instance->pollers, ours);
        instance->pollers = next;
    }
    instance->poller_count = 0;
}

/* The eventfd is never read: each write is an edge, and its first registration finds it readable. */
void kick(struct instance *instance, int epfd) {
    uint64_t one = 1;
    if (!instance->sleepers)
        return;
    bool fresh = instance->kick < 0;
    if (fresh) {
        int fd = libc(eventfd)(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return;
        instance->kick = neat_hide_fd(fd);
    }
    (void)!libc(write)(instance->kick, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = marker(MARK_KICK, 0)};
    if (fresh)
        libc(epoll_ctl)(epfd, EPOLL_CTL_ADD, instance->kick, &event);
}
