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
    EPOLLERR, EPOLLET, EPOLLHUP, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_DEL, send_with, watch,
)
from neat.replica.process cimport (
    MAX_SHARED, WATCH_SHARED, Channel, Process, SharedEnd, close_number, gauge, own_number, watch_data,
)
from neat.shm.atomic cimport load32
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
    uint32_t flags, const neat_addr* local, int fd
) noexcept nogil:
    """Watched and in the ledger, before the engine has its part: a successor makes that good."""
    end = &p.shared[place]
    status = shared_watch(p, place, fd)
    if status < 0:
        return status
    end.kind = kind
    end.app = channel.app
    end.sock = sock
    end.bind_id = bind_id
    end.flags = flags
    end.backlog = end.defer_s = 0
    end.local = local[0]
    end.offers = 0
    end.read = 0
    own_number(&end.fd, fd)
    channel.shared[sock] = place
    return 0


cdef int shared_watch(Process* p, int32_t place, int fd) noexcept nogil:
    end = &p.shared[place]
    p.serial += 1
    end.serial = p.serial
    end.first = -1
    end.last = -1
    end.blocked = False
    return watch(p.epoll, EPOLL_CTL_ADD, fd, EPOLLRDHUP | EPOLLET, watch_data(WATCH_SHARED, p.serial, place))


cdef void shared_forget(Process* p, Channel* channel, SharedEnd* end) noexcept nogil:
    """It did not come about; its descriptor is the caller's."""
    watch(p.epoll, EPOLL_CTL_DEL, end.fd, 0, 0)
    channel.shared[end.sock] = -1
    own_number(&end.fd, -1)


cdef int shared_recover(Process* p, int32_t place) noexcept nogil:
    end = &p.shared[place]
    channel = channel_find(p, end.app)
    if channel == NULL or end.sock >= NEAT_SHARED_SOCKS:
        close_number(&end.fd)
        return 0
    status = shared_watch(p, place, end.fd)
    if status < 0:
        return status
    channel.shared[end.sock] = place
    if end.kind == NEAT_SOCK_UDP:
        gauge(p, COUNT_UDP_SOCKETS, 1)
        stack_udp_bind(p.stack, end.app, end.sock, &end.local, end.flags)  # -EADDRINUSE, if it is there
        udp_token(p, end)
        return 0
    gauge(p, COUNT_LISTENERS, 1)
    if stack_set_backlog(p.stack, end.app, end.sock, end.backlog) < 0:
        stack_listen(p.stack, end.app, end.sock, &end.local, end.backlog, end.flags)
    stack_set_defer(p.stack, end.app, end.sock, end.defer_s)
    return 0


cdef void udp_token(Process* p, SharedEnd* end) noexcept nogil:
    """What says that there is one may have been said only. All replicas send theirs here, so the queue does
    not tell; one too many is taken out with the next datagram."""
    sock = stack_sock(p.stack, end.app, end.sock)
    if sock != NULL and load32(&sock.in_token):
        send_with(end.fd, b"t", 1, -1)


cdef int listener_add(
    Process* p, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t backlog, uint32_t flags,
    uint32_t defer_s, const neat_addr* local, int fd
) noexcept nogil:
    channel = channel_find(p, app)
    known = shared_find(p, app, sock)
    if known != NULL and known.bind_id == bind_id and known.kind == NEAT_SOCK_LISTENER:
        known.backlog = backlog
        known.defer_s = defer_s
        stack_set_defer(p.stack, app, sock, defer_s)
        status = stack_set_backlog(p.stack, app, sock, backlog)
        return status if status < 0 else 1
    place = shared_place(p, channel, app, sock)
    if place < 0:
        return place
    status = shared_open(p, place, channel, NEAT_SOCK_LISTENER, sock, bind_id, flags, local, fd)
    if status < 0:
        return status
    end = &p.shared[place]
    end.backlog, end.defer_s = backlog, defer_s
    status = stack_listen(p.stack, app, sock, local, backlog, flags)
    if status < 0:
        shared_forget(p, channel, end)
        return status
    stack_set_defer(p.stack, app, sock, defer_s)
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
    status = shared_open(p, place, channel, NEAT_SOCK_UDP, sock, bind_id, flags, local, fd)
    if status < 0:
        return status
    status = stack_udp_bind(p.stack, app, sock, local, flags)
    if status < 0:
        shared_forget(p, channel, &p.shared[place])
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
    close_number(&end.fd)  # last: until then a successor hears of the hang-up again
    if channel != NULL:
        channel.shared[end.sock] = -1
        channel_reap(p, channel)
