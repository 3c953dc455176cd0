/* Socket, bind, listen, accept, connect, the names, shutdown. Read first: preload.h (what "undecided" is),
 * route.c (who decides).
 *
 * An undecided socket that is bound to NEaT keeps its kernel socket aside, as an own descriptor with all
 * that was set on it: a bind that the stack refuses leaves the application what it had, and a socket on
 * the wildcard may still connect to an address that is the kernel's. */
#include <arpa/inet.h>

#include "../order.h"
#include "../setup.h"
#include "preload.h"

/* IPPROTO_MPTCP, which older headers do not have; on NEaT it is TCP, as where the peer has none. */
#define IPPROTO_MULTIPATH 262

/* TCP or UDP over IP: what a NEaT socket of this kind speaks; 0: the kernel's alone. */
static int protocol_of(int family, int type, int protocol) {
    type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (family != AF_INET && family != AF_INET6)
        return 0;
    if (type == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP || protocol == IPPROTO_MULTIPATH))
        return IPPROTO_TCP;
    return type == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP) ? IPPROTO_UDP : 0;
}

NEAT_API int socket(int family, int type, int protocol) {
    uint32_t now = neat_flags_now();
    int fd = libc(socket)(family, type, protocol), speaks = protocol_of(family, type, protocol);
    if (fd < 0 && errno == EMFILE && neat_spares_drop())
        fd = libc(socket)(family, type, protocol);
    if (fd_fresh(fd) < 0 || !speaks)
        return fd;
    struct neat_socket *s = neat_new(speaks == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM, speaks);
    if (!s) {
        libc(close)(fd);
        return (int)result(-ENOMEM);
    }
    s->family = family;
    s->settings.options = family == AF_INET6 ? NEAT_OPT_INET6 : 0;
    neat_flags_born(s, type & SOCK_NONBLOCK, now);
    fd_enter(fd, s, true);
    return fd;
}

/* What an address looks like in a line of the log. */
static const char *shown(const struct sockaddr *address, socklen_t length, char *text, size_t room) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (length >= (socklen_t)sizeof(struct sockaddr_in) && address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(text, room, "%s:%u", host, ntohs(in->sin_port));
    } else if (length >= (socklen_t)sizeof(struct sockaddr_in6) && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        snprintf(text, room, "[%s]:%u", host, ntohs(in->sin6_port));
    } else {
        snprintf(text, room, "an address of family %d", address ? address->sa_family : -1);
    }
    return text;
}

static void tell_route(const struct neat_socket *s, int fd, const char *call, const struct sockaddr *address,
                       socklen_t length, enum route route, const char *why, int status) {
    char text[80];
    if (!log_verbose)
        return;
    log_line("socket %d %s %s %s -> %s (%s)%s%s", fd, s->type == SOCK_STREAM ? "tcp" : "udp", call,
             shown(address, length, text, sizeof text), route == ROUTE_NEAT ? "neat" : "kernel", why,
             status < 0 ? ": " : "",
             status < 0 ? strerror(-status) : "");
}

static bool v6only(const struct neat_socket *s, int fd, bool undecided) {
    int only = 0;
    socklen_t length = sizeof only;
    return undecided && s->family == AF_INET6 &&
           libc(getsockopt)(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &length) == 0 && only;
}

/* An undecided socket goes to NEaT; its kernel socket is kept aside. */
static int decide_neat(struct neat_socket *s, int fd) {
    static const int timeouts[] = {SO_RCVTIMEO, SO_SNDTIMEO};
    int aside = libc(fcntl)(fd, F_DUPFD_CLOEXEC, 1);     /* 0 says that there is none */
    if (aside < 0)
        return -errno;
    aside = neat_hide_fd(aside);
    int status = fd_decide_neat(s);
    if (status < 0 || load(&interposed(s)->aside) > 0) {
        neat_close_own(aside);
        return status;
    }
    store(&interposed(s)->aside, aside);
    neat_hold_own(&interposed(s)->aside);
    for (int i = 0; i < 2; i++) {
        struct timeval limit;
        socklen_t length = sizeof limit;
        if (libc(getsockopt)(aside, SOL_SOCKET, timeouts[i], &limit, &length) == 0 &&
            (limit.tv_sec || limit.tv_usec))
            libc(setsockopt)(fd, SOL_SOCKET, timeouts[i], &limit, sizeof limit);
    }
    options_decided(s);
    return 0;
}

/* What was kept aside is not needed any more. */
static void drop_aside(struct neat_socket *s) {
    int aside = swap(&interposed(s)->aside, 0);
    if (aside > 0)
        neat_close_own(aside);
}

/* The stack refused an undecided socket: it is again what it was. Keeps `status`. */
static int undecide(struct neat_socket *s, int status) {
    int aside = swap(&interposed(s)->aside, 0);
    if (aside <= 0)
        return status;
    fd_return(s, aside, true);
    neat_close_own(aside);
    return status;
}

/* The kernel's socket for one that is on NEaT already: kept aside, or made anew (after an exec, or a
 * connect() that failed). */
static int kernel_twin(struct neat_socket *s, int fd) {
    int twin = swap(&interposed(s)->aside, 0);
    if (twin > 0)
        return twin;
    twin = libc(socket)(s->family, s->type | SOCK_CLOEXEC, s->protocol);
    if (twin < 0)
        return -errno;
    options_copy(s, fd, twin);
    return neat_hide_fd(twin);
}

/* A socket of NEaT's that is not connected yet goes to the kernel under its number, bound to the same
 * port. 0 or -errno. */
static int move_to_kernel(struct neat_socket *s, int fd) {
    struct sockaddr_storage local;
    socklen_t length = sizeof local;
    uint32_t stage = load(&s->stage);
    int twin = kernel_twin(s, fd), status = 0;
    if (twin < 0)
        return twin;
    neat_getsockname(s, (struct sockaddr *)&local, &length);
    if (stage == STAGE_BOUND || stage == STAGE_UDP)
        status = libc(bind)(twin, (struct sockaddr *)&local, length) < 0 ? -errno : 0;
    if (status == -EADDRINUSE && s->setup.any_port)
        status = 0;                    /* the port was nobody's choice: connect() takes another */
    if (status == 0)
        status = fd_return(s, twin, false);
    neat_close_own(twin);
    return status;
}

/* bind(address), or listen() on the wildcard, of an undecided socket: where it went. *status: NEaT's
 * answer; the kernel is asked by the caller. */
static enum route place(struct neat_socket *s, int fd, const char *call, const struct sockaddr *address,
                        socklen_t length, int *status) {
    const char *why = "";
    enum route route = route_bind(s->family, s->type, address, length, v6only(s, fd, true), &why);
    *status = 0;
    if (route == ROUTE_NEAT && options_need_kernel(s, &why))
        route = ROUTE_KERNEL;
    if (route == ROUTE_NEAT) {
        *status = decide_neat(s, fd);
        if (*status == 0)
            *status = neat_bind(s, fd, address, length);
        if (*status < 0)
            undecide(s, *status);
    }
    tell_route(s, fd, call, address, length, route, why, *status);
    return route;
}

NEAT_API int bind(int fd, const struct sockaddr *address, socklen_t length) {
    bool undecided;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    struct sockaddr_in any;
    int status;
    if (!s)
        return libc(bind)(fd, address, length);
    if (s->family == AF_INET && address && length >= (socklen_t)sizeof any &&
        address->sa_family == AF_UNSPEC) {
        memcpy(&any, address, sizeof any);
        /* Linux takes the wildcard without a family, too. */
        any.sin_family = any.sin_addr.s_addr ? AF_UNSPEC : AF_INET;
        address = (struct sockaddr *)&any;
    }
    if (!undecided) {
        status = neat_bind(s, fd, address, length);
    } else if (place(s, fd, "bind", address, length, &status) == ROUTE_KERNEL) {
        status = libc(bind)(fd, address, length) < 0 ? -errno : 0;
        if (status == 0)
            fd_decide_kernel(s);
    }
    neat_put(s);
    return (int)result(status);
}

NEAT_API int listen(int fd, int backlog) {
    bool undecided;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    struct sockaddr_in any4 = {.sin_family = AF_INET};
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6};
    int status = 0;
    enum route route = ROUTE_NEAT;
    if (!s)
        return libc(listen)(fd, backlog);
    if (undecided && s->type != SOCK_STREAM)
        route = ROUTE_KERNEL;
    else if (undecided && s->family == AF_INET)
        route = place(s, fd, "listen", (struct sockaddr *)&any4, sizeof any4, &status);
    else if (undecided)
        route = place(s, fd, "listen", (struct sockaddr *)&any6, sizeof any6, &status);
    if (route == ROUTE_NEAT) {
        if (status == 0)
            status = neat_listen(s, fd, backlog);
        if (status == 0)
            drop_aside(s);
    } else {
        status = libc(listen)(fd, backlog) < 0 ? -errno : 0;
        if (status == 0)
            fd_decide_kernel(s);
    }
    neat_put(s);
    return (int)result(status);
}

NEAT_API int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    struct neat_socket *s = fd_get(fd), *accepted = NULL;
    uint32_t now = neat_flags_now();
    if (!s)
        return fd_fresh(libc(accept4)(fd, address, length, flags));
    int status = address && (!length || (int)*length < 0) ? -EINVAL : 0;
    if (status == 0)
        status = neat_accept(s, fd, address, length, flags, &accepted);
    if (status >= 0) {
        neat_flags_born(accepted, flags & SOCK_NONBLOCK, now);
        fd_enter(fd_fresh(status), accepted, false);
    }
    neat_put(s);
    return (int)result(status);
}

NEAT_API int accept(int fd, struct sockaddr *address, socklen_t *length) {
    return accept4(fd, address, length, 0);
}

AT_START(ORDER_HOOKS) void set_up_looks(void) {
    neat_looks_first = true;
    neat_on_end = drop_aside;
}

static bool unspecified(const struct sockaddr *address, socklen_t length) {
    return !address || length < (socklen_t)sizeof(sa_family_t) || address->sa_family == AF_UNSPEC;
}

/* connect() by the kernel, of an undecided socket. It is decided when that came about, or is under way. */
static int connect_kernel(struct neat_socket *s, int fd, const struct sockaddr *address, socklen_t length) {
    int status = libc(connect)(fd, address, length) < 0 ? -errno : 0;
    if (!unspecified(address, length) && (status == 0 || status == -EINPROGRESS || status == -EINTR))
        fd_decide_kernel(s);
    return status;
}

/* One on NEaT that may still change sides: not connected, not listening. */
static bool movable(const struct neat_socket *s) {
    uint32_t stage = load(&s->stage);
    return stage == STAGE_NEW || stage == STAGE_BOUND || stage == STAGE_UDP;
}

static int connect_routed(struct neat_socket *s, int fd, bool undecided, const struct sockaddr *address,
                          socklen_t length) {
    const char *why = "";
    enum route route = ROUTE_NEAT;
    int status = 0;
    if (unspecified(address, length)) {
        status = undecided ? connect_kernel(s, fd, address, length) : neat_connect(s, fd, address, length);
        if (status == 0 && !undecided)
            epoll_moved(fd, s);
        return status;
    }
    if (undecided || movable(s))
        route = route_connect(s->family, s->type, address, length, &why);
    if (!undecided && !*why)
        route = ROUTE_NEAT;            /* no address: the client core knows the errno */
    if (route == ROUTE_NEAT && undecided &&
        (options_need_kernel(s, &why) || (v6only(s, fd, true) && (why = "IPV6_V6ONLY"))))
        route = ROUTE_KERNEL;
    if (route == ROUTE_KERNEL && !undecided)
        status = move_to_kernel(s, fd);
    if (*why)
        tell_route(s, fd, "connect", address, length, route, why, status);
    if (status < 0)
        return status;
    if (route == ROUTE_KERNEL && undecided)
        return connect_kernel(s, fd, address, length);
    if (route == ROUTE_KERNEL)
        return libc(connect)(fd, address, length) < 0 ? -errno : 0;
    if (undecided)
        status = decide_neat(s, fd);
    if (status == 0)
        status = neat_connect(s, fd, address, length);
    if (undecided && status < 0 && load(&s->stage) == STAGE_NEW)
        return undecide(s, status);
    if (s->type == SOCK_STREAM && (status == 0 || status == -EINPROGRESS || status == -EINTR))
        drop_aside(s);
    return status;
}

NEAT_API int connect(int fd, const struct sockaddr *address, socklen_t length) {
    bool undecided;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    if (!s)
        return libc(connect)(fd, address, length);
    int status = connect_routed(s, fd, undecided, address, length);
    neat_put(s);
    return (int)result(status);
}

int fd_decide_for_peer(struct neat_socket *s, int fd, const struct sockaddr *address, socklen_t length) {
    const char *why = "";
    int status = 0;
    if (s->type != SOCK_DGRAM || unspecified(address, length))
        return 0;
    bool undecided = load(&s->stage) == STAGE_NEW && load(&s->descriptor.stack_end) < 0;
    enum route route = route_connect(s->family, s->type, address, length, &why);
    if (!*why)
        return 0;
    if (!undecided)
        return route == ROUTE_KERNEL ? -ENETUNREACH : 0;
    if (route == ROUTE_NEAT &&
        (options_need_kernel(s, &why) || (v6only(s, fd, true) && (why = "IPV6_V6ONLY"))))
        route = ROUTE_KERNEL;
    if (route == ROUTE_NEAT)
        status = decide_neat(s, fd);
    else
        fd_decide_kernel(s);
    tell_route(s, fd, "send to", address, length, route, why, status);
    return status;
}

NEAT_API int getsockname(int fd, struct sockaddr *address, socklen_t *length) {
    bool undecided;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    int status;
    if (!s)
        return libc(getsockname)(fd, address, length);
    if (undecided && !s->setup.stale_port)
        status = libc(getsockname)(fd, address, length) < 0 ? -errno : 0;
    else
        status = neat_getsockname(s, address, length);
    neat_put(s);
    return (int)result(status);
}

NEAT_API int getpeername(int fd, struct sockaddr *address, socklen_t *length) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(getpeername)(fd, address, length);
    int status = neat_getpeername(s, address, length);
    neat_put(s);
    return (int)result(status);
}

NEAT_API int shutdown(int fd, int how) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return libc(shutdown)(fd, how);
    bool may_dissolve = s->type == SOCK_STREAM && neat_stage(s) != STAGE_CONNECTED;
    int status = neat_shutdown(s, fd, how);
    if (status == 0 && may_dissolve && load(&s->stage) != STAGE_LISTENING)
        epoll_moved(fd, s);
    neat_put(s);
    return (int)result(status);
}
