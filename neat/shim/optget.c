/* getsockopt. Read first: options.c. */
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <sys/stat.h>

#include "data.h"
#include "options.h"
#include "setup.h"

#define DEFAULT_BUFFER (1 << 18)
#define USUAL_MSS 536
#define FIN_WAIT_S 60              /* net.ipv4.tcp_fin_timeout */

static int give(void *value, socklen_t *length, const void *from, socklen_t size) {
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
    if (neat_stage(s) == STAGE_CONNECTING) {
        int status = neat_connect_status(s, fd);
        if (status)
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
        return (int)swap(&s->setup.dissolved, 0);
    int error = s->end.shared && endpoint_current(&s->end) ? neat_endpoint_error(&s->end, fd) : 0;
    if (error) {
        store(&s->reset_seen, 1);
        return error;
    }
    /* The replica died without a word: the segment says so, or the descriptor's own error. */
    int own = 0;
    socklen_t length = sizeof own;
    bool reset = libc(getsockopt)(fd, SOL_SOCKET, SO_ERROR, &own, &length) == 0 && own;
    return reset || (s->end.shared && endpoint_lost(&s->end)) ? -neat_gone(s, 0) : 0;
}

/* SO_COOKIE: one of its own for each socket, the same in all processes that have it. */
static int get_cookie(int fd, void *value, socklen_t *length) {
    struct stat about;
    uint64_t cookie;
    if (*length < (socklen_t)sizeof cookie)
        return -EINVAL;
    if (libc(fstat)(fd, &about) < 0)
        return -errno;
    cookie = (uint64_t)about.st_dev << 32 ^ about.st_ino;
    return give(value, length, &cookie, sizeof cookie);
}

static int get_memory(struct neat_socket *s, int fd, void *value, socklen_t *length) {
    uint32_t sizes[SK_MEMINFO_VARS] = {0};
    socklen_t four = sizeof(int);
    int in = neat_inq(s);
    sizes[SK_MEMINFO_RMEM_ALLOC] = in > 0 ? (uint32_t)in : 0;
    sizes[SK_MEMINFO_WMEM_QUEUED] = (uint32_t)neat_outq(s);
    neat_getsockopt(s, fd, SOL_SOCKET, SO_RCVBUF, &sizes[SK_MEMINFO_RCVBUF], &four);
    neat_getsockopt(s, fd, SOL_SOCKET, SO_SNDBUF, &sizes[SK_MEMINFO_SNDBUF], &four);
    return give(value, length, sizes, sizeof sizes);
}

static int get_peer_name(struct neat_socket *s, void *value, socklen_t *length) {
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    int status = neat_getpeername(s, (struct sockaddr *)&name, &size);
    if (status < 0)
        return status;
    return *length > size ? -EINVAL : give(value, length, &name, size);
}

static int get_socket_level(struct neat_socket *s, int fd, int name, void *value, socklen_t *length) {
    const struct settings *settings = &s->settings;
    struct linger linger = {(load(&settings->options) & NEAT_OPT_LINGER) != 0,
                            (int)(settings->linger_ms / 1000)};
    const struct segment *segment = s->end.shared ? s->end.segment : NULL;
    uint32_t ring;
    struct ucred nobody = {0, (uid_t)-1, (gid_t)-1};
    int no_stamps[2] = {0};        /* struct so_timestamping */
    switch (name) {
    case SO_ERROR:
        return give_int(value, length, pending_error(s, fd));
    case SO_TYPE:
        return give_int(value, length, s->type);
    case SO_DOMAIN:
        return give_int(value, length, s->family);
    case SO_PROTOCOL:
        return give_int(value, length, s->protocol);
    case SO_ACCEPTCONN:
        return give_int(value, length, load(&s->stage) == STAGE_LISTENING);
    case SO_REUSEADDR:
        return give_int(value, length, settings->reuse_address);
    case SO_REUSEPORT:
        return give_int(value, length, settings->reuse_port);
    case SO_TIMESTAMP:
        return give_int(value, length, (load(&settings->options) & NEAT_OPT_TIMESTAMP) != 0);
    case SO_TIMESTAMPNS:
        return give_int(value, length, (load(&settings->options) & NEAT_OPT_TIMESTAMPNS) != 0);
    case SO_TIMESTAMPING:
        return give(value, length, no_stamps, sizeof no_stamps);
    case SO_LINGER:
        return give(value, length, &linger, sizeof linger);
    case SO_RCVBUF:
        ring = segment ? segment->rx_size : DEFAULT_BUFFER;
        return give_int(value, length, (int)(settings->rcvbuf ? settings->rcvbuf : ring));
    case SO_SNDBUF:
        ring = segment ? segment->tx_size : DEFAULT_BUFFER;
        return give_int(value, length, (int)(settings->sndbuf ? settings->sndbuf : ring));
    case SO_RCVLOWAT:
        return give_int(value, length, (int)(settings->rcvlowat ? settings->rcvlowat : 1));
    case SO_SNDLOWAT:
        return give_int(value, length, 1);
    case SO_RCVTIMEO:
    case SO_SNDTIMEO:
        return libc(getsockopt)(fd, SOL_SOCKET, name, value, length) < 0 ? -errno : 0;
    case SO_PEERCRED:
        return give(value, length, &nobody, sizeof nobody);
    case SO_PEERNAME:
        return get_peer_name(s, value, length);
    case SO_COOKIE:
        return get_cookie(fd, value, length);
    case SO_MEMINFO:
        return get_memory(s, fd, value, length);
    case SO_BINDTODEVICE:
    case SO_ATTACH_FILTER:
        *length = 0;
        return 0;
    case SO_MAX_PACING_RATE: {
        uint64_t none = UINT64_MAX;
        return give(value, length, &none, *length < sizeof none ? sizeof(uint32_t) : sizeof none);
    }
    case SO_BSDCOMPAT:
    case SO_INCOMING_NAPI_ID:
        return give_int(value, length, 0);
    case SO_PASSCRED:
    case SO_PASSSEC:
        return -EOPNOTSUPP;
    case SO_PEERSEC:
        return -ENOPROTOOPT;
    }
    return NEAT_UNSUPPORTED;
}

static int get_tcp_level(struct neat_socket *s, int name, void *value, socklen_t *length) {
    const struct settings *settings = &s->settings;
    struct tcp_info info;
    char engine[16] = ENGINE;
    switch (name) {
    case TCP_INFO:
        neat_tcp_info(s, &info);
        return give(value, length, &info, sizeof info);
    case TCP_CONGESTION:
        return give(value, length, engine, sizeof engine);
    case TCP_ULP:
    case TCP_SAVED_SYN:
        *length = 0;
        return 0;
    case TCP_QUICKACK:
        return give_int(value, length, !settings->quickack_off);
    case TCP_MAXSEG:
        if (s->end.shared && load(&s->end.shared->snd_mss))
            return give_int(value, length, (int)load(&s->end.shared->snd_mss));
        return give_int(value, length, settings->maxseg ? (int)settings->maxseg : USUAL_MSS);
    case TCP_DEFER_ACCEPT:
        return give_int(value, length, (int)neat_defer_seconds(s));
    case TCP_LINGER2:
        return give_int(value, length, settings->fin_wait_s ? settings->fin_wait_s : FIN_WAIT_S);
    case TCP_WINDOW_CLAMP:
        return give_int(value, length, (int)settings->window_clamp);
    }
    return NEAT_UNSUPPORTED;
}

/* ip(7): a buffer too small for an int gets one byte, if the number fits. */
static int give_ip(void *value, socklen_t *length, int number) {
    uint8_t byte = (uint8_t)number;
    if (*length < sizeof number && *length && number >= 0 && number <= 255)
        return give(value, length, &byte, sizeof byte);
    return give_int(value, length, number);
}

static int get_ip_level(struct neat_socket *s, int level, int name, void *value, socklen_t *length) {
    const struct settings *settings = &s->settings;
    int ttl = settings->ttl ? settings->ttl : 64;
    bool connected;
    if (level == IPPROTO_IPV6)
        return name == IPV6_V6ONLY         ? give_int(value, length, 0)
               : name == IPV6_TCLASS       ? give_int(value, length, settings->tos)
               : name == IPV6_UNICAST_HOPS ? give_int(value, length, ttl)
                                           : NEAT_UNSUPPORTED;
    switch (name) {
    case IP_TOS:
        return give_ip(value, length, settings->tos);
    case IP_TTL:
        return give_ip(value, length, ttl);
    case IP_BIND_ADDRESS_NO_PORT:
        return give_ip(value, length, settings->no_port);
    case IP_OPTIONS:
        *length = 0;
        return 0;
    case IP_MTU:
        connected = neat_stage(s) == STAGE_CONNECTED || (load(&settings->options) & NEAT_OPT_PEER);
        return connected ? NEAT_UNSUPPORTED : -ENOTCONN;
    }
    return NEAT_UNSUPPORTED;
}

static int get_row(struct neat_socket *s, const struct option *o, uint32_t row, void *value,
                   socklen_t *length) {
    int number = o->usual;
    if (o->way == WAY_FLAG) {
        number = (load(&s->settings.options) & o->at) != 0;
    } else if (o->way == WAY_NUMBER) {
        uint32_t set = *(const uint32_t *)((const char *)&s->settings + o->at);
        number = set ? (int)set : o->usual;
    } else if (o->way != WAY_ONLY && o->way != WAY_FORGOTTEN) {
        number = s->settings.kept[row] + o->usual;
    }
    return o->level == IPPROTO_IP ? give_ip(value, length, number) : give_int(value, length, number);
}

int neat_getsockopt(struct neat_socket *s, int fd, int level, int name, void *value, socklen_t *length) {
    uint32_t row;
    int status;
    if (!length || (!value && *length))
        return -EFAULT;
    if ((int)*length < 0)
        return -EINVAL;
    if (!neat_option_level(s, level))
        return -EOPNOTSUPP;
    const struct option *o = neat_option_find(s->type, level, name, &row);
    if (o)
        return get_row(s, o, row, value, length);
    if (level == SOL_SOCKET)
        status = get_socket_level(s, fd, name, value, length);
    else if (level == IPPROTO_TCP)
        status = get_tcp_level(s, name, value, length);
    else
        status = level == IPPROTO_UDP ? NEAT_UNSUPPORTED : get_ip_level(s, level, name, value, length);
    return status == NEAT_UNSUPPORTED ? neat_refuse(NEAT_REFUSED_GETSOCKOPT, level, name) : status;
}
