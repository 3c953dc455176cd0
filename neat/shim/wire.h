/* What leads to the stack: messages, the connection to the syscall server, segments that are shared with a
 * replica. */
#ifndef NEAT_WIRE_H
#define NEAT_WIRE_H

#include "abi/channel.h"
#include "abi/control.h"
#include "base.h"

#define MAX_REPLICAS 16
#define MAX_DATAGRAM 65507u        /* what a length field of IPv4 leaves for text */

/* message.c: one datagram with descriptors on a unix socket. */
int neat_message_send(int to, const struct neat_msg *message, const int *fds, int nfds);
ssize_t neat_message_recv(int from, void *data, size_t room, int flags, int got[2]);

/* registration.c: the connection to the syscall server. Sends `message` (its seq and app are filled in)
 * with nfds descriptors, and puts the answer (with our app and token) in its place; up to two descriptors
 * that came with it in got[] (-1: none). 0 or -errno: the answer's, or -ENETDOWN. */
int neat_request(struct neat_msg *message, const int *fds, int nfds, int got[2]);
int neat_attach(uint64_t *token);  /* have a connection to the server: 0 or -errno */
void neat_remember_place(void);    /* which server, and as what application, is settled now */
uint32_t neat_active_replicas(bool refresh);
/* The stack's address and the length of its network's prefix; registers if need be. 0 or -errno. */
int neat_stack_address(struct neat_addr *local, uint32_t *prefix);
/* Send without waiting for an answer, if that is possible at once. */
void neat_tell(struct neat_msg *message);
bool neat_registered(void);        /* the last request reached the syscall server */
/* So that a server which is started later can be reached whatever rights are left then. */
void neat_keep_door(void);

/* A mapped segment app a,k. Cached by (owner, replica, incarnation); unmapped with its last user. */
struct segment {
    struct segment *next;
    uint32_t refs;                 /* atomically; from 0 to 1 under the cache's lock */
    /* Token of our registration: numbers of applications come again in another stack. */
    uint64_t owner;
    uint32_t replica;
    uint64_t incarnation;
    uint8_t *base;
    size_t bytes;
    uint32_t nsock, rx_size, tx_size;   /* checked; never read again from the segment */
    uint32_t largest;              /* bytes of a datagram that the stack can send */
    int bell;                      /* the replica's doorbell */
    int cord;                      /* cord.c; -1: none yet */
    uint32_t cord_number;          /* this process, in what it writes into the segment; 0: none yet */
    int64_t refused_at;            /* when it had no place for a poller, ns (preload/track.c) */
};

/* cord.c */
int neat_cord_open(struct segment *segment);       /* it has one: 0 or -errno */
/* Send it with this descriptor beside it. 0 or -errno; -EPIPE: the replica is gone. */
int neat_cord_send(struct segment *segment, const struct neat_msg *message, int fd);
void neat_cord_forget(struct segment *segment);    /* in a child */

/* segments.c */
int neat_segment_get(uint64_t owner, uint32_t replica, uint64_t incarnation, struct segment **out);
void neat_segment_put(struct segment *segment);
void neat_segment_keep(struct segment *segment);   /* one reference more; the caller has one */
/* There is one of each replica that is active, with a cord. -EMFILE, -ENFILE: not yet, for want of
 * descriptors. Another reason will be met again by who needs that one. */
int neat_segments_corded(uint64_t owner);
void neat_segment_end(const struct segment *segment);      /* this process has heard it */
/* The replica's state is gone, and with it what is in the segment. */
static inline bool segment_over(const struct segment *segment) {
    return load(&((const struct neat_channel *)segment->base)->over);
}

#endif
