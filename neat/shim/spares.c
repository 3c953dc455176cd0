/* Application's ends of pairs that serve one connection after another.
 *
 * A pair is two sockets of the kernel: to make and to pass it costs more than a short connection else does. So the last close() of a
 * connection keeps its end under a hidden number, when nothing can be left in it or be set on it, and says so (NEAT_REQ_KEPT) with a place in
 * the segment's table; the replica, when the connection is over, keeps the other end and marks the place. A NEAT_EV_ACCEPT without a
 * descriptor then lets the process that takes it bring any of its own spares that are marked. Which one is its choice, so it does not
 * matter which of several processes takes which connection; one that has none of this segment asks for a new pair: NEAT_REQ_OFFER.
 *
 * A slot is BUSY while somebody takes or fills it: no lock, as close() may come from a signal handler.
 */
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "internal.h"

#define MOST 64
#define SHARE 32                   /* of the numbers that the process may have, at most one in so many */
#define BUSY UINT64_C(1)
#define STEP 2
#define NONE 0                     /* no descriptor of our own has this number */
#define AGAIN_NS 10000000          /* after a look for spares that the replica has dropped */

static struct spare {
    uint64_t name;                 /* 0: free; BUSY; the rest stays as it is while there is a name */
    int fd;                        /* one of our own; NONE */
    bool nonblock;
    const struct segment *segment; /* whose replica has the other end. It may be gone: only to be compared */
    uint32_t place;                /* in its table */
} spares[MOST];

static uint64_t last_name;         /* the upper half says which process */
static uint32_t most;              /* 0: not decided */
static int high;                   /* numbers from here on are not kept: soon they may all be needed */
static int64_t full_until;

void neat_spares_limit_changed(void) {
    store(&most, 0);
}

static uint32_t decide(void) {
    struct rlimit limit;
    rlim_t share = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / SHARE : 0;
    uint32_t found = share > MOST ? MOST : share ? (uint32_t)share : 1;
    store(&high, share > INT32_MAX / SHARE ? INT32_MAX : (int)share * SHARE / 2);
    store(&most, found);
    return found;
}

/* The name that was given last. They are even, and no other process gives the same. */
static uint64_t named(void) {
    uint64_t seen = load(&last_name), who = 0;
    if (!seen) {
        if (getrandom(&who, sizeof who / 2, GRND_NONBLOCK) < 0)
            who = (uint32_t)neat_now() ^ (uint32_t)getpid();
        swap_if(&last_name, &seen, (who | 1) << 32 | STEP);
    }
    return load(&last_name);
}

static uint64_t new_name(void) {
    named();
    return add(&last_name, STEP);
}

void neat_spares_accepted(struct neat_sock *listener) {
    uint32_t me = (uint32_t)(named() >> 32);
    if (load(&listener->brought) != me)
        store(&listener->brought, me);
}

static uint64_t *table_of(const struct segment *segment) {
    return (uint64_t *)(segment->base + NEAT_SPARES_OFFSET);
}

/* A free place, which has this name now; NEAT_SPARES if there is none. */
static uint32_t claim(uint64_t *table, uint64_t name) {
    for (uint32_t place = 0; place < NEAT_SPARES; place++) {
        uint64_t nobody = 0;
        if (!load(&table[place]) && swap_if(&table[place], &nobody, name))
            return place;
    }
    return NEAT_SPARES;
}

/* The replica closes its end when it comes by. */
static void give_up(uint64_t *table, uint32_t place, uint64_t name) {
    uint64_t claimed = name, kept = name | NEAT_SPARE_KEPT;
    if (!swap_if(&table[place], &claimed, 0))
        swap_if(&table[place], &kept, 0);
}

/* It is BUSY now; false when it does not hold `name` any more. */
static bool seize(struct spare *slot, uint64_t name) {
    return swap_if(&slot->name, &name, BUSY);
}

static void release(struct spare *slot) {
    int fd = swap(&slot->fd, NONE);
    if (fd != NONE)
        neat_close_own(fd);
    store(&slot->name, 0);
}

/* Of those whose other end is closed nobody will ask. */
static void sweep(void) {
    for (struct spare *slot = spares; slot < spares + MOST; slot++) {
        uint64_t name = load(&slot->name);
        if (name <= BUSY || !seize(slot, name))
            continue;
        if (neat_poll(load(&slot->fd), 0, 0))
            release(slot);
        else
            store(&slot->name, name);
    }
}

/* For what has this number. */
static struct spare *free_slot(int number) {
    uint32_t count = load(&most) ? load(&most) : decide();
    if (number >= load(&high))
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        if (!load(&spares[i].name) && seize(&spares[i], 0))
            return &spares[i];
    return NULL;
}

uint64_t neat_spare_keep(const struct segment *segment, int fd, bool nonblock, uint32_t *place) {
    struct spare *slot = free_slot(fd);
    if (!slot && neat_now() >= load(&full_until)) {
        store(&full_until, neat_now() + AGAIN_NS);
        sweep();
        slot = free_slot(fd);
    }
    if (!slot)
        return 0;
    uint64_t name = new_name();
    *place = claim(table_of(segment), name);
    int copy = *place < NEAT_SPARES ? neat_copy_hidden(fd) : -1;
    if (copy < 0) {
        if (*place < NEAT_SPARES)
            give_up(table_of(segment), *place, name);
        release(slot);
        return 0;
    }
    slot->nonblock = nonblock;
    slot->segment = segment;
    slot->place = *place;
    store(&slot->fd, copy);
    neat_hold_own(&slot->fd);
    store(&slot->name, name);
    return name;
}

/* Under a number of the application. The hidden one may be moved out of a dup2()'s way meanwhile (neat_move_own), before that replaces it. */
static int copy_of(struct spare *slot, bool cloexec) {
    for (;;) {
        int hidden = load(&slot->fd), fd = libc(fcntl)(hidden, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
        if (load(&slot->fd) == hidden)
            return fd;
        if (fd >= 0)
            libc(close)(fd);
    }
}

/* Whether the slot is BUSY now, and has what the replica has kept, too. What that has refused is given up. */
static bool seize_kept(struct spare *slot, const struct segment *segment) {
    uint64_t name = load(&slot->name);
    if (name <= BUSY || load(&slot->segment) != segment)
        return false;
    uint64_t entry = load(&table_of(segment)[load(&slot->place)]);
    if (entry == name || !seize(slot, name))
        return false;              /* its connection is not over yet; or another thread was faster */
    if (entry == (name | NEAT_SPARE_KEPT))
        return true;
    release(slot);
    return false;
}

int neat_spare_take(const struct segment *segment, bool cloexec, bool *nonblock, uint32_t *place) {
    for (struct spare *slot = spares; slot < spares + MOST; slot++) {
        if (!seize_kept(slot, segment))
            continue;
        int fd = copy_of(slot, cloexec);
        *nonblock = slot->nonblock;
        *place = slot->place;
        release(slot);
        return fd < 0 ? -EMFILE : fd;
    }
    return -ENOENT;
}

void neat_spare_forget(const struct segment *segment, uint64_t name) {
    for (struct spare *slot = spares; slot < spares + MOST; slot++)
        if (load(&slot->name) == name && seize(slot, name)) {
            give_up(table_of(segment), slot->place, name);
            release(slot);
        }
}

bool neat_spares_drop(void) {
    bool some = false;
    for (struct spare *slot = spares; slot < spares + MOST; slot++) {
        uint64_t name = load(&slot->name);
        if (name > BUSY && seize(slot, name)) {
            release(slot);
            some = true;
        }
    }
    return some;
}

/* They stay the parent's, also those that other threads, which are not here, had in hand. */
static void in_child(void) {
    for (struct spare *slot = spares; slot < spares + MOST; slot++)
        release(slot);
    store(&last_name, 0);
}

__attribute__((constructor(125))) static void set_up(void) {
    pthread_atfork(NULL, NULL, in_child);
}
