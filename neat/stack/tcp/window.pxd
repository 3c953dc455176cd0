"""The receive window: what we promise (RFC 9293 §3.8.6, RFC 7323 §2). The right edge, rcv_adv, never moves back."""
cimport cython
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from neat.shm.atomic cimport load64, peek32, store32
from neat.stack.state cimport SLOT_WSCALE, ConnSlot
from neat.stack.tcp.types cimport Tcb
from neat.wire.seq cimport seq_gt

cdef enum:
    FIRST_SPACE = 1 << 18           # bytes that a peer may send to an application that reads nothing
    GROWTH_NS = 250_000_000         # an application that reads all of its space in this time gets twice as much

# The shift we offer for a receive ring of this size.
cdef inline uint32_t window_shift(uint32_t size) noexcept nogil:
    cdef uint32_t shift = 0
    while (<uint32_t>65536 << shift) < size and shift < 14:
        shift += 1
    return shift

cdef inline uint32_t rcv_wnd(Tcb* tcb) noexcept nogil:
    return tcb.slot.rcv_adv - tcb.rcv_nxt

# Before the first window goes out: what the application's limit (0: none) means for a ring of this size.
cdef inline uint32_t window_limit(uint32_t rcvbuf, uint32_t rx_size, uint32_t space) noexcept nogil:
    if rcvbuf == 0:
        return space
    return max(rcvbuf, 2048) if rcvbuf <= rx_size else rx_size

# At birth. `rcvbuf` as above.
cdef void window_begin(Tcb* tcb, uint32_t rcvbuf, uint32_t rx_size) noexcept nogil
# Bytes that the right edge could move to, counted from rcv_nxt.
@cython.locals(head=uint64_t, used=uint64_t, space=uint32_t)
cdef uint32_t window_free(Tcb* tcb, uint64_t now) noexcept nogil
cdef void window_grow(Tcb* tcb, uint64_t now) noexcept nogil
# Move the edge if that is worth while, and return the header's window field (scaled).
@cython.locals(slot="ConnSlot*", wanted=uint32_t, edge=uint32_t, wnd=uint32_t, field=uint32_t, rounded=uint32_t, free=uint32_t)
cdef uint16_t window_advertise(Tcb* tcb, uint64_t now) noexcept nogil
@cython.locals(told=uint32_t)
cdef void window_publish(Tcb* tcb) noexcept nogil
# Has the application made so much room that the peer should hear of it now?
@cython.locals(free=uint32_t, now_open=uint32_t, grown=uint32_t, half=uint32_t, step=uint32_t)
cdef bint window_worth_update(Tcb* tcb, uint64_t now) noexcept nogil
