# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The stack's end of each connection's descriptor. What the application's poll sees of each step:
ARCHITECTURE.md, "Sockets".

Invariants:
1. an endpoint has a descriptor in every state but END_FREE, END_CLOSED, END_OFFERED, and END_QUEUED, where it
   may;
2. stack_close is called once for each connection that got this far, when the last copy of the application's
   end is gone;
3. one message, the canary, stays unread in the stack's end, so whatever closes it without a farewell reads
   as a reset.
"""

import cython
from cython.cimports.libc.string import memset

GONE = cython.declare(cython.uint, EPOLLHUP | EPOLLERR)
PAGE_MASK = cython.declare(uint64_t, 4095)


def endpoint_of(p, conn):
    if conn < 0 or cython.cast(cython.uint, conn) >= p.endpoint_count:
        return cython.NULL
    return cython.address(p.endpoints[conn])


def endpoint_open(p, conn, fd, state, later):
    end = endpoint_of(p, conn)
    p.serial += 1
    if later and p.fresh_tail - p.fresh_head < MAX_FRESH:
        fresh = cython.address(p.fresh[p.fresh_tail & (MAX_FRESH - 1)])
        fresh.conn = conn
        fresh.serial = p.serial
        fresh.since = p.now
        p.fresh_tail += 1
        end.watched = False
    else:
        status = watch_endpoint(p, conn, fd, p.serial)
        if status < 0:
            return status
        end.watched = True
    end.fd = fd
    end.serial = p.serial
    end.state = state
    end.options = 0
    end.spoken = False
    gauge(p, COUNT_DESCRIPTORS, 1)
    return 0


def watch_endpoint(p, conn, fd, serial):
    data = watch_data(WATCH_ENDPOINT, serial, conn)
    return watch(p.epoll, EPOLL_CTL_ADD, fd, EPOLLRDHUP | EPOLLET, data)


def endpoints_settle(p):
    while p.fresh_head != p.fresh_tail:
        fresh = cython.address(p.fresh[p.fresh_head & (MAX_FRESH - 1)])
        if p.now - fresh.since < FRESH_NS:
            return
        p.fresh_head += 1
        end = cython.address(p.endpoints[fresh.conn])
        if end.fd < 0 or end.serial != fresh.serial:
            continue
        if watch_endpoint(p, fresh.conn, end.fd, fresh.serial) < 0:
            application_gone(p, cython.cast(int32_t, fresh.conn), end)
        end.watched = True


def endpoints_deadline(p):
    if p.fresh_head == p.fresh_tail:
        return cython.cast(uint64_t, -1)
    return p.fresh[p.fresh_head & (MAX_FRESH - 1)].since + FRESH_NS


def endpoint_drop(p, end):
    """Close what it has; events that are still on their way become stale."""
    unqueue(p, end)
    offer_over(p, end)
    if end.fd >= 0:
        close(end.fd)
        end.fd = -1
        gauge(p, COUNT_DESCRIPTORS, -1)
    if end.app_fd >= 0:
        close(end.app_fd)
        end.app_fd = -1
    p.serial += 1
    end.serial = p.serial
    end.state = END_CLOSED


def send_token(p, sock, fd):
    if exchange32(cython.address(sock.in_token), 1) == 0:
        send_with(fd, b"t", 1, -1)
        tally(p, COUNT_TOKENS_SENT)


def send_last_token(p, sock, fd):
    """Before a farewell: whoever sleeps takes the first message out, and that is not to be the farewell."""
    exchange32(cython.address(sock.in_token), 1)
    send_with(fd, b"t", 1, -1)
    tally(p, COUNT_TOKENS_SENT)


def take_fills(sock, fd):
    if load32(cython.address(sock.out_block)) == 0:
        return
    fills = exchange32(cython.address(sock.out_block), 0)
    if fills != NEAT_OUT_WANTED:
        drain(fd, MAX_FILLS if fills > MAX_FILLS else fills)


def endpoint_event(p, event):
    end = endpoint_of(p, event.conn)
    if end == cython.NULL:
        return
    over = event.kinds & EV_FREED != 0  # nobody looks at the descriptor any more
    if not over and end.state != END_FREE and end.generation == event.generation and end.app == event.app:
        kinds = event.kinds
        sock = stack_sock(p.stack, event.app, event.sock)
        endpoint_taken(p, event.conn, end, sock)
        if kinds == EV_TAKEN:
            return
        if end.state == END_QUEUED:
            # What else it waits for is told when it is handed over.
            if kinds & EV_RESET:
                application_gone(p, event.conn, end)
        elif sock != cython.NULL:
            notify(p, event, end, sock)
    if over:
        if end.state != END_FREE:
            endpoint_taken(p, event.conn, end, stack_sock(p.stack, event.app, event.sock))
            note_manners(p, end, event)
            endpoint_drop(p, end)
            end.state = END_FREE
            unbind(p, end)
        give_back(p, event.app, event.sock, event.touched)


def notify(p, event, end, sock):
    connecting = end.state == END_CONNECTING
    if event.kinds & EV_CONNECTED and connecting:
        end.state = END_OPEN
    if event.kinds & (EV_WRITABLE | EV_CONNECTED) and end.fd >= 0:
        take_fills(sock, end.fd)
    waiters = load64(cython.address(sock.waiters))
    pollers_notify(p, event.app, event.sock, waiters)
    if waiters >= NEAT_WAITERS_UNSEEN or connecting:
        endpoint_show(p, event.conn, end, sock, event.error)


def endpoint_show(p, conn, end, sock, error):
    if end.state != END_CONNECTING and end.state != END_OPEN and end.state != END_HALF:
        return
    ready = stack_conn_ready(p.stack, conn)
    if ready & EV_RESET:
        reset(p, conn, end, sock, error)
    elif ready & EV_CLOSED:
        hang_up(p, end, sock)
    elif ready & EV_RDHUP:
        peer_closed(p, end, sock)
    elif ready & EV_READABLE:
        send_token(p, sock, end.fd)


def unbind(p, end):
    """Its port is free. Python passes that on, soon."""
    if end.bind_id == 0 or p.unbound_tail - p.unbound_head >= MAX_UNBOUND:
        return
    p.unbound[p.unbound_tail & (MAX_UNBOUND - 1)] = end.bind_id
    p.unbound_tail += 1
    p.reasons |= REASON_TICK
    end.bind_id = 0


def note_manners(p, end, event):
    """Whether the application announces what it closes: then hang-ups of its next connections can wait. And
    whether it keeps its end of the pair: then ours is kept, too."""
    lines = stack_sock(p.stack, event.app, event.sock)
    channel = channel_find(p, event.app)
    if lines == cython.NULL or channel == cython.NULL:
        return
    request = load32(cython.address(lines.request))
    channel.announces = request & NEAT_REQ_CLOSE != 0
    if channel.announces and request & NEAT_REQ_KEPT and end.app == event.app and end.sock == event.sock:
        spare_keep(p, channel, end, lines)


def peer_closed(p, end, sock):
    """The peer's FIN: end of file for the application.

    The farewell is a message that the client core never reads (it reads one for each token): while it is
    unread, the application's end lives. After our own shutdown nothing else would tell.
    """
    if end.state != END_OPEN:
        return
    end.spoken = True
    send_last_token(p, sock, end.fd)
    send_with(end.fd, b"f", 1, -1)
    shutdown(end.fd, SHUT_WR)
    end.state = END_HALF


def hang_up(p, end, sock):
    """Both directions are over in order: POLLHUP without an error."""
    take_fills(sock, end.fd)
    if end.state == END_OPEN:
        send_last_token(p, sock, end.fd)
        send_with(end.fd, b"f", 1, -1)
    shutdown(end.fd, SHUT_RDWR)
    end.state = END_HUNG


def reset(p, conn, end, sock, error):
    """POLLERR and ECONNRESET, by closing the stack's end over its canary.

    What was received before can still be read, so the socket stays until the application's end is gone. To
    know that, the replica leaves the write end of a pipe in the application's queue: it goes when the queue
    does.
    """
    tally(p, COUNT_RESETS_TOLD)
    if end.state == END_CONNECTING:
        tell_failed(p, end.fd, error)
        application_gone(p, conn, end)
        return
    if end.state == END_HALF:
        # Nothing can be sent to it any more. It has its end of file; the socket object says ECONNRESET.
        hang_up(p, end, sock)
        return
    if pipe2(ends, O_CLOEXEC) < 0:
        application_gone(p, conn, end)
        return
    send_last_token(p, sock, end.fd)
    status = send_with(end.fd, b"w", 1, ends[1])
    close(ends[1])
    endpoint_drop(p, end)
    if status < 0 or endpoint_open(p, conn, ends[0], END_WATCH, False) < 0:
        close(ends[0])
        application_gone(p, conn, end)


def application_gone(p, conn, end):
    """The application's end is closed, or no longer matters."""
    endpoint_drop(p, end)
    stack_close(p.stack, conn, p.now)


def endpoint_hangup(p, conn, serial, events):
    end = endpoint_of(p, cython.cast(int32_t, conn))
    if end == cython.NULL or end.fd < 0 or (end.serial & 0xFFFFFF) != serial or not events & GONE:
        return
    if end.state == END_HUNG and not events & EPOLLERR and not all_read(end.fd):
        return  # our own shutdown: the farewell is still unread
    tally(p, COUNT_HANGUPS)
    application_gone(p, cython.cast(int32_t, conn), end)


def endpoint_taken(p, conn, end, sock):
    """If accept() has brought a spare, that is its pair from now on."""
    if end.state != END_OFFERED or sock == cython.NULL:
        return
    name = load64(cython.address(sock.brought))
    if name == end.generation:
        return
    channel = channel_find(p, end.app)
    fd = -1 if channel == cython.NULL else spare_take(p, channel, name)
    options = end.options
    offer_read(p, end)
    offer_over(p, end)
    if fd < 0 or endpoint_open(p, conn, fd, END_OPEN, channel.announces) < 0:
        if fd >= 0:
            close(fd)
        tally(p, COUNT_PAIRS_UNKNOWN)
        application_gone(p, conn, end)
        return
    end.options = options
    tally(p, COUNT_PAIRS_REUSED)
    if load64(cython.address(sock.waiters)) >= NEAT_WAITERS_UNSEEN:
        endpoint_show(p, conn, end, sock, 0)


def offer_read(p, end):
    channel = channel_find(p, end.app)
    if channel == cython.NULL or channel.shared[end.listener] < 0:
        return
    listener = cython.address(p.shared[channel.shared[end.listener]])
    if cython.cast(int32_t, end.offer - listener.read) > 0:
        listener.read = end.offer


def offer_over(p, end):
    if end.state != END_OFFERED:
        return
    end.state = END_CLOSED
    channel = channel_find(p, end.app)
    if channel != cython.NULL:
        channel.offered -= 1


def unqueue(p, end):
    if end.queue < 0:
        return
    listener = cython.address(p.shared[end.queue])
    conn = cython.cast(int32_t, end - p.endpoints)
    before = cython.declare(int32_t, -1)
    here = listener.first
    while here >= 0 and here != conn:
        before = here
        here = p.endpoints[here].next
    if here == conn:
        if before < 0:
            listener.first = end.next
        else:
            p.endpoints[before].next = end.next
        if listener.last == conn:
            listener.last = before
    end.queue = -1
    end.next = -1


def compose(p, message, op, app, sock, generation):
    memset(message, 0, cython.sizeof(neat_msg))
    message.magic = NEAT_MSG_MAGIC
    message.op = op
    message.app = app
    message.replica = p.replica
    message.incarnation = p.incarnation
    message.sock = sock
    message.generation = generation


def tell_connecting(p, end, local):
    compose(p, cython.address(message), NEAT_EV_CONNECTING, end.app, end.sock, end.generation)
    message.local = local[0]
    send_with(end.fd, cython.address(message), cython.sizeof(neat_msg), -1)


def tell_failed(p, fd, error):
    compose(p, cython.address(message), NEAT_EV_FAILED, 0, 0, 0)
    message.error = error
    send_with(fd, cython.address(message), cython.sizeof(neat_msg), -1)


def give_back(p, app, sock, touched):
    """Memory of a freed socket's rings, beyond what the next one will surely use."""
    channel = channel_find(p, app)
    if channel == cython.NULL or sock >= channel.nsock or touched <= KEEP_RING_BYTES:
        return
    nsock, rx, tx = channel.nsock, channel.rx_size, channel.tx_size
    punch_ring(channel.memory + neat_rx_offset(nsock, rx, tx, sock), min(touched, rx))
    punch_ring(channel.memory + neat_tx_offset(nsock, rx, tx, sock), min(touched, tx))
    tally(p, COUNT_RINGS_PUNCHED)


def punch_ring(ring, touched):
    if touched > KEEP_RING_BYTES:
        punch(ring + KEEP_RING_BYTES, (touched - KEEP_RING_BYTES + PAGE_MASK) & ~PAGE_MASK)
