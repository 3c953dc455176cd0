/* getsockopt and setsockopt. An undecided socket's are the kernel's, and what NEaT knows of them is kept for it as well. */
#include <netinet/tcp.h>

#include "preload.h"

/* A kernel socket that takes the place of one on NEaT gets its settings. */
void options_copy(struct neat_socket *s, int fd, int to) {
    static const int copied[][2] = {
        {SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_REUSEPORT}, {SOL_SOCKET, SO_KEEPALIVE}, {SOL_SOCKET, SO_BROADCAST},
        {SOL_SOCKET, SO_LINGER}, {SOL_SOCKET, SO_RCVTIMEO}, {SOL_SOCKET, SO_SNDTIMEO}, {IPPROTO_TCP, TCP_NODELAY},
        {IPPROTO_TCP, TCP_CORK}, {IPPROTO_TCP, TCP_KEEPIDLE}, {IPPROTO_TCP, TCP_KEEPINTVL}, {IPPROTO_TCP, TCP_KEEPCNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT}, {IPPROTO_TCP, TCP_DEFER_ACCEPT}, {IPPROTO_IP, IP_TOS}, {IPPROTO_IP, IP_TTL},
    };
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        char value[32];
        socklen_t length = sizeof value;
        if (neat_getsockopt(s, fd, copied[i][0], copied[i][1], value, &length) == 0)
            libc(setsockopt)(to, copied[i][0], copied[i][1], value, length);
    }
}

bool options_need_kernel(const struct neat_socket *s, const char **why) {
    (void)s;
    (void)why;
    return false;
}

void options_decided(struct neat_socket *s) {
    (void)s;
}

NEAT_API int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    bool undecided;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    if (!s)
        return libc(setsockopt)(fd, level, name, value, length);
    int status;
    if (undecided) {
        status = libc(setsockopt)(fd, level, name, value, length) < 0 ? -errno : 0;
        if (status == 0)
            neat_setsockopt(s, fd, level, name, value, length);
    } else {
        status = neat_setsockopt(s, fd, level, name, value, length);
        if (status == -ENOPROTOOPT || status == -EOPNOTSUPP)
            log_refused(NEAT_REFUSED_SETSOCKOPT, level, name);
    }
    neat_put(s);
    return (int)result(status);
}

NEAT_API int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(getsockopt)(fd, level, name, value, length);
    int status = neat_getsockopt(s, fd, level, name, value, length);
    if (status == -ENOPROTOOPT || status == -EOPNOTSUPP)
        log_refused(NEAT_REFUSED_GETSOCKOPT, level, name);
    neat_put(s);
    return (int)result(status);
}
