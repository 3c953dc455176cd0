/* A socket's life: how it begins, who keeps it, how it ends.
 *
 * `refs` counts calls in its lower half and descriptors in its upper half; PARKED says that `parked` has entries. The socket goes
 * with the last of either. Its memory stays a struct neat_socket for ever (DEAD in the pool), so that who has found a pointer to it in a
 * table may count itself in and look again, though it died meanwhile.
 */
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

#define CALL UINT64_C(1)
#define PARKED (UINT64_C(1) << 31)
#define DEAD (UINT64_C(1) << 30)
#define DESCRIPTOR (UINT64_C(1) << 32)
#define CALLS(refs) ((refs) & (DEAD - 1))
#define DESCRIPTORS(refs) ((refs) >> 32)

struct parked {
    struct parked *next;
    int fd;
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct neat_socket *pool;

static struct neat_socket *from_pool(void) {
    pthread_mutex_lock(&pool_lock);
    struct neat_socket *s = pool;
    if (s)
        pool = s->next_free;
    pthread_mutex_unlock(&pool_lock);
    if (s) {
        memset((char *)s + sizeof s->refs, 0, sizeof *s - sizeof s->refs);
    } else {
        s = calloc(1, sizeof *s);
        if (s)
            s->refs = DEAD;
    }
    return s;
}

static void to_pool(struct neat_socket *s) {
    pthread_mutex_lock(&pool_lock);
    s->next_free = pool;
    pool = s;
    pthread_mutex_unlock(&pool_lock);
}

struct neat_socket *neat_new(int type, int protocol) {
    struct neat_socket *s = from_pool();
    if (!s)
        return NULL;
    s->type = type;
    s->protocol = protocol;
    s->stack_end = -1;
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
    while (s->parked) {
        struct parked *next = s->parked->next;
        libc(close)(s->parked->fd);
        free(s->parked);
        s->parked = next;
    }
    pthread_mutex_unlock(&s->parking);
}

/* Give back what it has. Caller has made it DEAD. */
static void destroy(struct neat_socket *s) {
    close_parked(s);
    if (s->stack_end >= 0)
        neat_close_own(s->stack_end);
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

/* Close it later, when no thread is inside a call: one that sleeps keeps the file open on Linux, too, and what wakes it is in the
 * rings, which last as long as the file does. False: no memory. */
static bool park(struct neat_socket *s, int fd) {
    struct parked *entry = malloc(sizeof *entry);
    if (!entry)
        return false;
    entry->fd = fd;
    pthread_mutex_lock(&s->parking);
    entry->next = s->parked;
    s->parked = entry;
    pthread_mutex_unlock(&s->parking);
    set_bits(&s->refs, PARKED);
    return true;
}

int neat_close(struct neat_socket *s, int fd) {
    uint32_t options = load(&s->settings.options);
    bool last = DESCRIPTORS(load(&s->refs)) == 1;
    int status = 0;
    if (last && (options & NEAT_OPT_LINGER) && !s->settings.linger_ms && load(&s->stage) == STAGE_CONNECTED &&
        endpoint_current(&s->end)) {
        set_bits(&s->end.shared->request, NEAT_REQ_ABORT);
        neat_mark(&s->end);
    }
    if (!CALLS(load(&s->refs)) || !park(s, fd))
        status = libc(close)(fd) < 0 ? -errno : 0;
    put(s, DESCRIPTOR);
    return status;
}
