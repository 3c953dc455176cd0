/* Getsockopt and setsockopt. An undecided socket's are the kernel's, and what NEaT knows of them is kept
 * for it as well. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "../options.h"
#include "preload.h"

/* Newer than some headers: TCP_AO_ADD_KEY to TCP_AO_REPAIR. */
#define OPT_TCP_AO_FIRST 38
#define OPT_TCP_AO_LAST 42

/* A kernel socket that takes the place of one on NEaT gets its settings. */
void options_copy(struct neat_socket *s, int fd, int to) {
    static const int copied[][2] = {
        {SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_REUSEPORT}, {SOL_SOCKET, SO_KEEPALIVE},
        {SOL_SOCKET, SO_BROADCAST},
        {SOL_SOCKET, SO_LINGER}, {SOL_SOCKET, SO_RCVTIMEO}, {SOL_SOCKET, SO_SNDTIMEO},
        {IPPROTO_TCP, TCP_NODELAY},
        {IPPROTO_TCP, TCP_CORK}, {IPPROTO_TCP, TCP_KEEPIDLE}, {IPPROTO_TCP, TCP_KEEPINTVL},
        {IPPROTO_TCP, TCP_KEEPCNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT}, {IPPROTO_TCP, TCP_DEFER_ACCEPT}, {IPPROTO_IP, IP_TOS},
        {IPPROTO_IP, IP_TTL},
    };
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        char value[32];
        socklen_t length = sizeof value;
        if (neat_getsockopt(s, fd, copied[i][0], copied[i][1], value, &length) == 0)
            libc(setsockopt)(to, copied[i][0], copied[i][1], value, length);
    }
}

/* Set on an undecided socket, these make it the kernel's: what was asked for is a matter of the host, or
 * would be missed. */
static const struct wish {
    int level, name, last;         /* `last`: of a range; 0: no range */
    const char *text;
} wishes[] = {
    {SOL_SOCKET, SO_BINDTODEVICE, 0, "SO_BINDTODEVICE"},
    {SOL_SOCKET, SO_BINDTOIFINDEX, 0, "SO_BINDTOIFINDEX"},
    {SOL_SOCKET, SO_ATTACH_FILTER, 0, "SO_ATTACH_FILTER"},
    {SOL_SOCKET, SO_ATTACH_BPF, 0, "SO_ATTACH_BPF"},
    {IPPROTO_IP, IP_XFRM_POLICY, 0, "IP_XFRM_POLICY"},
    {IPPROTO_IP, IP_TRANSPARENT, 0, "IP_TRANSPARENT"},
    {IPPROTO_IP, IP_UNICAST_IF, 0, "IP_UNICAST_IF"},
    {IPPROTO_IP, IP_MULTICAST_IF, 0, "IP_MULTICAST_IF"},
    {IPPROTO_IP, IP_ADD_MEMBERSHIP, 0, "IP_ADD_MEMBERSHIP"},
    {IPPROTO_IP, IP_DROP_MEMBERSHIP, MCAST_MSFILTER, "multicast"},
    {IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, 0, "IPV6_ADD_MEMBERSHIP"},
    {IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, 0, "multicast"},
    {IPPROTO_IPV6, MCAST_JOIN_GROUP, MCAST_MSFILTER, "multicast"},
    {IPPROTO_IPV6, IPV6_TRANSPARENT, 0, "IPV6_TRANSPARENT"},
    {IPPROTO_TCP, TCP_MD5SIG, 0, "TCP_MD5SIG"},
    {IPPROTO_TCP, TCP_MD5SIG_EXT, 0, "TCP_MD5SIG_EXT"},
    {IPPROTO_TCP, OPT_TCP_AO_FIRST, OPT_TCP_AO_LAST, "TCP_AO"},
    {IPPROTO_TCP, TCP_REPAIR, 0, "TCP_REPAIR"},
    {IPPROTO_UDP, UDP_ENCAP, 0, "UDP_ENCAP"},
};

static const struct wish *wish(int level, int name) {
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) {
        const struct wish *at = &wishes[i];
        if (at->level == level && name >= at->name && name <= (at->last ? at->last : at->name))
            return at;
    }
    return NULL;
}

/* `foreign` of a socket: level and name. */
static uint32_t key(int level, int name) {
    return (uint32_t)level << 16 | (uint16_t)name;
}

static const struct wish *wish_of(uint32_t foreign) {
    return foreign ? wish((int)(foreign >> 16), (int)(foreign & 0xffff)) : NULL;
}

bool options_need_kernel(struct neat_socket *s, const char **why) {
    const struct wish *kept = wish_of(interposed(s)->foreign);
    if (kept)
        *why = kept->text;
    return kept != NULL;
}

void options_decided(struct neat_socket *s) {
    uint32_t foreign = interposed(s)->foreign;
    if (foreign)
        log_refused(NEAT_REFUSED_SETSOCKOPT, (int)(foreign >> 16), (int)(foreign & 0xffff));
}

/* NEaT does not have it, the kernel may, and the socket may still become either's. What makes it the
 * kernel's is taken; so is what is IPv6's own, as every true IPv6 address is the kernel's, and with an
 * IPv4 peer it says nothing. Anything else is refused at once: nobody shall rely on what would be gone
 * after connect(). Programs ask, and do without. */
static bool may_be_foreign(int level, int name) {
    return level == IPPROTO_IPV6 || wish(level, name);
}

/* Of an undecided socket: both take it, or neither does. 0 or -errno. */
static int set_undecided(struct neat_socket *s, int fd, int level, int name, const void *value,
                         socklen_t length) {
    struct settings before = s->settings;
    bool elsewhere = wish_of(interposed(s)->foreign);
    int ours = elsewhere ? 0 : neat_set_option(s, fd, level, name, value, length);
    if (ours == NEAT_UNSUPPORTED && !may_be_foreign(level, name))
        return neat_refuse(NEAT_REFUSED_SETSOCKOPT, level, name);
    if (libc(setsockopt)(fd, level, name, value, length) < 0) {
        if (ours == 0)
            s->settings = before;
        return -errno;
    }
    if (ours < 0)
        interposed(s)->foreign = key(level, name);
    else if (interposed(s)->foreign == key(level, name))
        interposed(s)->foreign = 0;    /* it was turned off */
    return 0;
}

NEAT_API int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    bool undecided;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    if (!s)
        return libc(setsockopt)(fd, level, name, value, length);
    int status;
    if (undecided) {
        status = set_undecided(s, fd, level, name, value, length);
    } else {
        status = neat_setsockopt(s, fd, level, name, value, length);
        int aside = load(&interposed(s)->aside);
        if (status == 0 && aside > 0)
            libc(setsockopt)(aside, level, name, value, length);
    }
    neat_put(s);
    return (int)result(status);
}

NEAT_API int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(getsockopt)(fd, level, name, value, length);
    int status = neat_getsockopt(s, fd, level, name, value, length);
    neat_put(s);
    return (int)result(status);
}
