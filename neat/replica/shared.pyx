"""The stack's ends of listening and UDP sockets, which every replica has, and the way of connections to
accept().

The queue of a listener's unix socket is the accept queue. When it is full, connections wait here, first
come first served; most of them get a pair only when it is their turn.
"""

from libc.errno cimport EAGAIN, EEXIST, EINVAL, ENOBUFS, ENOENT
from libc.stdint cimport int16_t, int32_t, uint32_t, uint64_t
from neat.abi.channel cimport (
    NEAT_OPT_KEEPS, NEAT_OPT_LOOKS, NEAT_OPT_NONBLOCK, NEAT_OPT_OF_ACCEPT, NEAT_REQ_ABORT, NEAT_SHARED_SOCKS,
    NEAT_SOCK_LISTENER, NEAT_SOCK_UDP, NEAT_WAITERS_UNSEEN, neat_addr,
)
from neat.abi.control cimport NEAT_EV_ACCEPT, NEAT_EV_REPLICA, neat_msg
from neat.replica.channels cimport channel_find, channel_reap, channels_offered
from neat.replica.counters cimport (
    COUNT_ACCEPTS_LOST, COUNT_ACCEPTS_SENT, COUNT_ACCEPT_NO_FD, COUNT_ACCEPT_NO_LISTENER,
    COUNT_ACCEPT_NO_MEMORY, COUNT_ACCEPT_QUEUE_FULL, COUNT_LISTENERS, COUNT_PAIRS_MISSED, COUNT_UDP_SOCKETS,
)
from neat.replica.endpoints cimport (
    application_gone, compose, endpoint_drop, endpoint_of, endpoint_open, endpoint_show, endpoint_taken,
    offer_over, offer_read, send_token, take_fills, unqueue,
)
from neat.replica.posix cimport (
    EPOLLERR, EPOLLET, EPOLLHUP, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, all_read, close,
    make_pair, send_with, watch,
)
from neat.replica.process cimport (
    END_FREE, END_OFFERED, END_OPEN, END_QUEUED, MAX_SHARED, WATCH_SHARED, Channel, Endpoint, Process,
    SharedEnd, gauge, tally, watch_data,
)
from neat.replica.spares cimport spares_suffice, spares_sweep
from neat.shm.atomic cimport fetch_or32, load32, replace64, store64
from neat.stack.engine cimport (
    EV_FREED, EV_READABLE, EV_WRITABLE, ConnInfo, Event, stack_conn_info, stack_listen, stack_set_backlog,
    stack_set_defer, stack_sock, stack_udp_bind, stack_udp_unbind, stack_unlisten,
)


cdef uint32_t KEEPER = NEAT_OPT_KEEPS | NEAT_OPT_LOOKS


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


cdef void accept_event(Process* p, Event* event) noexcept nogil:
    end = endpoint_of(p, event.conn)
    if end == NULL or event.kinds & EV_FREED:
        return
    if end.state != END_FREE:
        endpoint_drop(p, end)
    end.app = event.app
    end.sock = event.sock
    end.generation = event.generation
    end.listener = event.listener_sock
    listener = listener_of(p, end)
    if listener == NULL:
        tally(p, COUNT_ACCEPT_NO_LISTENER)
        refuse(p, event.conn, end)
        return
    if channel_find(p, end.app).full:
        tally(p, COUNT_ACCEPT_NO_MEMORY)
        refuse(p, event.conn, end)
        return
    hand_over(p, event.conn, end, listener)


cdef void spare_missing(Process* p, Event* event) noexcept nogil:
    end = endpoint_of(p, event.conn)
    if end == NULL or event.kinds & EV_FREED or end.generation != event.generation:
        return
    if end.app != event.app or end.state != END_OFFERED or not withdraw(p, end):
        return
    tally(p, COUNT_PAIRS_MISSED)
    offer_read(p, end)
    offer_over(p, end)
    spares_sweep(p, channel_find(p, end.app))
    listener = listener_of(p, end)
    if listener == NULL or not new_pair(p, event.conn, end, listener):
        tally(p, COUNT_ACCEPT_NO_FD)
        refuse(p, event.conn, end)
        return
    hand_over(p, event.conn, end, listener)


cdef bint withdraw(Process* p, Endpoint* end) noexcept nogil:
    """Nobody can bring a pair for it any more. False: somebody has."""
    sock = stack_sock(p.stack, end.app, end.sock)
    return sock == NULL or replace64(&sock.brought, end.generation, 0)


cdef SharedEnd* listener_of(Process* p, Endpoint* end) noexcept nogil:
    listener = shared_find(p, end.app, end.listener)
    if listener == NULL or listener.kind != NEAT_SOCK_LISTENER:
        return NULL
    return listener


cdef void hand_over(Process* p, int32_t conn, Endpoint* end, SharedEnd* listener) noexcept nogil:
    """To the application; or into the queue, until there is room."""
    if not listener.blocked and offer(p, conn, end, listener) != -EAGAIN:
        return
    tally(p, COUNT_ACCEPT_QUEUE_FULL)
    end.state = END_QUEUED
    end.queue = <int16_t>(listener - p.shared)
    if listener.last < 0:
        listener.first = conn
    else:
        p.endpoints[listener.last].next = conn
    listener.last = conn
    await_room(p, listener, True)


cdef void refuse(Process* p, int32_t conn, Endpoint* end) noexcept nogil:
    """Reset a connection that no application will ever see."""
    sock = stack_sock(p.stack, end.app, end.sock)
    if sock != NULL:
        fetch_or32(&sock.request, NEAT_REQ_ABORT)
    application_gone(p, conn, end)


cdef bint may_bring(Process* p, Endpoint* end, SharedEnd* listener) noexcept nogil:
    """Whether whoever accepts it has a pair for it, as far as one can tell."""
    lines = stack_sock(p.stack, listener.app, listener.sock)
    channel = channel_find(p, listener.app)
    if end.fd >= 0 or lines == NULL or channel == NULL:
        return False
    end.options = load32(&lines.options) & NEAT_OPT_OF_ACCEPT
    if end.options & KEEPER != KEEPER:
        return False
    if spares_suffice(channel, load32(&lines.accepter)):
        return True
    if channel.spare_count > 0:
        spares_sweep(p, channel)  # of processes that have died?
    return False


cdef bint new_pair(Process* p, int32_t conn, Endpoint* end, SharedEnd* listener) noexcept nogil:
    cdef int ends[2]
    lines = stack_sock(p.stack, listener.app, listener.sock)
    channel = channel_find(p, listener.app)
    if lines == NULL or channel == NULL:
        return False
    cdef uint32_t options = load32(&lines.options) & NEAT_OPT_OF_ACCEPT
    if make_pair(ends, options & NEAT_OPT_NONBLOCK) < 0:
        return False
    if endpoint_open(p, conn, ends[0], END_QUEUED, channel.announces) < 0:
        close(ends[0])
        close(ends[1])
        return False
    end.app_fd = ends[1]
    end.options = options
    return True


cdef int offer(Process* p, int32_t conn, Endpoint* end, SharedEnd* listener) noexcept nogil:
    """Send the application its end, or ask it to bring a spare. 0 when the matter is settled, -EAGAIN when
    the socket's queue is full."""
    cdef ConnInfo info
    cdef neat_msg message
    cdef bint brings = may_bring(p, end, listener)
    if end.fd < 0 and not brings and not new_pair(p, conn, end, listener):
        tally(p, COUNT_ACCEPT_NO_FD)
        refuse(p, conn, end)
        return 0
    if stack_conn_info(p.stack, conn, &info) < 0:
        endpoint_drop(p, end)
        return 0
    compose(p, &message, NEAT_EV_ACCEPT, end.app, end.sock, end.generation)
    message.bind_id = listener.bind_id
    message.u[0] = listener.sock
    message.options = end.options
    message.token = brings
    message.local = info.local
    message.remote = info.remote
    sock = stack_sock(p.stack, end.app, end.sock)
    cdef uint64_t unseen = 0 if end.options & NEAT_OPT_LOOKS else NEAT_WAITERS_UNSEEN
    if sock != NULL:
        store64(&sock.waiters, unseen)
    if sock != NULL and brings:
        store64(&sock.brought, end.generation)
    status = send_with(listener.fd, &message, sizeof(neat_msg), end.app_fd)
    if status == -EAGAIN:
        return status
    if status < 0:
        # The listener is closed, or too many descriptors are on their way (ETOOMANYREFS).
        tally(p, COUNT_ACCEPT_NO_FD)
        refuse(p, conn, end)
        return 0
    if end.app_fd >= 0:
        close(end.app_fd)
    end.app_fd = -1
    unqueue(p, end)
    end.state = END_OPEN
    listener.offers += 1
    if brings:
        end.state = END_OFFERED
        end.offer = listener.offers
        end.unanswered = 0
        channel_find(p, end.app).offered += 1
    tally(p, COUNT_ACCEPTS_SENT)
    if unseen and sock != NULL:
        endpoint_show(p, conn, end, sock, 0)
    return 0


cdef void await_room(Process* p, SharedEnd* listener, bint wanted) noexcept nogil:
    if listener.blocked == wanted:
        return
    listener.blocked = wanted
    index = <uint32_t>(listener - p.shared)
    events = EPOLLRDHUP | EPOLLET | (EPOLLOUT if wanted else 0)
    watch(p.epoll, EPOLL_CTL_MOD, listener.fd, events, watch_data(WATCH_SHARED, listener.serial, index))


cdef void serve_queue(Process* p, SharedEnd* listener) noexcept nogil:
    """There is room again: hand over who waits. `offer` takes what it settles out of the queue."""
    while listener.first >= 0:
        conn = listener.first
        if offer(p, conn, &p.endpoints[conn], listener) == -EAGAIN:
            return
    await_room(p, listener, False)


cdef void shared_ready(Process* p, uint32_t index, uint32_t serial, uint32_t events) noexcept nogil:
    if index >= MAX_SHARED:
        return
    end = &p.shared[index]
    if end.fd < 0 or (end.serial & 0xFFFFFF) != serial:
        return
    if events & (EPOLLHUP | EPOLLERR):
        shared_close(p, end)
    elif events & EPOLLOUT and end.kind == NEAT_SOCK_LISTENER:
        serve_queue(p, end)


cdef void refuse_offered(Process* p, SharedEnd* listener) noexcept nogil:
    """Those whose messages were in its queue. The pairs of others were there, too, and tell by their end."""
    cdef int32_t i
    for i in range(<int32_t>p.endpoint_count):
        end = &p.endpoints[i]
        if end.state != END_OFFERED or end.app != listener.app or end.listener != listener.sock:
            continue
        if withdraw(p, end):
            refuse(p, i, end)


cdef void offers_look(Process* p) noexcept nogil:
    """Reset those that nobody will take: their message was read by somebody who died before he said so."""
    cdef int32_t i
    p.offers_at = p.now
    cdef int32_t waiting = channels_offered(p)
    for i in range(<int32_t>p.endpoint_count):
        if waiting == 0:
            return
        end = &p.endpoints[i]
        if end.state != END_OFFERED:
            continue
        waiting -= 1
        endpoint_taken(p, i, end, stack_sock(p.stack, end.app, end.sock))  # or before he could ring
        if end.state != END_OFFERED or not is_read(p, end):
            continue
        end.unanswered += 1
        if end.unanswered > PATIENCE and withdraw(p, end):
            tally(p, COUNT_ACCEPTS_LOST)
            refuse(p, i, end)


# END_OFFERED: its message has left the queue, as far as one can tell.
cdef bint is_read(Process* p, Endpoint* end) noexcept nogil:
    listener = listener_of(p, end)
    if listener == NULL:
        return True
    if all_read(listener.fd):
        listener.read = listener.offers
    return <int32_t>(listener.read - end.offer) >= 0


cdef void shared_close(Process* p, SharedEnd* end) noexcept nogil:
    """The application's last copy is gone: what waits to be accepted is reset, the port is free."""
    while end.first >= 0:
        refuse(p, end.first, &p.endpoints[end.first])
    if end.kind == NEAT_SOCK_LISTENER:
        refuse_offered(p, end)
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
