/* Control messages of what was received (cmsg(3), ip(7), tcp(7), socket(7)), in Linux's order. */
#include <netinet/tcp.h>
#include <sys/time.h>
#include <time.h>

#include "data.h"

/* Linux's put_cmsg(): what does not fit is cut, and MSG_CTRUNC says so. `used` bytes are there already. */
static size_t put_cmsg(struct msghdr *message, size_t used, int level, int type, const void *data,
                       size_t length) {
    size_t left = message->msg_controllen - used, whole = CMSG_LEN(length), space = CMSG_SPACE(length);
    struct cmsghdr header = {.cmsg_len = whole < left ? whole : left, .cmsg_level = level, .cmsg_type = type};
    char *at = (char *)message->msg_control + used;
    if (!message->msg_control || left < sizeof header) {
        message->msg_flags |= MSG_CTRUNC;
        return used;
    }
    if (whole > left)
        message->msg_flags |= MSG_CTRUNC;
    memcpy(at, &header, sizeof header);
    memcpy(at + CMSG_LEN(0), data, header.cmsg_len - CMSG_LEN(0));
    return used + (space < left ? space : left);
}

/* The time at which it is taken: the replica does not stamp what it receives. */
static size_t put_time(struct msghdr *message, size_t used, bool nanoseconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct timeval coarse = {now.tv_sec, now.tv_nsec / 1000};
    return nanoseconds ? put_cmsg(message, used, SOL_SOCKET, SCM_TIMESTAMPNS, &now, sizeof now)
                       : put_cmsg(message, used, SOL_SOCKET, SCM_TIMESTAMP, &coarse, sizeof coarse);
}

/* The stack has no devices: index 0. */
static size_t put_destination(struct msghdr *message, size_t used, const struct neat_datagram *header,
                              bool six) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct in_pktinfo info = {0};
    struct in6_pktinfo info6 = {0};
    struct neat_addr own = {0};
    uint32_t prefix;
    memcpy(&info.ipi_addr, &header->addr.scope, 4);
    if (six) {
        memcpy(&info6.ipi6_addr, mapped, sizeof mapped);
        memcpy((uint8_t *)&info6.ipi6_addr + 12, &info.ipi_addr, 4);
        return put_cmsg(message, used, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof info6);
    }
    if (neat_stack_address(&own, &prefix) == 0)
        memcpy(&info.ipi_spec_dst, own.addr, 4);
    return put_cmsg(message, used, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
}

/* tcp(7), TCP_INQ: what is left to read, the end of the stream too. */
static int bytes_left(struct neat_socket *s) {
    bool end = s->end.shared && (load(&s->end.shared->status) & NEAT_ST_RDHUP);
    return neat_inq(s) + end;
}

void neat_put_stream_control(struct neat_socket *s, bool bytes, struct msghdr *message) {
    uint32_t options = load(&s->settings.options);
    size_t used = 0;
    if (bytes && (options & (NEAT_OPT_TIMESTAMP | NEAT_OPT_TIMESTAMPNS)))
        used = put_time(message, used, options & NEAT_OPT_TIMESTAMPNS);
    if (options & NEAT_OPT_INQ) {
        int left = bytes_left(s);
        used = put_cmsg(message, used, IPPROTO_TCP, TCP_CM_INQ, &left, sizeof left);
    }
    message->msg_controllen = used;
}

void neat_put_control(const struct neat_socket *s, const struct neat_datagram *header,
                      struct msghdr *message) {
    uint32_t options = load(&s->settings.options);
    uint8_t tos = (uint8_t)header->flags;
    int ttl = (uint8_t)(header->flags >> 8);
    size_t used = 0;
    if (options & (NEAT_OPT_TIMESTAMP | NEAT_OPT_TIMESTAMPNS))
        used = put_time(message, used, options & NEAT_OPT_TIMESTAMPNS);
    if (options & NEAT_OPT_PKTINFO6)
        used = put_destination(message, used, header, true);
    if (options & NEAT_OPT_PKTINFO)
        used = put_destination(message, used, header, false);
    if (options & NEAT_OPT_RECVTTL)
        used = put_cmsg(message, used, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
    if (options & NEAT_OPT_RECVTOS)
        used = put_cmsg(message, used, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
    message->msg_controllen = used;
}
