"""Segments without text that leave through the reply queue."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset
from neat.stack.counters cimport Counter
from neat.stack.ipv4 cimport ipv4_prepare
from neat.stack.packet cimport Packet
from neat.stack.reply cimport reply_commit, reply_reserve
from neat.stack.state cimport SLOT_TIMESTAMPS, ConnSlot, WaitSlot
from neat.stack.tcp.segment cimport (
    NO_WSCALE, Outgoing, Segment, outgoing_bytes, segment_finish, segment_parse, segment_write,
)
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack, count
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_RST

cdef bint respond(
    Stack* stack, const uint8_t* source, const uint8_t* destination, Outgoing* out
) noexcept nogil:
    cdef uint8_t* record = reply_reserve(stack)
    if record == NULL:
        return False
    cdef uint32_t size = outgoing_bytes(out)
    cdef int32_t l4 = ipv4_prepare(stack, record, destination, PROTO_TCP, size, 0, 0)
    if l4 < 0:
        count(stack, Counter.TCP_UNREACHABLE)
        return False
    segment_write(record + l4, out)
    segment_finish(stack, record, l4, size, size, 0, source, destination)
    reply_commit(stack, l4 + size)
    count(stack, Counter.TCP_OUT)
    return True


cdef void respond_rst(Stack* stack, Packet* packet, Segment* seg) noexcept nogil:
    cdef Outgoing out
    if seg.flags & TCP_RST:
        return
    if stack.state.suspect.position + 1 == stack.state.redone:
        return  # it may be this frame that ended its connection, before the crash
    memset(&out, 0, sizeof(Outgoing))
    out.wscale = NO_WSCALE
    out.local_port = seg.local_port
    out.remote_port = seg.remote_port
    if seg.flags & TCP_ACK:
        out.seq = seg.ack
        out.flags = TCP_RST
    else:
        out.ack = seg.seq + seg.len
        out.flags = TCP_RST | TCP_ACK
    if respond(stack, packet.destination, packet.source, &out):
        count(stack, Counter.TCP_RST_OUT)


cdef void respond_refused(Stack* stack, Packet* packet) noexcept nogil:
    cdef Segment seg
    if packet.protocol == PROTO_TCP and not packet.broadcast and segment_parse(stack, packet, &seg):
        respond_rst(stack, packet, &seg)


cdef void respond_abort(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef Outgoing out
    cdef ConnSlot* slot = tcb.slot
    memset(&out, 0, sizeof(Outgoing))
    out.wscale = NO_WSCALE
    out.local_port = slot.key.local_port
    out.remote_port = slot.key.remote_port
    out.seq = empty_seq(tcb)
    out.ack = tcb.rcv_nxt
    out.flags = TCP_RST | TCP_ACK
    if slot.flags & SLOT_TIMESTAMPS:
        out.has_ts = True
        out.tsval = timestamp_now(stack, slot.ts_offset)
        out.tsecr = slot.ts_recent
    if respond(stack, slot.key.local, slot.key.remote, &out):
        count(stack, Counter.TCP_RST_OUT)


cdef void respond_wait_ack(Stack* stack, WaitSlot* wait) noexcept nogil:
    cdef Outgoing out
    memset(&out, 0, sizeof(Outgoing))
    out.wscale = NO_WSCALE
    out.local_port = wait.key.local_port
    out.remote_port = wait.key.remote_port
    out.seq = wait.snd_nxt
    out.ack = wait.rcv_nxt
    out.wnd = <uint16_t>min(wait.rcv_wnd >> wait.rcv_wscale, 65535)
    out.flags = TCP_ACK
    if wait.timestamps:
        out.has_ts = True
        out.tsval = timestamp_now(stack, wait.ts_offset)
        out.tsecr = wait.ts_recent
    respond(stack, wait.key.local, wait.key.remote, &out)
