/* A poller's place in a segment. Read first: docs/contracts/readiness.md. */
#include <unistd.h>

#include "poller.h"

/* The bell is emptied after so many: less than any pipe holds, rings that were not heard included. */
#define MANY_RINGS 1024

static struct neat_poller *place_of(const struct poller *poller) {
    return &((struct neat_channel *)poller->segment->base)->pollers[poller->slot];
}

static uint64_t *events_of(const struct poller *poller) {
    return (uint64_t *)(poller->segment->base + NEAT_EVENTS_OFFSET) + poller->slot * NEAT_SOCK_WORDS;
}

static int claim_slot(struct segment *segment) {
    struct neat_channel *channel = (struct neat_channel *)segment->base;
    if (neat_cord_open(segment) < 0)
        return -1;
    for (int slot = 0; slot < (int)NEAT_POLLERS; slot++) {
        uint32_t nobody = 0;
        if (swap_if(&channel->pollers[slot].owner, &nobody, load(&segment->cord_number)))
            return slot;
    }
    return -1;
}

/* Get our end of a bell whose other end the replica has got. */
static int introduce_bell(const struct segment *segment, uint32_t slot, int *bell) {
    int got[2];
    struct neat_msg message = {.op = NEAT_OP_POLLER, .replica = segment->replica,
                               .incarnation = segment->incarnation};
    message.u[0] = slot;
    int status = neat_request(&message, NULL, 0, got);
    if (status < 0)
        return status;
    if (got[0] < 0)
        return -EPROTO;
    *bell = neat_hide_fd(got[0]);
    return 0;
}

/* Nothing of a poller before us. */
static void clear_place(const struct poller *poller) {
    uint64_t *events = events_of(poller);
    store(&place_of(poller)->asleep, 0);
    for (uint32_t i = 0; i < NEAT_SOCK_WORDS / 64; i++)
        swap(&place_of(poller)->summary[i], 0);
    for (uint32_t word = 0; word < NEAT_SOCK_WORDS; word++)
        store(&events[word], 0);
}

struct poller *neat_poller_open(struct segment *segment) {
    struct neat_channel *channel = (struct neat_channel *)segment->base;
    struct poller *poller = calloc(1, sizeof *poller + segment->nsock * sizeof poller->owners[0]);
    int slot = poller ? claim_slot(segment) : -1;
    if (slot < 0) {
        free(poller);
        return NULL;
    }
    poller->segment = segment;
    poller->slot = (uint32_t)slot;
    clear_place(poller);
    if (introduce_bell(segment, poller->slot, &poller->bell) < 0) {
        store(&channel->pollers[slot].owner, 0);
        free(poller);
        return NULL;
    }
    neat_segment_keep(segment);
    return poller;
}

void neat_poller_close(struct poller *poller, bool ours) {
    if (ours) {
        store(&place_of(poller)->asleep, 0);
        store(&place_of(poller)->owner, 0);
    }
    neat_close_own(poller->bell);
    neat_segment_put(poller->segment);
    free(poller);
}

bool neat_poller_take(struct poller *poller, const struct endpoint *end) {
    if (end->segment != poller->segment || !endpoint_current(end))
        return false;
    set_bits(&end->shared->waiters, UINT64_C(1) << poller->slot);
    poller->count++;
    return true;
}

void neat_poller_leave(struct poller *poller, const struct view *view) {
    poller->count--;
    if (!poller->owners[view->index] && load(&view->shared->generation) == view->generation)
        clear_bits(&view->shared->waiters, UINT64_C(1) << poller->slot);
}

void neat_poller_harvest(struct poller *poller, void (*each)(void *context, void *owner), void *context) {
    struct neat_poller *place = place_of(poller);
    uint64_t *events = events_of(poller);
    for (uint32_t i = 0; i < NEAT_SOCK_WORDS / 64; i++) {
        uint64_t words = load(&place->summary[i]) ? swap(&place->summary[i], 0) : 0;
        for (; words; words &= words - 1) {
            uint32_t word = i * 64 + (uint32_t)__builtin_ctzll(words);
            uint64_t bits = word < poller->segment->nsock / 64 ? swap(&events[word], 0) : 0;
            for (; bits; bits &= bits - 1) {
                void *owner = poller->owners[word * 64 + (uint32_t)__builtin_ctzll(bits)];
                if (owner)
                    each(context, owner);
            }
        }
    }
}

void neat_poller_asleep(struct poller *poller) {
    store(&place_of(poller)->asleep, 1);
    fence();
}

void neat_poller_awake(struct poller *poller) {
    store(&place_of(poller)->asleep, 0);
}

static void empty_bell(struct poller *poller) {
    char bytes[MANY_RINGS * 2];
    (void)!libc(read)(poller->bell, bytes, sizeof bytes);
    poller->rings = 0;
}

void neat_poller_heard(struct poller *poller, bool hung_up) {
    if (hung_up)
        neat_segment_end(poller->segment);
    else if (++poller->rings >= MANY_RINGS)
        empty_bell(poller);
}
