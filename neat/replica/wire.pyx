"""A replica's wire. The contract is in wire.pxd: read that first."""

from libc.errno cimport EAGAIN, EIO, ENOBUFS, ENOMEM
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memset
from neat.replica.counters cimport (
    COUNT_DOORBELLS, COUNT_QUEUE_DROP_DEVICE_DOWN, COUNT_QUEUE_DROP_LINK_FULL, COUNT_QUEUE_DROP_NO_BUFFER,
    COUNT_QUEUE_DROP_TRUNCATED, COUNT_QUEUE_DROP_WRITE, COUNT_QUEUE_READ_FAILED, COUNT_QUEUE_RX_BYTES, COUNT_QUEUE_RX_FRAMES,
    COUNT_QUEUE_TX_BYTES, COUNT_QUEUE_TX_FRAMES, COUNT_RX_RING_BROKEN, COUNT_TX_RING_BROKEN,
    COUNT_TX_RING_FULL,
)
from neat.replica.posix cimport errno, read, write
from neat.replica.process cimport Process, note, tally
from neat.shm.atomic cimport load64, store64
from neat.shm.doorbell cimport doorbell_ring
from neat.shm.link cimport INTAKE_CAPACITY
from neat.shm.ring cimport (
    MAX_RECORD, RECORD_FLOW_ADD, RECORD_FRAME, RecordHeader, Ring, record_payload, ring_advance,
    ring_attach_consumer, ring_attach_producer, ring_cancel_sleep, ring_commit, ring_discard, ring_peek,
    ring_prepare_sleep, ring_publish, ring_push, ring_release, ring_reserve,
)
from neat.wire.headers cimport ETHERTYPE_IPV4, PROTO_TCP, TCP_ACK, TCP_SYN
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    # of a record: where the Ethernet type and the IP header begin
    ETHERTYPE_AT = VNET_BYTES + 12
    IP_AT = VNET_BYTES + 14
    UNREAD_BYTES = 64               # zeroed before a read, so that what is there after it is known to be new


cdef int wire_open(
    Process* p, void* link_rx, void* link_tx, void* intake, uint64_t capacity, int queue
) noexcept nogil:
    p.queue = queue
    if ring_attach_producer(&p.tx, link_tx, capacity) < 0:
        return -1
    if queue < 0:
        return ring_attach_consumer(&p.rx, link_rx, capacity)
    p.queue_ready = True
    p.out = <uint8_t*>malloc(MAX_RECORD)
    if p.out == NULL:
        return -1
    if ring_attach_consumer(&p.link, link_rx, capacity) < 0:
        return -1
    if ring_attach_producer(&p.intake, intake, INTAKE_CAPACITY) < 0:
        # Nobody but a predecessor can have done that: it is ours to mend.
        memset(p.intake.shared, 0, sizeof(p.intake.shared[0]))
        ring_attach_producer(&p.intake, intake, INTAKE_CAPACITY)
    return ring_attach_consumer(&p.rx, intake, INTAKE_CAPACITY)


cdef void wire_discard(Process* p) noexcept nogil:
    """Frames in the device's queue are no part of it: they wait for whoever reads next."""
    ring_discard(&p.rx)
    if p.queue >= 0:
        ring_discard(&p.link)


cdef RecordHeader* wire_next(Process* p) noexcept nogil:
    record = ring_peek(&p.rx)
    if record != NULL or p.queue < 0:
        return record
    return ring_peek(&p.rx) if take_from_link(p) or (p.queue_ready and read_queue(p)) else NULL


cdef bint take_from_link(Process* p) noexcept nogil:
    """Copied before it is consumed: a successor may find it twice, as a wire may bring it twice."""
    record = ring_peek(&p.link)
    if record == NULL:
        return False
    if ring_push(&p.intake, record_payload(record), record.length, record.type, record.stamp) < 0:
        return False
    store64(&p.intake.shared.tail, p.intake.local)
    ring_advance(&p.link)
    return True


# --- the queue


cdef bint read_queue(Process* p) noexcept nogil:
    """One frame, straight into the intake. A kill that meets us in the system call comes when it is over: the
    frame is in the room then, and taken out of the queue. wire_recover() finds it."""
    cdef uint8_t* room = ring_reserve(&p.intake, MAX_RECORD)
    if room == NULL:
        return False
    memset(room, 0, UNREAD_BYTES)
    store64(&p.intake.shared.pending, p.intake.local + 1)
    cdef int32_t length = <int32_t>read(p.queue, room, MAX_RECORD)
    if length < 0:
        p.queue_ready = False
        if errno != EAGAIN:
            note(p, COUNT_QUEUE_READ_FAILED)
        return False
    if length >= MAX_RECORD:
        tally(p, COUNT_QUEUE_DROP_TRUNCATED)
        return False
    tally(p, COUNT_QUEUE_RX_FRAMES)
    p.counters[<uint32_t>COUNT_QUEUE_RX_BYTES] += <uint32_t>max(length - VNET_BYTES, 0)
    publish_frame(p, <uint32_t>length)
    return True


cdef void publish_frame(Process* p, uint32_t length) noexcept nogil:
    ring_commit(&p.intake, length, RECORD_FRAME, p.now)
    store64(&p.intake.shared.tail, p.intake.local)


cdef void wire_recover(Process* p) noexcept nogil:
    """Only IPv4 comes from a queue, and says how long it is. The room is looked for as the predecessor did,
    who may have begun the ring anew."""
    cdef const uint8_t* room
    cdef uint32_t length
    if p.queue < 0:
        return
    room = ring_reserve(&p.intake, MAX_RECORD)
    if room == NULL or load64(&p.intake.shared.pending) != p.intake.local + 1:
        return
    if be16(room + ETHERTYPE_AT) != ETHERTYPE_IPV4:
        return
    length = IP_AT + be16(room + IP_AT + 2)
    if length < MAX_RECORD:
        publish_frame(p, length)


cdef void write_queue(Process* p, const uint8_t* record, uint32_t length) noexcept nogil:
    if write(p.queue, record, length) >= 0:
        tally(p, COUNT_QUEUE_TX_FRAMES)
        p.counters[<uint32_t>COUNT_QUEUE_TX_BYTES] += length - VNET_BYTES
    elif errno in (EAGAIN, ENOBUFS, ENOMEM):
        tally(p, COUNT_QUEUE_DROP_NO_BUFFER)
    elif errno == EIO:
        tally(p, COUNT_QUEUE_DROP_DEVICE_DOWN)
    else:
        tally(p, COUNT_QUEUE_DROP_WRITE)


# --- both


cdef inline uint32_t be16(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 8) | at[1]


cdef bint is_drivers(Process* p, const uint8_t* record, uint32_t length, uint16_t type) noexcept nogil:
    """What only the driver may do: to loop a frame back, and to learn a flow that we open, before its SYN
    leaves. The engine wrote it, so it is what it looks like."""
    if type != RECORD_FRAME:
        return type == RECORD_FLOW_ADD  # the kernel sees by itself how a flow ends
    if memcmp(record + VNET_BYTES, p.mac, 6) == 0:
        return True
    if be16(record + ETHERTYPE_AT) != ETHERTYPE_IPV4 or record[IP_AT + 9] != PROTO_TCP:
        return False
    cdef uint32_t flags = record[IP_AT + (record[IP_AT] & 15) * 4 + 13]
    return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN


cdef uint8_t* wire_room(Process* p) noexcept nogil:
    return ring_reserve(&p.tx, MAX_RECORD) if p.queue < 0 else p.out


cdef void wire_send(Process* p, const uint8_t* record, uint32_t length, uint16_t type) noexcept nogil:
    if p.queue < 0:
        ring_commit(&p.tx, length, type, 0)
        p.tx_committed = True
    elif is_drivers(p, record, length, type):
        if ring_push(&p.tx, record, length, type, 0) < 0:
            tally(p, COUNT_QUEUE_DROP_LINK_FULL)
        p.tx_committed = True
    elif type == RECORD_FRAME:
        write_queue(p, record, length)


cdef void wire_publish(Process* p) noexcept nogil:
    ring_release(&p.rx)
    if p.queue >= 0:
        ring_release(&p.link)
        if p.link.broken:
            note(p, COUNT_RX_RING_BROKEN)
    if p.rx.broken:
        note(p, COUNT_RX_RING_BROKEN)
    if p.tx_committed:
        p.tx_committed = False
        if ring_publish(&p.tx):
            doorbell_ring(p.driver_bell)
            tally(p, COUNT_DOORBELLS)
    if p.tx_blocked:
        tally(p, COUNT_TX_RING_FULL)
    if p.tx.broken:
        note(p, COUNT_TX_RING_BROKEN)


cdef bint wire_prepare_sleep(Process* p) noexcept nogil:
    return ring_prepare_sleep(&p.rx if p.queue < 0 else &p.link)


cdef void wire_cancel_sleep(Process* p) noexcept nogil:
    ring_cancel_sleep(&p.rx if p.queue < 0 else &p.link)
