/* UDP: whole datagrams in and out of the rings of a socket's parts. Read first: subsockets.c, signal.c.
 *
 * Receive looks at the replicas in turn. Send takes the replica that the peer's last datagram came from,
 * so that an answer goes the way of the question; else one that the socket stays with.
 */
#include "data.h"
#include "readiness.h"
#include "setup.h"

#define CHECK_NS 10000000          /* how often a socket that only sends looks for NEAT_EV_REPLICA */
#define ALL_MESSAGES 32

static uint64_t peer_key(const struct neat_addr *addr) {
    uint32_t host;
    memcpy(&host, addr->addr, 4);
    return ((uint64_t)addr->port << 32 | host) + 1;
}

static void remember(struct neat_socket *s, const struct neat_addr *peer, uint32_t replica) {
    uint64_t key = peer_key(peer);
    struct peer_hint *hint = &s->datagram.hints[(key ^ key >> 32) % HINTS];
    __atomic_store_n(&hint->replica, replica, __ATOMIC_RELAXED);
    __atomic_store_n(&hint->peer, key, __ATOMIC_RELAXED);
}

static uint64_t padded(uint32_t length) {
    return sizeof(struct neat_datagram) + (((uint64_t)length + 7) & ~UINT64_C(7));
}

/* The next datagram of one replica. Caller holds rx_lock. -EAGAIN: none. */
static ssize_t take_datagram(struct neat_socket *s, struct endpoint *end, struct msghdr *message, int flags) {
    struct neat_sock *shared = end->shared;
    struct neat_datagram header;
    uint32_t size = end->segment->rx_size;
    uint64_t tail = load(&shared->rx_tail), head = load(&shared->rx_head), held = tail - head;
    if (!held || !endpoint_current(end))
        return -EAGAIN;
    if (held >= sizeof header && held <= size)
        neat_ring_peek(end->rx, size, head, &header, sizeof header);
    if (held < sizeof header || held > size || header.length > MAX_DATAGRAM || padded(header.length) > held) {
        /* Nothing in this ring can be trusted: drop it all. */
        tally(bad_offsets);
        swap_if(&shared->rx_head, &head, tail);
        return -EAGAIN;
    }
    size_t room = neat_iov_bytes(message->msg_iov, (int)message->msg_iovlen);
    size_t part = header.length < room ? header.length : room;
    neat_ring_read(end->rx, size, head + sizeof header, message->msg_iov, (int)message->msg_iovlen, 0, part);
    if (!(flags & MSG_PEEK) && !swap_if(&shared->rx_head, &head, head + padded(header.length)))
        return -EAGAIN;
    remember(s, &header.addr, end->segment->replica);
    if (message->msg_name)
        neat_to_sockaddr(s, &header.addr, message->msg_name, &message->msg_namelen);
    else
        message->msg_namelen = 0;
    message->msg_flags = header.length > room ? MSG_TRUNC : 0;
    neat_put_control(s, &header, message);
    return (flags & MSG_TRUNC) ? (ssize_t)header.length : (ssize_t)part;
}

/* The first datagram of any replica, beginning after the one that had the last. An error that a replica
 * reports comes first. */
static ssize_t take_any_datagram(struct neat_socket *s, int fd, struct msghdr *message, int flags) {
    uint32_t first = s->datagram.next_replica;
    for (uint32_t i = 0; i < MAX_REPLICAS; i++) {
        struct endpoint *end = neat_subsocket(s, (first + i) % MAX_REPLICAS);
        if (!end || !endpoint_current(end))
            continue;
        int error = neat_endpoint_error(end, fd);
        if (error)
            return -error;
        if (load(&end->shared->rx_tail) == load(&end->shared->rx_head))
            continue;
        int locked = neat_lock(&end->shared->rx_lock);
        if (locked < 0)
            return locked;
        ssize_t n = take_datagram(s, end, message, flags);
        neat_unlock(&end->shared->rx_lock);
        if (n != -EAGAIN) {
            if (!(flags & MSG_PEEK))
                s->datagram.next_replica = (first + i + 1) % MAX_REPLICAS;
            return n;
        }
    }
    return -EAGAIN;
}

/* After a datagram was taken: when nothing is left anywhere, the descriptor must not stay readable. */
static void settle_tokens(struct neat_socket *s, int fd) {
    bool token = false;
    for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++) {
        struct endpoint *end = neat_subsocket(s, replica);
        if (!end)
            continue;
        if (load(&end->shared->rx_tail) != load(&end->shared->rx_head) && endpoint_current(end))
            return;
        token |= load(&end->shared->in_token) != 0;
    }
    if (token)
        neat_subsockets_read(s, fd, 1);
}

ssize_t neat_datagram_recv(struct neat_socket *s, int fd, struct msghdr *message, int flags) {
    int64_t deadline = -2;
    if (load(&s->stage) != STAGE_UDP) {
        struct sockaddr_in any = {.sin_family = AF_INET};
        int status = neat_bind(s, fd, (struct sockaddr *)&any, sizeof any);
        if (status < 0 && status != -EINVAL)
            return status;
    }
    for (;;) {
        ssize_t n = take_any_datagram(s, fd, message, flags);
        if (n >= 0 && !(flags & MSG_PEEK))
            settle_tokens(s, fd);
        if (n == -EAGAIN && (load(&s->datagram.shut) & 1u << SHUT_RD))
            return 0;
        if (n != -EAGAIN || (flags & NEAT_MSG_RINGS))
            return n;
        if (neat_subsockets_read(s, fd, ALL_MESSAGES))
            continue;
        if (neat_nonblocking(s, fd, flags))
            return -EAGAIN;
        if (deadline == -2) {
            int64_t limit = neat_timeout(fd, SO_RCVTIMEO);
            deadline = limit < 0 ? -1 : neat_now() + limit;
        }
        int64_t left = deadline < 0 ? -1 : deadline - neat_now();
        if (deadline >= 0 && left <= 0)
            return -EAGAIN;
        int got = neat_sleep(s, fd, POLLIN | POLLRDHUP, left);
        if (got < 0)
            return got;
        if (got & POLLRDHUP)
            set_bits(&s->datagram.shut, 1u << SHUT_RD);     /* by another thread, or process */
        if (got & (POLLHUP | POLLERR))
            return neat_gone(s, -ENETDOWN);
        fd = neat_number(s, fd);
    }
}

short neat_datagram_events(struct neat_socket *s) {
    uint32_t shut = load(&s->datagram.shut);
    short events = shut & 1u << SHUT_RD ? POLLIN | POLLRDNORM | POLLRDHUP : 0;
    if ((shut & 1u << SHUT_RD) && (shut & 1u << SHUT_WR))
        events |= POLLHUP;
    for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++) {
        const struct endpoint *end = neat_subsocket(s, replica);
        if (!end || !endpoint_current(end))
            continue;
        if (load(&end->shared->rx_tail) != load(&end->shared->rx_head))
            events |= POLLIN | POLLRDNORM;
        if (load(&end->shared->error_count) != load(&end->error_seen))
            events |= POLLERR;
    }
    return events;
}

/* An ICMP error reaches the replica that its quoted datagram's answer would, which need not be the one
 * that sent it. */
static int parts_error(struct neat_socket *s, int fd) {
    int error = 0;
    for (uint32_t replica = 0; replica < MAX_REPLICAS && !error; replica++) {
        struct endpoint *end = neat_subsocket(s, replica);
        if (end && endpoint_current(end))
            error = neat_endpoint_error(end, fd);
    }
    return error;
}

static struct endpoint *choose_replica(struct neat_socket *s, const struct neat_addr *peer) {
    uint64_t key = peer_key(peer);
    const struct peer_hint *hint = &s->datagram.hints[(key ^ key >> 32) % HINTS];
    struct endpoint *end = NULL, *last = NULL;
    if (__atomic_load_n(&hint->peer, __ATOMIC_RELAXED) == key)
        end = neat_subsocket(s, __atomic_load_n(&hint->replica, __ATOMIC_RELAXED));
    /* One whose replica is gone is the last choice: what it gets is lost, as on a wire, until its
     * successor says that it is there. */
    for (uint32_t i = 0; i < MAX_REPLICAS; i++) {
        if (end && endpoint_current(end)) {
            if (!endpoint_lost(end))
                return end;
            last = end;
        }
        end = neat_subsocket(s, (s->datagram.sticky + i) % MAX_REPLICAS);
    }
    return end && endpoint_current(end) ? end : last;
}

/* Put one datagram in. Caller holds tx_lock. -EAGAIN: no room, and the descriptor is unwritable. */
static int put_datagram(struct neat_socket *s, int fd, struct endpoint *end, const struct msghdr *message,
                        const struct neat_datagram *header) {
    struct neat_sock *shared = end->shared;
    uint32_t size = end->segment->tx_size;
    uint64_t tail = load(&shared->tx_tail), used = tail - load(&shared->tx_head);
    uint64_t need = padded(header->length);
    if (need > size)
        return -EMSGSIZE;
    if (used > size) {
        tally(bad_offsets);
        return -EIO;
    }
    if (size - used < need) {
        int status = neat_fill(s, end, fd, true);
        if (status < 0)
            return -ENETDOWN;
        if (size - (tail - load(&shared->tx_head)) >= size / 3)
            neat_notify(end);
        return -EAGAIN;
    }
    neat_ring_poke(end->tx, size, tail, header, sizeof *header);
    neat_ring_write(end->tx, size, tail + sizeof *header, message->msg_iov, (int)message->msg_iovlen, 0,
                    header->length);
    if (!swap_if(&shared->tx_tail, &tail, tail + need))
        return -EAGAIN;
    neat_mark(end);
    neat_ring(end);
    return 0;
}

/* 255.255.255.255, or the broadcast address of the stack's network (RFC 919 §7). */
static bool is_broadcast(const struct neat_addr *to) {
    struct neat_addr own;
    uint32_t prefix, host, network;
    if (to->addr[3] != 255)
        return false;
    memcpy(&host, to->addr, 4);
    if (host == INADDR_BROADCAST || neat_stack_address(&own, &prefix) < 0 || prefix == 0 || prefix > 30)
        return host == INADDR_BROADCAST;
    memcpy(&network, own.addr, 4);
    return ntohl(host) == (ntohl(network) | UINT32_MAX >> prefix);
}

/* Where to, as a header; or why not. */
static int address_it(struct neat_socket *s, const struct msghdr *message, struct neat_datagram *header) {
    size_t length = neat_iov_bytes(message->msg_iov, (int)message->msg_iovlen);
    memset(header, 0, sizeof *header);
    if (message->msg_name && message->msg_namelen) {
        int status = neat_from_sockaddr(s, message->msg_name, message->msg_namelen, &header->addr);
        if (status < 0)
            return status;
    } else if (load(&s->settings.options) & NEAT_OPT_PEER) {
        header->addr = s->setup.remote;
    } else {
        return -EDESTADDRREQ;
    }
    if (!header->addr.port)
        return -EINVAL;
    if (length > MAX_DATAGRAM)
        return -EMSGSIZE;
    if (!(load(&s->settings.options) & NEAT_OPT_BROADCAST) && is_broadcast(&header->addr))
        return -EACCES;
    header->length = (uint32_t)length;
    return 0;
}

static void look_for_replicas(struct neat_socket *s, int fd) {
    int64_t now = neat_now();
    if (now - __atomic_load_n(&s->datagram.looked_at, __ATOMIC_RELAXED) > CHECK_NS) {
        __atomic_store_n(&s->datagram.looked_at, now, __ATOMIC_RELAXED);
        neat_subsockets_read(s, fd, ALL_MESSAGES);
    }
}

ssize_t neat_datagram_send(struct neat_socket *s, int fd, const struct msghdr *message, int flags) {
    struct neat_datagram header;
    int64_t deadline = -2;
    int status = address_it(s, message, &header);
    if (status < 0)
        return status;
    if (load(&s->datagram.shut) & 1u << SHUT_WR)
        return -EPIPE;
    if (load(&s->stage) != STAGE_UDP) {
        struct sockaddr_in any = {.sin_family = AF_INET};
        status = neat_bind(s, fd, (struct sockaddr *)&any, sizeof any);
        if (status < 0 && status != -EINVAL)
            return status;
    }
    look_for_replicas(s, fd);
    for (;;) {
        struct endpoint *end = choose_replica(s, &header.addr);
        if (!end)
            return -ENETDOWN;
        if (header.length > end->segment->largest)
            return -EMSGSIZE;
        int error = parts_error(s, fd);
        if (error)
            return -error;
        int locked = neat_lock(&end->shared->tx_lock);
        if (locked < 0)
            return locked;
        status = put_datagram(s, fd, end, message, &header);
        neat_unlock(&end->shared->tx_lock);
        if (status == 0)
            return header.length;
        if (status != -EAGAIN || neat_nonblocking(s, fd, flags))
            return status;
        if (deadline == -2) {
            int64_t limit = neat_timeout(fd, SO_SNDTIMEO);
            deadline = limit < 0 ? -1 : neat_now() + limit;
        }
        int64_t left = deadline < 0 ? -1 : deadline - neat_now();
        if (deadline >= 0 && left <= 0)
            return -EAGAIN;
        int got = neat_sleep(s, fd, POLLOUT, left);
        if (got < 0)
            return got;
        if (got & (POLLHUP | POLLERR))
            return neat_gone(s, -ENETDOWN);
        fd = neat_number(s, fd);
        look_for_replicas(s, fd);
    }
}
