/* setsockopt: the options of optable.c, and those with a rule of their own. What is in neither is refused as
 * Linux refuses what it does not know, and counted. getsockopt: optget.c. */
#include <limits.h>
#include <linux/tcp.h>

#include "options.h"
#include "setup.h"

#define MIN_SNDBUF 4608
#define MIN_RCVBUF 2304
#define MAX_BUFFER (1 << 24)
#define LEAST_MSS 88
#define MOST_MSS 32767
#define LEAST_CLAMP 1152           /* half of MIN_RCVBUF */
#define MOST_FIN_WAIT_S 120

/* As Linux: twice what was asked for, within limits; here also no more than the ring. */
static uint32_t buffer_size(const struct neat_socket *s, int value, int least, bool receive) {
    int64_t size = (int64_t)value * 2;
    int64_t most = MAX_BUFFER;
    if (s->end.shared)
        most = receive ? s->end.segment->rx_size : s->end.segment->tx_size;
    return (uint32_t)(value < 0 || size > most ? most : size < least ? least : size);
}

static void flip(struct neat_socket *s, uint32_t flag, bool on) {
    if (on)
        set_bits(&s->settings.options, flag);
    else
        clear_bits(&s->settings.options, flag);
}

static int set_linger(struct neat_socket *s, const void *value, socklen_t length) {
    struct linger linger;
    if (length < (socklen_t)sizeof linger)
        return -EINVAL;
    memcpy(&linger, value, sizeof linger);
    int seconds = linger.l_linger < 0 ? 0 : linger.l_linger;
    s->settings.linger_ms = seconds > INT_MAX / 1000 ? INT_MAX : (uint32_t)seconds * 1000u;
    flip(s, NEAT_OPT_LINGER, linger.l_onoff);
    return 0;
}

static int set_socket_level(struct neat_socket *s, int name, int value, const void *from, socklen_t length) {
    switch (name) {
    case SO_REUSEADDR:
        s->settings.reuse_address = value != 0;
        return 0;
    case SO_REUSEPORT:
        s->settings.reuse_port = value != 0;
        return 0;
    case SO_RCVBUFFORCE:
    case SO_SNDBUFFORCE:
        if (geteuid() != 0)
            return -EPERM;
        return set_socket_level(s, name == SO_RCVBUFFORCE ? SO_RCVBUF : SO_SNDBUF, value < 0 ? 0 : value,
                                from, length);
    case SO_RCVBUF:
        s->settings.rcvbuf = buffer_size(s, value, MIN_RCVBUF, true);
        return 0;
    case SO_SNDBUF:
        s->settings.sndbuf = buffer_size(s, value, MIN_SNDBUF, false);
        return 0;
    case SO_RCVLOWAT:
        if (value < 0 || (value > MAX_BUFFER && s->type == SOCK_STREAM))
            value = s->type == SOCK_STREAM ? MAX_BUFFER : INT_MAX;
        s->settings.rcvlowat = (uint32_t)value;
        return 0;
    case SO_TIMESTAMP:             /* either of them, not both (socket(7)) */
    case SO_TIMESTAMPNS:
        flip(s, NEAT_OPT_TIMESTAMP, value && name == SO_TIMESTAMP);
        flip(s, NEAT_OPT_TIMESTAMPNS, value && name == SO_TIMESTAMPNS);
        return 0;
    case SO_TIMESTAMPING:
        return value ? NEAT_UNSUPPORTED : 0;
    case SO_LINGER:
        return set_linger(s, from, length);
    case SO_BSDCOMPAT:
        return 0;                  /* Linux has forgotten it, too */
    case SO_MAX_PACING_RATE:
        return value == -1 ? 0 : NEAT_UNSUPPORTED;
    case SO_DETACH_FILTER:
        return -ENOENT;
    case SO_PASSCRED:
    case SO_PASSSEC:
        return -EOPNOTSUPP;        /* of unix sockets */
    case SO_TYPE:
    case SO_DOMAIN:
    case SO_PROTOCOL:
    case SO_ERROR:
    case SO_ACCEPTCONN:
    case SO_SNDLOWAT:
    case SO_PEERCRED:
    case SO_PEERNAME:
    case SO_PEERSEC:
    case SO_COOKIE:
    case SO_MEMINFO:
    case SO_INCOMING_NAPI_ID:
        return -ENOPROTOOPT;
    }
    return NEAT_UNSUPPORTED;
}

static bool same_name(const void *from, socklen_t length, const char *name) {
    return length >= strlen(name) && !strncmp(from, name, length < 16 ? length : 16);
}

static int set_name(int name, const void *from, socklen_t length) {
    if (!length)
        return -EINVAL;
    if (name == TCP_ULP)
        return -ENOENT;            /* no protocol above TCP is known */
    return same_name(from, length, ENGINE) ? 0 : NEAT_UNSUPPORTED;
}

static int set_tcp_level(struct neat_socket *s, int name, int value) {
    struct settings *settings = &s->settings;
    if (s->type != SOCK_STREAM)
        return -ENOPROTOOPT;
    switch (name) {
    case TCP_QUICKACK:
        flip(s, NEAT_OPT_QUICKACK, value);
        settings->quickack_off = !value;
        return 0;
    case TCP_MAXSEG:
        if (value && (value < LEAST_MSS || value > MOST_MSS))
            return -EINVAL;
        settings->maxseg = (uint32_t)value;
        return 0;
    case TCP_DEFER_ACCEPT:
        settings->defer_accept = neat_synacks_of(value);
        return 0;
    case TCP_LINGER2:              /* a hint: how long an orphan stays in FIN-WAIT-2 */
        settings->fin_wait_s = value < 0 ? -1 : value > MOST_FIN_WAIT_S ? MOST_FIN_WAIT_S : value;
        return 0;
    case TCP_WINDOW_CLAMP:
        if (!value && load(&s->stage) != STAGE_NEW && load(&s->stage) != STAGE_BOUND)
            return -EINVAL;
        settings->window_clamp = !value ? 0 : value < LEAST_CLAMP ? LEAST_CLAMP : (uint32_t)value;
        return 0;
    case TCP_INFO:
    case TCP_CC_INFO:
    case TCP_SAVED_SYN:
        return -ENOPROTOOPT;
    }
    return NEAT_UNSUPPORTED;
}

/* RFC 3168 §5: the two lower bits are TCP's own (Linux). */
static void set_tos(struct neat_socket *s, int value) {
    s->settings.tos = (uint8_t)(s->type == SOCK_STREAM ? value & ~3 : value);
}

static int set_ttl(struct neat_socket *s, int value, int least) {
    if (value != -1 && (value < least || value > 255))
        return -EINVAL;
    s->settings.ttl = value == -1 ? 0 : (uint8_t)value;
    return 0;
}

static int set_ip_level(struct neat_socket *s, int level, int name, int value, socklen_t length) {
    if (level == IPPROTO_IP && name == IP_TTL)
        return set_ttl(s, value, 1);
    if (level == IPPROTO_IP && name == IP_OPTIONS)
        return length ? NEAT_UNSUPPORTED : 0;
    if (level == IPPROTO_IP && name == IP_BIND_ADDRESS_NO_PORT) {
        s->settings.no_port = value != 0;
        return 0;
    }
    if (level == IPPROTO_IP && name != IP_TOS)
        return name == IP_MTU || name == IP_HDRINCL || name == IP_NODEFRAG ? -ENOPROTOOPT : NEAT_UNSUPPORTED;
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
        if (load(&s->stage) != STAGE_NEW)
            return -EINVAL;
        /* An undecided one asks the kernel. */
        return value && load(&s->descriptor.stack_end) >= 0 ? NEAT_UNSUPPORTED : 0;
    }
    if (level == IPPROTO_IPV6 && name == IPV6_UNICAST_HOPS)
        return set_ttl(s, value, 1);
    if (level == IPPROTO_IPV6 && name != IPV6_TCLASS)
        return NEAT_UNSUPPORTED;
    if (level == IPPROTO_IPV6 && (value < -1 || value > 255))
        return -EINVAL;
    set_tos(s, value == -1 && level == IPPROTO_IPV6 ? 0 : value);
    return 0;
}

static int set_row(struct neat_socket *s, const struct option *o, uint32_t row, int value) {
    bool flag = o->way == WAY_KEPT_FLAG;
    if (value < o->low || value > o->high)
        return -EINVAL;
    switch ((enum option_way)o->way) {
    case WAY_FLAG:
        flip(s, o->at, value);
        return 0;
    case WAY_NUMBER:
        *(uint32_t *)((char *)&s->settings + o->at) = (uint32_t)value;
        return 0;
    case WAY_KEPT:
    case WAY_KEPT_FLAG:
        if (value == -1 && o->low == -1)
            value = o->usual;
        s->settings.kept[row] = (flag ? value != 0 : value) - o->usual;
        return 0;
    case WAY_FORGOTTEN:
        return 0;
    case WAY_ONLY:
        return value == o->usual ? 0 : NEAT_UNSUPPORTED;
    }
    return NEAT_UNSUPPORTED;
}

bool neat_option_level(const struct neat_socket *s, int level) {
    return level == SOL_SOCKET || level == IPPROTO_IP || (level == IPPROTO_TCP && s->type == SOCK_STREAM) ||
           (level == IPPROTO_UDP && s->type == SOCK_DGRAM) ||
           (level == IPPROTO_IPV6 && s->family == AF_INET6);
}

/* IPPROTO_IP takes a number of one byte, too, and for its older options none at all. False: too short for
 * one. */
static bool get_number(int level, int name, const void *value, socklen_t length, int *number) {
    static const int least_one[] = {IP_FREEBIND,      IP_TRANSPARENT,   IP_MINTTL,
                                    IP_MULTICAST_IF,  IP_MULTICAST_TTL, IP_MULTICAST_LOOP,
                                    IP_MULTICAST_ALL, IP_UNICAST_IF,    OPT_IP_LOCAL_PORT_RANGE};
    *number = 0;
    if (length >= (socklen_t)sizeof *number)
        memcpy(number, value, sizeof *number);
    else if (level == IPPROTO_IP && length)
        *number = *(const uint8_t *)value;
    else if (level != IPPROTO_IP)
        return false;
    for (size_t i = 0; !length && i < sizeof least_one / sizeof *least_one; i++)
        if (name == least_one[i])
            return false;
    return true;
}

/* tcp(7), TCP_NODELAY: "setting this option forces an explicit flush of pending output, even if TCP_CORK is
 * currently set". */
static void push_corked(struct neat_socket *s) {
    if (s->type == SOCK_STREAM && endpoint_current(&s->end))
        store(&s->end.shared->push_tail, load(&s->end.shared->tx_tail));
}

int neat_set_option(struct neat_socket *s, int fd, int level, int name, const void *value, socklen_t length) {
    int number, status;
    uint32_t row;
    if ((int)length < 0)
        return -EINVAL;
    if (length && !value)
        return -EFAULT;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        store(&s->descriptor.traced, 1);
        return libc(setsockopt)(fd, level, name, value, length) < 0 ? -errno : 0;
    }
    if (!neat_option_level(s, level))
        return -ENOPROTOOPT;
    if (level == SOL_SOCKET && name == SO_BINDTODEVICE)
        return !length || !*(const char *)value ? 0 : NEAT_UNSUPPORTED;
    if (level == IPPROTO_TCP && (name == TCP_CONGESTION || name == TCP_ULP))
        return set_name(name, value, length);
    if (!get_number(level, name, value, length, &number))
        return -EINVAL;
    const struct option *o = neat_option_find(s->type, level, name, &row);
    if (o)
        status = set_row(s, o, row, number);
    else if (level == SOL_SOCKET)
        status = set_socket_level(s, name, number, value, length);
    else if (level == IPPROTO_TCP)
        status = set_tcp_level(s, name, number);
    else
        status = level == IPPROTO_UDP ? NEAT_UNSUPPORTED : set_ip_level(s, level, name, number, length);
    if (status == 0 && level == IPPROTO_TCP && name == TCP_NODELAY && number)
        push_corked(s);
    if (status == 0)
        neat_options_apply(s, NULL);
    if (status == 0 && load(&s->stage) == STAGE_LISTENING)
        neat_listener_apply(s);
    if (status == 0 && level == IPPROTO_TCP && name == TCP_DEFER_ACCEPT && load(&s->stage) == STAGE_LISTENING)
        status = neat_listen(s, fd, s->setup.backlog);       /* the replicas hear of it with the listener */
    return status;
}

void (*neat_on_refusal)(enum neat_refusal kind, int level, int name);

int neat_refuse(enum neat_refusal kind, int level, int name) {
    tally(options_refused);
    if (neat_on_refusal)
        neat_on_refusal(kind, level, name);
    return level == IPPROTO_TCP && name == TCP_CONGESTION ? -ENOENT : -ENOPROTOOPT;
}

int neat_setsockopt(struct neat_socket *s, int fd, int level, int name, const void *value, socklen_t length) {
    int status = neat_set_option(s, fd, level, name, value, length);
    return status == NEAT_UNSUPPORTED ? neat_refuse(NEAT_REFUSED_SETSOCKOPT, level, name) : status;
}
