"""The stack's ends of listening and UDP sockets, which every replica has.

The queue of a listener's unix socket is the accept queue: accept.pyx."""

from libc.errno cimport EEXIST, EINVAL, ENOBUFS, ENOENT
from libc.stdint cimport int32_t, uint32_t
from neat.abi.channel cimport NEAT_SHARED_SOCKS, NEAT_SOCK_LISTENER, NEAT_SOCK_UDP, neat_addr
from neat.abi.control cimport NEAT_EV_REPLICA, neat_msg
from neat.replica.accept cimport accept_close, accept_room
from neat.replica.channels cimport channel_find, channel_reap
from neat.replica.counters cimport COUNT_LISTENERS, COUNT_UDP_SOCKETS
from neat.replica.endpoints cimport compose, send_token, take_fills
from neat.replica.posix cimport (
    EPOLLERR, EPOLLET, EPOLLHUP, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, close, send_with, watch,
)
from neat.replica.process cimport MAX_SHARED, WATCH_SHARED, Channel, Process, SharedEnd, gauge, watch_data
from neat.stack.engine cimport (
    EV_READABLE, EV_WRITABLE, Event, stack_listen, stack_set_backlog, stack_set_defer, stack_sock,
    stack_udp_bind, stack_udp_unbind, stack_unlisten,
)


cdef SharedEnd* shared_find(Process* p, uint32_t app, uint32_t sock) noexcept nogil:
    channel = channel_find(p, app)
    if channel == NULL or sock >= NEAT_SHARED_SOCKS or channel.shared[sock] < 0:
        return NULL
    return &p.shared[channel.shared[sock]]


cdef int32_t shared_place(Process* p, Channel* channel, uint32_t app, uint32_t sock) noexcept nogil:
    """A free entry for this socket, or -errno."""
    if channel == NULL:
        return -ENOENT
    if sock >= NEAT_SHARED_SOCKS:
        return -EINVAL
    if channel.shared[sock] >= 0:
        return -EEXIST
    for i in range(MAX_SHARED):
        if p.shared[i].fd < 0:
            return i
    return -ENOBUFS


cdef int shared_open(
    Process* p, int32_t place, Channel* channel, uint32_t kind, uint32_t sock, uint32_t bind_id,
    const neat_addr* local, int fd
) noexcept nogil:
    end = &p.shared[place]
    p.serial += 1
    status = watch(
        p.epoll, EPOLL_CTL_ADD, fd, EPOLLRDHUP | EPOLLET, watch_data(WATCH_SHARED, p.serial, place)
    )
    if status < 0:
        return status
    end.fd = fd
    end.serial = p.serial
    end.kind = kind
    end.app = channel.app
    end.sock = sock
    end.bind_id = bind_id
    end.local = local[0]
    end.offers = 0
    end.read = 0
    end.first = -1
    end.last = -1
    end.blocked = False
    channel.shared[sock] = place
    return 0


cdef int listener_add(
    Process* p, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t backlog, uint32_t flags,
    uint32_t defer_s, const neat_addr* local, int fd
) noexcept nogil:
    channel = channel_find(p, app)
    known = shared_find(p, app, sock)
    if known != NULL and known.bind_id == bind_id and known.kind == NEAT_SOCK_LISTENER:
        known.backlog = backlog
        stack_set_defer(p.stack, app, sock, defer_s)
        status = stack_set_backlog(p.stack, app, sock, backlog)
        return status if status < 0 else 1
    place = shared_place(p, channel, app, sock)
    if place < 0:
        return place
    status = stack_listen(p.stack, app, sock, local, backlog, flags)
    if status < 0:
        return status
    status = shared_open(p, place, channel, NEAT_SOCK_LISTENER, sock, bind_id, local, fd)
    if status < 0:
        stack_unlisten(p.stack, app, sock, p.now)
        return status
    stack_set_defer(p.stack, app, sock, defer_s)
    p.shared[place].backlog = backlog
    gauge(p, COUNT_LISTENERS, 1)
    return 0


cdef int udp_add(
    Process* p, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t flags, const neat_addr* local,
    int fd, bint announce
) noexcept nogil:
    cdef neat_msg message
    channel = channel_find(p, app)
    known = shared_find(p, app, sock)
    if known != NULL and known.bind_id == bind_id and known.kind == NEAT_SOCK_UDP:
        return 1
    place = shared_place(p, channel, app, sock)
    if place < 0:
        return place
    status = stack_udp_bind(p.stack, app, sock, local, flags)
    if status < 0:
        return status
    status = shared_open(p, place, channel, NEAT_SOCK_UDP, sock, bind_id, local, fd)
    if status < 0:
        stack_udp_unbind(p.stack, app, sock)
        return status
    gauge(p, COUNT_UDP_SOCKETS, 1)
    if announce:
        compose(p, &message, NEAT_EV_REPLICA, app, sock, 0)
        message.bind_id = bind_id
        send_with(fd, &message, sizeof(neat_msg), -1)
    return 0


cdef void udp_event(Process* p, Event* event) noexcept nogil:
    end = shared_find(p, event.app, event.sock)
    sock = stack_sock(p.stack, event.app, event.sock)
    if end == NULL or sock == NULL or end.kind != NEAT_SOCK_UDP:
        return
    if event.kinds & EV_READABLE:
        send_token(p, sock, end.fd)
    if event.kinds & EV_WRITABLE:
        take_fills(sock, end.fd)


cdef void shared_ready(Process* p, uint32_t index, uint32_t serial, uint32_t events) noexcept nogil:
    if index >= MAX_SHARED:
        return
    end = &p.shared[index]
    if end.fd < 0 or (end.serial & 0xFFFFFF) != serial:
        return
    if events & (EPOLLHUP | EPOLLERR):
        shared_close(p, end)
    elif events & EPOLLOUT and end.kind == NEAT_SOCK_LISTENER:
        accept_room(p, end)


cdef void shared_close(Process* p, SharedEnd* end) noexcept nogil:
    """The application's last copy is gone: the port is free."""
    if end.kind == NEAT_SOCK_LISTENER:
        accept_close(p, end)
        stack_unlisten(p.stack, end.app, end.sock, p.now)
        gauge(p, COUNT_LISTENERS, -1)
    else:
        stack_udp_unbind(p.stack, end.app, end.sock)
        gauge(p, COUNT_UDP_SOCKETS, -1)
    channel = channel_find(p, end.app)
    if channel != NULL:
        channel.shared[end.sock] = -1
        channel_reap(p, channel)
    close(end.fd)
    end.fd = -1
