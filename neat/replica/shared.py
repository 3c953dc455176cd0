# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The stack's ends of listening and UDP sockets, which every replica has, and the way of connections to
accept().

The queue of a listener's unix socket is the accept queue. When it is full, connections wait here, first
come first served; most of them get a pair only when it is their turn.
"""

import cython
from cython.cimports.libc.errno import EAGAIN, EEXIST, EINVAL, ENOBUFS, ENOENT

KEEPER = cython.declare(uint32_t, NEAT_OPT_KEEPS | NEAT_OPT_LOOKS)


def shared_find(p, app, sock):
    channel = channel_find(p, app)
    if channel == cython.NULL or sock >= NEAT_SHARED_SOCKS or channel.shared[sock] < 0:
        return cython.NULL
    return cython.address(p.shared[channel.shared[sock]])


def shared_place(p, channel, app, sock):
    """A free entry for this socket, or -errno."""
    if channel == cython.NULL:
        return -ENOENT
    if sock >= NEAT_SHARED_SOCKS:
        return -EINVAL
    if channel.shared[sock] >= 0:
        return -EEXIST
    for i in range(MAX_SHARED):
        if p.shared[i].fd < 0:
            return i
    return -ENOBUFS


def shared_open(p, place, channel, kind, sock, bind_id, local, fd):
    end = cython.address(p.shared[place])
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


def listener_add(p, app, sock, bind_id, backlog, flags, defer_s, local, fd):
    channel = channel_find(p, app)
    known = shared_find(p, app, sock)
    if known != cython.NULL and known.bind_id == bind_id and known.kind == NEAT_SOCK_LISTENER:
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


def udp_add(p, app, sock, bind_id, flags, local, fd, announce):
    channel = channel_find(p, app)
    known = shared_find(p, app, sock)
    if known != cython.NULL and known.bind_id == bind_id and known.kind == NEAT_SOCK_UDP:
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
        compose(p, cython.address(message), NEAT_EV_REPLICA, app, sock, 0)
        message.bind_id = bind_id
        send_with(fd, cython.address(message), cython.sizeof(neat_msg), -1)
    return 0


def udp_event(p, event):
    end = shared_find(p, event.app, event.sock)
    sock = stack_sock(p.stack, event.app, event.sock)
    if end == cython.NULL or sock == cython.NULL or end.kind != NEAT_SOCK_UDP:
        return
    if event.kinds & EV_READABLE:
        send_token(p, sock, end.fd)
    if event.kinds & EV_WRITABLE:
        take_fills(sock, end.fd)


def accept_event(p, event):
    end = endpoint_of(p, event.conn)
    if end == cython.NULL or event.kinds & EV_FREED:
        return
    if end.state != END_FREE:
        endpoint_drop(p, end)
    end.app = event.app
    end.sock = event.sock
    end.generation = event.generation
    end.listener = event.listener_sock
    listener = listener_of(p, end)
    if listener == cython.NULL:
        tally(p, COUNT_ACCEPT_NO_LISTENER)
        refuse(p, event.conn, end)
        return
    if channel_find(p, end.app).full:
        tally(p, COUNT_ACCEPT_NO_MEMORY)
        refuse(p, event.conn, end)
        return
    hand_over(p, event.conn, end, listener)


def spare_missing(p, event):
    end = endpoint_of(p, event.conn)
    if end == cython.NULL or event.kinds & EV_FREED or end.generation != event.generation:
        return
    if end.app != event.app or end.state != END_OFFERED or not withdraw(p, end):
        return
    tally(p, COUNT_PAIRS_MISSED)
    offer_read(p, end)
    offer_over(p, end)
    spares_sweep(p, channel_find(p, end.app))
    listener = listener_of(p, end)
    if listener == cython.NULL or not new_pair(p, event.conn, end, listener):
        tally(p, COUNT_ACCEPT_NO_FD)
        refuse(p, event.conn, end)
        return
    hand_over(p, event.conn, end, listener)


def withdraw(p, end):
    """Nobody can bring a pair for it any more. False: somebody has."""
    sock = stack_sock(p.stack, end.app, end.sock)
    return sock == cython.NULL or replace64(cython.address(sock.brought), end.generation, 0)


def listener_of(p, end):
    listener = shared_find(p, end.app, end.listener)
    if listener == cython.NULL or listener.kind != NEAT_SOCK_LISTENER:
        return cython.NULL
    return listener


def hand_over(p, conn, end, listener):
    """To the application; or into the queue, until there is room."""
    if not listener.blocked and offer(p, conn, end, listener) != -EAGAIN:
        return
    tally(p, COUNT_ACCEPT_QUEUE_FULL)
    end.state = END_QUEUED
    end.queue = cython.cast("int16_t", listener - p.shared)
    if listener.last < 0:
        listener.first = conn
    else:
        p.endpoints[listener.last].next = conn
    listener.last = conn
    await_room(p, listener, True)


def refuse(p, conn, end):
    """Reset a connection that no application will ever see."""
    sock = stack_sock(p.stack, end.app, end.sock)
    if sock != cython.NULL:
        fetch_or32(cython.address(sock.request), NEAT_REQ_ABORT)
    application_gone(p, conn, end)


def may_bring(p, end, listener):
    """Whether whoever accepts it has a pair for it, as far as one can tell."""
    lines = stack_sock(p.stack, listener.app, listener.sock)
    channel = channel_find(p, listener.app)
    if end.fd >= 0 or lines == cython.NULL or channel == cython.NULL:
        return False
    end.options = load32(cython.address(lines.options)) & NEAT_OPT_OF_ACCEPT
    if end.options & KEEPER != KEEPER:
        return False
    if spares_suffice(channel, load32(cython.address(lines.accepter))):
        return True
    if channel.spare_count > 0:
        spares_sweep(p, channel)  # of processes that have died?
    return False


def new_pair(p, conn, end, listener):
    lines = stack_sock(p.stack, listener.app, listener.sock)
    channel = channel_find(p, listener.app)
    if lines == cython.NULL or channel == cython.NULL:
        return False
    options = load32(cython.address(lines.options)) & NEAT_OPT_OF_ACCEPT
    if make_pair(ends, options & NEAT_OPT_NONBLOCK) < 0:
        return False
    if endpoint_open(p, conn, ends[0], END_QUEUED, channel.announces) < 0:
        close(ends[0])
        close(ends[1])
        return False
    end.app_fd = ends[1]
    end.options = options
    return True


def offer(p, conn, end, listener):
    """Send the application its end, or ask it to bring a spare. 0 when the matter is settled, -EAGAIN when
    the socket's queue is full."""
    brings = may_bring(p, end, listener)
    if end.fd < 0 and not brings and not new_pair(p, conn, end, listener):
        tally(p, COUNT_ACCEPT_NO_FD)
        refuse(p, conn, end)
        return 0
    if stack_conn_info(p.stack, conn, cython.address(info)) < 0:
        endpoint_drop(p, end)
        return 0
    compose(p, cython.address(message), NEAT_EV_ACCEPT, end.app, end.sock, end.generation)
    message.bind_id = listener.bind_id
    message.u[0] = listener.sock
    message.options = end.options
    message.token = brings
    message.local = info.local
    message.remote = info.remote
    sock = stack_sock(p.stack, end.app, end.sock)
    unseen = 0 if end.options & NEAT_OPT_LOOKS else NEAT_WAITERS_UNSEEN
    if sock != cython.NULL:
        store64(cython.address(sock.waiters), unseen)
    if sock != cython.NULL and brings:
        store64(cython.address(sock.brought), end.generation)
    status = send_with(listener.fd, cython.address(message), cython.sizeof(neat_msg), end.app_fd)
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
    if unseen and sock != cython.NULL:
        endpoint_show(p, conn, end, sock, 0)
    return 0


def await_room(p, listener, wanted):
    if listener.blocked == wanted:
        return
    listener.blocked = wanted
    index = cython.cast(uint32_t, listener - p.shared)
    events = EPOLLRDHUP | EPOLLET | (EPOLLOUT if wanted else 0)
    watch(p.epoll, EPOLL_CTL_MOD, listener.fd, events, watch_data(WATCH_SHARED, listener.serial, index))


def serve_queue(p, listener):
    """There is room again: hand over who waits. `offer` takes what it settles out of the queue."""
    while listener.first >= 0:
        conn = listener.first
        if offer(p, conn, cython.address(p.endpoints[conn]), listener) == -EAGAIN:
            return
    await_room(p, listener, False)


def shared_ready(p, index, serial, events):
    if index >= MAX_SHARED:
        return
    end = cython.address(p.shared[index])
    if end.fd < 0 or (end.serial & 0xFFFFFF) != serial:
        return
    if events & (EPOLLHUP | EPOLLERR):
        shared_close(p, end)
    elif events & EPOLLOUT and end.kind == NEAT_SOCK_LISTENER:
        serve_queue(p, end)


def refuse_offered(p, listener):
    """Those whose messages were in its queue. The pairs of others were there, too, and tell by their end."""
    for i in range(cython.cast(int32_t, p.endpoint_count)):
        end = cython.address(p.endpoints[i])
        if end.state != END_OFFERED or end.app != listener.app or end.listener != listener.sock:
            continue
        if withdraw(p, end):
            refuse(p, i, end)


def offers_look(p):
    """Reset those that nobody will take: their message was read by somebody who died before he said so."""
    p.offers_at = p.now
    waiting = channels_offered(p)
    for i in range(cython.cast(int32_t, p.endpoint_count)):
        if waiting == 0:
            return
        end = cython.address(p.endpoints[i])
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


def is_read(p, end):
    listener = listener_of(p, end)
    if listener == cython.NULL:
        return True
    if all_read(listener.fd):
        listener.read = listener.offers
    return cython.cast(int32_t, listener.read - end.offer) >= 0


def shared_close(p, end):
    """The application's last copy is gone: what waits to be accepted is reset, the port is free."""
    while end.first >= 0:
        refuse(p, end.first, cython.address(p.endpoints[end.first]))
    if end.kind == NEAT_SOCK_LISTENER:
        refuse_offered(p, end)
        stack_unlisten(p.stack, end.app, end.sock, p.now)
        gauge(p, COUNT_LISTENERS, -1)
    else:
        stack_udp_unbind(p.stack, end.app, end.sock)
        gauge(p, COUNT_UDP_SOCKETS, -1)
    channel = channel_find(p, end.app)
    if channel != cython.NULL:
        channel.shared[end.sock] = -1
        channel_reap(p, channel)
    close(end.fd)
    end.fd = -1
