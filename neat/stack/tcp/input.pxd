"""TCP segments in: find the connection, then RFC 9293 §3.10.7 step by step, one function a step, in its order."""
cimport cython
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_ORPHAN, SLOT_PASSIVE, SLOT_TIMESTAMPS, SLOT_WSCALE, ConnSlot
from neat.stack.tcp.ack cimport challenge, check_ack
from neat.stack.tcp.connection cimport conn_free, conn_over
from neat.stack.tcp.listen cimport listen_input
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.plan cimport has_unsent
from neat.stack.tcp.segment cimport Segment, segment_parse
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.synsent cimport synsent_input
from neat.stack.tcp.text cimport check_fin, owe_ack, owe_duplicate, process_text
from neat.stack.tcp.timewait cimport wait_enter, wait_input
from neat.stack.tcp.types cimport NO_INDEX, PAWS_IDLE_S, SECOND, TF_RETRANSMIT, TF_SEND_SYN, TW_BIT, Tcb
from neat.stack.tcp.window cimport rcv_wnd
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FlowKey
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TCP_URG
from neat.wire.seq cimport seq_gt, seq_in_window, seq_le, seq_lt

@cython.locals(seg=Segment, key=FlowKey, at=uint32_t, iss_floor=uint32_t, tcb="Tcb*")
cdef void tcp_input(Stack* stack, Packet* packet) noexcept nogil
# SYN_RCVD and later: the eight steps. False: the connection is gone.
@cython.locals(slot="ConnSlot*")
cdef bint segment_arrives(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil

# Each returns False when the segment is done with.
@cython.locals(is_syn=cython.bint)
cdef bint check_sequence(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
cdef bint is_acceptable(Tcb* tcb, Segment* seg) noexcept nogil
cdef void answer_stray(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
cdef bint is_outdated(Stack* stack, ConnSlot* slot) noexcept nogil
@cython.locals(slot="ConnSlot*")
cdef bint check_timestamp(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
@cython.locals(slot="ConnSlot*")
cdef void remember_timestamp(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
@cython.locals(error=int32_t)
cdef bint check_rst(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
cdef bint check_syn(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
