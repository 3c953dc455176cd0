/* epoll instances: what the files of this family share. Read first: preload.h; docs/contracts/readiness.md.
 *
 * An instance stays the kernel's epoll, under the descriptor that the application knows. Beside it stands a
 * record of its members (items). A member is one of
 *   - the kernel's: in the kernel's epoll, with the flags that the application gave and a marker instead of
 *     its data;
 *   - tracked: a connection of NEaT that is not in the kernel's epoll at all. Its replica tells us in shared
 *     memory, and what is ready is read from the socket object. So a connection is the kernel's only while it
 *     is not connected yet, where its segment has no place for one more poller, and in an instance that is
 *     polled itself, or that another process has, too.
 *
 * Locks: `registry` (instances.c) before an instance's `lock`. Neither is held while anybody sleeps.
 */
#ifndef NEAT_EPOLL_H
#define NEAT_EPOLL_H

#include "../poller.h"
#include "preload.h"

#define ITEMS_A_PAGE 1024
#define PAGES 1024                 /* of item pointers: descriptors below fs.nr_open's default */
#define ALWAYS (EPOLLERR | EPOLLHUP)
#define HOW (EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE)    /* in `events`, but no event */

/* What the kernel's epoll has as data of what we have registered: a serial number, a tag, and a
 * descriptor. What else it tells was registered past us (by io_uring, or a system call without libc), with
 * data of the program's own, and is told to the program. That is hardly a marker by chance: no pointer has
 * the highest bit set. */
#define MARKER (UINT64_C(1) << 63 | UINT64_C(0xb3d) << 20)
#define MARKER_BITS (UINT64_C(1) << 63 | UINT64_C(0xfff) << 20)
#define MARK_BELL 0x7fffffffu      /* a serial number; instead of a descriptor: the poller's number */
#define MARK_KICK 0x7ffffffeu

static inline uint64_t marker(uint32_t serial, uint32_t number) {
    return MARKER | (uint64_t)serial << 32 | (number & (PAGES * ITEMS_A_PAGE - 1));
}

static inline bool is_marker(uint64_t data) {
    return (data & MARKER_BITS) == MARKER;
}

static inline uint32_t marker_serial(uint64_t data) {
    return (uint32_t)(data >> 32) & 0x7fffffffu;
}

static inline int marker_number(uint64_t data) {
    return (int)(data & (PAGES * ITEMS_A_PAGE - 1));
}

_Static_assert(PAGES * ITEMS_A_PAGE == 1 << 20, "a descriptor fits below the tag");

struct item {
    struct item *next, *before;    /* in the ready list */
    struct item *stray_next;       /* among the strays */
    int fd;
    uint32_t serial;
    uint32_t events;               /* as the application gave them; without events when a one-shot was told */
    epoll_data_t data;
    enum { KERNEL, TRACKED } kind;
    bool queued;
    bool early;                    /* was added before it was connected: its kind is to be found out */
    struct neat_socket *socket;    /* of NEaT, else NULL; not held: its memory is never given back (refs.c) */
    struct poller *poller;         /* TRACKED: its poller, */
    struct item *twin;             /* the next of the same socket there, */
    struct view view;              /* and what was seen */
};

struct instance {
    /* Calls in the lower half, descriptors in the upper; 0: unused; stays first. */
    uint64_t refs;
    struct instance *next;         /* of all that there ever were */
    pthread_mutex_t lock;          /* what follows */
    int epfd;                      /* one of its numbers */
    bool foreign;                  /* made by a parent process, which may use it too */
    /* Its kernel's epoll must tell all: it is polled, or another process has it. */
    bool exposed;
    uint32_t serial;
    uint32_t ours;                 /* members that are tracked */
    uint32_t sleepers;             /* threads that are about to block, or do */
    int kick;                      /* eventfd that wakes them; -1: not needed yet */
    int64_t looked_at;             /* when the kernel was asked last, ns */
    struct poller *pollers;
    uint32_t poller_count;
    /* The ready list: what may be ready; a level-triggered member stays until it is found not to be. */
    struct item *first, *last;
    uint32_t queued;
    /* Closed by the application, but the kernel may tell of them: a copy is open somewhere. */
    struct item *strays;
    uint32_t stray_count;
    struct item **pages[PAGES];
};

/* instances.c */
/* Around what follows `lock` in struct instance. A signal handler that closes a descriptor meanwhile
 * (signal-safety(7)) does not wait for us: what it closed is forgotten when the lock is given back. */
void instance_lock(struct instance *instance);
void instance_unlock(struct instance *instance);
struct instance *instance_get(int epfd);       /* held for a call, NULL: none of ours */
void instance_put(struct instance *instance);
int instance_enter(int epfd);                  /* a fresh epoll descriptor: 0 or -errno */
/* All members to the kernel's epoll, for good. Caller holds its lock. */
void instance_expose(struct instance *instance, int epfd);

/* members.c */
#define MEMBERS (PAGES * ITEMS_A_PAGE)         /* descriptors from here on are the kernel's alone */
void member_note(int fd);                      /* some instance has it: epoll_forget must look */
void member_reach(int fd);                     /* an instance has that number */
bool member_is(int fd);
bool member_taken(int fd);                     /* whether it was; it is none any more */

/* interest.c. Caller holds the instance's lock. */
struct item *item_find(struct instance *instance, int fd);
struct item *item_of_marker(struct instance *instance, int fd, uint32_t serial);
/* NULL: no memory. */
struct item *item_make(struct instance *instance, int fd, const struct epoll_event *event);
/* Out of the record; the kernel is the caller's matter. */
void item_drop(struct instance *instance, struct item *item);
/* Its number is closed; the kernel may go on. */
void item_stray(struct instance *instance, struct item *item);
void item_forget_all(struct instance *instance);        /* when it is over, and none is tracked any more */
/* What the kernel's epoll has of it: 0 or -errno. */
int item_register(int epfd, const struct item *item, int op, uint32_t events);
int item_unregister(int epfd, const struct item *item);
void ready_add(struct instance *instance, struct item *item);
void ready_remove(struct instance *instance, struct item *item);
int ready_collect(struct instance *instance, struct epoll_event *events, int room);

/* track.c. Caller holds the instance's lock. */
/* A connection's kind is settled. True: tracked, and not in the kernel's epoll any more (`registered`: it
 * is there). */
bool track(struct instance *instance, int epfd, struct item *item, bool registered);
/* Whether it was: its socket is connected anew. */
bool renew(struct instance *instance, int epfd, struct item *item);
/* No longer ours; the kernel's epoll is the caller's matter. */
void untrack(struct instance *instance, struct item *item);
void untrack_all(struct instance *instance);
/* To the kernel's epoll, with the application's flags. */
void give_up(struct instance *instance, int epfd, struct item *item);
/* Its number is being closed, but a copy is open: the kernel's epoll tells of it until that is closed, too
 * (epoll(7)). */
void leave_behind(struct instance *instance, struct item *item);
void harvest(struct instance *instance);       /* event bits to the ready list */
void poller_died(struct instance *instance, struct poller *poller);
void pollers_forget(struct instance *instance, bool ours);
void kick(struct instance *instance, int epfd);        /* wake a thread that sleeps in it */

/* wait.c */
int instance_wait(struct instance *instance, int epfd, struct epoll_event *events, int room,
                  int64_t timeout_ns, const sigset_t *mask);

#endif
