/* Control messages: application <-> syscall server <-> replicas, and what a socket's descriptor carries.
 *
 * Every message is one SOCK_SEQPACKET datagram: exactly one struct neat_msg, descriptors beside it with
 * SCM_RIGHTS. A message of another size, magic or an unknown op is dropped and counted. The story is in
 * docs/contracts/sockets.md. declare.py reads this file, too.
 */
#ifndef NEAT_CONTROL_H
#define NEAT_CONTROL_H

#include <stdint.h>

#include "channel.h"

#define NEAT_MSG_MAGIC 0x47534D4Eu

enum neat_op {
    /* application -> syscall server; each is answered by the same op with NEAT_MSG_REPLY and `error` (0 or
     * an errno) */
    NEAT_OP_HELLO = 1,      /* -> app, token, replica (as NEAT_OP_PREFER), local (the stack's
                               address), prefix, u[0..2]: nsock, rx_size, tx_size. With a token: be that
                               application, which is made if it is not there (everything under one `neat
                               run` is one application) */
    NEAT_OP_JOIN = 2,       /* a child of application `app` that knows its `token`: like HELLO for that
                               application */
    NEAT_OP_SEGMENT = 3,    /* replica, incarnation (0: current) -> incarnation, u[0..2]: nsock, rx_size,
                               tx_size, u[3]: MTU, which datagrams must fit into (0: not said), fds:
                               segment, replica's doorbell (eventfd) */
    NEAT_OP_BIND = 4,       /* local, local.protocol, flags (NEAT_BIND_*), inode in u[0..1] (low, high; 0:
                               not said; of the application's end), fd: the stack's end -> bind_id, local,
                               for UDP also sock (index below NEAT_SHARED_SOCKS, the same in every replica)
                               and replica (bitmap) */
    NEAT_OP_LISTEN = 5,     /* bind_id, backlog, u[0]: TCP_DEFER_ACCEPT in seconds -> sock (index), when
                               every active replica has its subsocket */
    NEAT_OP_CONNECT = 6,    /* replica, bind_id or 0, remote, options, u[0]: fill messages in the stack's
                               end (the replica makes it out_block of the new socket), what the SYN shows
                               of other settings: u[1]: maxseg, u[2]: rcvbuf, u[3]: tos, ttl << 8; fd: the
                               stack's end (only if bind_id is 0) -> error; then the replica says
                               NEAT_EV_CONNECTING on the descriptor */
    NEAT_OP_PREFER = 7,     /* -> replica: bitmap of the slots that open connections now */
    NEAT_OP_POLLER = 8,     /* replica, incarnation, u[0]: poller (an index into neat_channel.pollers) ->
                               fd: the read end of a pipe, its bell, non-blocking: a byte in it wakes the
                               poller. Nobody but the replica holds the write end, so that its death hangs
                               up */
    NEAT_OP_ADOPT = 9,      /* inode in u[0..1]: the bound socket of this application whose descriptor has
                               it (after exec) -> bind_id, sock, local, backlog (-1: not listening),
                               options (NEAT_BIND_*), replica (bitmap); ENOENT */
    NEAT_OP_CORD = 11,      /* replica, incarnation -> u[0]: its number, not 0 and never given to another;
                               fd: the application's end of a cord, SOCK_SEQPACKET, whose other end that
                               replica alone has. One for each process: its hang-up says that the other
                               side is gone */
    NEAT_OP_REFUSED = 10,   /* something unsupported was refused: u[0]: enum neat_refusal, u[1..2]: level
                               and name, or flags; u[4..7]: the program's name (16 bytes). `neat status`
                               shows it. Not answered */

    /* syscall server -> replica */
    NEAT_OP_ATTACH = 32,    /* app, nsock/rx/tx in u[0..2], its pid in u[3], fds: segment app a,k; its
                               doorbell (eventfd), which the application has too: one for each segment, as
                               who has it can silence it */
    NEAT_OP_ADD_LISTENER = 33,  /* app, sock, bind_id, backlog, local, flags; fd: the stack's end;
                                   answered. For a known bind_id: the backlog changed. u[0]:
                                   TCP_DEFER_ACCEPT in seconds */
    NEAT_OP_ADD_UDP = 34,   /* app, sock, bind_id, local, flags; fd: the stack's end; answered */
    NEAT_OP_CONNECT_VIA = 35,   /* app, bind_id, local (port 0: the replica's choice), remote, options,
                               u[0..3] as in NEAT_OP_CONNECT; fd */
    NEAT_OP_APP_GONE = 36,  /* the application's last process is gone: the channel goes when its last
                               socket does */
    NEAT_OP_ADD_POLLER = 38,    /* app, incarnation, u[0] as in NEAT_OP_POLLER; fd: the write end,
                                   non-blocking */
    NEAT_OP_SWEEP = 39,     /* app: no process of it is known to live: descriptors in its sockets' queues are
                               nobody's (neat/shm/rights.py) */
    NEAT_OP_FULL = 40,      /* app, u[0]: 1: it has all the memory that it may have, so what connects to it is
                               reset; 0: no longer */
    NEAT_OP_ADD_CORD = 41,  /* app, incarnation, u[0] as in NEAT_OP_CORD; fd: the replica's end */
    NEAT_OP_PORTS = 42,     /* u[0..1]: rank and count of the replica's share of the local ports (count 0:
                               none; neat/ports.py). Without fd: only what it has in this share and in the
                               one before, for now; answered, fd: a bit for each port from which it has
                               connections, 8192 bytes. With fd: this share, but for the ports in there */
    NEAT_OP_WELCOME = 37,   /* end of what a replica must know before it may get packets; seq as in its
                               hello */

    /* replica -> syscall server */
    NEAT_OP_REPLICA_HELLO = 64, /* replica, incarnation; the server then sends ATTACH/ADD_* and WELCOME */
    NEAT_OP_PORT_FREE = 65, /* bind_id, incarnation: the connection of a CONNECT_VIA with this bind_id is
                               over, and with it its hold on the port */

    /* application -> replica, on a cord; not answered */
    NEAT_OP_STACK_END = 80, /* sock, generation, u[0] as in NEAT_EV_ACCEPT: a connection that this process
                               has claimed (neat_sock.claim); fd: the stack's end of its pair */

    /* stack -> application, on a socket's descriptor. A message of one byte is a token: "look at the
     * rings". */
    NEAT_EV_ACCEPT = 96,    /* on a listener: replica, incarnation, sock, generation, local, remote, u[0]:
                               for NEAT_OP_STACK_END. A connection that is whose claims it
                               (neat_sock.claim); never a descriptor */
    NEAT_EV_CONNECTING = 97,    /* on a connecting socket: replica, incarnation, sock, generation, local */
    NEAT_EV_FAILED = 98,    /* on a connecting socket, before its end is closed: error */
    NEAT_EV_REPLICA = 99,   /* on a UDP socket: replica, incarnation: its subsocket there is new */
};

enum neat_refusal {
    NEAT_REFUSED_SETSOCKOPT = 1,
    NEAT_REFUSED_GETSOCKOPT = 2,
    NEAT_REFUSED_FLAGS = 3,
    NEAT_REFUSED_CONTROL = 4,
    NEAT_REFUSED_IOCTL = 5,
};

enum neat_msg_flags { NEAT_MSG_REPLY = 1 };

enum neat_bind_flags {
    NEAT_BIND_REUSEADDR = 1,
    NEAT_BIND_REUSEPORT = 2,
    NEAT_BIND_V6ONLY = 4,
    NEAT_BIND_INET6 = 8,           /* the application knows it as AF_INET6; for NEAT_OP_ADOPT */
};

struct neat_msg {                  /* 160 bytes */
    uint32_t magic;
    uint16_t op, flags;            /* enum neat_op, neat_msg_flags */
    uint32_t seq;                  /* echoed in the reply */
    int32_t error;                 /* errno, positive; 0 is success */
    uint32_t app;
    uint32_t replica;              /* a slot, or a bitmap of slots where the op says so */
    uint64_t incarnation;
    uint64_t token;
    uint32_t sock, generation;
    uint32_t bind_id;
    int32_t backlog;
    uint32_t options;              /* enum neat_bind_flags or enum neat_option, as the op says */
    uint32_t prefix;               /* prefix length of the stack's network */
    struct neat_addr local, remote;
    uint32_t u[12];
};

_Static_assert(sizeof(struct neat_msg) == 160, "neat_msg");

#endif
