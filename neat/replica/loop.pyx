"""The replica's main loop: one turn after another in a fixed order, and sleep when there is nothing to do.

It holds no lock, allocates nothing and calls no Python. Bursts are bounded, so that no input starves the
others. Before it sleeps it looks again for a while: neat/shm/idle.pxd.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from neat.replica.accept cimport OFFERS_NS, accept_event, accept_look, accept_patience, cord_ready
from neat.replica.channels cimport (
    channel_find, channel_reap, channels_pending, channels_scan, channels_sleeping,
)
from neat.replica.counters cimport (
    COUNT_RX_UNKNOWN_RECORD, COUNT_WAKEUPS, COUNT_WORK_NS,
)
from neat.replica.endpoints cimport endpoint_event, endpoint_hangup, endpoints_deadline, endpoints_settle
from neat.replica.pollers cimport pollers_ring
from neat.replica.posix cimport epoll_event, monotonic_ns, wait_events, wait_for_two
from neat.replica.process cimport (
    REASON_CTL, REASON_HOLDER, REASON_LIFELINE, REASON_SYS, REASON_TICK, WATCH_BELL, WATCH_CORD, WATCH_CTL,
    WATCH_ENDPOINT, WATCH_HOLDER, WATCH_LIFELINE, WATCH_SHARED, WATCH_SYS, Process, tally,
)
from neat.replica.shared cimport shared_ready, udp_event
from neat.replica.wire cimport (
    wire_cancel_sleep, wire_next, wire_prepare_sleep, wire_publish, wire_room, wire_send,
)
from neat.shm.atomic cimport fence
from neat.shm.board cimport board_busy, board_heartbeat
from neat.shm.doorbell cimport doorbell_clear
from neat.shm.idle cimport Idle, idle_begin, idle_worked, idle_yields
from neat.shm.recorder cimport RECORDED_IN, RECORDED_OUT, recorder_event, recorder_packet
from neat.shm.ring cimport (
    BURST_BYTES, RECORD_FLOW_LOST, RECORD_FRAME, RECORD_OWN_FRAME, record_payload, ring_advance,
)
from neat.stack.engine cimport (
    EV_ACCEPT, EV_FREED, Event, stack_expire, stack_flow_lost, stack_frame_arrives, stack_next_deadline,
    stack_own_frame_arrives, stack_placed_arrives, stack_poll_event, stack_poll_transmit,
)


cdef uint32_t run(Process* p) noexcept nogil:
    cdef Idle idle
    cdef uint64_t began
    cdef bint worked = False
    p.reasons = 0
    p.returned_at = monotonic_ns()
    p.woke_at = p.returned_at
    idle_begin(&idle, p.spin_ns)
    while p.reasons == 0:
        p.now = monotonic_ns()
        if worked:
            p.counters[<uint32_t>COUNT_WORK_NS] += p.now - began
        began = p.now
        if p.now - p.polled_at >= DESCRIPTOR_NS:
            descriptors(p, 0)  # before the frames: they may be for sockets that were closed before they left
        worked = turn(p) != 0
        if worked:
            idle_worked(&idle, p.now)
        elif idle_yields(&idle, p.now):
            p.queue_ready = True
        else:
            rest(p)
        if p.now - p.returned_at >= p.tick_ns:
            p.reasons |= REASON_TICK
    if p.now - p.offers_at >= OFFERS_NS:
        accept_patience(p)
    board_busy(p.board, monotonic_ns() - p.woke_at)
    return p.reasons


cdef uint32_t turn(Process* p) noexcept nogil:
    """One round over all inputs and outputs. Returns how much there was to do. `now` is fresh."""
    done = 0 if p.deaf else receive(p)
    done += channels_scan(p)
    if stack_next_deadline(p.stack) <= p.now:
        stack_expire(p.stack, p.now)
        done += 1
    done += transmit(p)
    done += signal(p)
    endpoints_settle(p)
    wire_publish(p)
    board_heartbeat(p.board, p.now)
    return done


cdef uint32_t receive(Process* p) noexcept nogil:
    cdef uint32_t done = 0
    cdef uint32_t moved = 0
    while done < RECEIVE_BURST and moved < BURST_BYTES:
        record = wire_next(p)
        if record == NULL:
            break
        payload, position = record_payload(record), p.rx.local
        ring_advance(&p.rx)
        recorder_packet(p.recorder, RECORDED_IN, payload, record.length, p.now)
        if position + 1 == p.placed_at:
            stack_placed_arrives(
                p.stack, p.guess.conn, payload, record.length, position, p.rx.local, p.now
            )
        elif record.type == RECORD_FRAME:
            stack_frame_arrives(p.stack, payload, record.length, position, p.rx.local, p.now)
        elif record.type == RECORD_OWN_FRAME:
            stack_own_frame_arrives(p.stack, payload, record.length, position, p.rx.local, p.now)
        elif record.type == RECORD_FLOW_LOST:
            stack_flow_lost(p.stack, payload, record.length, p.now)
        else:
            tally(p, COUNT_RX_UNKNOWN_RECORD)
        moved += record.length
        done += 1
    return done


cdef uint32_t transmit(Process* p) noexcept nogil:
    cdef uint16_t record_type
    cdef uint32_t length
    cdef uint32_t done = 0
    cdef uint32_t moved = 0
    p.tx_blocked = False
    while done < TRANSMIT_BURST and moved < BURST_BYTES:
        room = wire_room(p)
        if room == NULL:
            p.tx_blocked = not p.tx.broken  # a broken one has no room ever
            break
        length = stack_poll_transmit(p.stack, room, &record_type, p.now)
        if length == 0:
            break
        if record_type == RECORD_FRAME:
            recorder_packet(p.recorder, RECORDED_OUT, room, length, p.now)
        wire_send(p, room, length, record_type)
        moved += length
        done += 1
    return done


cdef uint32_t signal(Process* p) noexcept nogil:
    """What the engine has to say, to the applications' pollers and descriptors."""
    cdef Event event
    cdef uint32_t done = 0
    fence()  # the socket objects are written: who watches them is read after this
    while done < EVENT_BURST and stack_poll_event(p.stack, &event):
        done += 1
        recorder_event(p.recorder, event.kinds, event.conn, event.error, p.now)
        if event.conn < 0:
            udp_event(p, &event)
        else:
            if event.kinds & EV_ACCEPT:
                accept_event(p, &event)
            else:
                accept_look(p, &event)
            endpoint_event(p, &event)
        if event.kinds & EV_FREED:
            channel = channel_find(p, event.app)
            if channel != NULL and channel.orphan:
                channel_reap(p, channel)
    pollers_ring(p)
    return done


cdef int descriptors(Process* p, int64_t timeout) noexcept nogil:
    """Ask epoll, for at most `timeout` ns. Returns how many events there were, or -errno."""
    cdef uint64_t data
    cdef uint32_t kind, serial, index
    cdef int i
    cdef epoll_event found[DESCRIPTOR_BURST]
    cdef int n = wait_events(p.epoll, found, DESCRIPTOR_BURST, timeout)
    if timeout != 0:
        p.now = monotonic_ns()
    p.polled_at = p.now
    for i in range(n):
        data = found[i].data.u64
        kind = <uint32_t>(data >> 56)
        serial = <uint32_t>(data >> 32) & 0xFFFFFF
        index = <uint32_t>data
        if kind == WATCH_ENDPOINT:
            endpoint_hangup(p, index, serial, found[i].events)
        elif kind == WATCH_CORD:
            cord_ready(p, index, serial)
        elif kind == WATCH_BELL:
            doorbell_clear(p.bell)
        elif kind == WATCH_SHARED:
            shared_ready(p, index, serial, found[i].events)
        elif kind == WATCH_SYS:
            p.reasons |= REASON_SYS
        elif kind == WATCH_CTL:
            p.reasons |= REASON_CTL
        elif kind == WATCH_LIFELINE:
            p.reasons |= REASON_LIFELINE
        elif kind == WATCH_HOLDER:
            p.reasons |= REASON_HOLDER
    return n


cdef void sleep(Process* p, int64_t timeout) noexcept nogil:
    """A queue is polled beside the epoll set and is not in it: each frame that the kernel steers to it would
    tell the set, even while we are awake."""
    cdef int woken_by
    if p.queue < 0:
        descriptors(p, timeout)
        return
    woken_by = wait_for_two(-1 if p.queue_gone else p.queue, p.epoll, timeout)
    p.now = monotonic_ns()
    p.queue_ready = woken_by & 1
    if woken_by & 2:
        descriptors(p, 0)


cdef void rest(Process* p) noexcept nogil:
    """Sleep until the next deadline, heartbeat or event. Flags first, fence, then a last look: no ring is
    lost."""
    cdef uint64_t deadline, until
    if not wire_prepare_sleep(p):
        return
    channels_sleeping(p, 1)
    fence()
    if not channels_pending(p):
        deadline = stack_next_deadline(p.stack)
        until = p.returned_at + p.tick_ns
        if deadline < until:
            until = deadline
        until = min(until, endpoints_deadline(p))
        if p.tx_blocked and p.now + FULL_RING_NS < until:
            until = p.now + FULL_RING_NS
        if until > p.now:
            board_busy(p.board, p.now - p.woke_at)
            sleep(p, until - p.now)
            p.woke_at = p.now
            tally(p, COUNT_WAKEUPS)
    channels_sleeping(p, 0)
    wire_cancel_sleep(p)
