"""The stack's end of each connection's descriptor. What the application's poll sees of each step:
docs/contracts/sockets.md; who waits for it: docs/contracts/readiness.md.

| state      | its end of the pair    | what happens                  | and then                           |
| ---------- | ---------------------- | ----------------------------- | ---------------------------------- |
| FREE       | none                   | EV_ACCEPT                     | OFFERED; the queue is full: QUEUED |
|            |                        | NEAT_OP_CONNECT_VIA           | CONNECTING, with that end          |
| QUEUED     | none                   | room in the queue             | OFFERED: NEAT_EV_ACCEPT            |
|            |                        | EV_RESET; the listener closes | CLOSED                             |
| OFFERED    | none: with its taker   | claimed, and the end is here  | OPEN, shows what came before       |
|            |                        | nobody claims it              | CLOSED                             |
| CONNECTING | filled                 | EV_CONNECTED                  | OPEN, the fills taken out          |
|            |                        | EV_RESET                      | CLOSED, after NEAT_EV_FAILED       |
| OPEN       | tokens                 | shows the peer's FIN          | HALF: a farewell, SHUT_WR          |
|            |                        | shows that both ways ended    | HUNG: a farewell, SHUT_RDWR        |
|            |                        | shows a reset                 | WATCH: closed over its canary      |
| HALF       | farewell, shut one way | shows either end              | HUNG: SHUT_RDWR                    |
| HUNG       | farewell, shut         | hang-up, the farewell is gone | CLOSED                             |
| WATCH      | closed; `fd` is a pipe | hang-up                       | CLOSED                             |
| those with | a descriptor           | hang-up: nobody has the other | CLOSED                             |
| CLOSED     | none                   | EV_FREED                      | FREE; its end may be kept          |

QUEUED and OFFERED are accept.pyx's. "Shows": endpoint_show(), at an event while somebody waits on the
descriptor, and when somebody comes; CONNECTING at any time.

Invariants:
1. stack_close is called once for each connection that got this far: on the way to CLOSED;
2. one message, the canary, stays unread in the stack's end, so whatever closes it without a farewell reads
   as a reset;
3. HALF and HUNG are stored before what they stand for is done, which a successor does once more.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from neat.abi.channel cimport (
    NEAT_OUT_WANTED, NEAT_REQ_CLOSE, NEAT_REQ_KEPT, NEAT_WAITERS_UNSEEN, neat_addr, neat_rx_offset, neat_sock,
    neat_tx_offset,
)
from neat.abi.control cimport NEAT_EV_CONNECTING, NEAT_EV_FAILED, NEAT_MSG_MAGIC, neat_msg
from neat.replica.channels cimport channel_find
from neat.replica.counters cimport (
    COUNT_DESCRIPTORS, COUNT_HANGUPS, COUNT_RESETS_TOLD,
    COUNT_RINGS_PUNCHED, COUNT_TOKENS_SENT,
)
from neat.replica.pollers cimport pollers_notify
from neat.replica.posix cimport (
    EPOLLERR, EPOLLET, EPOLLHUP, EPOLLRDHUP, EPOLL_CTL_ADD, O_CLOEXEC, SHUT_RDWR, SHUT_WR, all_read, close,
    drain, pipe2, punch, send_with, shutdown, unread, watch,
)
from neat.replica.process cimport (
    END_CLOSED, END_CONNECTING, END_FREE, END_HALF, END_HUNG, END_OFFERED, END_OPEN, END_QUEUED, END_WATCH,
    KEEP_RING_BYTES, MAX_FRESH, MAX_UNBOUND, REASON_TICK, WATCH_ENDPOINT, Endpoint, Process, close_number,
    gauge, own_number, tally, watch_data,
)
from neat.replica.spares cimport spare_keep
from neat.shm.atomic cimport exchange32, load32, load64, store32
from neat.stack.engine cimport (
    EV_CLOSED, EV_CONNECTED, EV_FREED, EV_RDHUP, EV_READABLE, EV_RESET, EV_TAKEN, EV_WRITABLE, Event,
    stack_close, stack_conn_ready, stack_sock,
)

cdef enum:
    FRESH_NS = 5_000_000            # most short connections are over by then
    # fill messages taken out at a time: an honest client core sends one or two
    MAX_FILLS = 16


cdef uint32_t GONE = EPOLLHUP | EPOLLERR
cdef uint64_t PAGE_MASK = 4095


cdef Endpoint* endpoint_of(Process* p, int32_t conn) noexcept nogil:
    if conn < 0 or <uint32_t>conn >= p.endpoint_count:
        return NULL
    return &p.endpoints[conn]


cdef int endpoint_open(Process* p, int32_t conn, int fd, uint8_t state, bint later) noexcept nogil:
    end = endpoint_of(p, conn)
    p.serial += 1
    if later and p.fresh_tail - p.fresh_head < MAX_FRESH:
        fresh = &p.fresh[p.fresh_tail & (MAX_FRESH - 1)]
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
    end.serial = p.serial
    end.spoken = end.told = end.recovered = False
    own_number(&end.fd, fd)
    end.state = state
    gauge(p, COUNT_DESCRIPTORS, 1)
    return 0


cdef int watch_endpoint(Process* p, uint32_t conn, int fd, uint32_t serial) noexcept nogil:
    data = watch_data(WATCH_ENDPOINT, serial, conn)
    return watch(p.epoll, EPOLL_CTL_ADD, fd, EPOLLRDHUP | EPOLLET, data)


cdef void endpoints_settle(Process* p) noexcept nogil:
    while p.fresh_head != p.fresh_tail:
        fresh = &p.fresh[p.fresh_head & (MAX_FRESH - 1)]
        if p.now - fresh.since < FRESH_NS:
            return
        p.fresh_head += 1
        end = &p.endpoints[fresh.conn]
        if end.fd < 0 or end.serial != fresh.serial:
            continue
        if watch_endpoint(p, fresh.conn, end.fd, fresh.serial) < 0:
            application_gone(p, <int32_t>fresh.conn, end)
        end.watched = True


cdef uint64_t endpoints_deadline(Process* p) noexcept nogil:
    if p.fresh_head == p.fresh_tail:
        return <uint64_t>(-1)
    return p.fresh[p.fresh_head & (MAX_FRESH - 1)].since + FRESH_NS


cdef void endpoint_drop(Process* p, Endpoint* end) noexcept nogil:
    """Close what it has; events that are still on their way become stale."""
    unqueue(p, end)
    offer_over(p, end)
    if end.fd >= 0:
        close_number(&end.fd)
        gauge(p, COUNT_DESCRIPTORS, -1)
    p.serial += 1
    end.serial = p.serial
    end.state = END_CLOSED


cdef void send_token(Process* p, neat_sock* sock, int fd) noexcept nogil:
    if exchange32(&sock.in_token, 1) == 0:
        send_with(fd, b"t", 1, -1)
        tally(p, COUNT_TOKENS_SENT)


cdef void send_last_token(Process* p, neat_sock* sock, int fd) noexcept nogil:
    """Before a farewell: whoever sleeps takes the first message out, and that is not to be the farewell."""
    exchange32(&sock.in_token, 1)
    send_with(fd, b"t", 1, -1)
    tally(p, COUNT_TOKENS_SENT)


cdef void take_fills(neat_sock* sock, int fd) noexcept nogil:
    if load32(&sock.out_block) == 0:
        return
    fills = exchange32(&sock.out_block, 0)
    if fills != NEAT_OUT_WANTED:
        drain(fd, MAX_FILLS if fills > MAX_FILLS else fills)


cdef void endpoint_room(Endpoint* end, neat_sock* sock) noexcept nogil:
    if end.recovered and load32(&sock.out_block) != 0:
        take_late_fills(sock, end.fd)
    else:
        take_fills(sock, end.fd)


cdef void take_late_fills(neat_sock* sock, int fd) noexcept nogil:
    """A predecessor may have taken out some of those that the word says; the canary stays."""
    fills = exchange32(&sock.out_block, 0)
    there = unread(fd) - 1
    if fills != NEAT_OUT_WANTED and there > 0:
        drain(fd, min(min(<int>fills, there), MAX_FILLS))


cdef void endpoint_event(Process* p, Event* event) noexcept nogil:
    end = endpoint_of(p, event.conn)
    if end == NULL:
        return
    cdef bint over = event.kinds & EV_FREED != 0  # nobody looks at the descriptor any more
    if not over and end.state != END_FREE and end.generation == event.generation and end.app == event.app:
        kinds = event.kinds
        sock = stack_sock(p.stack, event.app, event.sock)
        if end.state == END_QUEUED and kinds & EV_RESET:
            application_gone(p, event.conn, end)
        elif kinds != EV_TAKEN and end.state != END_QUEUED and sock != NULL:
            notify(p, event, end, sock)
    if over:
        tell_pollers(p, event)
        if end.state != END_FREE:
            note_manners(p, end, event)
            unbind(p, end)
            endpoint_drop(p, end)
            end.state = END_FREE
        give_back(p, event.app, event.sock, event.touched)


cdef void tell_pollers(Process* p, Event* event) noexcept nogil:
    """It is freed: one that we have given up ourselves is told of by nothing else."""
    sock = stack_sock(p.stack, event.app, event.sock)
    if sock != NULL:
        pollers_notify(p, event.app, event.sock, load64(&sock.waiters))


# Tell those who wait, by memory or by the descriptor.
cdef void notify(Process* p, Event* event, Endpoint* end, neat_sock* sock) noexcept nogil:
    cdef bint connecting = end.state == END_CONNECTING
    if event.kinds & EV_CONNECTED and connecting:
        end.state = END_OPEN
    if event.kinds & (EV_WRITABLE | EV_CONNECTED) and end.fd >= 0:
        endpoint_room(end, sock)
    cdef uint64_t waiters = load64(&sock.waiters)
    pollers_notify(p, event.app, event.sock, waiters)
    if waiters >= NEAT_WAITERS_UNSEEN or connecting:
        endpoint_show(p, event.conn, end, sock, event.error)


cdef void endpoint_show(Process* p, int32_t conn, Endpoint* end, neat_sock* sock, int error) noexcept nogil:
    if end.state != END_CONNECTING and end.state != END_OPEN and end.state != END_HALF:
        return
    cdef uint32_t ready = stack_conn_ready(p.stack, conn)
    if ready & EV_RESET:
        reset(p, conn, end, sock, error)
    elif ready & EV_CLOSED:
        hang_up(p, end, sock)
    elif ready & EV_RDHUP:
        peer_closed(p, end, sock)
    elif ready & EV_READABLE:
        send_token(p, sock, end.fd)


cdef void unbind(Process* p, Endpoint* end) noexcept nogil:
    unbind_id(p, end.bind_id)
    end.bind_id = 0


cdef void unbind_id(Process* p, uint32_t bind_id) noexcept nogil:
    """Python passes it on."""
    ledger = p.ledger
    if bind_id == 0 or ledger.unbound_tail - ledger.unbound_head >= MAX_UNBOUND:
        return
    p.unbound[ledger.unbound_tail & (MAX_UNBOUND - 1)] = bind_id
    store32(&ledger.unbound_tail, ledger.unbound_tail + 1)
    p.reasons |= REASON_TICK


cdef void note_manners(Process* p, Endpoint* end, Event* event) noexcept nogil:
    """Whether the application announces what it closes: then hang-ups of its next connections can wait. And
    whether it keeps its end of the pair: then ours is kept, too."""
    lines = stack_sock(p.stack, event.app, event.sock)
    channel = channel_find(p, event.app)
    if lines == NULL or channel == NULL:
        return
    cdef uint32_t request = load32(&lines.request)
    channel.announces = request & NEAT_REQ_CLOSE != 0
    if channel.announces and request & NEAT_REQ_KEPT and end.app == event.app and end.sock == event.sock:
        spare_keep(p, channel, end, lines)


cdef void peer_closed(Process* p, Endpoint* end, neat_sock* sock) noexcept nogil:
    """The peer's FIN: end of file for the application.

    The farewell is a message that the client core never reads (it reads one for each token): while it is
    unread, the application's end lives. After our own shutdown nothing else would tell.
    """
    if end.state != END_OPEN:
        return
    end.spoken = True
    end.state = END_HALF
    say_farewell(p, end, sock)
    shutdown(end.fd, SHUT_WR)


cdef void say_farewell(Process* p, Endpoint* end, neat_sock* sock) noexcept nogil:
    send_last_token(p, sock, end.fd)
    send_with(end.fd, b"f", 1, -1)


cdef void hang_up(Process* p, Endpoint* end, neat_sock* sock) noexcept nogil:
    """Both directions are over in order: POLLHUP without an error."""
    endpoint_room(end, sock)
    cdef bint silent = end.state == END_OPEN
    end.spoken = True
    end.state = END_HUNG
    if silent:
        say_farewell(p, end, sock)
    shutdown(end.fd, SHUT_RDWR)


cdef void endpoint_repeat(Process* p, Endpoint* end, neat_sock* sock) noexcept nogil:
    """A state is stored before what it stands for is done, all of which may be done twice; not all of it may
    have been done by whoever stored it."""
    if end.state == END_HALF:
        say_farewell(p, end, sock)
        shutdown(end.fd, SHUT_WR)
    elif end.state == END_HUNG:
        say_farewell(p, end, sock)
        shutdown(end.fd, SHUT_RDWR)


cdef void reset(Process* p, int32_t conn, Endpoint* end, neat_sock* sock, int error) noexcept nogil:
    """POLLERR and ECONNRESET, by closing the stack's end over its canary.

    What was received before can still be read, so the socket stays until the application's end is gone. To
    know that, the replica leaves the write end of a pipe in the application's queue: it goes when the queue
    does.
    """
    cdef int ends[2]
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
    if status == 0:
        p.serial += 1
        status = watch_endpoint(p, <uint32_t>conn, ends[0], p.serial)
    if status < 0:
        close(ends[0])
        application_gone(p, conn, end)
        return
    stack_end = end.fd
    end.serial = p.serial
    end.watched = True
    own_number(&end.fd, ends[0])
    end.state = END_WATCH
    close(stack_end)


cdef void application_gone(Process* p, int32_t conn, Endpoint* end) noexcept nogil:
    """The application's end is closed, or no longer matters."""
    endpoint_drop(p, end)
    stack_close(p.stack, conn, p.now)


cdef void endpoint_hangup(Process* p, uint32_t conn, uint32_t serial, uint32_t events) noexcept nogil:
    end = endpoint_of(p, <int32_t>conn)
    if end == NULL or end.fd < 0 or (end.serial & 0xFFFFFF) != serial or not events & GONE:
        return
    if end.state == END_HUNG and not events & EPOLLERR and not all_read(end.fd):
        return  # our own shutdown: the farewell is still unread
    tally(p, COUNT_HANGUPS)
    application_gone(p, <int32_t>conn, end)


cdef void offer_over(Process* p, Endpoint* end) noexcept nogil:
    if end.state != END_OFFERED:
        return
    end.state = END_CLOSED
    channel = channel_find(p, end.app)
    if channel != NULL:
        channel.offered -= 1


cdef void unqueue(Process* p, Endpoint* end) noexcept nogil:
    if end.queue < 0:
        return
    listener = &p.shared[end.queue]
    conn = <int32_t>(end - p.endpoints)
    cdef int32_t before = -1
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


cdef void compose(
    Process* p, neat_msg* message, uint16_t op, uint32_t app, uint32_t sock, uint32_t generation
) noexcept nogil:
    memset(message, 0, sizeof(neat_msg))
    message.magic = NEAT_MSG_MAGIC
    message.op = op
    message.app = app
    message.replica = p.replica
    message.incarnation = p.incarnation
    message.sock = sock
    message.generation = generation


cdef void tell_connecting(Process* p, Endpoint* end, const neat_addr* local) noexcept nogil:
    cdef neat_msg message
    compose(p, &message, NEAT_EV_CONNECTING, end.app, end.sock, end.generation)
    message.local = local[0]
    send_with(end.fd, &message, sizeof(neat_msg), -1)


cdef void tell_failed(Process* p, int fd, int error) noexcept nogil:
    cdef neat_msg message
    compose(p, &message, NEAT_EV_FAILED, 0, 0, 0)
    message.error = error
    send_with(fd, &message, sizeof(neat_msg), -1)


cdef void give_back(Process* p, uint32_t app, uint32_t sock, uint32_t touched) noexcept nogil:
    """Memory of a freed socket's rings, beyond what the next one will surely use."""
    cdef uint32_t nsock, rx, tx
    channel = channel_find(p, app)
    if channel == NULL or sock >= channel.nsock or touched <= KEEP_RING_BYTES:
        return
    nsock, rx, tx = channel.nsock, channel.rx_size, channel.tx_size
    punch_ring(channel.memory + neat_rx_offset(nsock, rx, tx, sock), min(touched, rx))
    punch_ring(channel.memory + neat_tx_offset(nsock, rx, tx, sock), min(touched, tx))
    tally(p, COUNT_RINGS_PUNCHED)


cdef void punch_ring(uint8_t* ring, uint64_t touched) noexcept nogil:
    if touched > KEEP_RING_BYTES:
        punch(ring + KEEP_RING_BYTES, (touched - KEEP_RING_BYTES + PAGE_MASK) & ~PAGE_MASK)
