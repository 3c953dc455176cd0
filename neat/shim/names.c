/* Addresses: between Linux's struct sockaddr and struct neat_addr; getsockname and getpeername. */
#include <arpa/inet.h>

#include "internal.h"

int neat_from_sockaddr(const struct sockaddr *address, socklen_t length, uint8_t protocol, struct neat_addr *out) {
    struct sockaddr_in in;
    if (!address || length < (socklen_t)sizeof in)
        return -EINVAL;
    memcpy(&in, address, sizeof in);
    if (in.sin_family != AF_INET)
        return -EAFNOSUPPORT;
    memset(out, 0, sizeof *out);
    out->family = 4;
    out->protocol = protocol;
    out->port = ntohs(in.sin_port);
    memcpy(out->addr, &in.sin_addr, 4);
    return 0;
}

/* As Linux: what does not fit is cut, *length is what it would have been. */
void neat_to_sockaddr(const struct neat_addr *in, struct sockaddr *address, socklen_t *length) {
    struct sockaddr_in out = {.sin_family = AF_INET, .sin_port = htons(in->port)};
    if (!address || !length)
        return;
    memcpy(&out.sin_addr, in->addr, 4);
    memcpy(address, &out, *length < (socklen_t)sizeof out ? *length : (socklen_t)sizeof out);
    *length = sizeof out;
}

int neat_getsockname(struct neat_socket *s, struct sockaddr *address, socklen_t *length) {
    if ((int)*length < 0)
        return -EINVAL;
    neat_to_sockaddr(&s->local, address, length);
    return 0;
}

int neat_getpeername(struct neat_socket *s, struct sockaddr *address, socklen_t *length) {
    uint32_t stage = load(&s->stage);
    if ((int)*length < 0)
        return -EINVAL;
    if (s->type == SOCK_DGRAM ? !(load(&s->settings.options) & NEAT_OPT_PEER)
                              : stage != STAGE_CONNECTED && stage != STAGE_LOST)
        return -ENOTCONN;
    /* Linux: a connection that is over has no peer any more. */
    if (stage == STAGE_CONNECTED && endpoint_current(&s->end) && (load(&s->end.shared->status) & NEAT_ST_CLOSED))
        return -ENOTCONN;
    neat_to_sockaddr(&s->remote, address, length);
    return 0;
}
