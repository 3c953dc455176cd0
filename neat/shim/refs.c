/* A socket's birth, who keeps it, and its end.
 *
 * `refs` counts calls in its lower half and descriptors in its upper half; PARKED says that `parked` has
 * entries. The socket goes with the last of either. Its memory stays a struct neat_socket for ever (DEAD
 * in the pool), so that who has found a pointer to it in a table may count itself in and look again,
 * though it died meanwhile.
  */
#include <stdlib.h>

#include "object.h"
#include "order.h"

#define CALL UINT64_C(1)
#define PARKED (UINT64_C(1) << 31)
#define DEAD (UINT64_C(1) << 30)
#define DESCRIPTOR (UINT64_C(1) << 32)
#define CALLS(refs) ((refs) & (DEAD - 1))
#define DESCRIPTORS(refs) ((refs) >> 32)

struct parked {
    struct parked *next;
    int number;                    /* under which calls that are under way know it */
    int fd;                        /* one of our own */
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct neat_socket *pool, *ever;

/* A signal handler may have interrupted its own thread in here: it does without the pool then. */
static __thread volatile bool in_pool;

static struct neat_socket *pop(void) {
    if (in_pool)
        return NULL;
    in_pool = true;
    pthread_mutex_lock(&pool_lock);
    struct neat_socket *s = pool;
    if (s)
        pool = s->next_free;
    pthread_mutex_unlock(&pool_lock);
    in_pool = false;
    return s;
}

static struct neat_socket *from_pool(void) {
    struct neat_socket *s = pop();
    if (s) {
        struct neat_socket *next = s->next_ever;
        memset((char *)s + sizeof s->refs, 0, sizeof *s - sizeof s->refs);
        s->next_ever = next;
    } else {
        s = calloc(1, sizeof *s);
        if (!s)
            return NULL;
        s->refs = DEAD;
        s->next_ever = load(&ever);
        while (!swap_if(&ever, &s->next_ever, s))
            ;
    }
    return s;
}

static void to_pool(struct neat_socket *s) {
    if (in_pool)
        return;
    in_pool = true;
    pthread_mutex_lock(&pool_lock);
    s->next_free = pool;
    pool = s;
    pthread_mutex_unlock(&pool_lock);
    in_pool = false;
}

struct neat_socket *neat_new(int type, int protocol) {
    struct neat_socket *s = from_pool();
    if (!s)
        return NULL;
    neat_thread_id();              /* known from now on: later it may be out of our rights (seccomp(2)) */
    s->type = type;
    s->protocol = protocol;
    s->family = AF_INET;
    s->descriptor.stack_end = -1;
    s->setup.local.family = 4;
    s->setup.local.protocol = (uint8_t)protocol;
    s->datagram.sticky = (uint32_t)neat_now() * 2654435761u >> 16;
    pthread_mutex_init(&s->setup.lock, NULL);
    pthread_mutex_init(&s->parking, NULL);
    add(&s->refs, DESCRIPTOR - DEAD);
    return s;
}

struct neat_socket *neat_get(struct neat_socket *s) {
    add(&s->refs, CALL);
    return s;
}

struct neat_socket *neat_dup(struct neat_socket *s) {
    add(&s->refs, DESCRIPTOR);
    return s;
}

static void close_parked(struct neat_socket *s) {
    pthread_mutex_lock(&s->parking);
    for (struct parked *at = swap(&s->parked, NULL), *next; at; at = next) {
        next = at->next;
        neat_close_own(at->fd);
        free(at);
    }
    pthread_mutex_unlock(&s->parking);
}

static void drop_subsocket(struct endpoint *end) {
    neat_endpoint_close(end);
    free(end);
}

static void drop_subsockets(struct neat_socket *s) {
    for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++)
        if (s->datagram.parts[replica])
            drop_subsocket(s->datagram.parts[replica]);
    while (s->datagram.retired) {
        struct endpoint *next = s->datagram.retired->next;
        drop_subsocket(s->datagram.retired);
        s->datagram.retired = next;
    }
}

void (*neat_on_end)(struct neat_socket *s);

/* Give back what it has. Caller has made it DEAD. */
static void destroy(struct neat_socket *s) {
    close_parked(s);
    if (s->descriptor.stack_end >= 0)
        neat_close_own(s->descriptor.stack_end);
    if (neat_on_end)
        neat_on_end(s);
    neat_endpoint_close(&s->end);
    drop_subsockets(s);
    pthread_mutex_destroy(&s->setup.lock);
    pthread_mutex_destroy(&s->parking);
    to_pool(s);
}

/* Give `one` back. Whoever would leave no call behind closes what is parked first, while it may still
 * touch them. */
static void put_one(struct neat_socket *s, uint64_t one) {
    uint64_t seen = load(&s->refs);
    for (;;) {
        uint64_t left = seen - one;
        if (one == CALL && !CALLS(seen))
            return;                /* fork() inside a call, from a signal handler: see in_child */
        if ((seen & PARKED) && !CALLS(left)) {
            if (swap_if(&s->refs, &seen, seen & ~PARKED)) {
                close_parked(s);
                seen = load(&s->refs);
            }
            continue;
        }
        if (!swap_if(&s->refs, &seen, left ? left : DEAD))
            continue;
        if (!left)
            destroy(s);
        return;
    }
}

void neat_put(struct neat_socket *s) {
    put_one(s, CALL);
}

void neat_undup(struct neat_socket *s) {
    put_one(s, DESCRIPTOR);
}

/* A thread that sleeps inside a call keeps the file open on Linux, too, and what wakes it is in the rings,
 * which last as long as the file does. So it gets a copy under a number that the application does not see:
 * its own is free at once. */
void neat_park(struct neat_socket *s, int fd) {
    if (!CALLS(load(&s->refs)))
        return;
    struct parked *entry = malloc(sizeof *entry);
    int copy = entry ? libc(fcntl)(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0) {
        free(entry);
        return;
    }
    entry->number = fd;
    entry->fd = neat_hide_fd(copy);
    pthread_mutex_lock(&s->parking);
    entry->next = s->parked;
    store(&s->parked, entry);
    pthread_mutex_unlock(&s->parking);
    set_bits(&s->refs, PARKED);
}

int neat_parked(struct neat_socket *s, int fd) {
    pthread_mutex_lock(&s->parking);
    for (struct parked *at = s->parked; at; at = at->next) {
        if (at->number == fd) {
            fd = at->fd;
            break;
        }
    }
    pthread_mutex_unlock(&s->parking);
    return fd;
}

bool neat_in_use(const struct neat_socket *s) {
    return CALLS(load(&s->refs)) > 1;
}

bool neat_is_alone(const struct neat_socket *s) {
    uint64_t refs = load(&s->refs);
    return DESCRIPTORS(refs) == 1 && !CALLS(refs);
}

bool neat_has_copies(const struct neat_socket *s) {
    return DESCRIPTORS(load(&s->refs)) > 1;
}

static void pool_before_fork(void) {
    pthread_mutex_lock(&pool_lock);
    neat_flags_shared();
}

/* What another thread has accepted between that and the fork is in the child, too. */
static void pool_in_parent(void) {
    neat_flags_shared();
    pthread_mutex_unlock(&pool_lock);
}

/* Other threads are not there any more: neither are their calls, nor what they had locked. */
static void sockets_in_child(void) {
    neat_flags_shared();
    pthread_mutex_init(&pool_lock, NULL);
    for (struct neat_socket *s = ever; s; s = s->next_ever) {
        bool dead = load(&s->refs) & DEAD;
        pthread_mutex_init(&s->setup.lock, NULL);
        pthread_mutex_init(&s->parking, NULL);
        store(&s->refs, dead ? DEAD : load(&s->refs) & ~(DESCRIPTOR - 1));
        store(&s->setup.accepting, 0);
        if (dead)
            continue;
        close_parked(s);
        if (!load(&s->refs)) {
            store(&s->refs, DEAD);
            destroy(s);
        }
    }
}

AT_START(ORDER_SOCKETS) void set_up_sockets(void) {
    pthread_atfork(pool_before_fork, pool_in_parent, sockets_in_child);
}
