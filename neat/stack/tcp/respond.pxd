"""Segments without text that leave through the reply queue: RSTs, and what is sent for a connection that is gone."""
cimport cython
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset
from neat.stack.counters cimport Counter
from neat.stack.ipv4 cimport ipv4_prepare
from neat.stack.packet cimport Packet
from neat.stack.reply cimport reply_commit, reply_reserve
from neat.stack.state cimport SLOT_SYN_ACKED, SLOT_TIMESTAMPS, ConnSlot
from neat.stack.tcp.segment cimport NO_WSCALE, Outgoing, Segment, outgoing_bytes, segment_finish, segment_write
from neat.stack.tcp.types cimport MILLISECOND, Tcb, TimeWait
from neat.stack.types cimport Stack, count
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_RST
from neat.wire.seq cimport seq_gt

# One segment without text. Full queue or no neighbour: dropped and counted.
@cython.locals(record="uint8_t*", l4=int32_t, size=uint32_t)
cdef bint respond(Stack* stack, const uint8_t* source, const uint8_t* destination, Outgoing* out) noexcept nogil
# RFC 9293 §3.10.7.1: the answer of a connection that does not exist. None to a RST.
@cython.locals(out=Outgoing)
cdef void respond_rst(Stack* stack, Packet* packet, Segment* seg) noexcept nogil
# <SEQ=SND.NXT><ACK=RCV.NXT><CTL=RST,ACK>: we give this connection up.
@cython.locals(out=Outgoing, slot="ConnSlot*")
cdef void respond_abort(Stack* stack, Tcb* tcb) noexcept nogil
@cython.locals(out=Outgoing)
cdef void respond_wait_ack(Stack* stack, TimeWait* wait) noexcept nogil

# Our timestamp clock: milliseconds, and a random offset for each connection (RFC 7323 §5.4, §7.1).
cdef inline uint32_t timestamp_now(Stack* stack, uint32_t offset) noexcept nogil:
    return <uint32_t>(stack.now // MILLISECOND) + offset

# Where an empty segment stands: behind all that was sent, but not beyond the peer's window (RFC 9293 §3.10.7.4: there it would
# not even be read). Text sent there was dropped: probes, and what was under way when the window shrank.
cdef inline uint32_t empty_seq(Tcb* tcb) noexcept nogil:
    cdef uint32_t edge = tcb.snd_una + tcb.slot.snd_wnd
    if tcb.slot.flags & SLOT_SYN_ACKED and seq_gt(tcb.snd_max, edge):
        return edge
    return tcb.snd_max
