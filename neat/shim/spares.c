/* Pairs for the next connections: new ones, and those that have served another.
 *
 * * A pair is two sockets of the kernel: to make and to pass it costs more than a short connection else does.
 * So the last close() of a connection keeps its end under a hidden number, when nothing can be left in it or
 * be set on it, and says so (NEAT_REQ_KEPT) with a place in the segment's table; the replica, when the
 * connection is over, keeps the other end and marks the place. accept() claims its connection with the name
 * of any of its process's that are marked. A process that has none of that replica claims it for its cord,
 * and sends the stack's end of a new pair there. When no new one can be made, for want of descriptors, it
 * uses a reserve, which each accept() has in its hands before it takes a message.
 *
 * * A slot is BUSY while somebody takes or fills it: no lock, as close() may come from a signal handler. One
 * that is filled by close() stays BUSY until the number under which the application had that end is closed,
 * and nobody has forked meanwhile. What a slot has is its process's alone.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "order.h"
#include "setup.h"

#define MOST 64
#define RESERVES 16                /* threads that are in accept() at once, without sleeping there */
#define SHARE 32                   /* of the numbers that the process may have, at most one in so many */
#define BUSY UINT64_C(1)
#define RESERVE UINT64_C(3)        /* the name of a pair that no replica has an end of */
#define NONE (-1)
#define SURE_NS 2000000
#define AGAIN_NS 10000000          /* after a look for spares that the replica has dropped */

struct spare {
    uint64_t name;                 /* 0: free; BUSY; the rest stays as it is while there is a name */
    uint64_t claimed;              /* what it will be called */
    /* the application's end, hidden; NONE: given back, but for its place in the table */
    int fd;
    int stack_end;                 /* of a reserve */
    /* a copy of `fd` for the application; or the application's end of a new pair, which is not hidden; */
    int number;
    int made;                      /* whose stack's end is this */
    bool nonblock;
    const struct segment *segment; /* whose replica has the other end. It may be gone: only to be compared */
};

#define EMPTY {.fd = NONE, .stack_end = NONE, .number = NONE, .made = NONE}
static struct spare spares[MOST] = {[0 ... MOST - 1] = EMPTY};
static struct spare reserves[RESERVES] = {[0 ... RESERVES - 1] = EMPTY};

static uint32_t given;             /* names so far */
static uint32_t most;              /* 0: not decided */
static int limit;                  /* RLIMIT_NOFILE */
static int high;                   /* numbers from here on are not kept: soon they may all be needed */
static int64_t full_until;
static int64_t sure_until;         /* there are numbers for connections */
/* neat_lock: held while there are ends that no slot has yet: no child is to have copies of them */
static uint32_t making;

void neat_limits_changed(void) {
    store(&sure_until, 0);
    store(&most, 0);
}

static bool seize(struct spare *slot, uint64_t name) {
    return swap_if(&slot->name, &name, BUSY);
}

static void close_end(int *where) {
    int fd = swap(where, NONE);
    if (fd != NONE)
        neat_close_own(fd);
}

static void close_ends(struct spare *slot) {
    close_end(&slot->fd);
    close_end(&slot->stack_end);
    close_end(&slot->number);
    close_end(&slot->made);
}

static void release(struct spare *slot) {
    close_ends(slot);
    store(&slot->name, 0);
}

static uint64_t *table_of(const struct segment *segment) {
    return (uint64_t *)(segment->base + NEAT_SPARES_OFFSET);
}

/* Its place is free; the replica closes its end when it comes by. */
static void give_up(const struct segment *segment, uint64_t name) {
    uint64_t *entry = &table_of(segment)[neat_spare_place(name)];
    uint64_t claimed = name, kept = name | NEAT_SPARE_KEPT;
    if (!swap_if(entry, &claimed, 0))
        swap_if(entry, &kept, 0);
}

static uint32_t decide(void) {
    struct rlimit now;
    rlim_t share = getrlimit(RLIMIT_NOFILE, &now) == 0 ? now.rlim_cur / SHARE : 0;
    uint32_t found = share > MOST ? MOST : share ? (uint32_t)share : 1;
    store(&limit, share > INT32_MAX / SHARE ? INT32_MAX : (int)now.rlim_cur);
    store(&high, share > INT32_MAX / SHARE ? INT32_MAX : (int)share * SHARE / 2);
    store(&most, found);
    return found;
}

/* New pairs. */

static int fill(struct spare *slot, bool hidden, bool nonblock) {
    int ends[2], locked = neat_lock(&making), status = neat_pair_make(ends, nonblock ? SOCK_NONBLOCK : 0);
    if (status == 0 && hidden) {
        store(&slot->fd, neat_hide_fd(ends[0]));
        neat_hold_own(&slot->fd);
        store(&slot->stack_end, neat_hide_fd(ends[1]));
        neat_hold_own(&slot->stack_end);
    } else if (status == 0) {
        store(&slot->number, ends[0]);
        store(&slot->made, ends[1]);
    }
    if (status == 0)
        slot->nonblock = nonblock;
    if (locked >= 0)
        neat_unlock(&making);
    return status;
}

/* BUSY, and empty: have a pair, or be free. */
static int refill(struct spare *slot) {
    int status = fill(slot, true, false);
    if (status == -EMFILE && neat_spares_drop())
        status = fill(slot, true, false);
    if (status < 0)
        store(&slot->name, 0);
    return status;
}

static struct spare *any(uint64_t name) {
    for (struct spare *slot = reserves; slot < reserves + RESERVES; slot++)
        if (load(&slot->name) == name && seize(slot, name))
            return slot;
    return NULL;
}

/* Under a number of the application. The hidden one may be moved out of a dup2()'s way meanwhile
 * (neat_move_own), before that replaces it. */
static int copy_of(const struct spare *slot, bool cloexec) {
    for (;;) {
        int hidden = load(&slot->fd), fd = libc(fcntl)(hidden, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
        if (load(&slot->fd) == hidden)
            return fd;
        if (fd >= 0)
            libc(close)(fd);
    }
}

/* Without a number for it the application gets no connection, as on Linux; so one is taken before that.
 * The kernel gives the lowest that is free: while that is below half of the limit, a look is good for a
 * while: the process would have to open the other half meanwhile. Near the limit each accept() takes one,
 * and where the limit may change behind our back. */
static int take_number(struct spare *slot) {
    if (neat_now() < load(&sure_until) && load(&slot->fd) < load(&limit))
        return 0;
    if (!neat_looks_first)
        decide();
    int number = copy_of(slot, true);
    if (number < 0 && neat_spares_drop())
        number = copy_of(slot, true);
    if (number < 0)
        return -EMFILE;
    store(&slot->number, number);
    if (number >= load(&limit) / 2 || !neat_looks_first || load(&slot->fd) >= load(&limit))
        return 0;
    close_end(&slot->number);
    store(&sure_until, neat_now() + SURE_NS);
    return 0;
}

int neat_spare_reserve(struct spare **out) {
    if (!load(&most))
        decide();
    int status = 0;
    *out = any(RESERVE);
    while (!*out) {
        *out = any(0);
        if (*out)
            status = refill(*out);
        else
            sched_yield();
    }
    if (status == 0) {
        status = take_number(*out);
        if (status < 0)
            neat_spare_back(*out);
    }
    return status;
}

void neat_spares_stock(void) {
    struct spare *slot;
    if (!load(&reserves[0].name) && neat_spare_reserve(&slot) == 0)
        neat_spare_back(slot);
}

static bool is_reserve(const struct spare *slot) {
    return slot >= reserves && slot < reserves + RESERVES;
}

void neat_spare_back(struct spare *slot) {
    close_end(&slot->number);
    close_end(&slot->made);
    if (is_reserve(slot))
        slot->nonblock = false;
    store(&slot->name, is_reserve(slot) ? RESERVE : slot->claimed);
}

bool neat_spare_nonblock(const struct spare *slot) {
    return slot->nonblock;
}

int neat_spare_stack_end(const struct spare *slot) {
    return load(&slot->made) == NONE ? load(&slot->stack_end) : load(&slot->made);
}

int neat_spare_number(struct spare *slot, bool cloexec) {
    bool used = load(&slot->made) == NONE;         /* what is hidden; else it is a reserve still */
    int fd = swap(&slot->number, NONE), copy = fd == NONE ? copy_of(slot, cloexec) : NONE;
    if (fd == NONE && copy < 0) {
        /* they went fast, and the application does not know that this one is not free */
        fd = swap(&slot->fd, NONE);
        neat_show_fd(fd);
    }
    if (copy < 0 && !cloexec)
        libc(fcntl)(fd, F_SETFD, 0);
    fd = copy < 0 ? fd : copy;
    if (!used) {
        neat_spare_back(slot);
    } else if (is_reserve(slot)) {
        close_ends(slot);
        if (refill(slot) == 0)
            neat_spare_back(slot);
    } else {
        release(slot);
    }
    return fd;
}

/* Those that have served. */

/* Take a free place: the name that stands there now, or 0. */
static uint64_t claim(uint64_t *table, uint32_t process) {
    uint64_t name = (uint64_t)process << 32 | (uint32_t)(add(&given, 1) * NEAT_SPARES * 2);
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

/* Those whose other end is closed are of no use. */
static void sweep(const struct segment *segment) {
    for (struct spare *slot = spares; slot < spares + MOST; slot++) {
        uint64_t name = load(&slot->name);
        if (name <= BUSY || !seize(slot, name))
            continue;
        bool dropped = load(&slot->fd) == NONE, here = slot->segment == segment;
        if (dropped && here)
            give_up(segment, name);
        if ((dropped && here) || (!dropped && neat_poll(load(&slot->fd), 0, 0)))
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
    uint32_t process = load(&segment->cord_number);
    struct spare *slot = process ? free_slot(fd) : NULL;
    if (process && !slot && neat_now() >= load(&full_until)) {
        store(&full_until, neat_now() + AGAIN_NS);
        sweep(segment);
        slot = free_slot(fd);
    }
    int copy = slot && has_room(table_of(segment)) ? neat_copy_hidden(fd) : -1;
    if (copy >= 0) {
        slot->nonblock = nonblock;
        slot->segment = segment;
        store(&slot->fd, copy);
        neat_hold_own(&slot->fd);
        *name = slot->claimed = claim(table_of(segment), process);
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
    give_up(segment, slot->claimed);
    release(slot);
}

/* Whether the slot is BUSY now, and has what the replica has kept, too. What that has refused is given up,
 * and so is the place of what was dropped. */
static bool seize_kept(struct spare *slot, const struct segment *segment, uint64_t name) {
    if (name <= BUSY || load(&slot->segment) != segment)
        return false;
    uint64_t entry = load(&table_of(segment)[neat_spare_place(name)]);
    if (entry == name || !seize(slot, name))
        return false;              /* its connection is not over yet; or another thread was faster */
    if (entry == (name | NEAT_SPARE_KEPT) && load(&slot->fd) != NONE)
        return true;
    give_up(segment, name);
    release(slot);
    return false;
}

struct spare *neat_spare_choose(struct spare *reserve, const struct segment *segment, bool nonblock,
                                uint64_t *name) {
    bool numbered = load(&reserve->number) != NONE;
    for (struct spare *slot = spares; slot < spares + MOST && !numbered; slot++) {
        *name = load(&slot->name);
        if (seize_kept(slot, segment, *name))
            return slot;
    }
    *name = 0;
    if (!numbered)
        fill(reserve, false, nonblock);
    return reserve;
}

bool neat_spares_drop(void) {
    bool some = false;
    for (struct spare *slot = spares; slot < spares + MOST; slot++) {
        uint64_t name = load(&slot->name);
        if (name <= BUSY || load(&slot->fd) == NONE || !seize(slot, name))
            continue;
        close_ends(slot);
        store(&slot->name, name);  /* until its place is given up */
        some = true;
    }
    return some;
}

/* by fork(), which may be in a signal handler that has interrupted its own thread in fill() */
static int locked;

static void before_fork(void) {
    locked = neat_lock(&making);
}

static void in_parent(void) {
    if (locked >= 0)
        neat_unlock(&making);
}

/* A pair of its own under the same numbers. */
static void renew(struct spare *slot) {
    int ends[2], made = neat_pair_make(ends, 0);
    if (made < 0 || libc(dup3)(ends[0], slot->fd, O_CLOEXEC) < 0 ||
        libc(dup3)(ends[1], slot->stack_end, O_CLOEXEC) < 0)
        release(slot);
    if (made < 0)
        return;
    libc(close)(ends[0]);
    libc(close)(ends[1]);
}

/* They stay the parent's, also those that other threads, which are not here, had in hand. */
static void in_child(void) {
    for (struct spare *slot = spares; slot < spares + MOST; slot++)
        release(slot);
    for (struct spare *slot = reserves; slot < reserves + RESERVES; slot++)
        if (load(&slot->name) == RESERVE)
            renew(slot);
        else
            release(slot);
    in_parent();
}

AT_START(ORDER_SPARES) void set_up(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}
