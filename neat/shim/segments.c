/* Segments of this application, mapped once a (replica, incarnation). */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"
#include "order.h"

#define MAX_RING_BYTES (1u << 26)
#define TRIES 50                   /* while the replica has not mapped its side yet (-EAGAIN) */
#define RETRY_NS 5000000
#define IP_UDP_HEADERS 28u         /* RFC 791 §3.1 without options, RFC 768 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct segment *segments;
static uint32_t corded;            /* there was a cord to each replica that was active */

static bool power_of_two(uint32_t n) {
    return n && !(n & (n - 1));
}

/* The geometry is the syscall server's word; the descriptor must be able to carry it for ever. */
static bool plausible(int fd, const struct neat_msg *reply) {
    struct stat at;
    uint32_t nsock = reply->u[0], rx = reply->u[1], tx = reply->u[2];
    if (nsock % 64 || nsock <= NEAT_SHARED_SOCKS || nsock > NEAT_MAX_SOCKS)
        return false;
    if (!power_of_two(rx) || !power_of_two(tx) || rx < 4096 || tx < 4096 || rx > MAX_RING_BYTES ||
        tx > MAX_RING_BYTES)
        return false;
    if (libc(fstat)(fd, &at) < 0 || at.st_size < 0 ||
        (uint64_t)at.st_size < neat_channel_bytes(nsock, rx, tx))
        return false;
    int seals = libc(fcntl)(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK);
}

/* There are no fragments: a datagram fits into the MTU, or into nothing. */
static uint32_t largest_datagram(uint32_t mtu) {
    return mtu > IP_UDP_HEADERS && mtu - IP_UDP_HEADERS < MAX_DATAGRAM ? mtu - IP_UDP_HEADERS : MAX_DATAGRAM;
}

/* NULL: errno says why. */
static struct segment *map(int fd, int bell, const struct neat_msg *reply) {
    struct segment *new = calloc(1, sizeof *new);
    if (!new)
        return NULL;
    new->owner = reply->token;
    new->replica = reply->replica;
    new->incarnation = reply->incarnation;
    new->nsock = reply->u[0];
    new->rx_size = reply->u[1];
    new->tx_size = reply->u[2];
    new->largest = largest_datagram(reply->u[3]);
    new->bytes = neat_channel_bytes(new->nsock, new->rx_size, new->tx_size);
    new->base = neat_map(fd, new->bytes);
    if (!new->base) {
        free(new);
        return NULL;
    }
    const struct neat_channel *channel = (const struct neat_channel *)new->base;
    if (channel->magic != NEAT_CHANNEL_MAGIC || channel->version != NEAT_CHANNEL_VERSION ||
        channel->app != reply->app || channel->replica != new->replica ||
        channel->incarnation != new->incarnation) {
        munmap(new->base, new->bytes);
        free(new);
        errno = EPROTO;
        return NULL;
    }
    neat_spin_ns();                /* decided now: later it may be out of our rights (seccomp(2)) */
    new->bell = neat_hide_fd(bell);
    neat_hold_own(&new->bell);
    new->cord = -1;
    return new;
}

static void unmap(struct segment *segment) {
    munmap(segment->base, segment->bytes);
    neat_close_own(segment->bell);
    if (segment->cord >= 0)
        neat_close_own(segment->cord);
    free(segment);
}

static struct segment *find(uint64_t owner, uint32_t replica, uint64_t incarnation) {
    for (struct segment *at = segments; at; at = at->next)
        if (at->owner == owner && at->replica == replica && at->incarnation == incarnation)
            return at;
    return NULL;
}

/* Drop what nobody uses and a newer incarnation has replaced. Caller holds the lock. */
static void sweep(void) {
    for (struct segment **link = &segments; *link;) {
        struct segment *at = *link;
        bool superseded = false;
        for (struct segment *other = segments; other; other = other->next)
            superseded |= other->replica == at->replica &&
                          (other->owner != at->owner || other->incarnation > at->incarnation);
        if (superseded && !load(&at->refs)) {
            *link = at->next;
            unmap(at);
        } else {
            link = &at->next;
        }
    }
}

/* Whether there is a descriptor number left after what a message brought. */
static bool spare_numbers(void) {
    int spare = libc(socket)(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (spare >= 0)
        libc(close)(spare);
    return spare >= 0;
}

static int fetch(uint64_t owner, uint32_t replica, uint64_t incarnation, struct segment **out) {
    int got[2];
    struct neat_msg message;
    int status = -EAGAIN;
    for (int i = 0; i < TRIES && status == -EAGAIN; i++) {
        if (i)
            nanosleep(&(struct timespec){0, RETRY_NS}, NULL);
        message = (struct neat_msg){.op = NEAT_OP_SEGMENT, .replica = replica, .incarnation = incarnation};
        status = neat_request(&message, NULL, 0, got);
    }
    if (status == 0 && (got[0] < 0 || got[1] < 0) && !spare_numbers()) {
        status = -EMFILE;
    } else if (status == 0) {
        bool right = message.token == owner;
        right &= !incarnation || message.incarnation == incarnation;
        message.replica = replica;
        errno = EPROTO;
        *out = right && got[0] >= 0 && got[1] >= 0 && plausible(got[0], &message)
                   ? map(got[0], got[1], &message)
                   : NULL;
        if (*out) {
            got[1] = -1;
        } else {
            status = errno == ENOMEM ? -ENOMEM : -EPROTO;
            if (status == -EPROTO)
                tally(bad_segments);
        }
    }
    for (int i = 0; i < 2; i++)
        if (got[i] >= 0)
            libc(close)(got[i]);
    return status;
}

/* incarnation 0: the current one. The caller has one reference in *out. */
int neat_segment_get(uint64_t owner, uint32_t replica, uint64_t incarnation, struct segment **out) {
    struct segment *new = NULL;
    pthread_mutex_lock(&lock);
    struct segment *known = incarnation ? find(owner, replica, incarnation) : NULL;
    if (!known) {
        pthread_mutex_unlock(&lock);
        int status = fetch(owner, replica, incarnation, &new);
        if (status < 0)
            return status;
        pthread_mutex_lock(&lock);
        known = find(owner, replica, new->incarnation);
        if (known) {
            unmap(new);
        } else {
            new->next = segments;
            segments = known = new;
        }
    }
    add(&known->refs, 1);
    if (new)
        sweep();
    pthread_mutex_unlock(&lock);
    if (new)
        neat_cord_open(known);     /* if it cannot be had now it is asked for when it is needed */
    *out = known;
    return 0;
}

/* The latest incarnation that is mapped here and not over; 0: none. */
static uint64_t known_incarnation(uint64_t owner, uint32_t replica) {
    uint64_t latest = 0;
    pthread_mutex_lock(&lock);
    for (const struct segment *at = segments; at; at = at->next)
        if (at->owner == owner && at->replica == replica && at->incarnation > latest && !segment_over(at))
            latest = at->incarnation;
    pthread_mutex_unlock(&lock);
    return latest;
}

void neat_segment_end(const struct segment *segment) {
    store(&((struct neat_channel *)segment->base)->over, 1);
}

void neat_segment_keep(struct segment *segment) {
    add(&segment->refs, 1);
}

/* It waits for nobody: a signal handler that closes a socket may have interrupted its own thread in here.
 * What it leaves is swept later. */
void neat_segment_put(struct segment *segment) {
    if (sub(&segment->refs, 1) || pthread_mutex_trylock(&lock))
        return;
    sweep();
    pthread_mutex_unlock(&lock);
}

int neat_segments_corded(uint64_t owner) {
    if (__builtin_expect(load(&corded), 1))
        return 0;
    int failed = 0;
    uint32_t replicas = neat_active_replicas(false);
    for (uint32_t k = 0; k < MAX_REPLICAS; k++) {
        struct segment *segment;
        if (!(replicas & 1u << k))
            continue;
        int status = neat_segment_get(owner, k, known_incarnation(owner, k), &segment);
        if (status == 0) {
            status = neat_cord_open(segment);
            neat_segment_put(segment);
        }
        if (status == -EMFILE || status == -ENFILE)
            return status;
        failed = status < 0 ? status : failed;
    }
    if (!failed)
        store(&corded, 1);
    return failed;
}

/* A fork finds the list whole. */
static void before_fork(void) {
    pthread_mutex_lock(&lock);
}

static void in_parent(void) {
    pthread_mutex_unlock(&lock);
}

static void in_child(void) {
    for (struct segment *at = segments; at; at = at->next)
        neat_cord_forget(at);
    store(&corded, 0);
    pthread_mutex_unlock(&lock);
}

AT_START(ORDER_SEGMENTS) void set_up(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}
