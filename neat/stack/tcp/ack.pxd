"""The ACK field of a segment (RFC 9293 §3.10.7.4, fifth): what it acknowledges, the send window, and where it leads."""
cimport cython
from libc.stdint cimport uint32_t
from neat.abi.channel cimport NEAT_ST_CONNECTED, NEAT_ST_CONNECTING
from neat.shm.atomic cimport fence, peek32, store32, store64
from neat.stack.config cimport EV_ACCEPT, EV_CONNECTED, EV_WRITABLE
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport (
    SLOT_FIN_ACKED, SLOT_FIN_QUEUED, SLOT_ORPHAN, SLOT_PASSIVE, SLOT_SYN_ACKED, SLOT_TIMESTAMPS, SLOT_WSCALE, ConnSlot,
)
from neat.stack.tcp.congestion cimport congestion_ack, congestion_dup_ack, congestion_start
from neat.stack.tcp.connection cimport conn_event, conn_over, conn_publish, conn_set_state, conn_status
from neat.stack.tcp.deadlines cimport timer_clear, timer_set
from neat.stack.tcp.keepalive cimport keepalive_start
from neat.stack.tcp.plan cimport pending
from neat.stack.tcp.respond cimport respond_rst, timestamp_now
from neat.stack.tcp.rtt cimport RTO_AFTER_SYN_LOSS_US, rto_restore, rtt_sample
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.text cimport owe_ack
from neat.stack.tcp.timewait cimport wait_enter
from neat.stack.tcp.types cimport (
    MICROSECOND, MILLISECOND, SECOND, TF_BACKED_OFF, TF_DEFERRED, TF_PROBE, TF_SEND_SYN, TF_TIMING, TIMER_PERSIST, TIMER_RETRANSMIT, Tcb,
)
from neat.stack.tcp.window cimport window_publish
from neat.stack.types cimport Stack, count
from neat.wire.headers cimport TCP_ACK, TCP_SYN
from neat.wire.seq cimport seq_ge, seq_gt, seq_le, seq_lt

cdef enum:
    PUBLISH_MS = 100                # TCP_INFO is as old as this at most

# False: the segment is done with, or the connection is gone.
cdef bint check_ack(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil
# Our SYN is acknowledged: to ESTABLISHED. False when the application has no socket left for it.
cdef bint establish(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
@cython.locals(slot="ConnSlot*", wnd=uint32_t)
cdef void update_window(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
@cython.locals(wnd=uint32_t)
cdef bint is_duplicate(Tcb* tcb, Segment* seg) noexcept nogil
@cython.locals(slot="ConnSlot*", acked=uint32_t, text=uint32_t, in_flight=uint32_t)
cdef void acknowledged(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
@cython.locals(echo=uint32_t)
cdef void sample_rtt(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
# A third of the transmit ring is free, and the application waits for that.
@cython.locals(limit=uint32_t)
cdef void signal_writable(Stack* stack, Tcb* tcb) noexcept nogil
cdef bint is_writable(Tcb* tcb) noexcept nogil
@cython.locals(state=uint32_t)
cdef bint fin_acknowledged(Stack* stack, Tcb* tcb) noexcept nogil
# RFC 5961 §7: at most ten challenge ACKs a second for a connection.
cdef void challenge(Stack* stack, Tcb* tcb) noexcept nogil
