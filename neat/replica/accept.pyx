"""The way of connections to accept(). Read first: docs/contracts/accept.md, which has the invariants.

A connection waits without a descriptor: first here, while the queue of its listener's unix socket is full
(END_QUEUED), then as a NEAT_EV_ACCEPT in that queue (END_OFFERED). Whoever takes the message claims it, and
its claim says which pair it gets: one that his process has kept, or one whose stack's end comes over his
cord.
"""

from libc.errno cimport EAGAIN
from libc.stdint cimport int16_t, int32_t, uint32_t, uint64_t
from neat.abi.channel cimport (
    NEAT_CLAIM_CORD, NEAT_REQ_ABORT, NEAT_SHARED_SOCKS, NEAT_SOCK_LISTENER, NEAT_WAITERS_UNSEEN, neat_sock,
)
from neat.abi.control cimport NEAT_EV_ACCEPT, NEAT_MSG_MAGIC, NEAT_OP_STACK_END, neat_msg
from neat.replica.channels cimport channel_find, channels_offered
from neat.replica.cords cimport cord_at, cord_close, cord_find
from neat.replica.counters cimport (
    COUNT_ACCEPTS_LOST, COUNT_ACCEPTS_SENT, COUNT_ACCEPT_NO_FD, COUNT_ACCEPT_NO_LISTENER,
    COUNT_ACCEPT_NO_MEMORY, COUNT_ACCEPT_QUEUE_FULL, COUNT_DROP_CORD, COUNT_PAIRS_REUSED,
    COUNT_PAIRS_UNKNOWN,
)
from neat.replica.endpoints cimport (
    application_gone, compose, endpoint_drop, endpoint_of, endpoint_open, endpoint_show, unqueue,
)
from neat.replica.pollers cimport pollers_forget
from neat.replica.posix cimport (
    EPOLLET, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_MOD, all_read, close, drop_message, is_stack_end, peek_with,
    send_with, watch,
)
from neat.replica.process cimport (
    END_FREE, END_OFFERED, END_OPEN, END_QUEUED, WATCH_SHARED, Channel, Cord, Endpoint, Process, SharedEnd,
    tally, watch_data,
)
from neat.replica.spares cimport spare_find, spare_take, spares_forget
from neat.shm.atomic cimport fetch_or32, load64, replace64, store64
from neat.stack.engine cimport EV_FREED, ConnInfo, Event, stack_conn_info, stack_sock

cdef enum:
    PATIENCE = 10                   # looks
    CORD_BURST = 64                 # messages of a cord at a time


# What a socket object's `claim` says when the stack's end comes over that cord.
cdef uint64_t claim_of(uint32_t number) noexcept nogil:
    return <uint64_t>number << 32 | NEAT_CLAIM_CORD


cdef void accept_event(Process* p, Event* event) noexcept nogil:
    end = endpoint_of(p, event.conn)
    if end == NULL or event.kinds & EV_FREED:
        return
    if end.state != END_FREE:
        if end.app == event.app and end.sock == event.sock and end.generation == event.generation:
            return  # a successor's engine says it again
        endpoint_drop(p, end)
        end.state = END_FREE
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
    sock = stack_sock(p.stack, end.app, end.sock)
    if sock == NULL:
        return
    # Once, as an offer may be repeated by a successor: one that is claimed already stays so.
    store64(&sock.claim, end.generation)
    end.state = END_QUEUED
    if listener.blocked or offer(p, event.conn, end, listener) == -EAGAIN:
        tally(p, COUNT_ACCEPT_QUEUE_FULL)
        enqueue(p, event.conn, end, listener)


cdef SharedEnd* listener_of(Process* p, Endpoint* end) noexcept nogil:
    channel = channel_find(p, end.app)
    if channel == NULL or end.listener >= NEAT_SHARED_SOCKS or channel.shared[end.listener] < 0:
        return NULL
    listener = &p.shared[channel.shared[end.listener]]
    return listener if listener.kind == NEAT_SOCK_LISTENER else NULL


cdef void refuse(Process* p, int32_t conn, Endpoint* end) noexcept nogil:
    """Reset a connection that no application will ever see."""
    sock = stack_sock(p.stack, end.app, end.sock)
    if sock != NULL:
        fetch_or32(&sock.request, NEAT_REQ_ABORT)
    application_gone(p, conn, end)


cdef void enqueue(Process* p, int32_t conn, Endpoint* end, SharedEnd* listener) noexcept nogil:
    end.queue = <int16_t>(listener - p.shared)
    if listener.last < 0:
        listener.first = conn
    else:
        p.endpoints[listener.last].next = conn
    listener.last = conn
    await_room(p, listener, True)


cdef void await_room(Process* p, SharedEnd* listener, bint wanted) noexcept nogil:
    if listener.blocked == wanted:
        return
    listener.blocked = wanted
    index = <uint32_t>(listener - p.shared)
    events = EPOLLRDHUP | EPOLLET | (EPOLLOUT if wanted else 0)
    watch(p.epoll, EPOLL_CTL_MOD, listener.fd, events, watch_data(WATCH_SHARED, listener.serial, index))


cdef void accept_room(Process* p, SharedEnd* listener) noexcept nogil:
    """`offer` takes what it settles out of the queue."""
    while listener.first >= 0:
        conn = listener.first
        if offer(p, conn, &p.endpoints[conn], listener) == -EAGAIN:
            return
    await_room(p, listener, False)


cdef int offer(Process* p, int32_t conn, Endpoint* end, SharedEnd* listener) noexcept nogil:
    """Say NEAT_EV_ACCEPT. 0 when the matter is settled, -EAGAIN when the socket's queue is full."""
    cdef ConnInfo info
    cdef neat_msg message
    if stack_conn_info(p.stack, conn, &info) < 0:
        endpoint_drop(p, end)
        return 0
    compose(p, &message, NEAT_EV_ACCEPT, end.app, end.sock, end.generation)
    message.bind_id = listener.bind_id
    message.u[0] = <uint32_t>conn
    message.local = info.local
    message.remote = info.remote
    status = send_with(listener.fd, &message, sizeof(neat_msg), -1)
    if status == -EAGAIN:
        return status
    if status < 0:
        tally(p, COUNT_ACCEPT_NO_LISTENER)  # it is being closed
        refuse(p, conn, end)
        return 0
    unqueue(p, end)
    listener.offers += 1
    end.state = END_OFFERED
    end.offer = listener.offers
    end.unanswered = 0
    channel_find(p, end.app).offered += 1
    tally(p, COUNT_ACCEPTS_SENT)
    return 0


cdef void accept_recover(Process* p, int32_t conn, Endpoint* end) noexcept nogil:
    """One that is QUEUED may have been offered before that was stored: then it is offered twice, or is
    claimed already."""
    sock = stack_sock(p.stack, end.app, end.sock)
    listener = listener_of(p, end)
    channel = channel_find(p, end.app)
    if sock == NULL or listener == NULL or channel == NULL:
        refuse(p, conn, end)
        return
    if end.state == END_QUEUED and load64(&sock.claim) == end.generation:
        enqueue(p, conn, end, listener)
        return
    if end.state == END_QUEUED:
        end.offer = listener.offers
        end.state = END_OFFERED
    channel.offered += 1
    look(p, conn, end)


# --- what it got


cdef void accept_look(Process* p, Event* event) noexcept nogil:
    end = endpoint_of(p, event.conn)
    if end == NULL or end.state != END_OFFERED:
        return
    if end.generation == event.generation and end.app == event.app:
        look(p, event.conn, end)


cdef void look(Process* p, int32_t conn, Endpoint* end) noexcept nogil:
    """END_OFFERED: if it was claimed meanwhile it has its pair from now on."""
    cdef uint64_t claim
    sock = stack_sock(p.stack, end.app, end.sock)
    if sock == NULL:
        return
    claim = load64(&sock.claim)
    if claim == end.generation:
        return
    if claim & NEAT_CLAIM_CORD:
        cord = cord_find(p, end.app, claim >> 32)
        if cord != NULL:
            cord_read(p, cord)
        return
    channel = channel_find(p, end.app)
    fd = -1 if channel == NULL else spare_find(channel, claim)
    if fd < 0:
        tally(p, COUNT_PAIRS_UNKNOWN)
        was_read(p, end)
        application_gone(p, conn, end)
        return
    tally(p, COUNT_PAIRS_REUSED)
    spare_take(p, channel, claim, take(p, conn, end, sock, fd))


cdef bint take(Process* p, int32_t conn, Endpoint* end, neat_sock* sock, int fd) noexcept nogil:
    """`fd` is the stack's end of its pair. False: it cannot be watched, the connection is over, and `fd` is
    the caller's."""
    channel = channel_find(p, end.app)
    was_read(p, end)
    if channel == NULL or endpoint_open(p, conn, fd, END_OPEN, channel.announces) < 0:
        tally(p, COUNT_ACCEPT_NO_FD)
        application_gone(p, conn, end)
        return False
    channel.offered -= 1
    if load64(&sock.waiters) >= NEAT_WAITERS_UNSEEN:
        endpoint_show(p, conn, end, sock, 0)  # what came before
    return True


cdef void was_read(Process* p, Endpoint* end) noexcept nogil:
    """Its message has left the queue, and so has each that this replica sent before."""
    listener = listener_of(p, end)
    if listener == NULL or <int32_t>(listener.offers - end.offer) < 0:
        return  # another one has its index now
    if <int32_t>(end.offer - listener.read) > 0:
        listener.read = end.offer


# --- cords


cdef void cord_ready(Process* p, uint32_t index, uint32_t serial) noexcept nogil:
    cord = cord_at(p, index, serial)
    if cord != NULL and not cord_read(p, cord):
        cord_gone(p, cord)


cdef bint cord_read(Process* p, Cord* cord) noexcept nogil:
    """Take what is in it. False when it has hung up, and nothing is left in it."""
    cdef neat_msg message
    cdef bint sound
    cdef int fd
    for _ in range(CORD_BURST):
        n = peek_with(cord.fd, &message, sizeof(neat_msg), &fd)
        if n == -EAGAIN:
            return True
        if n <= 0:
            if fd >= 0:
                close(fd)
            return False
        sound = n == sizeof(neat_msg) and message.magic == NEAT_MSG_MAGIC
        if not sound or message.op != NEAT_OP_STACK_END:
            tally(p, COUNT_DROP_CORD)
            if fd >= 0:
                close(fd)
        else:
            stack_end(p, cord, &message, fd)
        drop_message(cord.fd)
    return True


cdef void stack_end(Process* p, Cord* cord, neat_msg* message, int fd) noexcept nogil:
    """Takes `fd` over; -1: it was lost, as this process can have no more."""
    conn = <int32_t>message.u[0]
    end = endpoint_of(p, conn)
    if not is_claimed_by(p, cord, end, message):
        tally(p, COUNT_PAIRS_UNKNOWN)  # its connection is over
        if fd >= 0:
            close(fd)
        return
    if fd < 0 or not is_stack_end(fd):
        tally(p, COUNT_ACCEPT_NO_FD)
        if fd >= 0:
            close(fd)
        was_read(p, end)
        refuse(p, conn, end)
        return
    if not take(p, conn, end, stack_sock(p.stack, end.app, end.sock), fd):
        close(fd)


cdef bint is_claimed_by(Process* p, Cord* cord, Endpoint* end, neat_msg* message) noexcept nogil:
    if end == NULL or end.state != END_OFFERED or end.app != cord.app:
        return False
    if end.sock != message.sock or end.generation != message.generation:
        return False
    sock = stack_sock(p.stack, end.app, end.sock)
    return sock != NULL and load64(&sock.claim) == claim_of(cord.number)


cdef void cord_gone(Process* p, Cord* cord) noexcept nogil:
    """A process has died. What it had claimed and not got is reset, its spares and its pollers' places are
    free. Pairs that it had named hang up by themselves, once it is known whose they are."""
    cdef uint32_t app
    cdef uint32_t number
    app, number = cord.app, cord.number
    cord.over = True  # it is closed last, so that a successor hears of it again
    channel = channel_find(p, app)
    if channel != NULL:
        look_over(p, channel, number)
    cord_close(p, cord)


cdef void look_over(Process* p, Channel* channel, uint32_t number) noexcept nogil:
    cdef int32_t i
    cdef int32_t waiting
    cdef uint32_t app
    app = channel.app
    waiting = channel.offered
    for i in range(<int32_t>p.endpoint_count):
        if waiting == 0:
            break
        end = &p.endpoints[i]
        if end.state != END_OFFERED or end.app != app:
            continue
        waiting -= 1
        look(p, i, end)
        sock = stack_sock(p.stack, app, end.sock)
        if end.state != END_OFFERED or sock == NULL:
            continue
        if load64(&sock.claim) == claim_of(number):
            lost(p, i, end)
    spares_forget(p, channel, number)
    pollers_forget(p, channel, number)


# --- what nobody took


cdef void lost(Process* p, int32_t conn, Endpoint* end) noexcept nogil:
    tally(p, COUNT_ACCEPTS_LOST)
    was_read(p, end)
    refuse(p, conn, end)


cdef bint withdraw(Process* p, Endpoint* end) noexcept nogil:
    """Nobody can claim it any more. False: somebody has."""
    sock = stack_sock(p.stack, end.app, end.sock)
    return sock == NULL or replace64(&sock.claim, end.generation, 0)


cdef void accept_close(Process* p, SharedEnd* listener) noexcept nogil:
    """Its application's last copy is gone: what nobody has claimed is reset."""
    while listener.first >= 0:
        refuse(p, listener.first, &p.endpoints[listener.first])
    for i in range(<int32_t>p.endpoint_count):
        end = &p.endpoints[i]
        if end.state != END_OFFERED or end.app != listener.app or end.listener != listener.sock:
            continue
        if withdraw(p, end):
            refuse(p, i, end)


cdef void accept_patience(Process* p) noexcept nogil:
    """Reset those that nobody will get: who took the message died before he claimed it."""
    cdef int32_t i
    cdef int32_t waiting
    p.offers_at = p.now
    waiting = channels_offered(p)
    for i in range(<int32_t>p.endpoint_count):
        if waiting == 0:
            return
        end = &p.endpoints[i]
        if end.state != END_OFFERED:
            continue
        waiting -= 1
        look(p, i, end)  # who claimed it may not have rung
        if end.state != END_OFFERED or not is_overdue(p, end):
            continue
        end.unanswered += 1
        if end.unanswered <= PATIENCE:
            continue
        withdraw(p, end)
        if is_overdue(p, end):
            lost(p, i, end)


cdef bint is_overdue(Process* p, Endpoint* end) noexcept nogil:
    """Its message was read and it is not claimed; or claimed by a cord that there is not, or not yet."""
    cdef uint64_t claim
    sock = stack_sock(p.stack, end.app, end.sock)
    claim = <uint64_t>0 if sock == NULL else load64(&sock.claim)
    if claim != end.generation:
        return cord_find(p, end.app, claim >> 32) == NULL
    listener = listener_of(p, end)
    if listener == NULL:
        return True
    if all_read(listener.fd):
        listener.read = listener.offers
    return <int32_t>(listener.read - end.offer) >= 0
