"""The scoreboard of a sender (RFC 6675), over intervals instead of single numbers."""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.tcp.reassembly cimport interval, interval_end, interval_start
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport NO_INDEX, SACKED_MAX, Tcb
from neat.wire.seq cimport seq_ge, seq_gt, seq_le, seq_lt, seq_max, seq_min


cdef inline uint32_t size(uint64_t one) noexcept nogil:
    return interval_end(one) - interval_start(one)


cdef void cut(Tcb* tcb, uint32_t at, uint32_t count) noexcept nogil:
    """Take so many intervals out."""
    cdef uint32_t i
    tcb.sacked_count -= count
    for i in range(at, tcb.sacked_count):
        tcb.sacked[i] = tcb.sacked[i + count]


cdef bint note(Tcb* tcb, uint32_t start, uint32_t end) noexcept nogil:
    """What touches it melts into it. False: it was known, or there is no room for one more."""
    cdef uint32_t i
    cdef uint32_t at = 0
    while at < tcb.sacked_count and seq_lt(interval_end(tcb.sacked[at]), start):
        at += 1
    cdef uint32_t last = at
    while last < tcb.sacked_count and seq_le(interval_start(tcb.sacked[last]), end):
        last += 1
    if last > at:
        if seq_le(interval_start(tcb.sacked[at]), start) and seq_ge(interval_end(tcb.sacked[at]), end):
            return False
        start = seq_min(start, interval_start(tcb.sacked[at]))
        end = seq_max(end, interval_end(tcb.sacked[last - 1]))
        cut(tcb, at, last - at - 1)
    elif tcb.sacked_count == SACKED_MAX:
        return False
    else:
        i = tcb.sacked_count
        while i > at:
            tcb.sacked[i] = tcb.sacked[i - 1]
            i -= 1
        tcb.sacked_count += 1
    tcb.sacked[at] = interval(start, end)
    return True


cdef bint scoreboard_note(Tcb* tcb, const Segment* seg) noexcept nogil:
    """A block that starts at or below SND.UNA reports what came twice (RFC 2883), or contradicts the ACK; one
    beyond SND.MAX is made up."""
    cdef uint32_t i, start, end
    cdef bint news = False
    cdef uint32_t una = seq_max(tcb.snd_una, seg.ack)
    for i in range(seg.blocks):
        start, end = seg.sack[2 * i], seg.sack[2 * i + 1]
        if seq_gt(start, una) and seq_lt(start, end) and seq_le(end, tcb.slot.snd_max):
            news = note(tcb, start, end) or news
    return news


cdef void scoreboard_advance(Tcb* tcb) noexcept nogil:
    cdef uint32_t i = 0
    while i < tcb.sacked_count and seq_le(interval_start(tcb.sacked[i]), tcb.snd_una):
        i += 1
    if i:
        cut(tcb, 0, i)
    if seq_lt(tcb.high_rxt, tcb.snd_una):
        tcb.high_rxt = tcb.snd_una


cdef bint is_lost(Tcb* tcb, uint32_t intervals, uint32_t bytes) noexcept nogil:
    """RFC 6675 §4, IsLost(): so much above it has arrived."""
    return intervals >= DUP_THRESHOLD or bytes > (DUP_THRESHOLD - 1) * <uint32_t>tcb.slot.snd_mss


cdef bint scoreboard_head_is_lost(Tcb* tcb) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t bytes = 0
    for i in range(tcb.sacked_count):
        bytes += size(tcb.sacked[i])
    return is_lost(tcb, tcb.sacked_count, bytes)


cdef uint32_t scoreboard_pipe(Tcb* tcb) noexcept nogil:
    """From the top: what is beyond all intervals counts, then each hole unless it is lost, and what of it was
    sent again."""
    cdef uint32_t i, start, end
    cdef uint32_t top = tcb.slot.snd_max
    cdef uint32_t bytes = 0
    cdef uint32_t pipe = 0
    cdef uint32_t above = 0
    i = tcb.sacked_count
    while True:
        end = top
        start = interval_end(tcb.sacked[i - 1]) if i else tcb.snd_una
        if not is_lost(tcb, above, bytes):
            pipe += end - start
        if seq_gt(tcb.high_rxt, start):
            pipe += seq_min(tcb.high_rxt, end) - start
        if i == 0:
            return pipe
        i -= 1
        above += 1
        bytes += size(tcb.sacked[i])
        top = interval_start(tcb.sacked[i])


cdef bint scoreboard_hole(Tcb* tcb, bint lost, uint32_t* start, uint32_t* end) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t left = tcb.snd_una
    cdef uint32_t bytes = 0
    for i in range(tcb.sacked_count):
        bytes += size(tcb.sacked[i])
    for i in range(tcb.sacked_count):
        start[0] = seq_max(left, tcb.high_rxt)
        end[0] = interval_start(tcb.sacked[i])
        if lost and not is_lost(tcb, tcb.sacked_count - i, bytes):
            return False  # nor are those above it
        if seq_lt(start[0], end[0]):
            return True
        left = interval_end(tcb.sacked[i])
        bytes -= size(tcb.sacked[i])
    return False


cdef uint32_t scoreboard_below(Tcb* tcb, uint32_t seq) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t bytes = 0
    for i in range(tcb.sacked_count):
        if seq_lt(interval_start(tcb.sacked[i]), seq):
            bytes += seq_min(interval_end(tcb.sacked[i]), seq) - interval_start(tcb.sacked[i])
    return bytes


cdef uint32_t scoreboard_skip(Tcb* tcb, uint32_t* seq) noexcept nogil:
    cdef uint32_t i
    for i in range(tcb.sacked_count):
        if seq_lt(seq[0], interval_start(tcb.sacked[i])):
            return interval_start(tcb.sacked[i]) - seq[0]
        seq[0] = seq_max(seq[0], interval_end(tcb.sacked[i]))
    return NO_INDEX
