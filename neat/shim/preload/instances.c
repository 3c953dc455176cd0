/* Which descriptors are epoll instances, and their lives. An instance's memory is never given back to be
 * something else, so one that was found is counted first and then looked for again (as in table.c). */
#include "../order.h"
#include "epoll.h"

#define CALL UINT64_C(1)
#define DESCRIPTOR (UINT64_C(1) << 32)

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct instance *all;
static struct instance **by_number;            /* [MEMBERS] */

/* What a signal handler closes while its thread is inside of a lock cannot be looked for then. */
/* So many at a time; others stay in the record until their number is used again. */
#define LATER 16
static __thread volatile int inside;           /* locks that this thread holds, or waits for */
static __thread volatile int later[LATER];
static __thread volatile int later_count;

static void enter_lock(pthread_mutex_t *lock) {
    inside++;
    pthread_mutex_lock(lock);
}

static void leave_lock(pthread_mutex_t *lock) {
    pthread_mutex_unlock(lock);
    if (--inside)
        return;
    while (later_count)
        epoll_forget(later[--later_count]);
}

void instance_lock(struct instance *instance) {
    enter_lock(&instance->lock);
}

void instance_unlock(struct instance *instance) {
    leave_lock(&instance->lock);
}

static struct instance **instance_entry(int fd) {
    struct instance **entries = load(&by_number);
    return entries && fd >= 0 && fd < MEMBERS ? &entries[fd] : NULL;
}

/* Its last descriptor is closed. Caller holds the registry and the last reference. */
static void clear_instance(struct instance *instance) {
    instance_lock(instance);
    untrack_all(instance);
    item_forget_all(instance);
    pollers_forget(instance, !instance->foreign);
    if (instance->kick >= 0)
        neat_close_own(instance->kick);
    instance->kick = -1;
    instance_unlock(instance);
}

static void put_instance(struct instance *instance, uint64_t one) {
    /* `refs` reaches 0 only when it is clean: until then nobody takes it for a new one. */
    uint64_t seen = load(&instance->refs);
    while (!swap_if(&instance->refs, &seen, seen == one ? one | CALL << 31 : seen - one))
        ;
    if (seen != one)
        return;
    clear_instance(instance);
    add(&instance->refs, -(one | CALL << 31));
}

struct instance *instance_get(int epfd) {
    struct instance **entry = instance_entry(epfd);
    struct instance *seen = entry ? load(entry) : NULL;
    while (seen) {
        /* One that is unused stays so: it may be about to become another's. */
        uint64_t refs = load(&seen->refs);
        while (refs && !swap_if(&seen->refs, &refs, refs + CALL))
            ;
        if (!refs) {
            seen = load(entry);
            continue;
        }
        struct instance *now = load_seq(entry);
        if (now == seen)
            return seen;
        put_instance(seen, CALL);
        seen = now;
    }
    return NULL;
}

void instance_put(struct instance *instance) {
    put_instance(instance, CALL);
}

bool epoll_is_instance(int fd) {
    struct instance **entry = instance_entry(fd);
    return entry && load(entry);
}

static bool make_instance_table(void) {
    if (load(&by_number))
        return true;
    struct instance **fresh = neat_map(-1, MEMBERS * sizeof *by_number);
    if (!fresh)
        return false;
    store(&by_number, fresh);
    return true;
}

static struct instance *unused(void) {
    for (struct instance *at = all; at; at = at->next)
        if (!load(&at->refs))
            return at;
    struct instance *fresh = calloc(1, sizeof *fresh);
    if (!fresh)
        return NULL;
    pthread_mutex_init(&fresh->lock, NULL);
    fresh->kick = -1;
    fresh->next = all;
    all = fresh;
    return fresh;
}

int instance_enter(int epfd) {
    int status = -ENOMEM;
    if (epfd >= MEMBERS)
        return 0;                  /* the kernel's alone */
    enter_lock(&registry);
    struct instance *instance = make_instance_table() ? unused() : NULL;
    if (instance) {
        instance->epfd = epfd;
        instance->foreign = instance->exposed = false;
        instance->looked_at = 0;
        add(&instance->refs, DESCRIPTOR);
        store(&by_number[epfd], instance);
        member_reach(epfd);
        status = 0;
    }
    leave_lock(&registry);
    return status;
}

void epoll_copied(int fd, int copy) {
    struct instance *instance = instance_get(fd);
    if (!instance)
        return;
    enter_lock(&registry);
    if (copy >= 0 && copy < MEMBERS) {
        add(&instance->refs, DESCRIPTOR);
        store(&by_number[copy], instance);
        member_reach(copy);
    }
    leave_lock(&registry);
    instance_put(instance);
}

/* Another number of the same instance, for what is done in its name later. */
static void another_number(struct instance *instance) {
    for (int fd = 0; fd < epoll_end(); fd++)
        if (load(&by_number[fd]) == instance) {
            instance->epfd = fd;
            return;
        }
}

static void forget_instance(int fd) {
    enter_lock(&registry);
    struct instance *instance = swap(&by_number[fd], NULL);
    if (instance) {
        if (instance->epfd == fd && load(&instance->refs) >> 32 > 1)
            another_number(instance);
        put_instance(instance, DESCRIPTOR);
    }
    leave_lock(&registry);
}

static void forget_member(struct instance *instance, int fd, bool lost) {
    instance_lock(instance);
    struct item *item = item_find(instance, fd);
    if (item && item->socket && lost) {
        /* What the kernel may still tell of its copies has a marker that nobody knows. */
        untrack(instance, item);
        item_drop(instance, item);
    } else if (item && item->socket && !instance->foreign && neat_has_copies(item->socket)) {
        leave_behind(instance, item);
    } else if (item && item->socket) {
        /* Ours stays open while a thread is inside a call on it, or in another process: nobody is to hear
         * of it any more. */
        if (item->kind != TRACKED && !instance->foreign)
            item_unregister(instance->epfd, item);
        untrack(instance, item);
        item_drop(instance, item);
    } else if (item) {
        item_stray(instance, item);
    }
    instance_unlock(instance);
}

static void forget_number(int fd, bool lost) {
    if (epoll_is_instance(fd))
        forget_instance(fd);
    if (!member_taken(fd))
        return;
    enter_lock(&registry);
    for (struct instance *at = all; at; at = at->next)
        if (load(&at->refs))
            forget_member(at, fd, lost);
    leave_lock(&registry);
}

void epoll_forget(int fd) {
    if (fd < 0 || fd >= MEMBERS || !(epoll_is_instance(fd) || member_is(fd)))
        return;
    if (!inside)
        forget_number(fd, false);
    else if (later_count < LATER)
        later[later_count++] = fd;
}

void epoll_lost(int fd) {
    if (fd >= 0 && fd < MEMBERS && !inside && (epoll_is_instance(fd) || member_is(fd)))
        forget_number(fd, true);
}

/* Its file may live on under another number (kept aside), and the kernel would go on to tell of it. */
void epoll_moving(int fd) {
    if (fd < 0 || fd >= MEMBERS || !member_is(fd))
        return;
    enter_lock(&registry);
    for (struct instance *at = all; at; at = at->next) {
        if (!load(&at->refs))
            continue;
        instance_lock(at);
        struct item *item = item_find(at, fd);
        if (item)
            item_unregister(at->epfd, item);
        instance_unlock(at);
    }
    leave_lock(&registry);
}

/* An undecided socket was decided: the kernel's epoll has lost it with the file that its number had. */
void epoll_moved(int fd, struct neat_socket *s) {
    if (fd < 0 || fd >= MEMBERS || !member_is(fd))
        return;
    enter_lock(&registry);
    for (struct instance *at = all; at; at = at->next) {
        if (!load(&at->refs))
            continue;
        instance_lock(at);
        struct item *item = item_find(at, fd);
        if (item) {
            untrack(at, item);
            item->socket = s;
            if (!track(at, at->epfd, item, false))
                item_register(at->epfd, item, EPOLL_CTL_ADD, item->events);
        }
        instance_unlock(at);
    }
    leave_lock(&registry);
}

/* In a forked child: the parent goes on with it. All are in the kernel's epoll then, under the same
 * markers, for both: the parent finds that out when the kernel tells it of one that it tracks (wait.c). */
void instance_expose(struct instance *instance, int epfd) {
    instance->exposed = true;
    for (int page = 0; page < PAGES && instance->ours; page++)
        for (int i = 0; instance->pages[page] && i < ITEMS_A_PAGE; i++)
            if (instance->pages[page][i] && instance->pages[page][i]->kind == TRACKED)
                give_up(instance, epfd, instance->pages[page][i]);
    /* Bells are readable for ever. The kernel drops one with its last copy, and the syscall server may not
     * have closed its own yet. */
    for (struct poller *at = instance->pollers; at && !instance->foreign; at = at->next)
        libc(epoll_ctl)(epfd, EPOLL_CTL_DEL, at->bell, &(struct epoll_event){0});
    pollers_forget(instance, !instance->foreign);
    if (instance->kick >= 0)
        neat_close_own(instance->kick);
    instance->kick = -1;
}

void epoll_expose(int epfd) {
    struct instance *instance = instance_get(epfd);
    if (!instance)
        return;
    instance_lock(instance);
    if (!instance->exposed)
        instance_expose(instance, epfd);
    instance_unlock(instance);
    instance_put(instance);
}

/* A fork finds all of this whole. */
static void registry_before_fork(void) {
    inside++;
    pthread_mutex_lock(&registry);
    for (struct instance *at = all; at; at = at->next)
        pthread_mutex_lock(&at->lock);
}

static void registry_in_parent(void) {
    for (struct instance *at = all; at; at = at->next)
        pthread_mutex_unlock(&at->lock);
    leave_lock(&registry);
}

static void registry_in_child(void) {
    pthread_mutex_init(&registry, NULL);
    for (struct instance *at = all; at; at = at->next)
        pthread_mutex_init(&at->lock, NULL);
    inside = later_count = 0;
}

/* The kernel's epoll is shared with the parent now, whose record says what is in it. What the parent
 * tracks stays the parent's until the child uses the instance (instance_expose). */
void epoll_after_fork_child(void) {
    for (struct instance *at = all; at; at = at->next) {
        if (!at->refs)
            continue;
        at->refs &= ~(DESCRIPTOR - 1);         /* the threads that were inside calls are not here */
        at->sleepers = 0;
        at->foreign = true;
        pollers_forget(at, false);
    }
}

AT_START(ORDER_INSTANCES) void set_up_instances(void) {
    pthread_atfork(registry_before_fork, registry_in_parent, registry_in_child);
}
