"""Text and FIN of a segment (RFC 9293 §3.10.7.4, seventh and eighth), and when to acknowledge (RFC 5681 §4.2)."""
cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.abi.channel cimport NEAT_OPT_QUICKACK, NEAT_ST_FIN, NEAT_ST_RDHUP
from neat.shm.atomic cimport peek32, store32, store64
from neat.stack.config cimport EV_RDHUP, EV_READABLE
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_FIN_SEEN, SLOT_ORPHAN, ConnSlot
from neat.stack.tcp.connection cimport conn_event, conn_over, conn_set_state, conn_status
from neat.stack.tcp.deadlines cimport timer_runs, timer_set
from neat.stack.tcp.reassembly cimport ooo_insert, ooo_take
from neat.stack.tcp.respond cimport respond_abort
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport TcpState, can_receive
from neat.stack.tcp.timewait cimport wait_enter
from neat.stack.tcp.types cimport MILLISECOND, TF_FIN_WAITS, TIMER_DELACK, Tcb
from neat.stack.types cimport Stack, count, count_add
from neat.wire.headers cimport TCP_FIN
from neat.wire.seq cimport seq_gt, seq_lt

cdef enum:
    MAX_ACKS_OWED = 64

cdef inline void owe_ack(Tcb* tcb) noexcept nogil:
    if tcb.ack_owed == 0:
        tcb.ack_owed = 1

# One more, even if one is owed already: the sender counts duplicates.
cdef inline void owe_duplicate(Tcb* tcb) noexcept nogil:
    if tcb.ack_owed < MAX_ACKS_OWED:
        tcb.ack_owed += 1

# Both return False when the connection is gone: nothing may be done with it then.
@cython.locals(start=uint32_t, length=uint32_t, skip=uint32_t, room=uint32_t, text="uint8_t*", end=uint32_t)
cdef bint process_text(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil
@cython.locals(slot="ConnSlot*", fin_seq=uint32_t, state=uint32_t)
cdef bint check_fin(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil

@cython.locals(at=uint32_t, first=uint32_t)
cdef void write_ring(Tcb* tcb, uint64_t offset, const uint8_t* text, uint32_t length) noexcept nogil
cdef void advance_rx(Stack* stack, Tcb* tcb, uint32_t length) noexcept nogil
@cython.locals(size=uint32_t)
cdef void acknowledge_text(Stack* stack, Tcb* tcb, Packet* packet, uint32_t length, bint filled_gap) noexcept nogil
