"""What to send next on a connection, and whether to wait: windows, Nagle, silly windows, cork (RFC 9293 §3.8.6, §3.7.4)."""
cimport cython
from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport NEAT_OPT_CORK, NEAT_OPT_NODELAY
from neat.shm.atomic cimport load32, load64, peek32
from neat.stack.config cimport OFFLOAD_TSO4
from neat.stack.state cimport SLOT_FIN_ACKED, SLOT_FIN_QUEUED, SLOT_TIMESTAMPS
from neat.stack.tcp.congestion cimport send_allowance
from neat.stack.tcp.segment cimport TCP_HEADER, TS_OPTION
from neat.stack.tcp.types cimport TF_FORCE, TF_PROBE, TF_RETRANSMIT, Tcb
from neat.stack.types cimport Stack
from neat.wire.seq cimport seq_le, seq_lt

cdef enum:
    MAX_IP_BYTES = 65535
    IP_HEADER = 20

cdef struct Plan:
    uint32_t seq
    uint32_t length                 # bytes of text
    bint fin
    bint push                       # it empties the transmit ring
    bint is_new                     # it moves snd_nxt
    bint blocked                    # something waits, and no timer or ACK is sure to come: the persist timer must run

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

# Corked text that was there when the application set TCP_NODELAY, so many bytes from snd_nxt on.
cdef inline uint32_t pushed_text(Tcb* tcb, uint32_t in_flight) noexcept nogil:
    cdef uint64_t start = tcb.slot.tx_head + in_flight, end
    if not peek32(&tcb.sock.options) & NEAT_OPT_CORK or fin_waits(tcb):
        return 0
    end = min(load64(&tcb.sock.push_tail), tcb.tx_tail)
    return <uint32_t>(end - start) if end > start else 0

@cython.locals(pushed=uint32_t, mss=uint32_t, unsent=uint32_t, room=uint32_t, wnd=uint32_t, in_flight=uint32_t, limit=uint32_t, tail=uint32_t, fin=cython.bint)
cdef bint plan_next(Stack* stack, Tcb* tcb, Plan* plan) noexcept nogil

cdef bint plan_head(Tcb* tcb, Plan* plan, uint32_t most) noexcept nogil
@cython.locals(options=uint32_t)
cdef bint may_send_small(Tcb* tcb) noexcept nogil
cdef uint32_t frame_limit(Stack* stack, Tcb* tcb, uint32_t mss) noexcept nogil
