/* What scenarios of epoll use. */
#ifndef EVENTS_H
#define EVENTS_H

#include "scenario.h"

static inline int add(int ep, int fd, uint32_t events, int tag) {
    struct epoll_event event = {.events = events, .data.u32 = tag};
    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
}

static inline int change(int ep, int fd, uint32_t events, int tag) {
    struct epoll_event event = {.events = events, .data.u32 = tag};
    return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event);
}

static inline int by_tag(const void *a, const void *b) {
    return (int)((const struct epoll_event *)a)->data.u32 - (int)((const struct epoll_event *)b)->data.u32;
}

/* What epoll_wait says, in the order of the tags. */
static inline const char *waited(int ep, int timeout) {
    static _Thread_local char line[512];
    struct epoll_event events[16];
    int n = epoll_wait(ep, events, 16, timeout);
    if (n < 0)
        return errno_name(errno);
    qsort(events, n, sizeof *events, by_tag);
    char *at = line + sprintf(line, "%d", n);
    for (int i = 0; i < n; i++)
        at += sprintf(at, " %u:%s", events[i].data.u32, epoll_names(events[i].events));
    return line;
}

static inline void wait_for(int ep, int timeout) {
    say("wait: %s", waited(ep, timeout));
}

#endif
