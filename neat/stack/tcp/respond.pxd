"""Segments without text that leave through the reply queue: RSTs, and what is sent for a connection that is
gone."""

from libc.stdint cimport uint8_t, uint32_t
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_SYN_ACKED, WaitSlot
from neat.stack.tcp.segment cimport Outgoing, Segment
from neat.stack.tcp.types cimport MILLISECOND, Tcb
from neat.stack.types cimport Stack
from neat.wire.seq cimport seq_gt

# One segment without text. False: the queue is full or there is no neighbour; dropped and counted.
cdef bint respond(
    Stack* stack, const uint8_t* source, const uint8_t* destination, Outgoing* out
) noexcept nogil
# RFC 9293 §3.10.7.1: the answer of a connection that does not exist. None to a RST.
cdef void respond_rst(Stack* stack, Packet* packet, Segment* seg) noexcept nogil
# Of a segment that the packet filter refuses: as if nobody listened.
cdef void respond_refused(Stack* stack, Packet* packet) noexcept nogil
# <SEQ=SND.NXT><ACK=RCV.NXT><CTL=RST,ACK>: we give this connection up.
cdef void respond_abort(Stack* stack, Tcb* tcb) noexcept nogil
cdef void respond_wait_ack(Stack* stack, WaitSlot* wait) noexcept nogil

# Our timestamp clock: milliseconds, and a random offset for each connection (RFC 7323 §5.4, §7.1).
cdef inline uint32_t timestamp_now(Stack* stack, uint32_t offset) noexcept nogil:
    return <uint32_t>(stack.now // MILLISECOND) + offset

# Where an empty segment stands: behind all that was sent, but not beyond the peer's window (RFC 9293
# §3.10.7.4: there it would not even be read). Text sent there was dropped: probes, and what was under way
# when the window shrank.
cdef inline uint32_t empty_seq(Tcb* tcb) noexcept nogil:
    cdef uint32_t edge = tcb.snd_una + tcb.slot.snd_wnd
    if tcb.slot.flags & SLOT_SYN_ACKED and seq_gt(tcb.slot.snd_max, edge):
        return edge
    return tcb.slot.snd_max
