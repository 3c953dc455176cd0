/* An instance's members, and those of them that may be ready. Caller holds its lock. */
#include "epoll.h"

#define MAX_STRAYS 256             /* beyond that the oldest are forgotten */

struct item *item_find(struct instance *instance, int fd) {
    int page = fd / ITEMS_A_PAGE;
    return fd >= 0 && page < PAGES && instance->pages[page] ? instance->pages[page][fd % ITEMS_A_PAGE] : NULL;
}

struct item *item_of_marker(struct instance *instance, int fd, uint32_t serial) {
    struct item *item = item_find(instance, fd);
    if (item && item->serial == serial)
        return item;
    for (item = instance->strays; item; item = item->stray_next)
        if (item->serial == serial)
            return item;
    return NULL;
}

struct item *item_make(struct instance *instance, int fd, const struct epoll_event *event) {
    int page = fd / ITEMS_A_PAGE;
    if (page >= PAGES)
        return NULL;
    if (!instance->pages[page])
        instance->pages[page] = calloc(ITEMS_A_PAGE, sizeof *instance->pages[page]);
    struct item *item = instance->pages[page] ? calloc(1, sizeof *item) : NULL;
    if (!item)
        return NULL;
    item->fd = fd;
    instance->serial = instance->serial + 1 < MARK_KICK ? instance->serial + 1 : 1;
    item->serial = instance->serial;
    item->events = event->events | ALWAYS;
    item->data = event->data;
    instance->pages[page][fd % ITEMS_A_PAGE] = item;
    member_note(fd);
    return item;
}

static void unlink_item(struct instance *instance, struct item *item) {
    ready_remove(instance, item);
    instance->pages[item->fd / ITEMS_A_PAGE][item->fd % ITEMS_A_PAGE] = NULL;
}

void item_drop(struct instance *instance, struct item *item) {
    unlink_item(instance, item);
    free(item);
}

void item_stray(struct instance *instance, struct item *item) {
    unlink_item(instance, item);
    item->stray_next = instance->strays;
    instance->strays = item;
    if (++instance->stray_count <= MAX_STRAYS)
        return;
    struct item **link = &instance->strays;
    while ((*link)->stray_next)
        link = &(*link)->stray_next;
    free(*link);
    *link = NULL;
    instance->stray_count--;
}

/* Everything, when the instance is over. */
void item_forget_all(struct instance *instance) {
    for (int page = 0; page < PAGES; page++) {
        for (int i = 0; instance->pages[page] && i < ITEMS_A_PAGE; i++)
            free(instance->pages[page][i]);
        free(instance->pages[page]);
        instance->pages[page] = NULL;
    }
    while (instance->strays) {
        struct item *next = instance->strays->stray_next;
        free(instance->strays);
        instance->strays = next;
    }
    instance->first = instance->last = NULL;
    instance->queued = instance->stray_count = 0;
    instance->ours = instance->sleepers = 0;
}

int item_register(int epfd, const struct item *item, int op, uint32_t events) {
    struct epoll_event event = {.events = events};
    event.data.u64 = marker(item->serial, (uint32_t)item->fd);
    if (libc(epoll_ctl)(epfd, op, item->fd, &event) < 0)
        return -errno;
    if (item->socket && op == EPOLL_CTL_ADD) {
        store(&item->socket->descriptor.traced, 1);     /* the kernel's epoll would go on to tell of it */
        add(&item->socket->descriptor.kernel_waits, 1);
        neat_wait_unseen(item->socket, item->fd);
    }
    return 0;
}

int item_unregister(int epfd, const struct item *item) {
    if (libc(epoll_ctl)(epfd, EPOLL_CTL_DEL, item->fd, &(struct epoll_event){0}) < 0)
        return -errno;
    if (item->socket)
        sub(&item->socket->descriptor.kernel_waits, 1);
    return 0;
}

void ready_add(struct instance *instance, struct item *item) {
    if (item->queued)
        return;
    item->queued = true;
    item->next = NULL;
    item->before = instance->last;
    if (instance->last)
        instance->last->next = item;
    else
        instance->first = item;
    instance->last = item;
    instance->queued++;
}

void ready_remove(struct instance *instance, struct item *item) {
    if (!item->queued)
        return;
    item->queued = false;
    if (item->before)
        item->before->next = item->next;
    else
        instance->first = item->next;
    if (item->next)
        item->next->before = item->before;
    else
        instance->last = item->before;
    instance->queued--;
}

/* What is ready, at most `room`. Level-triggered members go to the end of the list, so that one that is
 * always ready hides no other. */
int ready_collect(struct instance *instance, struct epoll_event *events, int room) {
    int count = 0;
    for (uint32_t left = instance->queued; left && count < room; left--) {
        struct item *item = instance->first;
        ready_remove(instance, item);
        uint32_t wanted = item->events & ~HOW;     /* none: a one-shot that was told */
        /* What is told now is no edge when its bit comes a moment later: the replica sets that after the
         * change. */
        if (item->events & EPOLLET)
            neat_edges(&item->view);
        uint32_t ready = wanted ? neat_readiness(&item->view, item->socket, item->fd, wanted) & wanted : 0;
        if (!ready)
            continue;
        events[count].events = ready;
        events[count++].data = item->data;
        if (item->events & EPOLLONESHOT)
            item->events &= HOW;
        else if (!(item->events & EPOLLET))
            ready_add(instance, item);
    }
    return count;
}
