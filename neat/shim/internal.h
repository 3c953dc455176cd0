/* What the client core's files share. Private memory of this process, except what `shared` pointers lead to. */
#ifndef NEAT_INTERNAL_H
#define NEAT_INTERNAL_H

#include <netinet/in.h>
#include <pthread.h>

#include "abi/channel.h"
#include "abi/control.h"
#include "base.h"

#define MAX_REPLICAS 16
#define MAX_DATAGRAM 65507u        /* what a length field of IPv4 leaves for text */
#define HINTS 8
#define NEAT_KEPT 96               /* options that are kept, at most */
#define TOKEN 't'                  /* the only message on a connection's descriptor that the client core takes out */

/* A mapped segment app a,k. Cached by (owner, replica, incarnation); unmapped with its last user. */
struct segment {
    struct segment *next;
    uint32_t refs;                 /* atomically; from 0 to 1 under the cache's lock */
    uint64_t owner;                /* token of our registration: numbers of applications come again in another stack */
    uint32_t replica;
    uint64_t incarnation;
    uint8_t *base;
    size_t bytes;
    uint32_t nsock, rx_size, tx_size;   /* checked; never read again from the segment */
    uint32_t largest;              /* bytes of a datagram that the stack can send */
    int bell;                      /* the replica's doorbell */
    int64_t refused_at;            /* when it had no place for a poller, ns (preload/track.c) */
};

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
    STAGE_NEW,                     /* `stack_end` is ours still; -1: the descriptor is a kernel socket (undecided) */
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

struct neat_socket {
    uint64_t refs;                 /* refs.c; stays first */
    struct neat_socket *next_free; /* in the pool of dead ones */
    struct neat_socket *next_ever; /* of all that were ever made: their memory is never given back */
    struct parked *parked;         /* descriptors to close when no call is under way */
    pthread_mutex_t parking;
    uint32_t stage;                /* enum stage, atomically; changed under `setup` */
    int type, protocol;
    int family;                    /* AF_INET; AF_INET6: IPv4 in IPv4-mapped addresses (RFC 4291 §2.5.5.2) */
    uint32_t nonblock;             /* O_NONBLOCK is set; valid if `flags_known` */
    uint32_t flags_known;          /* this process alone has the descriptor and sees each change of its flags, as neat_flags_known says */
    uint64_t inode;                /* of its descriptor, once the stack was told; 0 */
    int stack_end;                 /* the pair's other end, until the stack gets it; -1 */
    uint32_t small_buffer;         /* SO_SNDBUF of the descriptor is at its minimum */
    uint32_t reset_seen;           /* that its replica is gone was reported */
    uint32_t end_seen;             /* the end of the stream was reported */
    int backlog;                   /* of the last listen() */
    uint32_t accepting;            /* threads that are about to sleep on the listener's number, or do */
    bool connect_owed;             /* connect() said "not yet": the next one says 0, once, when it has come about (Linux) */
    uint32_t kernel_waits;         /* how often the kernel was told to wait on its descriptor: by an epoll instance, or for a signal */
    uint32_t keepable;             /* accepted under NEAT_OPT_KEEPS */
    uint32_t traced;               /* the kernel listens to its descriptor, or was told something about it, that a close by us need not end */
    uint32_t late_error;           /* what ended recvmmsg() after some messages: the next call says so */
    pthread_mutex_t setup;         /* held by set-up calls, never while data moves */
    uint64_t owner;                /* token of the registration that it was set up under */
    uint32_t bind_id;
    struct neat_addr local, remote;
    uint32_t dissolved;            /* errno that tells of neat_disconnect_locked(), once; 0 */
    uint16_t stale_port;           /* of a connection that did not come about, or was dissolved: Linux goes on naming it; 0 */
    bool any_port;                 /* the application left the port to the stack */
    bool source_chosen;            /* of `local`, by connect(): it was the wildcard */
    struct settings settings;
    struct endpoint end;           /* of a connection */
    struct datagram datagram;
    uint32_t shared_index;         /* of a listener */
    uint64_t interposed;           /* the preload library's own (preload/preload.h); 0 at birth */
};

/* Its part in that slot; NULL: none. */
static inline struct endpoint *neat_subsocket(struct neat_socket *s, uint32_t replica) {
    return replica < MAX_REPLICAS ? load(&s->datagram.parts[replica]) : NULL;
}

/* registration.c: the connection to the syscall server. Sends `message` (its seq and app are filled in) with nfds descriptors,
 * and puts the answer (with our app and token) in its place; up to two descriptors that came with it in got[] (-1: none).
 * 0 or -errno: the answer's, or -ENETDOWN. */
int neat_request(struct neat_msg *message, const int *fds, int nfds, int got[2]);
int neat_attach(uint64_t *token);  /* have a connection to the server: 0 or -errno */
void neat_remember_place(void);    /* which server, and as what application, is settled now */
uint32_t neat_active_replicas(bool refresh);
/* The stack's address and the length of its network's prefix; registers if need be. 0 or -errno. */
int neat_stack_address(struct neat_addr *local, uint32_t *prefix);
/* Send without waiting for an answer, if that is possible at once. */
void neat_tell(struct neat_msg *message);
bool neat_registered(void);        /* the last request reached the syscall server */
void neat_keep_door(void);         /* so that a server which is started later can be reached whatever rights are left then */

/* segments.c */
int neat_segment_get(uint64_t owner, uint32_t replica, uint64_t incarnation, struct segment **out);
void neat_segment_put(struct segment *segment);
void neat_segment_keep(struct segment *segment);   /* one reference more; the caller has one */
/* endpoint.c */
int neat_endpoint_open(struct endpoint *end, uint64_t owner, uint32_t replica, uint64_t incarnation, uint32_t index,
                       uint32_t generation);
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
/* The replica's state is gone, and with it what is in the segment. */
static inline bool segment_over(const struct segment *segment) {
    return load(&((const struct neat_channel *)segment->base)->over);
}
void neat_segment_end(const struct segment *segment);      /* this process has heard it */
static inline bool endpoint_lost(const struct endpoint *end) {
    return load(&end->lost) || segment_over(end->segment);
}

/* signal.c: see there for the invariants. */
void neat_mark(const struct endpoint *end);
void neat_ring(const struct endpoint *end);
void neat_notify(const struct endpoint *end);      /* the replica is to tell all who wait, as if something had changed */
bool neat_take_token(const struct endpoint *end, int fd, int flags, bool stray);
enum neat_message { NEAT_HUNG_UP, NEAT_TOKEN_THERE, NEAT_TOKEN_TAKEN, NEAT_NEWS };   /* NEWS: nothing was looked at, memory says more */
int neat_look_for_message(struct neat_socket *s, int fd, int flags);
int neat_await_message(struct neat_socket *s, int fd, int flags, bool partial, uint64_t seen);    /* or -errno */
int neat_fill(struct neat_socket *s, const struct endpoint *end, int fd, bool waits);
int neat_fill_first(struct neat_socket *s, int fd);
void neat_repair_rx(const struct endpoint *end, int fd);
void neat_repair_tx(const struct endpoint *end, int fd);

/* subsockets.c */
int neat_subsockets_open(struct neat_socket *s, const struct neat_msg *bound);
bool neat_subsockets_read(struct neat_socket *s, int fd, int limit);

/* spares.c: application's ends of pairs whose connections are over, for the next ones. Any thread, signal handlers too. */
struct spare;
/* A copy of this end, and its *name in the segment's table; nobody takes it until it is settled whether it stays. NULL: not kept. */
struct spare *neat_spare_keep(const struct segment *segment, int fd, bool nonblock, uint64_t *name);
void neat_spare_settle(struct spare *spare, const struct segment *segment, bool stays);
/* The descriptor of one that the segment's replica has kept, too, under a number of the application; *nonblock: how it is. -ENOENT: this
 * process has none, -EMFILE. */
int neat_spare_take(const struct segment *segment, bool cloexec, bool *nonblock, uint64_t *name);
void neat_spare_give_up(const struct segment *segment, uint64_t name);     /* its place; the replica closes its end when it comes by */
bool neat_spares_drop(void);       /* whether there were any: numbers are free now */
void neat_spares_accepted(struct neat_sock *listener);     /* at an accept() there: this process may have some for the next ones */
void neat_spares_limit_changed(void);

/* refs.c */
struct neat_socket *neat_new(int type, int protocol);   /* with one descriptor reference */
extern void (*neat_on_end)(struct neat_socket *s);      /* hears that a socket is over; NULL: nobody does */
void neat_undup(struct neat_socket *s);        /* one descriptor less, which somebody else has closed or never was */
void neat_park(struct neat_socket *s, int fd); /* `fd` is about to be closed: calls that are under way go on with a copy */
int neat_parked(struct neat_socket *s, int fd);
bool neat_in_use(const struct neat_socket *s);      /* a call is under way, beside the one that asks */
bool neat_is_alone(const struct neat_socket *s);    /* one descriptor, and no call is under way */
bool neat_has_copies(const struct neat_socket *s);  /* the application has more than one descriptor of it */
/* The descriptor to go on with after a sleep: `fd`, unless that number was closed meanwhile. */
static inline int neat_number(struct neat_socket *s, int fd) {
    return __builtin_expect(load(&s->parked) != NULL, 0) ? neat_parked(s, fd) : fd;
}

/* stage.c */
void neat_set_stage(struct neat_socket *s, enum stage stage);
/* Its stage now: a connect() comes about in the replica, and the first call that asks finds that out. Waits for
 * nobody. */
uint32_t neat_stage(struct neat_socket *s);
uint32_t neat_settle(struct neat_socket *s);   /* the same; caller holds `setup` */

/* pair.c */
int neat_pair(int *application_end, int *stack_end);        /* the canary is in it */

/* life.c */
/* `fd` is about to be closed or replaced by the caller, who then says neat_undup: calls that are under way go on with a copy. */
void neat_leave(struct neat_socket *s, int fd);

/* setup.c, connect.c */
/* What is set on a listener for the connections that it will accept goes into its socket objects: a program after exec finds it there. */
void neat_listener_apply(struct neat_socket *s);
extern uint32_t neat_limits_seen;  /* RLIMIT_NOFILE does not change without neat_limits_changed(): each setrlimit() passes by us */
void neat_limits_changed(void);
int neat_bind_locked(struct neat_socket *s, int fd, const struct neat_addr *local);
/* Linux's tcp_disconnect(): it is as new, under the same number, but for the port that the application chose. A connection is reset. Caller
 * holds `setup`. 0 or -errno. */
int neat_disconnect_locked(struct neat_socket *s, int fd);
/* How a connect() that is under way stands: 0 done, -EINPROGRESS, or what it failed with (the socket is as new then). */
int neat_connect_status(struct neat_socket *s, int fd);
/* shutdown() of an attempt to connect ends it: 0. -ENOTCONN: it has failed, which is still to be told. 1: it is
 * a connection now. */
int neat_connect_end(struct neat_socket *s, int fd);

/* flags.c */
bool neat_nonblocking(const struct neat_socket *s, int fd, int flags);
/* The flags of descriptors born from now on in an interposed program are seen by us (neat_flags_born); those of older ones may be changed by
 * another process. */
void neat_flags_shared(void);
uint32_t neat_flags_now(void);
/* `now`: neat_flags_now() before it was born. */
void neat_flags_born(struct neat_socket *s, bool nonblock, uint32_t now);
bool neat_flags_known(const struct neat_socket *s);

/* sleep.c */
/* neat_poll() in a call on `s`, which the caller holds: a thread that is cancelled in its sleep (pthread_cancel(3)) gives it back. */
int neat_sleep(struct neat_socket *s, int fd, short events, int64_t timeout_ns);
/* close() with SO_LINGER: until the peer has acknowledged all, the FIN too, or the time is over. */
void neat_linger(const struct neat_socket *s);
bool neat_spin(const struct endpoint *end);    /* a little while, for something to arrive: did it? */

/* settings.c */
void neat_options_apply(struct neat_socket *s, const struct endpoint *end);
void neat_options_read(struct neat_socket *s, const struct neat_sock *shared);
uint32_t neat_receive_limit(const struct settings *settings);
uint32_t neat_synacks_of(int seconds);         /* TCP_DEFER_ACCEPT, as it is kept */
uint32_t neat_defer_seconds(const struct neat_socket *s);  /* TCP_DEFER_ACCEPT; 0: off */

/* names.c */
int neat_from_sockaddr(const struct neat_socket *s, const struct sockaddr *address, socklen_t length, struct neat_addr *out);
void neat_to_sockaddr(const struct neat_socket *s, const struct neat_addr *in, struct sockaddr *address, socklen_t *length);

/* message.c: one datagram with descriptors on a unix socket. */
int neat_message_send(int to, const struct neat_msg *message, const int *fds, int nfds);
ssize_t neat_message_recv(int from, void *data, size_t room, int flags, int got[2]);

#endif
