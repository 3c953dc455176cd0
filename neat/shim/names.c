/* Addresses: between Linux's struct sockaddr and struct neat_addr; getsockname and getpeername. */
#include <arpa/inet.h>

#include "object.h"

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};     /* RFC 4291 §2.5.5.2: ::ffff:0:0/96 */

/* An address for an AF_INET6 socket: IPv4-mapped, or the wildcard. */
static int from_v6(const struct sockaddr *address, socklen_t length, struct neat_addr *out) {
    static const uint8_t any[16] = {0};
    struct sockaddr_in6 in = {0};
    if (length < (socklen_t)offsetof(struct sockaddr_in6, sin6_scope_id))
        return -EINVAL;
    memcpy(&in, address, length < (socklen_t)sizeof in ? length : sizeof in);
    if (in.sin6_family != AF_INET6)
        return -EAFNOSUPPORT;
    if (memcmp(&in.sin6_addr, mapped, sizeof mapped) && memcmp(&in.sin6_addr, any, sizeof any))
        return -ENETUNREACH;
    out->port = ntohs(in.sin6_port);
    memcpy(out->addr, (const uint8_t *)&in.sin6_addr + 12, 4);
    return 0;
}

int neat_from_sockaddr(const struct neat_socket *s, const struct sockaddr *address, socklen_t length,
                       struct neat_addr *out) {
    struct sockaddr_in in;
    if (!address || length < (socklen_t)sizeof in)
        return -EINVAL;
    memset(out, 0, sizeof *out);
    out->family = 4;
    out->protocol = (uint8_t)s->protocol;
    memcpy(&in, address, sizeof in);
    /* A datagram socket of IPv6 takes IPv4 addresses, too (Linux). */
    if (s->family == AF_INET6 && !(s->type == SOCK_DGRAM && in.sin_family == AF_INET))
        return from_v6(address, length, out);
    if (in.sin_family != AF_INET)
        return -EAFNOSUPPORT;
    out->port = ntohs(in.sin_port);
    memcpy(out->addr, &in.sin_addr, 4);
    return 0;
}

/* As Linux: what does not fit is cut, *length is what it would have been. */
void neat_to_sockaddr(const struct neat_socket *s, const struct neat_addr *in, struct sockaddr *address,
                      socklen_t *length) {
    struct sockaddr_in out = {.sin_family = AF_INET, .sin_port = htons(in->port)};
    struct sockaddr_in6 out6 = {.sin6_family = AF_INET6, .sin6_port = htons(in->port)};
    const void *from = s->family == AF_INET6 ? (const void *)&out6 : &out;
    socklen_t size = s->family == AF_INET6 ? sizeof out6 : sizeof out;
    if (!address || !length)
        return;
    memcpy(&out.sin_addr, in->addr, 4);
    if (in->addr[0] | in->addr[1] | in->addr[2] | in->addr[3]) {
        memcpy(&out6.sin6_addr, mapped, sizeof mapped);
        memcpy((uint8_t *)&out6.sin6_addr + 12, in->addr, 4);
    }
    memcpy(address, from, *length < size ? *length : size);
    *length = size;
}

int neat_getsockname(struct neat_socket *s, struct sockaddr *address, socklen_t *length) {
    if ((int)*length < 0)
        return -EINVAL;
    struct neat_addr local = s->setup.local;
    if (load(&s->stage) == STAGE_NEW && s->setup.stale_port)
        local.port = s->setup.stale_port;
    neat_to_sockaddr(s, &local, address, length);
    return 0;
}

int neat_getpeername(struct neat_socket *s, struct sockaddr *address, socklen_t *length) {
    uint32_t stage = neat_stage(s);
    if ((int)*length < 0)
        return -EINVAL;
    if (s->type == SOCK_DGRAM ? !(load(&s->settings.options) & NEAT_OPT_PEER)
                              : stage != STAGE_CONNECTED && stage != STAGE_LOST)
        return -ENOTCONN;
    /* Linux: a connection that is over has no peer any more. */
    if (stage == STAGE_CONNECTED && (endpoint_lost(&s->end) || endpoint_closed(&s->end)))
        return -ENOTCONN;
    neat_to_sockaddr(s, &s->setup.remote, address, length);
    return 0;
}
