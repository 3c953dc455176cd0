"""What to send next on a connection, and whether to wait."""

from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport NEAT_OPT_CORK, NEAT_OPT_NODELAY
from neat.shm.atomic cimport load32, load64, peek32
from neat.stack.config cimport OFFLOAD_TSO4
from neat.stack.tcp.congestion cimport send_allowance
from neat.stack.tcp.segment cimport TCP_HEADER, TS_OPTION
from neat.stack.tcp.types cimport TF_FORCE, TF_PROBE, TF_RETRANSMIT, Tcb
from neat.stack.types cimport Stack
from neat.wire.seq cimport seq_le, seq_lt

cdef enum:
    MAX_IP_BYTES = 65535
    IP_HEADER = 20

# Corked text that was there when the application set TCP_NODELAY, so many bytes from snd_nxt on.
cdef inline uint32_t pushed_text(Tcb* tcb, uint32_t in_flight) noexcept nogil:
    cdef uint64_t start = tcb.slot.tx_head + in_flight, end
    if not peek32(&tcb.sock.options) & NEAT_OPT_CORK or fin_waits(tcb):
        return 0
    end = min(load64(&tcb.sock.push_tail), tcb.tx_tail)
    return <uint32_t>(end - start) if end > start else 0


cdef bint plan_head(Tcb* tcb, Plan* plan, uint32_t most) noexcept nogil:
    """The first unacknowledged text again, at most so many bytes, whatever the windows say."""
    plan.seq = tcb.snd_una
    plan.length = min(pending(tcb), most)
    plan.fin = fin_waits(tcb) and plan.length == pending(tcb) and plan.length < most
    plan.push = plan.length == pending(tcb)
    plan.is_new = False
    return plan.length > 0 or plan.fin


cdef bint may_send_small(Tcb* tcb) noexcept nogil:
    """Nagle (RFC 9293 §3.7.4) in Minshall's form: it waits only while another small segment is under way."""
    if tcb.flags & TF_FORCE or fin_waits(tcb) or seq_lt(tcb.snd_nxt, tcb.slot.snd_max):
        return True  # what was sent before need not wait to be sent again
    cdef uint32_t options = load32(&tcb.sock.options)
    if options & NEAT_OPT_CORK:
        return False
    # The end of a cork comes with text (MSG_MORE, then a send without), and tx_tail is stored first: who sees
    # the one without the other has old text, and the command that tells of the new is on its way.
    if load64(&tcb.sock.tx_tail) != tcb.tx_tail:
        return False
    if options & NEAT_OPT_NODELAY:
        return True
    return seq_le(tcb.snd_small, tcb.snd_una)


cdef uint32_t frame_limit(Stack* stack, Tcb* tcb, uint32_t mss) noexcept nogil:
    """Bytes of text in one frame: a segment, or as many as fit into 64 KiB if the device cuts them."""
    if not stack.config.offloads & OFFLOAD_TSO4:
        return mss
    return (MAX_IP_BYTES - IP_HEADER - TCP_HEADER - TS_OPTION) // mss * mss


cdef bint plan_next(Stack* stack, Tcb* tcb, Plan* plan) noexcept nogil:
    cdef uint32_t tail
    cdef uint32_t mss = effective_mss(tcb)
    plan.blocked = False
    if tcb.flags & TF_RETRANSMIT:
        if plan_head(tcb, plan, min(mss, tcb.slot.snd_max - tcb.snd_una)):
            return True
        tcb.flags &= ~TF_RETRANSMIT
    if tcb.flags & TF_PROBE:
        if tcb.slot.snd_wnd == 0 and plan_head(tcb, plan, 1):
            return True
        tcb.flags &= ~TF_PROBE
    cdef uint32_t in_flight = tcb.snd_nxt - tcb.snd_una
    if not has_unsent(tcb):
        return False
    cdef bint fin = fin_waits(tcb)
    cdef uint32_t unsent = pending(tcb) - in_flight
    cdef uint32_t pushed = pushed_text(tcb, in_flight)
    if pushed:
        # As on Linux: setting TCP_NODELAY "overrides even TCP_CORK for currently queued segments".
        unsent = pushed
    cdef uint32_t wnd = tcb.slot.snd_wnd
    cdef uint32_t room = min(wnd, send_allowance(tcb))
    room = room - in_flight if room > in_flight else 0
    plan.seq = tcb.snd_nxt
    plan.length = min(min(unsent, room), frame_limit(stack, tcb, mss))
    plan.is_new = True
    if plan.length > mss:
        tail = plan.length % mss
        if tail and (plan.length < unsent or not (pushed or may_send_small(tcb))):
            plan.length -= tail
    elif plan.length < mss:
        if plan.length < unsent:
            # RFC 9293 §3.8.6.2.1: half of the largest window ever, or when the override timer says so.
            if not tcb.flags & TF_FORCE and 2 * plan.length < tcb.max_window or plan.length == 0:
                plan.blocked = in_flight == 0
                return False
        elif plan.length == 0:
            # Only the FIN is left: it needs room in the window, too.
            if wnd <= in_flight:
                plan.blocked = in_flight == 0
                return False
        elif not pushed and not may_send_small(tcb):
            plan.blocked = in_flight == 0
            return False
    plan.fin = fin and plan.length == unsent and wnd > in_flight + plan.length
    plan.push = plan.length == unsent
    return True
