"""The IP part of a multi-component replica: between the replica's wire and the links to its TCP and UDP parts
(ARCHITECTURE.md, "Multi-component replicas").

One turn: frames of the wire, which the engine checks and hands up, or answers (ARP, echo); what TCP and UDP
send, which it gives an Ethernet header; timers; what the engine sends itself; publish; heartbeat; sleep. It
holds no state that would be missed but the table of neighbours, which lies in its segment: a successor goes
on from the published counters of all rings, and sees again what was in work, as a wire may bring it twice.
"""

from neat.shm.steering import SLOTS

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from neat.replica.counters cimport (
    COUNT_DOORBELLS, COUNT_RX_UNKNOWN_RECORD, COUNT_TCP_LINK_BROKEN, COUNT_TX_RING_FULL,
    COUNT_UDP_LINK_BROKEN, COUNT_UP_RING_FULL, COUNT_WAKEUPS, COUNT_WORK_NS, REPLICA_COUNTERS_BASE,
)
from neat.replica.loop cimport DESCRIPTOR_NS, FULL_RING_NS, RECEIVE_BURST, TRANSMIT_BURST, descriptors, sleep
from neat.replica.posix cimport (
    EPOLLIN, EPOLL_CLOEXEC, EPOLL_CTL_ADD, close, epoll_create1, monotonic_ns, watch,
)
from neat.replica.process cimport (
    REASON_TICK, WATCH_BELL, WATCH_CTL, WATCH_LIFELINE, Process, note, tally, watch_data,
)
from neat.replica.recovery cimport resume
from neat.replica.settings cimport engine_bytes, fill_config
from neat.replica.wire cimport (
    wire_cancel_sleep, wire_next, wire_open, wire_prepare_sleep, wire_publish, wire_recover, wire_room,
    wire_send,
)
from neat.shm.board cimport BoardPage, board_busy, board_heartbeat
from neat.shm.doorbell cimport doorbell_ring
from neat.shm.filter cimport FilterView
from neat.shm.idle cimport Idle, idle_begin, idle_worked, idle_yields
from neat.shm.recorder cimport RECORDED_IN, RECORDED_OUT, Recorder, recorder_packet
from neat.shm.ring cimport (
    BURST_BYTES, RECORD_FLOW_ADD, RECORD_FLOW_DELETE, RECORD_FLOW_FADES, RECORD_FLOW_LOST, RECORD_FRAME,
    RECORD_OWN_FRAME, RecordHeader, Ring, record_payload, ring_advance, ring_attach_consumer,
    ring_attach_producer, ring_cancel_sleep, ring_peek, ring_prepare_sleep, ring_publish, ring_push,
    ring_release,
)
from neat.stack.engine cimport (
    UP_BYTES, StackConfig, stack_create, stack_destroy, stack_expire, stack_filter, stack_forward,
    stack_frame_arrives,
    stack_handed_up, stack_next_deadline, stack_own_frame_arrives, stack_poll_transmit, stack_poll_up,
    stack_use_counters,
)
from neat.stack.state cimport Suspect
from neat.wire.flow cimport FlowKey
from neat.wire.headers cimport PROTO_TCP, PROTO_UDP

cdef enum:
    UPS = 2

cdef struct Up:                     # the link to a transport part
    Ring rx                         # we produce: to it
    Ring tx                         # we consume
    int bell                        # its eventfd
    uint8_t protocol
    bint touched                    # there is something to publish in rx
    uint32_t broken                 # its ReplicaCounter

cdef struct IpProcess:
    Process p                       # first: of this only wire, engine, board and descriptors are used
    Up ups[UPS]
    uint32_t first                  # whose packets come first in this turn


cdef uint32_t run(IpProcess* ip) noexcept nogil:
    cdef Idle idle
    cdef uint64_t began
    cdef bint worked = False
    cdef Process* p = &ip.p
    p.reasons = 0
    p.returned_at = p.woke_at = monotonic_ns()
    idle_begin(&idle, p.spin_ns)
    while p.reasons == 0:
        p.now = monotonic_ns()
        if worked:
            p.counters[<uint32_t>COUNT_WORK_NS] += p.now - began
        began = p.now
        if p.now - p.polled_at >= DESCRIPTOR_NS:
            descriptors(p, 0)
        worked = turn(ip) != 0
        if worked:
            idle_worked(&idle, p.now)
        elif idle_yields(&idle, p.now):
            p.queue_ready = True
        else:
            rest(ip)
        if p.now - p.returned_at >= p.tick_ns:
            p.reasons |= REASON_TICK
    board_busy(p.board, monotonic_ns() - p.woke_at)
    return p.reasons


cdef uint32_t turn(IpProcess* ip) noexcept nogil:
    cdef uint32_t i
    cdef Process* p = &ip.p
    p.tx_blocked = False
    cdef uint32_t done = receive(ip)
    for i in range(<uint32_t>UPS):
        done += forward(ip, &ip.ups[(ip.first + i) % UPS])
    ip.first += 1
    if stack_next_deadline(p.stack) <= p.now:
        stack_expire(p.stack, p.now)
        done += 1
    done += transmit(p)
    done += tell(ip)
    # What was handed up is there before its room in the wire's ring is given back.
    for i in range(<uint32_t>UPS):
        publish(p, &ip.ups[i])
    wire_publish(p)
    board_heartbeat(p.board, p.now)
    return done


cdef uint32_t receive(IpProcess* ip) noexcept nogil:
    cdef uint64_t position
    cdef uint8_t protocol
    cdef uint32_t done = 0
    cdef uint32_t moved = 0
    cdef Process* p = &ip.p
    while done < RECEIVE_BURST and moved < BURST_BYTES:
        record = wire_next(p)
        if record == NULL:
            break
        payload, position = record_payload(record), p.rx.local
        ring_advance(&p.rx)
        recorder_packet(p.recorder, RECORDED_IN, payload, record.length, p.now)
        protocol = 0
        if record.type == RECORD_FRAME:
            stack_frame_arrives(p.stack, payload, record.length, position, p.rx.local, p.now)
            protocol = stack_handed_up(p.stack)
        elif record.type == RECORD_OWN_FRAME:
            stack_own_frame_arrives(p.stack, payload, record.length, position, p.rx.local, p.now)
            protocol = stack_handed_up(p.stack)
        elif record.type == RECORD_FLOW_LOST:
            protocol = PROTO_TCP
        else:
            tally(p, COUNT_RX_UNKNOWN_RECORD)
        if protocol:
            hand_up(ip, protocol, payload, record.length, record.type, record.stamp)
        moved += record.length
        done += 1
    return done


cdef void hand_up(
    IpProcess* ip, uint8_t protocol, const uint8_t* payload, uint32_t length, uint16_t type, uint64_t stamp
) noexcept nogil:
    """A part that has no room loses it, as on a wire: nobody waits for anybody."""
    cdef Up* up = &ip.ups[0 if protocol == PROTO_TCP else 1]
    if ring_push(&up.rx, payload, length, type, stamp) < 0:
        tally(&ip.p, COUNT_UP_RING_FULL)
    else:
        up.touched = True


cdef uint32_t forward(IpProcess* ip, Up* up) noexcept nogil:
    """What a part sends; it waits in its ring while there is no room on the wire."""
    cdef uint32_t done = 0
    cdef uint32_t moved = 0
    cdef Process* p = &ip.p
    record = ring_peek(&up.tx)
    if record == NULL:
        return 0
    cdef bint crowded = up.tx.remote - up.tx.local > up.tx.capacity >> 1
    while record != NULL and done < TRANSMIT_BURST and moved < BURST_BYTES:
        room = wire_room(p)
        if room == NULL:
            p.tx_blocked = not p.tx.broken
            break
        memcpy(room, record_payload(record), record.length)
        moved += record.length
        if record.type == RECORD_FRAME:
            if stack_forward(p.stack, room, record.length, up.protocol, p.now):
                recorder_packet(p.recorder, RECORDED_OUT, room, record.length, p.now)
                wire_send(p, room, record.length, RECORD_FRAME)
        elif is_flow(up, record):
            wire_send(p, room, record.length, record.type)
        else:
            tally(p, COUNT_RX_UNKNOWN_RECORD)
        ring_advance(&up.tx)
        done += 1
        record = ring_peek(&up.tx)
    ring_release(&up.tx)
    if crowded and done:
        ring_bell(p, up)  # it may have found no room
    return done


cdef bint is_flow(Up* up, const RecordHeader* record) noexcept nogil:
    return (
        up.protocol == PROTO_TCP
        and record.length == sizeof(FlowKey)
        and record.type in (RECORD_FLOW_ADD, RECORD_FLOW_FADES, RECORD_FLOW_DELETE)
    )


cdef uint32_t transmit(Process* p) noexcept nogil:
    """What the engine sends by itself: answers, requests for neighbours, packets that waited for one."""
    cdef uint16_t type
    cdef uint32_t length
    cdef uint32_t done = 0
    while done < TRANSMIT_BURST:
        room = wire_room(p)
        if room == NULL:
            p.tx_blocked = not p.tx.broken
            break
        length = stack_poll_transmit(p.stack, room, &type, p.now)
        if length == 0:
            break
        wire_send(p, room, length, type)
        done += 1
    return done


cdef uint32_t tell(IpProcess* ip) noexcept nogil:
    """Parts hear of what could not be sent."""
    cdef uint8_t record[UP_BYTES]
    cdef uint8_t protocol
    cdef uint32_t length
    cdef uint32_t done = 0
    while done < TRANSMIT_BURST:
        length = stack_poll_up(ip.p.stack, record, &protocol)
        if length == 0:
            break
        hand_up(ip, protocol, record, length, RECORD_OWN_FRAME, ip.p.now)
        done += 1
    return done


cdef void publish(Process* p, Up* up) noexcept nogil:
    if up.touched:
        up.touched = False
        if ring_publish(&up.rx):
            ring_bell(p, up)
    if up.rx.broken or up.tx.broken:
        note(p, up.broken)


cdef void ring_bell(Process* p, Up* up) noexcept nogil:
    doorbell_ring(up.bell)
    tally(p, COUNT_DOORBELLS)


cdef void rest(IpProcess* ip) noexcept nogil:
    """As a whole replica does: flags first, then a last look at each ring."""
    cdef uint64_t until
    cdef uint32_t i
    cdef Process* p = &ip.p
    cdef bint quiet = wire_prepare_sleep(p)
    for i in range(<uint32_t>UPS):
        quiet = quiet and (ring_prepare_sleep(&ip.ups[i].tx) or p.tx_blocked)
    if quiet:
        until = min(p.returned_at + p.tick_ns, stack_next_deadline(p.stack))
        if p.tx_blocked:
            tally(p, COUNT_TX_RING_FULL)
            until = min(until, p.now + FULL_RING_NS)
        if until > p.now:
            board_busy(p.board, p.now - p.woke_at)
            sleep(p, until - p.now)
            p.woke_at = p.now
            tally(p, COUNT_WAKEUPS)
    for i in range(<uint32_t>UPS):
        ring_cancel_sleep(&ip.ups[i].tx)
    wire_cancel_sleep(p)


cdef class IpCore:
    """The process as Python sees it: made from mapped segments and descriptors, asked to run."""

    cdef IpProcess* ip
    cdef tuple held                 # what owns the memory that `ip` points into
    cdef FilterView filter

    def __cinit__(self):
        self.ip = <IpProcess*>calloc(1, sizeof(IpProcess))
        if self.ip == NULL:
            raise MemoryError
        self.ip.p.epoll = -1

    def __init__(self, boot, state, link, tcp, udp, board, spin_ns):
        """`state`: mapped Segment; `link`, `tcp`, `udp`: Links, to the driver and to the parts. ValueError or
        OSError when something does not fit."""
        cdef StackConfig settings
        cdef Suspect suspect
        cdef uintptr_t state_address, board_address, rx, tx, intake, recorder
        cdef int i
        p = &self.ip.p
        fds, config = boot.fds, boot.config
        fill_config(&settings, config, boot.slot, boot.secret, boot.part)
        state_address, board_address, rx, tx = state.address, board.address, link.rx_address, link.tx_address
        p.board = <BoardPage*>board_address
        p.counters = &p.board.counters[REPLICA_COUNTERS_BASE]
        p.stack = stack_create(&settings, <void*>state_address, engine_bytes(&settings), monotonic_ns())
        if p.stack == NULL:  # of another version: neighbours can be asked for again
            memset(<void*>state_address, 0, engine_bytes(&settings))
            p.stack = stack_create(&settings, <void*>state_address, engine_bytes(&settings), monotonic_ns())
        if p.stack == NULL:
            raise ValueError("the engine refused its settings")
        stack_use_counters(p.stack, p.board.counters)
        self.filter = view = FilterView(fds["filter"], fds["track"], SLOTS + boot.slot)
        if stack_filter(p.stack, view.header, view.rates, view.own, view.areas, view.area, view.count) < 0:
            raise OSError("no memory for the packet filter")
        intake, recorder = link.intake_address, link.recorder_address
        queue = fds.get("queue", -1)
        if wire_open(p, <void*>rx, <void*>tx, <void*>intake, config.ring_bytes, queue) < 0:
            raise ValueError("a ring of the link makes no sense")
        for i, byte in enumerate(config.mac_bytes()):
            p.mac[i] = byte
        p.recorder = <Recorder*>recorder
        p.replica = boot.slot
        p.bell = fds["bell"]
        p.driver_bell = fds["bell.driver"]
        p.spin_ns = spin_ns
        p.now = monotonic_ns()
        self.held = (state, link, tcp, udp, board)
        self._watch({"bell": WATCH_BELL, "ctl": WATCH_CTL, "lifeline": WATCH_LIFELINE}, fds)
        wire_recover(p)
        if boot.blame:
            resume(p, True, &suspect)
        self._attach(&self.ip.ups[0], tcp, fds["bell.tcp"], PROTO_TCP, COUNT_TCP_LINK_BROKEN)
        self._attach(&self.ip.ups[1], udp, fds["bell.udp"], PROTO_UDP, COUNT_UDP_LINK_BROKEN)
        # A predecessor may have died between publish and bell.
        doorbell_ring(p.driver_bell)

    cdef _attach(self, Up* up, link, int bell, uint8_t protocol, uint32_t broken):
        cdef uintptr_t rx = link.rx_address, tx = link.tx_address
        up.bell, up.protocol, up.broken = bell, protocol, broken
        if ring_attach_producer(&up.rx, <void*>rx, link.rx_capacity) < 0:
            up.rx.broken = True
        if ring_attach_consumer(&up.tx, <void*>tx, link.tx_capacity) < 0:
            up.tx.broken = True
        doorbell_ring(bell)

    def _watch(self, kinds, fds):
        p = &self.ip.p
        p.epoll = epoll_create1(EPOLL_CLOEXEC)
        if p.epoll < 0:
            raise OSError("no epoll instance")
        for name, kind in kinds.items():
            status = watch(p.epoll, EPOLL_CTL_ADD, fds[name], EPOLLIN, watch_data(kind, 0, 0))
            if status < 0:
                raise OSError(-status, f"{name} cannot be watched")

    def __dealloc__(self):
        if self.ip != NULL:
            if self.ip.p.stack != NULL:
                stack_destroy(self.ip.p.stack)
            if self.ip.p.epoll >= 0:
                close(self.ip.p.epoll)
            free(self.ip.p.out)
            free(self.ip)

    def run(self, uint64_t tick_ns):
        """Turn until Python is wanted, at the latest after tick_ns. A bitmap of REASONS (core.pyx)."""
        ip = self.ip
        ip.p.tick_ns = tick_ns
        with nogil:
            reasons: uint32_t = run(ip)
        return reasons
