"""Text that came out of order: intervals over the receive ring, beyond rx_tail."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.shm.atomic cimport store64
from neat.stack.state cimport OOO_MAX
from neat.stack.tcp.types cimport LATEST, NO_INDEX, Tcb
from neat.wire.seq cimport seq_ge, seq_gt, seq_le, seq_lt, seq_max, seq_min


cdef bint touches(uint64_t one, uint32_t start, uint32_t end) noexcept nogil:
    return one != 0 and seq_le(interval_start(one), end) and seq_ge(interval_end(one), start)


cdef void put(Tcb* tcb, uint32_t at, uint64_t value) noexcept nogil:
    """The one store that changes an interval."""
    cdef uint64_t* place = &tcb.slot.ooo[at]
    if place[0] == 0:
        tcb.ooo_count += 1
    if value == 0:
        tcb.ooo_count -= 1
    store64(place, value)


cdef void note_latest(Tcb* tcb, uint32_t at) noexcept nogil:
    """To the front, those before it one to the back."""
    cdef uint32_t i = 0
    while i < LATEST - 1 and tcb.latest[i] != at:
        i += 1
    while i > 0:
        tcb.latest[i] = tcb.latest[i - 1]
        i -= 1
    tcb.latest[0] = <uint8_t>at


cdef void ooo_twice(Tcb* tcb, uint32_t start, uint32_t end) noexcept nogil:
    if seq_lt(start, end):
        tcb.twice = interval(start, end)


cdef bint ooo_insert(Tcb* tcb, uint32_t start, uint32_t end) noexcept nogil:
    """What touches the new interval melts into it: one is widened over all, then the others go."""
    cdef uint32_t i
    cdef uint64_t one
    cdef uint32_t target = NO_INDEX
    cdef uint32_t free = NO_INDEX
    cdef uint32_t first = start, last = end
    for i in range(<uint32_t>OOO_MAX):
        one = tcb.slot.ooo[i]
        if one != 0:
            ooo_twice(tcb, seq_max(first, interval_start(one)), seq_min(last, interval_end(one)))
        if touches(one, start, end):
            if seq_lt(interval_start(one), start):
                start = interval_start(one)
            end = seq_max(end, interval_end(one))
            target = i
        elif one == 0:
            free = i
    if target == NO_INDEX:
        target = free
    if target == NO_INDEX:
        return False
    put(tcb, target, interval(start, end))
    note_latest(tcb, target)
    for i in range(<uint32_t>OOO_MAX):
        one = tcb.slot.ooo[i]
        if i != target and one != 0 and seq_ge(interval_start(one), start) and seq_le(interval_end(one), end):
            put(tcb, i, 0)
    return True


cdef uint32_t ooo_reach(Tcb* tcb, uint32_t reached) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t one
    cdef bint further = True
    while further:
        further = False
        for i in range(<uint32_t>OOO_MAX):
            one = tcb.slot.ooo[i]
            if one != 0 and seq_le(interval_start(one), reached) and seq_gt(interval_end(one), reached):
                reached = interval_end(one)
                further = True
    return reached


cdef void ooo_drop(Tcb* tcb) noexcept nogil:
    cdef uint32_t i
    for i in range(<uint32_t>OOO_MAX):
        if tcb.slot.ooo[i] != 0 and seq_le(interval_end(tcb.slot.ooo[i]), tcb.rcv_nxt):
            put(tcb, i, 0)


cdef uint32_t ooo_end(Tcb* tcb) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t end = tcb.rcv_nxt
    if tcb.ooo_count:
        for i in range(<uint32_t>OOO_MAX):
            if tcb.slot.ooo[i] != 0:
                end = seq_max(end, interval_end(tcb.slot.ooo[i]))
    return end


cdef void ooo_resume(Tcb* tcb) noexcept nogil:
    cdef uint32_t i, start, end
    cdef uint64_t one
    tcb.ooo_count = 0
    for i in range(<uint32_t>OOO_MAX):
        one = tcb.slot.ooo[i]
        if one == 0:
            continue
        start, end = interval_start(one), interval_end(one)
        tcb.ooo_count += 1
        # In order already, though not dropped yet; or nonsense.
        if seq_le(start, tcb.rcv_nxt) or seq_le(end, start) or seq_gt(end, tcb.slot.rcv_adv):
            put(tcb, i, 0)
