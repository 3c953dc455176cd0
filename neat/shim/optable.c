/* The options that are a flag or a number. Those with a value of another kind, or a rule of their own, are in
 * options.c.
 *
 * First values, limits and rounding are what a kernel socket shows (tests/socket/test_options.py asks
 * both). */
#include <limits.h>
#include <linux/tcp.h>

#include "options.h"

/* Newer than some headers. */
#define OPT_SO_PREFER_BUSY_POLL 69
#define OPT_SO_RESERVE_MEM 73
#define OPT_SO_TXREHASH 74
#define OPT_SO_RCVMARK 75
#define OPT_UDP_CORK 1
#define OPT_UDP_SEGMENT 103
#define OPT_UDP_GRO 104

#define SETTING(field) offsetof(struct settings, field)

static const struct option table[] = {
    /* Works. */
    {SOL_SOCKET, SO_KEEPALIVE, KIND_ALL, WAY_FLAG, NEAT_OPT_KEEPALIVE, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, SO_BROADCAST, KIND_ALL, WAY_FLAG, NEAT_OPT_BROADCAST, INT_MIN, INT_MAX, 0},
    {IPPROTO_TCP, TCP_INQ, KIND_STREAM, WAY_FLAG, NEAT_OPT_INQ, 0, 1, 0},
    {IPPROTO_IP, IP_PKTINFO, KIND_DATAGRAM, WAY_FLAG, NEAT_OPT_PKTINFO, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RECVTOS, KIND_DATAGRAM, WAY_FLAG, NEAT_OPT_RECVTOS, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RECVTTL, KIND_DATAGRAM, WAY_FLAG, NEAT_OPT_RECVTTL, INT_MIN, INT_MAX, 0},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO, KIND_DATAGRAM, WAY_FLAG, NEAT_OPT_PKTINFO6, INT_MIN, INT_MAX, 0},
    {IPPROTO_TCP, TCP_NODELAY, KIND_STREAM, WAY_FLAG, NEAT_OPT_NODELAY, INT_MIN, INT_MAX, 0},
    {IPPROTO_TCP, TCP_CORK, KIND_STREAM, WAY_FLAG, NEAT_OPT_CORK, INT_MIN, INT_MAX, 0},
    {IPPROTO_TCP, TCP_KEEPIDLE, KIND_STREAM, WAY_NUMBER, SETTING(keep_idle_s), 1, 32767, 7200},
    {IPPROTO_TCP, TCP_KEEPINTVL, KIND_STREAM, WAY_NUMBER, SETTING(keep_intvl_s), 1, 32767, 75},
    {IPPROTO_TCP, TCP_KEEPCNT, KIND_STREAM, WAY_NUMBER, SETTING(keep_cnt), 1, 127, 9},
    {IPPROTO_TCP, TCP_SYNCNT, KIND_STREAM, WAY_NUMBER, SETTING(syn_retries), 1, 127, 6},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, KIND_STREAM, WAY_NUMBER, SETTING(user_timeout_ms), 0, INT_MAX, 0},
    /* The urgent byte is always read as part of the stream (RFC 6093 §6). */
    {SOL_SOCKET, SO_OOBINLINE, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    /* bind() with an address that is not the stack's goes to the kernel anyhow. */
    {IPPROTO_IP, IP_FREEBIND, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IPV6, IPV6_FREEBIND, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},

    /* Hints: for this host's own queues, scheduler, routes and firewall, of which the stack has none. */
    {SOL_SOCKET, SO_DEBUG, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, SO_PRIORITY, KIND_ALL, WAY_KEPT, 0, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, SO_MARK, KIND_ALL, WAY_KEPT, 0, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, SO_BUSY_POLL, KIND_ALL, WAY_KEPT, 0, 0, INT_MAX, 0},
    {SOL_SOCKET, OPT_SO_PREFER_BUSY_POLL, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, OPT_SO_TXREHASH, KIND_STREAM, WAY_KEPT, 0, -1, 1, 1},
    {SOL_SOCKET, SO_INCOMING_CPU, KIND_ALL, WAY_KEPT, 0, INT_MIN, INT_MAX, -1},
    /* How it queues what is not sent yet, and recovers from loss in thin streams: when, never whether. */
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, KIND_STREAM, WAY_KEPT, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, KIND_STREAM, WAY_KEPT, 0, 0, 1, 0},
    /* As Linux where net.ipv4.tcp_fastopen has no bit for it, which is the rule for servers: the SYN
     * carries no data. */
    {IPPROTO_TCP, TCP_FASTOPEN, KIND_STREAM, WAY_KEPT, 0, 0, INT_MAX, 0},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT, KIND_STREAM, WAY_KEPT, 0, 0, 1, 0},
    /* Multicast sockets are the kernel's (preload/route.c), so these say nothing here. */
    {IPPROTO_IP, IP_MULTICAST_ALL, KIND_ALL, WAY_KEPT, 0, 0, 1, 1},
    {IPPROTO_IP, IP_MULTICAST_LOOP, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 1},
    {IPPROTO_IP, IP_MULTICAST_TTL, KIND_DATAGRAM, WAY_KEPT, 0, -1, 255, 1},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, KIND_DATAGRAM, WAY_KEPT, 0, -1, 255, 1},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, KIND_ALL, WAY_KEPT_FLAG, 0, 0, 1, 1},
    {IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 1},
    /* Nothing is ever sent in fragments, and path MTU discovery is always on for TCP, whatever is asked
     * for. */
    {IPPROTO_IP, IP_MTU_DISCOVER, KIND_ALL, WAY_KEPT, 0, 0, 5, 1},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, KIND_ALL, WAY_KEPT, 0, 0, 5, 1},
    {IPPROTO_IPV6, IPV6_DONTFRAG, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    /* ICMP errors come as errors of calls; MSG_ERRQUEUE finds no more about them. Resolvers give up
     * without it. */
    {IPPROTO_IP, IP_RECVERR, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IPV6, IPV6_RECVERR, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    /* A checksum that is there is never wrong. */
    {SOL_SOCKET, SO_NO_CHECK, KIND_ALL, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    /* Control messages of IPv6's own, which do not come with what an IPv4 peer sends; and of fragments. */
    {IPPROTO_IPV6, IPV6_RECVTCLASS, KIND_DATAGRAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, KIND_DATAGRAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RECVFRAGSIZE, KIND_DATAGRAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    /* Control messages that TCP never gives. */
    {SOL_SOCKET, SO_RXQ_OVFL, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RECVOPTS, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RETOPTS, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RECVORIGDSTADDR, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_PKTINFO, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RECVTOS, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RECVTTL, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, KIND_STREAM, WAY_KEPT_FLAG, 0, INT_MIN, INT_MAX, 0},

    /* Linux takes it, and has forgotten what it was for. */
    {IPPROTO_TCP, TCP_THIN_DUPACK, KIND_STREAM, WAY_FORGOTTEN, 0, 0, 1, 0},

    /* Off is what the stack does; on is refused. */
    {SOL_SOCKET, SO_DONTROUTE, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, SO_RXQ_OVFL, KIND_DATAGRAM, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, SO_PEEK_OFF, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, -1},
    {SOL_SOCKET, SO_ZEROCOPY, KIND_ALL, WAY_ONLY, 0, 0, 1, 0},
    {SOL_SOCKET, SO_LOCK_FILTER, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, SO_SELECT_ERR_QUEUE, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {SOL_SOCKET, SO_BINDTOIFINDEX, KIND_ALL, WAY_ONLY, 0, 0, INT_MAX, 0},
    {SOL_SOCKET, OPT_SO_RESERVE_MEM, KIND_ALL, WAY_ONLY, 0, 0, INT_MAX, 0},
    {SOL_SOCKET, OPT_SO_RCVMARK, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_TCP, TCP_REPAIR, KIND_STREAM, WAY_ONLY, 0, -1, 1, 0},
    {IPPROTO_TCP, TCP_SAVE_SYN, KIND_STREAM, WAY_ONLY, 0, 0, 2, 0},
    {IPPROTO_TCP, TCP_TX_DELAY, KIND_STREAM, WAY_ONLY, 0, 0, INT_MAX, 0},
    {IPPROTO_IP, IP_TRANSPARENT, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_MINTTL, KIND_ALL, WAY_ONLY, 0, 0, 255, 0},
    {IPPROTO_IP, IP_RECVOPTS, KIND_DATAGRAM, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RETOPTS, KIND_DATAGRAM, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_RECVORIGDSTADDR, KIND_DATAGRAM, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_UNICAST_IF, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, IP_MULTICAST_IF, KIND_DATAGRAM, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IP, OPT_IP_LOCAL_PORT_RANGE, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_IPV6, IPV6_TRANSPARENT, KIND_ALL, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_UDP, OPT_UDP_CORK, KIND_DATAGRAM, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
    {IPPROTO_UDP, OPT_UDP_SEGMENT, KIND_DATAGRAM, WAY_ONLY, 0, 0, 65535, 0},
    {IPPROTO_UDP, OPT_UDP_GRO, KIND_DATAGRAM, WAY_ONLY, 0, INT_MIN, INT_MAX, 0},
};

_Static_assert(sizeof table / sizeof *table <= NEAT_KEPT, "struct settings has room for each");

const struct option *neat_option_find(int kind, int level, int name, uint32_t *row) {
    for (uint32_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].level == level && table[i].name == name &&
            (table[i].kinds & (kind == SOCK_STREAM ? KIND_STREAM : KIND_DATAGRAM))) {
            *row = i;
            return &table[i];
        }
    }
    return NULL;
}
