"""What to send next on a connection, and whether to wait: windows, Nagle, silly windows, cork (RFC 9293
§3.8.6, §3.7.4)."""

from libc.stdint cimport uint32_t
from neat.stack.state cimport SLOT_FIN_ACKED, SLOT_FIN_QUEUED, SLOT_TIMESTAMPS
from neat.stack.tcp.segment cimport TS_OPTION
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

cdef struct Plan:
    uint32_t seq
    uint32_t length                 # bytes of text
    bint fin
    bint push                       # it empties the transmit ring
    bint is_new                     # it moves snd_nxt
    # something waits, and no timer or ACK is sure to come: the persist timer must run
    bint blocked

# Bytes of text in one full segment.
cdef inline uint32_t effective_mss(Tcb* tcb) noexcept nogil:
    return tcb.slot.snd_mss - (TS_OPTION if tcb.slot.flags & SLOT_TIMESTAMPS else 0)

# Bytes in the transmit ring that are not acknowledged yet.
cdef inline uint32_t pending(Tcb* tcb) noexcept nogil:
    return <uint32_t>(tcb.tx_tail - tcb.slot.tx_head)

cdef inline bint fin_waits(Tcb* tcb) noexcept nogil:
    return tcb.slot.flags & (SLOT_FIN_QUEUED | SLOT_FIN_ACKED) == SLOT_FIN_QUEUED

# Is there text or a FIN that was never sent, or must be sent again?
cdef inline bint has_unsent(Tcb* tcb) noexcept nogil:
    return tcb.snd_nxt - tcb.snd_una < pending(tcb) + (1 if fin_waits(tcb) else 0)

cdef bint plan_next(Stack* stack, Tcb* tcb, Plan* plan) noexcept nogil
