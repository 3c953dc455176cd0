/* A socket's life: how it begins, who keeps it, how it ends.
 *
 * `refs` counts calls in its lower half and descriptors in its upper half; PARKED says that `parked` has entries. The socket goes
 * with the last of either.
 */
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

#define CALL UINT64_C(1)
#define PARKED (UINT64_C(1) << 31)
#define DESCRIPTOR (UINT64_C(1) << 32)
#define CALLS(refs) ((refs) & (PARKED - 1))
#define DESCRIPTORS(refs) ((refs) >> 32)

struct parked {
    struct parked *next;
    int fd;
};

struct neat_socket *neat_new(int type, int protocol) {
    struct neat_socket *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->refs = DESCRIPTOR;
    s->type = type;
    s->protocol = protocol;
    s->stack_end = -1;
    s->local.family = 4;
    s->local.protocol = (uint8_t)protocol;
    s->sticky = (uint32_t)neat_now() * 2654435761u >> 16;
    pthread_mutex_init(&s->setup, NULL);
    pthread_mutex_init(&s->parking, NULL);
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
        close(s->parked->fd);
        free(s->parked);
        s->parked = next;
    }
    pthread_mutex_unlock(&s->parking);
}

void neat_destroy(struct neat_socket *s) {
    close_parked(s);
    if (s->stack_end >= 0)
        close(s->stack_end);
    neat_endpoint_close(&s->end);
    neat_subsockets_close(s);
    pthread_mutex_destroy(&s->setup);
    pthread_mutex_destroy(&s->parking);
    free(s);
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
        if (!swap_if(&s->refs, &seen, left))
            continue;
        if (!left)
            neat_destroy(s);
        return;
    }
}

void neat_put(struct neat_socket *s) {
    put(s, CALL);
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
        status = close(fd) < 0 ? -errno : 0;
    put(s, DESCRIPTOR);
    return status;
}
