"""A replica's wire. The contract is in wire.pxd: read that first."""

from libc.errno cimport EAGAIN, EBADFD, EIO, ENOBUFS, ENOMEM
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy, memset
from neat.replica.counters cimport (
    COUNT_DOORBELLS, COUNT_QUEUE_DROP_DEVICE_DOWN, COUNT_QUEUE_DROP_LINK_FULL, COUNT_QUEUE_DROP_NO_BUFFER,
    COUNT_QUEUE_DROP_TRUNCATED, COUNT_QUEUE_DROP_WRITE, COUNT_QUEUE_READ_FAILED, COUNT_QUEUE_RX_BYTES,
    COUNT_QUEUE_RX_FRAMES, COUNT_QUEUE_RX_MISPLACED, COUNT_QUEUE_RX_PLACED, COUNT_QUEUE_TX_BYTES,
    COUNT_QUEUE_TX_FRAMES, COUNT_RX_RING_BROKEN, COUNT_TX_RING_BROKEN, COUNT_TX_RING_FULL,
)
from neat.replica.posix cimport errno, iovec, read, readv, write, writev
from neat.replica.process cimport Process, note, tally
from neat.shm.atomic cimport load64, store32, store64
from neat.shm.doorbell cimport doorbell_ring
from neat.shm.link cimport INTAKE_CAPACITY, Intake
from neat.shm.ring cimport (
    MAX_RECORD, RECORD_ALIGN, RECORD_FLOW_ADD, RECORD_FRAME, RECORD_HEADER, RecordHeader, RingHeader,
    record_payload, ring_advance, ring_attach_consumer, ring_attach_producer, ring_cancel_sleep, ring_commit,
    ring_discard, ring_peek, ring_prepare_sleep, ring_publish, ring_push, ring_release, ring_reserve,
)
from neat.stack.engine cimport Guess, stack_gather, stack_guess, stack_guess_again, stack_is_guessed
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
    p.gathered[0].at = p.gathered[1].at = p.out
    stack_gather(p.stack, p.gathered)
    if ring_attach_consumer(&p.link, link_rx, capacity) < 0:
        return -1
    p.reading = <Intake*>intake
    ring = <void*>(<uint8_t*>intake + sizeof(Intake))
    if ring_attach_producer(&p.intake, ring, INTAKE_CAPACITY) < 0:
        # Nobody but a predecessor can have done that: it is ours to mend.
        memset(intake, 0, sizeof(Intake) + sizeof(RingHeader))
        ring_attach_producer(&p.intake, ring, INTAKE_CAPACITY)
    return ring_attach_consumer(&p.rx, ring, INTAKE_CAPACITY)


cdef void wire_discard(Process* p) noexcept nogil:
    """Frames in the device's queue are no part of it: they wait for whoever reads next."""
    ring_discard(&p.rx)
    if p.queue >= 0:
        ring_discard(&p.link)
        store64(&p.reading.pending, 0)


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
    """One frame, straight into the intake, or its text straight into the ring of the socket that it is for.
    A kill that meets us in the system call comes when that is over: the frame is taken out of the queue, and
    wire_recover() finds it."""
    cdef int32_t length
    cdef uint8_t* room = ring_reserve(&p.intake, MAX_RECORD)
    if room == NULL:
        return False
    memset(room, 0, UNREAD_BYTES)
    # With one application only: a wrong guess shows nobody what is not his.
    cdef bint guessed = p.channels_end == 1 and stack_guess(p.stack, &p.guess)
    store64(&p.reading.pending, 0)
    p.reading.conn = p.guess.conn + 1 if guessed else 0
    p.reading.header = p.guess.header
    p.reading.offset = p.guess.offset
    p.reading.room = p.guess.room[0].length + p.guess.room[1].length
    store64(&p.reading.pending, p.intake.local + 1)
    length = read_pieces(p, room) if guessed else <int32_t>read(p.queue, room, MAX_RECORD)
    if length < 0:
        p.queue_ready = False
        if errno != EAGAIN:
            note(p, COUNT_QUEUE_READ_FAILED)
            p.queue_gone = errno == EBADFD
        return False
    if length >= MAX_RECORD:
        tally(p, COUNT_QUEUE_DROP_TRUNCATED)
        return False
    tally(p, COUNT_QUEUE_RX_FRAMES)
    p.counters[<uint32_t>COUNT_QUEUE_RX_BYTES] += <uint32_t>max(length - VNET_BYTES, 0)
    if guessed and <uint32_t>length > p.guess.header:
        if stack_is_guessed(p.stack, &p.guess, room, <uint32_t>length):
            p.placed_at = p.intake.local + 1
            tally(p, COUNT_QUEUE_RX_PLACED)
        else:
            collect(&p.guess, room, <uint32_t>length)
            store32(&p.reading.conn, 0)  # what was there may be overwritten when this frame is handled
            tally(p, COUNT_QUEUE_RX_MISPLACED)
    publish_frame(p, <uint32_t>length)
    return True


cdef int32_t read_pieces(Process* p, uint8_t* room) noexcept nogil:
    """Headers into the room, text where it is guessed to belong, and what is too long for that to its place
    in the record."""
    cdef iovec pieces[4]
    cdef uint32_t header = p.guess.header
    cdef uint32_t rest = header + p.guess.room[0].length + p.guess.room[1].length
    set_piece(&pieces[0], room, header)
    set_piece(&pieces[1], p.guess.room[0].at, p.guess.room[0].length)
    set_piece(&pieces[2], p.guess.room[1].at, p.guess.room[1].length)
    set_piece(&pieces[3], room + rest, MAX_RECORD - rest)
    return <int32_t>readv(p.queue, pieces, 4)


cdef inline void set_piece(iovec* piece, const uint8_t* at, uint32_t length) noexcept nogil:
    piece.iov_base = <void*>at
    piece.iov_len = length


cdef void collect(const Guess* guess, uint8_t* room, uint32_t length) noexcept nogil:
    """Make it a record like others, from its pieces. A successor may do it again."""
    cdef uint32_t text = length - guess.header
    cdef uint32_t first = min(text, guess.room[0].length)
    cdef uint32_t second = min(text - first, guess.room[1].length)
    cdef uint8_t* to = room + guess.header
    memcpy(to, guess.room[0].at, first)
    memcpy(to + first, guess.room[1].at, second)


cdef void publish_frame(Process* p, uint32_t length) noexcept nogil:
    ring_commit(&p.intake, length, RECORD_FRAME, p.now)
    store64(&p.intake.shared.tail, p.intake.local)


cdef void wire_recover(Process* p) noexcept nogil:
    """The room is looked for as the predecessor did, who may have begun the ring anew."""
    cdef uint8_t* room
    cdef uint64_t position, at
    cdef uint32_t length
    if p.queue < 0 or load64(&p.reading.pending) == 0:
        return
    position = load64(&p.reading.pending) - 1
    room = ring_reserve(&p.intake, MAX_RECORD)
    if room != NULL and position == p.intake.local:
        length = recovered(p, room, MAX_RECORD)
        if length:
            publish_frame(p, length)
    elif position - p.rx.local < p.intake.local - p.rx.local and position & (RECORD_ALIGN - 1) == 0:
        # Published, its text where it belongs, and perhaps not accepted there.
        at = (position & (INTAKE_CAPACITY - 1)) + RECORD_HEADER
        recovered(p, p.intake.data + at, <uint32_t>min(INTAKE_CAPACITY - at, <uint64_t>MAX_RECORD))


cdef uint32_t recovered(Process* p, uint8_t* room, uint32_t most) noexcept nogil:
    """The length of the frame there, whole; 0: none. Only IPv4 comes from a queue, and says how long it is.
    If it was published, text that was accepted is no longer needed: it is old by its number."""
    cdef Guess guess
    cdef uint32_t length
    if most < UNREAD_BYTES or be16(room + ETHERTYPE_AT) != ETHERTYPE_IPV4:
        return 0
    length = IP_AT + be16(room + IP_AT + 2)
    if length >= most:
        return 0
    guess.header = p.reading.header
    if not p.reading.conn or not IP_AT < guess.header < length:
        return length
    if not stack_guess_again(p.stack, p.reading.conn - 1, p.reading.offset, p.reading.room, &guess):
        return 0
    collect(&guess, room, length)
    return length


cdef void write_queue(Process* p, const uint8_t* record, uint32_t length) noexcept nogil:
    cdef iovec pieces[3]
    cdef ssize_t done
    cdef uint32_t text = p.gathered[0].length + p.gathered[1].length
    if text == 0:
        done = write(p.queue, record, length)
    else:
        set_piece(&pieces[0], record, length - text)
        set_piece(&pieces[1], p.gathered[0].at, p.gathered[0].length)
        set_piece(&pieces[2], p.gathered[1].at, p.gathered[1].length)
        done = writev(p.queue, pieces, 3)
    if done >= 0:
        tally(p, COUNT_QUEUE_TX_FRAMES)
        p.counters[<uint32_t>COUNT_QUEUE_TX_BYTES] += length - VNET_BYTES
    elif errno in (EAGAIN, ENOBUFS, ENOMEM):
        tally(p, COUNT_QUEUE_DROP_NO_BUFFER)
    elif errno == EIO:
        tally(p, COUNT_QUEUE_DROP_DEVICE_DOWN)
    else:
        tally(p, COUNT_QUEUE_DROP_WRITE)


cdef bint push_to_driver(Process* p, const uint8_t* record, uint32_t length, uint16_t type) noexcept nogil:
    cdef uint8_t* room = ring_reserve(&p.tx, length)
    if room == NULL:
        tally(p, COUNT_QUEUE_DROP_LINK_FULL)
        return False
    cdef uint32_t first = p.gathered[0].length if type == RECORD_FRAME else 0
    cdef uint32_t second = p.gathered[1].length if type == RECORD_FRAME else 0
    cdef uint32_t head = length - first - second
    memcpy(room, record, head)
    memcpy(room + head, p.gathered[0].at, first)
    memcpy(room + head + first, p.gathered[1].at, second)
    ring_commit(&p.tx, length, type, 0)
    return True


# --- both


cdef inline uint32_t be16(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 8) | at[1]


cdef bint is_drivers(Process* p, const uint8_t* record, uint32_t length, uint16_t type) noexcept nogil:
    """What only the driver may do: to loop a frame back, and to learn a flow that we open, before its SYN
    leaves. The engine wrote it, so it is what it looks like."""
    if type != RECORD_FRAME:
        return type == RECORD_FLOW_ADD
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
        p.tx_committed |= push_to_driver(p, record, length, type)
    elif type == RECORD_FRAME:
        write_queue(p, record, length)
    elif push_to_driver(p, record, length, type):
        # How a flow ends: the driver reads it when it is awake next, and is not woken for it.
        store64(&p.tx.shared.tail, p.tx.local)


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
