"""What to send next on a connection, and whether to wait."""

from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport NEAT_OPT_CORK, NEAT_OPT_NODELAY
from neat.shm.atomic cimport load32, load64, peek32
from neat.stack.config cimport OFFLOAD_TSO4
from neat.stack.tcp.congestion cimport send_allowance
from neat.stack.tcp.reassembly cimport interval_start
from neat.stack.tcp.scoreboard cimport scoreboard_below, scoreboard_hole, scoreboard_pipe, scoreboard_skip
from neat.stack.tcp.segment cimport TCP_HEADER, TS_OPTION
from neat.stack.tcp.types cimport TF_FORCE, TF_PROBE, TF_RETRANSMIT, TF_SACKED, Tcb
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
    if tcb.sacked_count:
        most = min(most, interval_start(tcb.sacked[0]) - tcb.snd_una)
    plan.seq = tcb.snd_una
    plan.length = min(pending(tcb), most)
    plan.fin = fin_waits(tcb) and plan.length == pending(tcb) and plan.length < most
    plan.push = plan.length == pending(tcb)
    plan.is_new = False
    return plan.length > 0 or plan.fin


cdef uint32_t under_way(Tcb* tcb, uint32_t in_flight) noexcept nogil:
    """What counts against the congestion window."""
    if tcb.flags & TF_SACKED:
        return scoreboard_pipe(tcb)
    if tcb.sacked_count and seq_lt(tcb.snd_nxt, tcb.slot.snd_max):
        return in_flight - scoreboard_below(tcb, tcb.snd_nxt)
    return in_flight


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


cdef bint plan_hole(Stack* stack, Tcb* tcb, Plan* plan, uint32_t mss, bint lost) noexcept nogil:
    """NextSeg() of RFC 6675 §4, rules 1 (`lost`) and 3, as many segments as `pipe` leaves room for; the first
    of a recovery whatever it says (§5 step 4.3)."""
    cdef uint32_t start, end, pipe, left
    cdef uint32_t room = mss
    cdef bint first = seq_lt(tcb.high_rxt, tcb.snd_una)
    if not scoreboard_hole(tcb, lost and not first, &start, &end):
        return False
    if not first:
        pipe = scoreboard_pipe(tcb)
        room = tcb.cwnd - pipe if tcb.cwnd > pipe else 0
        if room < min(mss, end - start):
            return False
        if room > mss:
            room = min(room // mss * mss, frame_limit(stack, tcb, mss))
    left = pending(tcb) - (start - tcb.snd_una)
    plan.seq = start
    plan.length = min(min(end - start, room), left)
    plan.fin = fin_waits(tcb) and plan.length == left and end - start > left and room > left
    plan.push = plan.length == left
    plan.is_new = False
    return plan.length > 0 or plan.fin


cdef bint plan_next(Stack* stack, Tcb* tcb, Plan* plan) noexcept nogil:
    cdef uint32_t tail
    cdef uint32_t mss = effective_mss(tcb)
    plan.blocked = False
    if tcb.flags & TF_RETRANSMIT:
        if tcb.flags & TF_SACKED:
            if plan_hole(stack, tcb, plan, mss, True):
                return True
        elif plan_head(tcb, plan, min(mss, tcb.slot.snd_max - tcb.snd_una)):
            return True
        tcb.flags &= ~TF_RETRANSMIT
    if tcb.flags & TF_PROBE:
        if tcb.slot.snd_wnd == 0 and plan_head(tcb, plan, 1):
            return True
        tcb.flags &= ~TF_PROBE
    # After a timeout: what the peer has is left out.
    cdef uint32_t hole = scoreboard_skip(tcb, &tcb.snd_nxt)
    cdef uint32_t in_flight = tcb.snd_nxt - tcb.snd_una
    if not has_unsent(tcb):
        return tcb.flags & TF_SACKED and plan_hole(stack, tcb, plan, mss, False)
    cdef bint fin = fin_waits(tcb)
    cdef uint32_t unsent = pending(tcb) - in_flight
    cdef uint32_t pushed = pushed_text(tcb, in_flight)
    if pushed:
        # As on Linux: setting TCP_NODELAY "overrides even TCP_CORK for currently queued segments".
        unsent = pushed
    cdef uint32_t rest = unsent - min(unsent, hole)
    unsent -= rest
    cdef uint32_t wnd = tcb.slot.snd_wnd
    cdef uint32_t room = wnd - in_flight if wnd > in_flight else 0
    cdef uint32_t allowance = send_allowance(tcb), sent = under_way(tcb, in_flight)
    room = min(room, allowance - sent if allowance > sent else 0)
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
    plan.fin = fin and rest == 0 and plan.length == unsent and wnd > in_flight + plan.length
    plan.push = rest == 0 and plan.length == unsent
    return True
