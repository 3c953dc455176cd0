/* A socket's life: how it begins, who keeps it, how it ends.
 *
 * `refs` counts calls in its lower half and descriptors in its upper half; PARKED says that `parked` has entries. The socket goes
 * with the last of either. Its memory stays a struct neat_socket for ever (DEAD in the pool), so that who has found a pointer to it in a
 * table may count itself in and look again, though it died meanwhile.
 */
#include <stdlib.h>
#include <unistd.h>

#include "readiness.h"

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
    s->stack_end = -1;
    s->aside = -1;
    s->local.family = 4;
    s->local.protocol = (uint8_t)protocol;
    s->sticky = (uint32_t)neat_now() * 2654435761u >> 16;
    pthread_mutex_init(&s->setup, NULL);
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

/* Give back what it has. Caller has made it DEAD. */
static void destroy(struct neat_socket *s) {
    close_parked(s);
    if (s->stack_end >= 0)
        neat_close_own(s->stack_end);
    if (s->aside >= 0)
        neat_close_own(s->aside);
    neat_endpoint_close(&s->end);
    neat_subsockets_close(s);
    pthread_mutex_destroy(&s->setup);
    pthread_mutex_destroy(&s->parking);
    to_pool(s);
}

/* Give `one` back. Whoever would leave no call behind closes what is parked first, while it may still touch them. */
static void put(struct neat_socket *s, uint64_t one) {
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
    put(s, CALL);
}

void neat_undup(struct neat_socket *s) {
    put(s, DESCRIPTOR);
}

/* A thread that sleeps inside a call keeps the file open on Linux, too, and what wakes it is in the rings, which last as long as the
 * file does. So it gets a copy under a number that the application does not see: its own is free at once. */
static void park(struct neat_socket *s, int fd) {
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

bool neat_has_copies(const struct neat_socket *s) {
    return DESCRIPTORS(load(&s->refs)) > 1;
}

/* Its only descriptor, which nobody else can have, is being closed, and no call is under way. */
static bool is_ending(struct neat_socket *s) {
    uint64_t refs = load(&s->refs);
    return DESCRIPTORS(refs) == 1 && !CALLS(refs) && neat_flags_known(s) && neat_stage(s) == STAGE_CONNECTED;
}

/* Nothing is in its end of the pair, nor set on it, and nobody else waits there: then the next connection may have it. The replica has the
 * last word. */
static bool is_keepable(const struct neat_socket *s) {
    const struct neat_sock *shared = s->end.shared;
    return load(&s->keepable) && !load(&s->traced) && !load(&s->small_buffer) &&
           !(load(&s->settings.options) & NEAT_OPT_LINGER) && !(load(&shared->request) & NEAT_REQ_SHUT_RD) &&
           !load(&shared->in_token) && !neat_is_shown(&s->end);
}

/* The last descriptor goes: tell the replica what its hang-up cannot tell, or will tell later. Returns the copy of its end of the pair that is
 * kept, if it may `keep` one; NULL: none. */
static struct spare *announce(struct neat_socket *s, int fd, bool keep) {
    uint32_t wanted = NEAT_REQ_CLOSE;
    if (DESCRIPTORS(load(&s->refs)) != 1 || neat_stage(s) != STAGE_CONNECTED || !endpoint_current(&s->end))
        return NULL;
    if (!is_ending(s))
        return NULL;
    struct spare *spare = NULL;
    uint64_t name;
    if (keep && is_keepable(s))
        spare = neat_spare_keep(s->end.segment, fd, load(&s->nonblock), &name);
    if (spare) {
        store(&s->end.shared->kept, name);
        wanted |= NEAT_REQ_KEPT;
    }
    set_bits(&s->end.shared->request, wanted);
    neat_mark(&s->end);
    neat_ring(&s->end);            /* who hears it from us may hear the hang-up later */
    return spare;
}

static struct spare *leave(struct neat_socket *s, int fd, bool keep) {
    struct spare *spare = announce(s, fd, keep);
    if (CALLS(load(&s->refs)))
        park(s, fd);
    return spare;
}

void neat_leave(struct neat_socket *s, int fd) {
    leave(s, fd, false);
}

/* Whether close() has to wait (SO_LINGER with a time). Not if another process may have a copy, or a thread is inside a call: then this
 * is not the connection's end. */
static bool lingers(struct neat_socket *s) {
    uint64_t refs = load(&s->refs);
    return (load(&s->settings.options) & NEAT_OPT_LINGER) && s->settings.linger_ms && s->type == SOCK_STREAM &&
           DESCRIPTORS(refs) == 1 && neat_flags_known(s) && neat_stage(s) == STAGE_CONNECTED;
}

int neat_close(struct neat_socket *s, int fd) {
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);   /* what is kept is to be settled */
    struct spare *spare = leave(s, fd, true);
    bool wait = lingers(s);
    int status = libc(close)(fd) < 0 ? -errno : 0;
    if (spare)
        neat_spare_settle(spare, s->end.segment, neat_flags_known(s));     /* else another thread has forked: the child has a copy */
    pthread_setcancelstate(cancel, NULL);
    if (wait)
        neat_linger(s);
    put(s, DESCRIPTOR);
    return status;
}

static void before_fork(void) {
    pthread_mutex_lock(&pool_lock);
    neat_flags_shared();
}

/* What another thread has accepted between that and the fork is in the child, too. */
static void in_parent(void) {
    neat_flags_shared();
    pthread_mutex_unlock(&pool_lock);
}

/* Other threads are not there any more: neither are their calls, nor what they had locked. */
static void in_child(void) {
    neat_flags_shared();
    pthread_mutex_init(&pool_lock, NULL);
    for (struct neat_socket *s = ever; s; s = s->next_ever) {
        bool dead = load(&s->refs) & DEAD;
        pthread_mutex_init(&s->setup, NULL);
        pthread_mutex_init(&s->parking, NULL);
        store(&s->refs, dead ? DEAD : load(&s->refs) & ~(DESCRIPTOR - 1));
        store(&s->accepting, 0);
        if (dead)
            continue;
        close_parked(s);
        if (!load(&s->refs)) {
            store(&s->refs, DEAD);
            destroy(s);
        }
    }
}

/* After segments.c and registration.c: so their locks are free when the child destroys sockets. */
__attribute__((constructor(130))) static void set_up(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}
