# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The replica's main loop: one turn after another in a fixed order, and sleep when there is nothing to do.

It holds no lock, allocates nothing and calls no Python. Bursts are bounded, so that no input starves the
others. Before it sleeps it looks again for a while: neat/shm/idle.pxd.
"""

import cython


def run(p):
    p.reasons = 0
    p.returned_at = monotonic_ns()
    p.woke_at = p.returned_at
    idle_begin(cython.address(idle), p.spin_ns)
    while p.reasons == 0:
        p.now = monotonic_ns()
        if p.now - p.polled_at >= DESCRIPTOR_NS:
            descriptors(p, 0)  # before the frames: they may be for sockets that were closed before they left
        if turn(p) != 0:
            idle_worked(cython.address(idle), p.now)
        elif not idle_yields(cython.address(idle), p.now):
            rest(p)
        if p.now - p.returned_at >= p.tick_ns:
            p.reasons |= REASON_TICK
    if p.now - p.offers_at >= OFFERS_NS:
        offers_look(p)
    board_busy(p.board, monotonic_ns() - p.woke_at)
    return p.reasons


def turn(p):
    """One round over all inputs and outputs. Returns how much there was to do. `now` is fresh."""
    done = receive(p)
    done += channels_scan(p)
    if stack_next_deadline(p.stack) <= p.now:
        stack_expire(p.stack, p.now)
        done += 1
    done += transmit(p)
    done += signal(p)
    endpoints_settle(p)
    publish(p)
    board_heartbeat(p.board, p.now)
    return done


def receive(p):
    done = 0
    moved = 0
    while done < RECEIVE_BURST and moved < BURST_BYTES:
        record = ring_peek(cython.address(p.rx))
        if record == cython.NULL:
            break
        if record.type == RECORD_FRAME:
            stack_frame_arrives(p.stack, record_payload(record), record.length, p.now)
        elif record.type == RECORD_OWN_FRAME:
            stack_own_frame_arrives(p.stack, record_payload(record), record.length, p.now)
        else:
            tally(p, COUNT_RX_UNKNOWN_RECORD)
        moved += record.length
        ring_advance(cython.address(p.rx))
        done += 1
    if p.rx.broken:
        note(p, COUNT_RX_RING_BROKEN)
    return done


def transmit(p):
    """The engine writes its frames straight into the ring."""
    done = 0
    moved = 0
    p.tx_blocked = False
    while done < TRANSMIT_BURST and moved < BURST_BYTES:
        room = ring_reserve(cython.address(p.tx), MAX_RECORD)
        if room == cython.NULL:
            p.tx_blocked = not p.tx.broken  # a broken one has no room ever
            break
        length = stack_poll_transmit(p.stack, room, cython.address(record_type), p.now)
        if length == 0:
            break
        ring_commit(cython.address(p.tx), length, record_type, 0)
        moved += length
        done += 1
    return done


def signal(p):
    """What the engine has to say, to the applications' pollers and descriptors."""
    done = 0
    fence()  # the socket objects are written: who watches them is read after this
    while done < EVENT_BURST and stack_poll_event(p.stack, cython.address(event)):
        done += 1
        if event.conn < 0:
            udp_event(p, cython.address(event))
        else:
            if event.kinds & EV_ACCEPT:
                accept_event(p, cython.address(event))
            if event.kinds & EV_OFFER:
                spare_missing(p, cython.address(event))
            endpoint_event(p, cython.address(event))
        if event.kinds & EV_FREED:
            channel = channel_find(p, event.app)
            if channel != cython.NULL and channel.orphan:
                channel_reap(p, channel)
    pollers_ring(p)
    return done


def publish(p):
    """Give the driver the frames of this turn, and the room of those that were received."""
    ring_release(cython.address(p.rx))
    if ring_publish(cython.address(p.tx)):
        doorbell_ring(p.driver_bell)
        tally(p, COUNT_DOORBELLS)
    if p.tx_blocked:
        tally(p, COUNT_TX_RING_FULL)
    if p.tx.broken:
        note(p, COUNT_TX_RING_BROKEN)


def descriptors(p, timeout):
    """Ask epoll, for at most `timeout` ns. Returns how many events there were, or -errno."""
    found = cython.declare(epoll_event[DESCRIPTOR_BURST])
    n = wait_events(p.epoll, found, DESCRIPTOR_BURST, timeout)
    if timeout != 0:
        p.now = monotonic_ns()
    p.polled_at = p.now
    for i in range(n):
        data = found[i].data.u64
        kind = cython.cast(uint32_t, data >> 56)
        serial = cython.cast(uint32_t, data >> 32) & 0xFFFFFF
        index = cython.cast(uint32_t, data)
        if kind == WATCH_ENDPOINT:
            endpoint_hangup(p, index, serial, found[i].events)
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
    return n


def rest(p):
    """Sleep until the next deadline, heartbeat or event. Flags first, fence, then a last look: no ring is
    lost."""
    if not ring_prepare_sleep(cython.address(p.rx)):
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
            descriptors(p, until - p.now)
            p.woke_at = p.now
            tally(p, COUNT_WAKEUPS)
    channels_sleeping(p, 0)
    ring_cancel_sleep(cython.address(p.rx))
