"""Segments without text that leave through the reply queue."""

import cython


def respond(stack, source, destination, out):
    record = reply_reserve(stack)
    if record == cython.NULL:
        return False
    size = outgoing_bytes(out)
    l4 = ipv4_prepare(stack, record, destination, PROTO_TCP, size, 0, 0)
    if l4 < 0:
        count(stack, Counter.TCP_UNREACHABLE)
        return False
    segment_write(record + l4, out)
    segment_finish(stack, record, l4, size, size, 0, source, destination)
    reply_commit(stack, l4 + size)
    count(stack, Counter.TCP_OUT)
    return True


def respond_rst(stack, packet, seg):
    if seg.flags & TCP_RST:
        return
    memset(cython.address(out), 0, cython.sizeof(Outgoing))
    out.wscale = NO_WSCALE
    out.local_port = seg.local_port
    out.remote_port = seg.remote_port
    if seg.flags & TCP_ACK:
        out.seq = seg.ack
        out.flags = TCP_RST
    else:
        out.ack = seg.seq + seg.len
        out.flags = TCP_RST | TCP_ACK
    if respond(stack, packet.destination, packet.source, cython.address(out)):
        count(stack, Counter.TCP_RST_OUT)


def respond_abort(stack, tcb):
    slot = tcb.slot
    memset(cython.address(out), 0, cython.sizeof(Outgoing))
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
    if respond(stack, slot.key.local, slot.key.remote, cython.address(out)):
        count(stack, Counter.TCP_RST_OUT)


def respond_wait_ack(stack, wait):
    memset(cython.address(out), 0, cython.sizeof(Outgoing))
    out.wscale = NO_WSCALE
    out.local_port = wait.key.local_port
    out.remote_port = wait.key.remote_port
    out.seq = wait.snd_nxt
    out.ack = wait.rcv_nxt
    out.wnd = cython.cast(uint16_t, min(wait.rcv_wnd >> wait.rcv_wscale, 65535))
    out.flags = TCP_ACK
    if wait.timestamps:
        out.has_ts = True
        out.tsval = timestamp_now(stack, wait.ts_offset)
        out.tsecr = wait.ts_recent
    respond(stack, wait.key.local, wait.key.remote, cython.address(out))
