/* Segment "app a,k": what application a and replica k share (docs/contracts/sockets.md).
 *
 * | offset                | what                                                        | written by        |
 * |-----------------------|-------------------------------------------------------------|-------------------|
 * | 0                     | struct neat_channel (4096 bytes)                            | see its fields    |
 * | NEAT_DIRTY_OFFSET     | dirty bitmap: a bit a socket, and a summary bit a word      | both, atomically  |
 * | NEAT_SPARES_OFFSET    | names of pairs that are kept, uint64_t [NEAT_SPARES]        | both, atomically  |
 * | NEAT_EVENTS_OFFSET    | a bitmap of sockets for each poller                         | both, atomically  |
 * | NEAT_SOCKS_OFFSET     | struct neat_sock [nsock]                                    | see its lines     |
 * | neat_rings_offset()   | nsock times: receive ring, then transmit ring               | replica / app     |
 *
 * Commands are state, not messages: the application writes what it wants into its lines of the socket object
 * (bytes and tx_tail, rx_head, request bits), sets the socket's dirty bit and, if `sleeping` was set, rings
 * the replica's doorbell. Nothing can overflow, be lost with a process, or come from a half-written message:
 * a successor just looks at every socket.
 *
 * Offsets are 64-bit, free-running, and count from the first byte of the stream: they are TCP's sequence
 * state (docs/contracts/state.md). The replica's own copies of rx_tail and tx_head, in its state
 * segment, are the true ones; those here are for the application to read. Neither side trusts what the other
 * writes: a value that makes no sense ends this socket, not the process.
 *
 * declare.py reads this file and makes of it what Cython and Python know.
 */
#ifndef NEAT_CHANNEL_H
#define NEAT_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#define NEAT_CHANNEL_MAGIC 0x4E414843u
#define NEAT_CHANNEL_VERSION 1u
#define NEAT_DIRTY_OFFSET 4096u
#define NEAT_SPARES_OFFSET (NEAT_DIRTY_OFFSET + 2048u)
#define NEAT_SUMMARY_OFFSET (NEAT_DIRTY_OFFSET + 3072u)
#define NEAT_MAX_SOCKS 16384u
#define NEAT_SOCK_WORDS (NEAT_MAX_SOCKS / 64)  /* of a bitmap with a bit a socket */
/* Of each poller: a bit a socket that it should look at; set by the replica, taken by the poller. */
#define NEAT_POLLERS 24u
#define NEAT_EVENTS_OFFSET 8192u
#define NEAT_SOCKS_OFFSET (NEAT_EVENTS_OFFSET + NEAT_POLLERS * NEAT_SOCK_WORDS * 8)
/* Indexes below this are given out by the syscall server and mean the same socket in every replica
 * (listening and UDP sockets); those from here on are connections, given out by the replica. */
#define NEAT_SHARED_SOCKS 256u
#define NEAT_RINGS_ALIGN (2u << 20)
/* Places for pairs without a connection; only by compare-and-exchange. 0: free; a name: an application's
 * process has taken it, and is about to close a connection whose pair it keeps; the name with
 * NEAT_SPARE_KEPT, which only the replica sets: that keeps its end, too. spares.c, spares.py. A name is even:
 * the number of its process's cord (32 bits), a number, the place (7 bits), 0. */
#define NEAT_SPARES 128u
#define NEAT_SPARE_KEPT UINT64_C(1)
#define NEAT_CLAIM_CORD UINT64_C(1)

struct neat_addr {                 /* 24 bytes */
    uint8_t family;                /* 0 none, 4 or 6 */
    uint8_t protocol;
    uint16_t port;                 /* host order */
    uint32_t scope;
    uint8_t addr[16];              /* IPv4 in the first four bytes, rest zero */
};

/* One who waits for many sockets of this segment at once, in shared memory instead of on their descriptors:
 * an epoll instance of the application. docs/contracts/readiness.md. */
struct neat_poller {               /* 64 bytes */
    uint32_t owner;                /* number of the cord of the process that has it, 0: free; by
                                      compare-and-exchange. The replica frees it when the cord hangs up */
    uint32_t asleep;               /* 1: it is about to block; the replica that takes that away rings its
                                      bell */
    uint64_t summary[NEAT_SOCK_WORDS / 64];    /* both, atomically: which words of its bitmap may have bits */
    uint32_t _pad[6];
};

struct neat_channel {              /* 4096 bytes */
    uint32_t magic, version;       /* replica (or whoever made the segment) writes this line once */
    uint32_t app, replica;
    uint64_t incarnation;          /* of the replica that this segment belongs to */
    uint32_t nsock;                /* sockets, a multiple of 64, at most NEAT_MAX_SOCKS */
    uint32_t rx_size, tx_size;     /* bytes of each ring, powers of two */
    uint8_t _pad0[28];
    uint32_t sleeping;             /* replica: 1 when it is about to block; the application that clears it
                                      rings */
    uint32_t over;                 /* 1: nobody serves this segment, nor will: what is written into it is
                                      lost. Of the syscall server, and of who in the application hears it
                                      first; stays set. Beside `sleeping`, which who sends looks at anyhow */
    uint8_t _pad1[56];
    struct neat_poller pollers[NEAT_POLLERS];
    uint8_t _reserved[NEAT_DIRTY_OFFSET - 128 - NEAT_POLLERS * 64];
};

enum neat_sock_kind { NEAT_SOCK_FREE = 0, NEAT_SOCK_TCP = 1, NEAT_SOCK_LISTENER = 2, NEAT_SOCK_UDP = 3 };

enum neat_request {                /* what the application wants; only ever set, until the socket is freed */
    NEAT_REQ_SHUT_WR = 1u << 0,    /* FIN after what is in the transmit ring */
    NEAT_REQ_SHUT_RD = 1u << 1,
    NEAT_REQ_ABORT = 1u << 2,      /* RST on close, as with SO_LINGER and no time */
    NEAT_REQ_ACCEPTED = 1u << 3,   /* accept() has taken it: it no longer counts against the backlog; look
                                      at `claim` */
    NEAT_REQ_NOTIFY = 1u << 4,     /* tell all its waiters, as if something had changed (set and cleared
                                      atomically by either side) */
    NEAT_REQ_CLOSE = 1u << 5,      /* its last descriptor is being closed: as the hang-up, which may come
                                      much later */
    NEAT_REQ_KEPT = 1u << 7,       /* beside NEAT_REQ_CLOSE: the application keeps its end of the pair, as
                                      `kept`, for another connection */
};

enum neat_option {                 /* neat_sock.options */
    NEAT_OPT_NODELAY = 1u << 0,
    NEAT_OPT_CORK = 1u << 1,
    NEAT_OPT_KEEPALIVE = 1u << 2,
    NEAT_OPT_QUICKACK = 1u << 3,
    NEAT_OPT_PEER = 1u << 4,       /* UDP: connected, `peer` is valid, other senders are dropped */
    NEAT_OPT_BROADCAST = 1u << 5,
    NEAT_OPT_LINGER = 1u << 6,     /* linger_ms is valid */
    NEAT_OPT_INET6 = 1u << 8,      /* the application knows it as AF_INET6; the stack does not look */
    NEAT_OPT_RECVTTL = 1u << 9,    /* UDP: control messages that the application wants; the stack does not
                                      look */
    NEAT_OPT_RECVTOS = 1u << 10,
    NEAT_OPT_PKTINFO = 1u << 11,
    NEAT_OPT_PKTINFO6 = 1u << 12,
    NEAT_OPT_TIMESTAMP = 1u << 13,
    NEAT_OPT_TIMESTAMPNS = 1u << 14,
    NEAT_OPT_INQ = 1u << 17,       /* TCP: likewise (TCP_INQ) */
};

/* neat_sock.waiters: who is to hear of a change. Bit p: poller p. From bit 32 on: how many wait on its
 * descriptor now. */
#define NEAT_WAITERS_POLLERS ((UINT64_C(1) << NEAT_POLLERS) - 1)
#define NEAT_WAITERS_UNSEEN (UINT64_C(1) << 31)    /* somebody may wait on its descriptor who does not
                                                      count himself */
#define NEAT_WAITER (UINT64_C(1) << 32)

#define NEAT_OUT_WANTED 0x80000000u

/* neat_sock.tcp_state: the states of RFC 9293 §3.3.2, with the numbers that Linux reports in TCP_INFO. 0:
 * a free slot. */
enum neat_tcp_state {
    NEAT_TCP_FREE = 0,
    NEAT_TCP_ESTABLISHED = 1,
    NEAT_TCP_SYN_SENT = 2,
    NEAT_TCP_SYN_RCVD = 3,
    NEAT_TCP_FIN_WAIT_1 = 4,
    NEAT_TCP_FIN_WAIT_2 = 5,
    NEAT_TCP_TIME_WAIT = 6,
    NEAT_TCP_CLOSED = 7,           /* over, but the application still has its descriptor */
    NEAT_TCP_CLOSE_WAIT = 8,
    NEAT_TCP_LAST_ACK = 9,
    NEAT_TCP_LISTEN = 10,
    NEAT_TCP_CLOSING = 11,
};

enum neat_status {                 /* neat_sock.status, replica writes */
    NEAT_ST_CONNECTED = 1u << 0,   /* handshake done (stays set) */
    NEAT_ST_RDHUP = 1u << 1,       /* FIN received: after rx_tail there is nothing more */
    NEAT_ST_ERROR = 1u << 2,       /* `error` is set */
    NEAT_ST_CLOSED = 1u << 3,      /* both directions are over, or the connection was reset */
    NEAT_ST_CONNECTING = 1u << 4,
    NEAT_ST_WRCLOSED = 1u << 5,    /* our FIN is queued or sent: sending gives EPIPE */
    NEAT_ST_FIN = 1u << 6,         /* RDHUP came in order: a reset after it is no news to a reader */
    NEAT_ST_ORPHAN = 1u << 7,      /* every copy of its descriptor is closed, or about to be
                                      (NEAT_REQ_CLOSE) */
};

struct neat_sock {                 /* 384 bytes, six cache lines */
    /* application writes */
    uint64_t tx_tail;              /* bytes ever put into the transmit ring */
    uint64_t rx_head;              /* bytes ever taken from the receive ring */
    uint32_t request;              /* enum neat_request, atomically or-ed */
    uint32_t options;              /* enum neat_option */
    uint32_t tx_lock, rx_lock;     /* the application's own locks, holder's thread id; the replica never
                                      looks */
    uint32_t rcvbuf, sndbuf;       /* limits, bytes; 0: the ring's size */
    uint32_t linger_ms;
    uint32_t user_timeout_ms;
    uint64_t waiters;              /* NEAT_WAITERS_*, atomically. Whoever comes in looks at the socket
                                      object after that */
    uint32_t _app0;
    uint32_t _app2;
    /* application writes */
    struct neat_addr peer;         /* UDP: see NEAT_OPT_PEER */
    uint32_t keep_idle_s, keep_intvl_s, keep_cnt;
    uint8_t tos, ttl;
    uint8_t syn_retries;           /* TCP_SYNCNT; 0: the stack's setting */
    uint8_t _app1;
    uint32_t rcvlowat;
    uint32_t maxseg;
    uint64_t inode;                /* of its descriptor (fstat), so that another program finds it after
                                      exec; 0: not said */
    uint64_t kept;                 /* with NEAT_REQ_KEPT: the name of the pair */
    /* replica writes */
    uint64_t rx_tail;              /* bytes ever put into the receive ring */
    uint64_t tx_head;              /* bytes ever acknowledged by the peer: their room is free again */
    uint32_t status;               /* enum neat_status */
    uint32_t error;                /* errno of what ended the connection, or of a UDP error; the
                                      application reads it once as SO_ERROR, by comparing error_count with
                                      what it has seen */
    uint32_t error_count;
    uint32_t generation;           /* odd while in use; +1 at birth, +1 at death */
    uint8_t kind;                  /* enum neat_sock_kind */
    uint8_t tcp_state;             /* enum neat_tcp_state */
    uint8_t _rep0[6];
    uint32_t drops;                /* UDP: datagrams dropped because the ring was full */
    uint32_t _rep1[5];
    /* replica writes */
    struct neat_addr local, remote;
    uint32_t rtt_us, rttvar_us;    /* for TCP_INFO */
    uint32_t cwnd, snd_mss;        /* bytes */
    /* both, atomically */
    uint32_t in_token;             /* 1: a wake-up byte is in the descriptor, or on its way: it polls
                                      readable */
    uint32_t out_block;            /* fill messages in the application's end: it polls unwritable until the
                                      replica drains; NEAT_OUT_WANTED: none, but somebody wants to hear of
                                      room */
    uint64_t claim;                /* the replica puts `generation` here when it offers the connection.
                                      accept() replaces that by what says where its pair is: the name of one
                                      that is kept, or its cord's number << 32 | NEAT_CLAIM_CORD. Whoever
                                      finds another value comes too late */
    uint64_t push_tail;            /* application: tx_tail when it set TCP_NODELAY last; NEAT_OPT_CORK does
                                      not hold back what is before that */
    uint8_t _sig[40];
    /* replica writes, for TCP_INFO and ss */
    uint32_t retransmits, rto_us, snd_wnd, rcv_wnd, ssthresh;
    uint32_t rcv_limit;            /* bytes that the receive ring may hold now; 0: not said yet */
    uint32_t _rep2[10];
};

/* A datagram in a UDP ring: this header, then `length` bytes, then padding to 8; all of it may wrap. */
struct neat_datagram {             /* 32 bytes */
    uint32_t length;
    uint32_t flags;                /* received: TOS, TTL << 8 */
    struct neat_addr addr;         /* sender when received (scope: the destination's four bytes),
                                      destination when sent */
};

_Static_assert(sizeof(struct neat_addr) == 24, "neat_addr");
_Static_assert(sizeof(struct neat_poller) == 64, "neat_poller");
_Static_assert(sizeof(struct neat_channel) == 4096, "neat_channel");
_Static_assert(NEAT_DIRTY_OFFSET + 4096 <= NEAT_EVENTS_OFFSET, "the pollers' bitmaps come after");
_Static_assert(NEAT_DIRTY_OFFSET + NEAT_MAX_SOCKS / 8 <= NEAT_SPARES_OFFSET, "the dirty bitmap ends there");
_Static_assert(NEAT_SPARES_OFFSET + NEAT_SPARES * 8 <= NEAT_SUMMARY_OFFSET, "the spares end there");
_Static_assert(sizeof(struct neat_sock) == 384, "neat_sock");
_Static_assert(sizeof(struct neat_datagram) == 32, "neat_datagram");

static inline uint32_t neat_spare_place(uint64_t name) {
    return (uint32_t)(name >> 1) % NEAT_SPARES;
}

static inline uint64_t neat_rings_offset(uint32_t nsock) {
    uint64_t end = NEAT_SOCKS_OFFSET + (uint64_t)nsock * sizeof(struct neat_sock);
    return (end + NEAT_RINGS_ALIGN - 1) & ~(uint64_t)(NEAT_RINGS_ALIGN - 1);
}

static inline uint64_t neat_channel_bytes(uint32_t nsock, uint32_t rx_size, uint32_t tx_size) {
    return neat_rings_offset(nsock) + (uint64_t)nsock * ((uint64_t)rx_size + tx_size);
}

static inline uint64_t neat_rx_offset(uint32_t nsock, uint32_t rx_size, uint32_t tx_size, uint32_t index) {
    return neat_rings_offset(nsock) + (uint64_t)index * ((uint64_t)rx_size + tx_size);
}

static inline uint64_t neat_tx_offset(uint32_t nsock, uint32_t rx_size, uint32_t tx_size, uint32_t index) {
    return neat_rx_offset(nsock, rx_size, tx_size, index) + rx_size;
}

#endif
