/* A socket, as this process knows it: private memory, except what `shared` pointers lead to. */
#ifndef NEAT_OBJECT_H
#define NEAT_OBJECT_H

#include <netinet/in.h>
#include <pthread.h>

#include "wire.h"

#define HINTS 8
#define NEAT_KEPT 96               /* options that are kept, at most */
/* The only message on a connection's descriptor that the client core takes out. */
#define TOKEN 't'

/* One socket object in one segment: a connection has one, a UDP socket one in each replica. */
struct endpoint {
    struct segment *segment;
    struct neat_sock *shared;      /* NULL: none */
    uint8_t *rx, *tx;
    uint32_t index;
    uint32_t generation;           /* another one in `shared` means that ours is over */
    uint32_t error_seen;           /* error_count of the last error that was reported */
    uint32_t lost;                 /* its replica is gone, or says things that cannot be */
    struct endpoint *next;         /* of the retired ones */
};

enum stage {
    /* `stack_end` is ours still; -1: the descriptor is a kernel socket (undecided). */
    STAGE_NEW,
    STAGE_BOUND,
    STAGE_LISTENING,
    STAGE_CONNECTING,
    STAGE_CONNECTED,               /* established, or over: the socket object says which */
    STAGE_LOST,                    /* accepted from a replica that is dead */
    STAGE_UDP,                     /* bound: its endpoints are in use */
};

/* What the application has set; copied into each socket object that comes up (neat_options_apply). */
struct settings {
    uint32_t options;              /* enum neat_option */
    uint32_t rcvbuf, sndbuf, linger_ms, user_timeout_ms;
    uint32_t keep_idle_s, keep_intvl_s, keep_cnt, maxseg;
    uint8_t tos, ttl;
    uint32_t syn_retries;          /* TCP_SYNCNT; 0: what is usual */
    bool reuse_address, reuse_port;
    bool no_port;                  /* IP_BIND_ADDRESS_NO_PORT */
    bool quickack_off;             /* TCP_QUICKACK was set to 0 */
    uint32_t rcvlowat;             /* 0: 1 */
    uint32_t defer_accept;         /* TCP_DEFER_ACCEPT, as the number of SYN-ACKs that Linux keeps */
    uint32_t window_clamp;         /* 0: none */
    int32_t fin_wait_s;            /* TCP_LINGER2; 0: what is usual */
    int32_t kept[NEAT_KEPT];       /* of optable.c, by row: the difference to what is usual */
};

/* Of a UDP socket. */
struct datagram {
    struct endpoint *parts[MAX_REPLICAS];       /* by slot; replaced whole, atomically (subsockets.c) */
    struct endpoint *retired;      /* replaced ones, which a thread may still be using */
    uint32_t index;                /* of each part in its segment */
    uint32_t next_replica;         /* where receive looks first */
    uint32_t sticky;               /* where unsolicited datagrams go */
    uint32_t shut;                 /* what shutdown() ended: 1 << SHUT_RD, 1 << SHUT_WR */
    int64_t looked_at;             /* when a sender last looked for NEAT_EV_REPLICA */
    struct peer_hint {             /* the replica that a peer's last datagram came from */
        uint64_t peer;             /* address and port, 0: none */
        uint32_t replica;
    } hints[HINTS];
};

/* A socket's descriptor, from birth to the last close. */
struct descriptor {
    uint32_t nonblock;             /* O_NONBLOCK is set; valid if `flags_known` */
    uint32_t flags_known;          /* this process alone has it and sees its flags change (flags.c) */
    int stack_end;                 /* the pair's other end, until the stack gets it; -1 */
    uint32_t small_buffer;         /* its SO_SNDBUF is at its minimum */
    uint32_t keepable;             /* accepted, by a process that accepts again */
    uint32_t traced;               /* the kernel listens to it, or knows of it what our close need not end */
    uint32_t kernel_waits;         /* how often the kernel waits on it: in epoll instances, for a signal */
    uint64_t inode;                /* once the stack was told; 0 */
};

/* What bind, listen, accept and connect have made of a socket. */
struct set_up {
    pthread_mutex_t lock;          /* held by set-up calls, never while data moves */
    uint64_t owner;                /* token of the registration that it was set up under */
    uint32_t bind_id;
    uint32_t shared_index;         /* of a listener */
    int backlog;                   /* of the last listen() */
    uint32_t accepted;             /* accept() has given a connection out: it may be called again */
    uint32_t accepting;            /* threads that are about to sleep on the listener's number, or do */
    struct neat_addr local, remote;
    uint32_t dissolved;            /* errno that tells of neat_disconnect_locked(), once; 0 */
    uint16_t stale_port;           /* of what did not come about, or is over: Linux goes on naming it; 0 */
    bool any_port;                 /* the application left the port to the stack */
    bool source_chosen;            /* of `local`, by connect(): it was the wildcard */
    /* connect() said "not yet": when it is done, the next one says 0 (Linux). */
    bool connect_owed;
};

struct neat_socket {
    uint64_t refs;                 /* refs.c; stays first */
    struct parked *parked;         /* descriptors to close when no call is under way */
    uint32_t stage;                /* enum stage, atomically; changed under setup.lock */
    int type;
    int protocol;
    int family;                    /* AF_INET; AF_INET6: IPv4 in IPv4-mapped addresses (RFC 4291 §2.5.5.2) */
    uint32_t late_error;           /* what ended recvmmsg() after some messages: the next call says so */
    uint32_t reset_seen;           /* that its replica is gone was reported */
    uint32_t end_seen;             /* the end of the stream was reported */
    struct endpoint end;           /* of a connection */
    struct descriptor descriptor;
    struct set_up setup;
    struct settings settings;
    struct datagram datagram;
    uint64_t interposed;           /* the preload library's own (preload/preload.h); 0 at birth */
    struct neat_socket *next_free; /* in the pool of dead ones */
    struct neat_socket *next_ever; /* of all that were ever made: their memory is never given back */
    pthread_mutex_t parking;
};

_Static_assert(offsetof(struct neat_socket, descriptor.stack_end) <= 2 * 64, "every call looks at two lines");

/* Its part in that slot; NULL: none. */
static inline struct endpoint *neat_subsocket(struct neat_socket *s, uint32_t replica) {
    return replica < MAX_REPLICAS ? load(&s->datagram.parts[replica]) : NULL;
}

/* endpoint.c */
int neat_endpoint_open(struct endpoint *end, uint64_t owner, uint32_t replica, uint64_t incarnation,
                       uint32_t index, uint32_t generation);
void neat_endpoint_close(struct endpoint *end);
int neat_endpoint_error(struct endpoint *end, int fd);     /* the error that is pending, once; 0 */
/* Its descriptor says that it is reset: what that means when the replica has not said so before. */
void neat_reset_heard(struct endpoint *end);
int neat_gone(struct neat_socket *s, int later);           /* -ECONNRESET the first time, then `later` */
static inline bool endpoint_current(const struct endpoint *end) {
    return end->shared && load(&end->shared->generation) == end->generation;
}

/* The replica has said that both directions are over. */
static inline bool endpoint_closed(const struct endpoint *end) {
    return endpoint_current(end) && (load(&end->shared->status) & NEAT_ST_CLOSED);
}

static inline bool endpoint_lost(const struct endpoint *end) {
    return load(&end->lost) || segment_over(end->segment);
}

/* refs.c */
struct neat_socket *neat_new(int type, int protocol);   /* with one descriptor reference */
extern void (*neat_on_end)(struct neat_socket *s);      /* hears that a socket is over; NULL: nobody does */
/* One descriptor less, which somebody else has closed or never was. */
void neat_undup(struct neat_socket *s);
/* `fd` is about to be closed: calls that are under way go on with a copy. */
void neat_park(struct neat_socket *s, int fd);
int neat_parked(struct neat_socket *s, int fd);
bool neat_in_use(const struct neat_socket *s);      /* a call is under way, beside the one that asks */
bool neat_is_alone(const struct neat_socket *s);    /* one descriptor, and no call is under way */
bool neat_has_copies(const struct neat_socket *s);  /* the application has more than one descriptor of it */
/* The descriptor to go on with after a sleep: `fd`, unless that number was closed meanwhile. */
static inline int neat_number(struct neat_socket *s, int fd) {
    return __builtin_expect(load(&s->parked) != NULL, 0) ? neat_parked(s, fd) : fd;
}

/* flags.c */
bool neat_nonblocking(const struct neat_socket *s, int fd, int flags);
/* The flags of descriptors born from now on in an interposed program are seen by us (neat_flags_born);
 * those of older ones may be changed by another process. */
void neat_flags_shared(void);
uint32_t neat_flags_now(void);
/* `now`: neat_flags_now() before it was born. */
void neat_flags_born(struct neat_socket *s, bool nonblock, uint32_t now);
bool neat_flags_known(const struct neat_socket *s);

/* stage.c */
void neat_set_stage(struct neat_socket *s, enum stage stage);
/* Its stage now: a connect() comes about in the replica, and the first call that asks finds that out.
 * Waits for nobody. */
uint32_t neat_stage(struct neat_socket *s);
uint32_t neat_settle(struct neat_socket *s);   /* the same; caller holds `setup.lock` */

/* names.c */
int neat_from_sockaddr(const struct neat_socket *s, const struct sockaddr *address, socklen_t length,
                       struct neat_addr *out);
void neat_to_sockaddr(const struct neat_socket *s, const struct neat_addr *in, struct sockaddr *address,
                      socklen_t *length);

#endif
