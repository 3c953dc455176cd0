/* Application's ends of pairs that serve one connection after another.
 *
 * A pair is two sockets of the kernel: to make and to pass it costs more than a short connection else does. So the last close() of a
 * connection keeps its end under a hidden number, when nothing can be left in it or be set on it, and says so (NEAT_REQ_KEPT) with a place in
 * the segment's table; the replica, when the connection is over, keeps the other end and marks the place. A NEAT_EV_ACCEPT without a
 * descriptor then lets the process that takes it bring any of its own spares that are marked. Which one is its choice, so it does not
 * matter which of several processes takes which connection; one that has none of this segment asks for a new pair: NEAT_REQ_OFFER.
 *
 * A slot is BUSY while somebody takes or fills it: no lock, as close() may come from a signal handler. It stays BUSY until the number under
 * which the application had that end is closed, and nobody has forked meanwhile.
 */
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "setup.h"
#include "order.h"

#define MOST 64
#define SHARE 32                   /* of the numbers that the process may have, at most one in so many */
#define BUSY UINT64_C(1)
#define NONE 0                     /* no descriptor of our own has this number */
#define AGAIN_NS 10000000          /* after a look for spares that the replica has dropped */

static struct spare {
    uint64_t name;                 /* 0: free; BUSY; the rest stays as it is while there is a name */
    uint64_t claimed;              /* what it will be called */
    int fd;                        /* one of our own; NONE */
    bool nonblock;
    const struct segment *segment; /* whose replica has the other end. It may be gone: only to be compared */
} spares[MOST];

static uint32_t who;               /* we are, in the names that we give; 0: nobody yet */
static uint32_t given;             /* names so far */
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

static uint32_t ourselves(void) {
    uint32_t seen = load(&who), new = 0;
    if (!seen) {
        if (getrandom(&new, sizeof new, GRND_NONBLOCK) < 0)
            new = (uint32_t)neat_now() ^ (uint32_t)getpid();
        swap_if(&who, &seen, new | 1);
    }
    return load(&who);
}

void neat_spares_accepted(struct neat_sock *listener) {
    uint32_t me = ourselves();
    if (load(&listener->accepter) != me)
        store(&listener->accepter, me);
}

static uint64_t *table_of(const struct segment *segment) {
    return (uint64_t *)(segment->base + NEAT_SPARES_OFFSET);
}

/* Take a free place: the name that stands there now, or 0. */
static uint64_t claim(uint64_t *table) {
    uint64_t name = (uint64_t)ourselves() << 32 | (uint32_t)(add(&given, 1) * NEAT_SPARES * 2);
    for (uint64_t place = 0; place < NEAT_SPARES; place++) {
        uint64_t nobody = 0;
        if (!load(&table[place]) && swap_if(&table[place], &nobody, name | place << 1))
            return name | place << 1;
    }
    return 0;
}

static bool has_room(const uint64_t *table) {
    for (uint32_t place = 0; place < NEAT_SPARES; place++)
        if (!load(&table[place]))
            return true;
    return false;
}

void neat_spare_give_up(const struct segment *segment, uint64_t name) {
    uint64_t *entry = &table_of(segment)[neat_spare_place(name)], claimed = name, kept = name | NEAT_SPARE_KEPT;
    if (!swap_if(entry, &claimed, 0))
        swap_if(entry, &kept, 0);
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

/* Those whose other end is closed are of no use. */
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

struct spare *neat_spare_keep(const struct segment *segment, int fd, bool nonblock, uint64_t *name) {
    struct spare *slot = free_slot(fd);
    if (!slot && neat_now() >= load(&full_until)) {
        store(&full_until, neat_now() + AGAIN_NS);
        sweep();
        slot = free_slot(fd);
    }
    int copy = slot && has_room(table_of(segment)) ? neat_copy_hidden(fd) : -1;
    if (copy >= 0) {
        slot->nonblock = nonblock;
        slot->segment = segment;
        store(&slot->fd, copy);
        neat_hold_own(&slot->fd);
        *name = slot->claimed = claim(table_of(segment));  /* last: a place whose process is killed before it says KEPT is lost */
        if (*name)
            return slot;
    }
    if (slot)
        release(slot);
    return NULL;
}

void neat_spare_settle(struct spare *slot, const struct segment *segment, bool stays) {
    if (stays) {
        store(&slot->name, slot->claimed);
        return;
    }
    neat_spare_give_up(segment, slot->claimed);
    release(slot);
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
static bool seize_kept(struct spare *slot, const struct segment *segment, uint64_t name) {
    if (name <= BUSY || load(&slot->segment) != segment)
        return false;
    uint64_t entry = load(&table_of(segment)[neat_spare_place(name)]);
    if (entry == name || !seize(slot, name))
        return false;              /* its connection is not over yet; or another thread was faster */
    if (entry == (name | NEAT_SPARE_KEPT))
        return true;
    release(slot);
    return false;
}

int neat_spare_take(const struct segment *segment, bool cloexec, bool *nonblock, uint64_t *name) {
    for (struct spare *slot = spares; slot < spares + MOST; slot++) {
        *name = load(&slot->name);
        if (!seize_kept(slot, segment, *name))
            continue;
        int fd = copy_of(slot, cloexec);
        *nonblock = slot->nonblock;
        release(slot);
        if (fd < 0)
            neat_spare_give_up(segment, *name);
        return fd < 0 ? -EMFILE : fd;
    }
    return -ENOENT;
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
    store(&who, 0);
}

AT_START(ORDER_SPARES) void set_up(void) {
    pthread_atfork(NULL, NULL, in_child);
}
