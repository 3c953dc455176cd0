"""TCP segments out: the fair queue of connections that have something to send, and one frame of one connection.

A connection is in the queue at most once; what it sends is decided when its turn comes, so ACKs of a burst merge and
what the application wrote meanwhile goes along.
"""
cimport cython
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.stack.counters cimport Counter
from neat.stack.ipv4 cimport ipv4_prepare
from neat.stack.state cimport SLOT_TIMESTAMPS, SLOT_WSCALE, ConnSlot
from neat.stack.tcp.congestion cimport congestion_restart
from neat.stack.tcp.deadlines cimport timer_clear, timer_runs, timer_set
from neat.stack.tcp.plan cimport Plan, effective_mss, has_unsent, plan_next
from neat.stack.tcp.respond cimport empty_seq, timestamp_now
from neat.stack.tcp.segment cimport NO_WSCALE, Outgoing, outgoing_bytes, segment_finish, segment_write
from neat.stack.tcp.state cimport TcpState, can_transmit
from neat.stack.tcp.types cimport (
    MICROSECOND, MILLISECOND, NO_INDEX, TF_ABORT, TF_FIN_SENT, TF_FORCE, TF_KEEPALIVE, TF_PROBE, TF_QUEUED, TF_RETRANSMIT, TF_SEND_SYN, TF_TIMING,
    TF_WAITS_NEIGHBOUR, TIMER_DELACK, TIMER_PERSIST, TIMER_RETRANSMIT, Tcb, TcpPrivate,
)
from neat.stack.tcp.window cimport window_advertise, window_publish
from neat.stack.types cimport Stack, count, count_add
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_FIN, TCP_PSH, TCP_SYN
from neat.wire.seq cimport seq_gt, seq_lt

cdef enum:
    OVERRIDE_MS = 200               # longest that a silly window or a cork holds text back (RFC 9293 §3.8.6.2.1: 0.1 to 1.0 s)

# Put it into the queue: it may have something to send.
cdef void output_want(Stack* stack, Tcb* tcb) noexcept nogil
cdef void output_forget(Stack* stack, Tcb* tcb) noexcept nogil     # out of all queues
# The next frame of any connection, 0 when none has anything to send.
@cython.locals(tcp="TcpPrivate*", tcb="Tcb*", length=uint32_t)
cdef uint32_t tcp_poll(Stack* stack, uint8_t* buffer) noexcept nogil
# The neighbour that frames to `address` go to answered, or did not. Connections that waited for it go on.
@cython.locals(tcp="TcpPrivate*", tcb="Tcb*", at=uint32_t)
cdef void tcp_neighbour_ready(Stack* stack, const uint8_t* address, bint reachable) noexcept nogil

@cython.locals(at=uint32_t, previous=uint32_t)
cdef uint32_t cut(TcpPrivate* tcp, uint32_t* first, uint32_t index) noexcept nogil
@cython.locals(plan="Plan")
cdef uint32_t send_next(Stack* stack, Tcb* tcb, uint8_t* buffer) noexcept nogil
@cython.locals(plan="Plan", length=uint32_t)
cdef uint32_t send_last(Stack* stack, Tcb* tcb, uint8_t* buffer) noexcept nogil
@cython.locals(wait=uint64_t)
cdef void start_persist(Stack* stack, Tcb* tcb) noexcept nogil
@cython.locals(slot="ConnSlot*")
cdef void fill(Stack* stack, Tcb* tcb, Outgoing* out, uint32_t seq, uint8_t flags) noexcept nogil
@cython.locals(size=uint32_t, l4=int32_t, tos=uint8_t, ttl=uint8_t)
cdef int32_t start_frame(Stack* stack, Tcb* tcb, uint8_t* buffer, Outgoing* out, uint32_t text) noexcept nogil
cdef void ack_left(Tcb* tcb, bint pure) noexcept nogil
@cython.locals(out="Outgoing", size=uint32_t, l4=int32_t)
cdef uint32_t send_empty(Stack* stack, Tcb* tcb, uint8_t* buffer, uint32_t seq) noexcept nogil
@cython.locals(out="Outgoing", size=uint32_t, l4=int32_t, slot="ConnSlot*")
cdef uint32_t send_syn(Stack* stack, Tcb* tcb, uint8_t* buffer) noexcept nogil
@cython.locals(at=uint32_t, first=uint32_t)
cdef void read_ring(Tcb* tcb, uint64_t offset, uint8_t* to, uint32_t length) noexcept nogil
@cython.locals(out="Outgoing", size=uint32_t, l4=int32_t, mss=uint32_t, flags=uint8_t, slot="ConnSlot*")
cdef uint32_t send_text(Stack* stack, Tcb* tcb, uint8_t* buffer, Plan* plan) noexcept nogil
@cython.locals(end=uint32_t)
cdef void note_sent(Stack* stack, Tcb* tcb, Plan* plan, uint32_t mss) noexcept nogil
