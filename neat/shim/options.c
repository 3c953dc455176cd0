/* getsockopt and setsockopt; FIONREAD's and SIOCOUTQ's numbers. What is not here fails as Linux fails it, and is counted. */
#include <netinet/tcp.h>
#include <sys/time.h>

#include "internal.h"

#define MIN_SNDBUF 4608
#define MIN_RCVBUF 2304
#define MAX_BUFFER (1 << 24)
#define DEFAULT_BUFFER (1 << 18)
#define MAX_KEEP 32767
#define MAX_KEEP_COUNT 127
#define MAX_MSS 65495
#define TCP_CLOSED 7               /* Linux's TCP_CLOSE; tcp_info.tcpi_state */

/* Settings that are one flag (enum neat_option) or one number of the socket object. */
static const struct option {
    int level, name;
    bool stream_only;
    uint32_t flag;                 /* 0: a number, at `offset` in struct settings */
    size_t offset;
    int low, high;
    int usual;                     /* what Linux says when nothing was set */
} options[] = {
    {SOL_SOCKET, SO_KEEPALIVE, false, NEAT_OPT_KEEPALIVE, 0, 0, 0, 0},
    {SOL_SOCKET, SO_BROADCAST, false, NEAT_OPT_BROADCAST, 0, 0, 0, 0},
    {IPPROTO_TCP, TCP_NODELAY, true, NEAT_OPT_NODELAY, 0, 0, 0, 0},
    {IPPROTO_TCP, TCP_CORK, true, NEAT_OPT_CORK, 0, 0, 0, 0},
    {IPPROTO_TCP, TCP_QUICKACK, true, NEAT_OPT_QUICKACK, 0, 0, 0, 0},
    {IPPROTO_TCP, TCP_KEEPIDLE, true, 0, offsetof(struct settings, keep_idle_s), 1, MAX_KEEP, 7200},
    {IPPROTO_TCP, TCP_KEEPINTVL, true, 0, offsetof(struct settings, keep_intvl_s), 1, MAX_KEEP, 75},
    {IPPROTO_TCP, TCP_KEEPCNT, true, 0, offsetof(struct settings, keep_cnt), 1, MAX_KEEP_COUNT, 9},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, true, 0, offsetof(struct settings, user_timeout_ms), 0, INT32_MAX, 0},
    {IPPROTO_TCP, TCP_MAXSEG, true, 0, offsetof(struct settings, maxseg), 88, MAX_MSS, 536},
};

static const struct option *find(int level, int name) {
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].level == level && options[i].name == name)
            return &options[i];
    return NULL;
}

static uint32_t *number(struct settings *settings, const struct option *o) {
    return (uint32_t *)((char *)settings + o->offset);
}

/* Write what was set into one socket object. */
static void write_lines(const struct neat_socket *s, const struct endpoint *end) {
    struct neat_sock *shared = end->shared;
    const struct settings *settings = &s->settings;
    shared->rcvbuf = settings->rcvbuf;
    shared->sndbuf = settings->sndbuf;
    shared->linger_ms = settings->linger_ms;
    shared->user_timeout_ms = settings->user_timeout_ms;
    shared->keep_idle_s = settings->keep_idle_s;
    shared->keep_intvl_s = settings->keep_intvl_s;
    shared->keep_cnt = settings->keep_cnt;
    shared->maxseg = settings->maxseg;
    shared->tos = settings->tos;
    shared->ttl = settings->ttl;
    if (settings->options & NEAT_OPT_PEER)
        shared->peer = s->remote;
    store(&shared->options, settings->options);
}

/* To one endpoint; NULL: to all that the socket has, and tell their replicas. */
void neat_options_apply(struct neat_socket *s, const struct endpoint *end) {
    if (end) {
        write_lines(s, end);
        return;
    }
    if (endpoint_current(&s->end)) {
        write_lines(s, &s->end);
        neat_mark(&s->end);
        neat_ring(&s->end);
    }
    for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++) {
        struct endpoint *part = neat_subsocket(s, replica);
        if (!part || !endpoint_current(part))
            continue;
        write_lines(s, part);
        neat_mark(part);
        neat_ring(part);
    }
}

static int unsupported(int level) {
    tally(options_refused);
    return level == SOL_SOCKET || level == IPPROTO_TCP || level == IPPROTO_IP ? -ENOPROTOOPT : -EOPNOTSUPP;
}

/* As Linux: twice what was asked for, within limits; here also no more than the ring. */
static uint32_t buffer_size(const struct neat_socket *s, int value, int least, bool receive) {
    int64_t size = (int64_t)value * 2;
    int64_t most = MAX_BUFFER;
    if (s->end.shared)
        most = receive ? s->end.segment->rx_size : s->end.segment->tx_size;
    return (uint32_t)(size < least ? least : size > most ? most : size);
}

static int set_linger(struct neat_socket *s, const void *value, socklen_t length) {
    struct linger linger;
    if (length < (socklen_t)sizeof linger)
        return -EINVAL;
    memcpy(&linger, value, sizeof linger);
    s->settings.linger_ms = linger.l_linger > 0 ? (uint32_t)linger.l_linger * 1000u : 0;
    if (linger.l_onoff)
        set_bits(&s->settings.options, NEAT_OPT_LINGER);
    else
        clear_bits(&s->settings.options, NEAT_OPT_LINGER);
    return 0;
}

/* Of level SOL_SOCKET or IPPROTO_IP, with a value of its own kind. */
static int set_special(struct neat_socket *s, int level, int name, int value) {
    if (level == IPPROTO_IP && name == IP_TOS) {
        s->settings.tos = (uint8_t)value;
        return 0;
    }
    if (level == IPPROTO_IP && name == IP_TTL) {
        if (value != -1 && (value < 1 || value > 255))
            return -EINVAL;
        s->settings.ttl = value == -1 ? 0 : (uint8_t)value;
        return 0;
    }
    if (level != SOL_SOCKET)
        return unsupported(level);
    switch (name) {
    case SO_REUSEADDR:
        s->settings.reuse_address = value != 0;
        return 0;
    case SO_REUSEPORT:
        s->settings.reuse_port = value != 0;
        return 0;
    case SO_RCVBUF:
        s->settings.rcvbuf = buffer_size(s, value, MIN_RCVBUF, true);
        return 0;
    case SO_SNDBUF:
        s->settings.sndbuf = buffer_size(s, value, MIN_SNDBUF, false);
        return 0;
    case SO_TYPE:
    case SO_DOMAIN:
    case SO_PROTOCOL:
    case SO_ERROR:
    case SO_ACCEPTCONN:
        return -ENOPROTOOPT;
    }
    return unsupported(level);
}

static int set_simple(struct neat_socket *s, const struct option *o, int value) {
    if (o->stream_only && s->type != SOCK_STREAM)
        return -ENOPROTOOPT;
    if (o->flag) {
        if (value)
            set_bits(&s->settings.options, o->flag);
        else
            clear_bits(&s->settings.options, o->flag);
        return 0;
    }
    if (value < o->low || value > o->high)
        return -EINVAL;
    *number(&s->settings, o) = (uint32_t)value;
    return 0;
}

int neat_setsockopt(struct neat_socket *s, int fd, int level, int name, const void *value, socklen_t length) {
    int number = 0, status;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
        return libc(setsockopt)(fd, level, name, value, length) < 0 ? -errno : 0;
    const struct option *o = find(level, name);
    if (length >= (socklen_t)sizeof number && value)
        memcpy(&number, value, sizeof number);
    else if (level == IPPROTO_IP && length >= 1 && value)
        number = *(const uint8_t *)value;
    else
        return o || level == SOL_SOCKET ? -EINVAL : unsupported(level);
    if (level == SOL_SOCKET && name == SO_LINGER)
        status = set_linger(s, value, length);
    else
        status = o ? set_simple(s, o, number) : set_special(s, level, name, number);
    if (status == 0)
        neat_options_apply(s, NULL);
    return status;
}

static int give(void *value, socklen_t *length, const void *from, socklen_t size) {
    if ((int)*length < 0)
        return -EINVAL;
    if (*length > size)
        *length = size;
    memcpy(value, from, *length);
    return 0;
}

static int give_int(void *value, socklen_t *length, int number) {
    return give(value, length, &number, sizeof number);
}

/* SO_ERROR: reported once. */
static int pending_error(struct neat_socket *s, int fd) {
    if (load(&s->stage) == STAGE_CONNECTING) {
        int status = neat_connect_status(s, fd);
        return status == -EINPROGRESS ? 0 : -status;
    }
    if (load(&s->stage) == STAGE_UDP) {
        for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++) {
            struct endpoint *end = neat_subsocket(s, replica);
            int error = end ? neat_endpoint_error(end, fd) : 0;
            if (error)
                return error;
        }
        return 0;
    }
    if (load(&s->stage) != STAGE_CONNECTED && load(&s->stage) != STAGE_LOST)
        return 0;
    int error = s->end.shared && endpoint_current(&s->end) ? neat_endpoint_error(&s->end, fd) : 0;
    if (error) {
        store(&s->reset_seen, 1);
        return error;
    }
    /* The replica died without a word: the descriptor's own error says so. */
    int own = 0;
    socklen_t length = sizeof own;
    if (libc(getsockopt)(fd, SOL_SOCKET, SO_ERROR, &own, &length) < 0 || !own)
        return 0;
    return -neat_gone(s, 0);
}

static int get_info(struct neat_socket *s, void *value, socklen_t *length) {
    struct tcp_info info = {.tcpi_state = TCP_CLOSED};
    uint32_t stage = load(&s->stage);
    if (s->type != SOCK_STREAM)
        return -ENOPROTOOPT;
    if (stage == STAGE_LISTENING)
        info.tcpi_state = TCP_LISTEN;
    if (s->end.shared && endpoint_current(&s->end)) {
        const struct neat_sock *shared = s->end.shared;
        /* Ours are the states of RFC 9293 in neat/stack/tcp/state; Linux numbers them from ESTABLISHED. */
        uint32_t status = load(&shared->status), retransmits = load(&shared->retransmits);
        uint32_t mss = load(&shared->snd_mss);
        uint64_t unacked = (uint64_t)neat_outq(s);
        info.tcpi_state = status & NEAT_ST_CLOSED                               ? TCP_CLOSED
                          : stage == STAGE_CONNECTING                           ? TCP_SYN_SENT
                          : (status & NEAT_ST_RDHUP) && (status & NEAT_ST_WRCLOSED) ? TCP_LAST_ACK
                          : status & NEAT_ST_RDHUP                              ? TCP_CLOSE_WAIT
                          : status & NEAT_ST_WRCLOSED                           ? TCP_FIN_WAIT2
                                                                                : TCP_ESTABLISHED;
        info.tcpi_retransmits = (uint8_t)(retransmits < 255 ? retransmits : 255);
        info.tcpi_rto = load(&shared->rto_us);
        info.tcpi_rtt = load(&shared->rtt_us);
        info.tcpi_rttvar = load(&shared->rttvar_us);
        info.tcpi_snd_mss = info.tcpi_rcv_mss = info.tcpi_advmss = mss;
        info.tcpi_snd_cwnd = mss ? load(&shared->cwnd) / mss : 0;
        info.tcpi_snd_ssthresh = mss ? load(&shared->ssthresh) / mss : 0;
        info.tcpi_rcv_space = load(&shared->rcv_wnd);
        info.tcpi_unacked = mss ? (uint32_t)((unacked + mss - 1) / mss) : 0;
    }
    return give(value, length, &info, sizeof info);
}

static int get_socket_level(struct neat_socket *s, int fd, int name, void *value, socklen_t *length) {
    const struct settings *settings = &s->settings;
    struct linger linger = {(load(&settings->options) & NEAT_OPT_LINGER) != 0, (int)(settings->linger_ms / 1000)};
    const struct segment *segment = s->end.shared ? s->end.segment : NULL;
    switch (name) {
    case SO_ERROR:
        return give_int(value, length, pending_error(s, fd));
    case SO_TYPE:
        return give_int(value, length, s->type);
    case SO_DOMAIN:
        return give_int(value, length, AF_INET);
    case SO_PROTOCOL:
        return give_int(value, length, s->protocol);
    case SO_ACCEPTCONN:
        return give_int(value, length, load(&s->stage) == STAGE_LISTENING);
    case SO_REUSEADDR:
        return give_int(value, length, settings->reuse_address);
    case SO_REUSEPORT:
        return give_int(value, length, settings->reuse_port);
    case SO_LINGER:
        return give(value, length, &linger, sizeof linger);
    case SO_RCVBUF:
        return give_int(value, length, (int)(settings->rcvbuf ? settings->rcvbuf : segment ? segment->rx_size : DEFAULT_BUFFER));
    case SO_SNDBUF:
        return give_int(value, length, (int)(settings->sndbuf ? settings->sndbuf : segment ? segment->tx_size : DEFAULT_BUFFER));
    case SO_RCVTIMEO:
    case SO_SNDTIMEO:
        return libc(getsockopt)(fd, SOL_SOCKET, name, value, length) < 0 ? -errno : 0;
    }
    return unsupported(SOL_SOCKET);
}

int neat_getsockopt(struct neat_socket *s, int fd, int level, int name, void *value, socklen_t *length) {
    const struct option *o = find(level, name);
    if (o && o->stream_only && s->type != SOCK_STREAM)
        return -ENOPROTOOPT;
    if (o && o->flag)
        return give_int(value, length, (load(&s->settings.options) & o->flag) != 0);
    if (level == IPPROTO_TCP && name == TCP_MAXSEG && s->end.shared && load(&s->end.shared->snd_mss))
        return give_int(value, length, (int)load(&s->end.shared->snd_mss));
    if (o) {
        int set = (int)*number(&s->settings, o);
        return give_int(value, length, set ? set : o->usual);
    }
    if (level == SOL_SOCKET)
        return get_socket_level(s, fd, name, value, length);
    if (level == IPPROTO_TCP && name == TCP_INFO)
        return get_info(s, value, length);
    if (level == IPPROTO_IP && name == IP_TOS)
        return give_int(value, length, s->settings.tos);
    if (level == IPPROTO_IP && name == IP_TTL)
        return give_int(value, length, s->settings.ttl ? s->settings.ttl : 64);
    return unsupported(level);
}

int neat_inq(struct neat_socket *s) {
    if (s->type == SOCK_STREAM) {
        if (load(&s->stage) == STAGE_LISTENING)
            return -EINVAL;
        if (!s->end.shared || !endpoint_current(&s->end))
            return 0;
        uint64_t held = load(&s->end.shared->rx_tail) - load(&s->end.shared->rx_head);
        return held <= s->end.segment->rx_size ? (int)held : 0;
    }
    for (uint32_t i = 0; i < MAX_REPLICAS; i++) {
        const struct endpoint *end = neat_subsocket(s, (s->next_replica + i) % MAX_REPLICAS);
        struct neat_datagram header;
        if (!end || !endpoint_current(end))
            continue;
        uint64_t head = load(&end->shared->rx_head), held = load(&end->shared->rx_tail) - head;
        if (held < sizeof header || held > end->segment->rx_size)
            continue;
        neat_ring_peek(end->rx, end->segment->rx_size, head, &header, sizeof header);
        return header.length <= MAX_DATAGRAM ? (int)header.length : 0;
    }
    return 0;
}

int neat_outq(struct neat_socket *s) {
    if (!s->end.shared || !endpoint_current(&s->end))
        return 0;
    uint64_t used = load(&s->end.shared->tx_tail) - load(&s->end.shared->tx_head);
    return used <= s->end.segment->tx_size ? (int)used : 0;
}
