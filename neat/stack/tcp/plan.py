"""What to send next on a connection, and whether to wait."""

import cython


def plan_head(tcb, plan, most):
    """The first unacknowledged text again, at most so many bytes, whatever the windows say."""
    plan.seq = tcb.snd_una
    plan.length = min(pending(tcb), most)
    plan.fin = fin_waits(tcb) and plan.length == pending(tcb) and plan.length < most
    plan.push = plan.length == pending(tcb)
    plan.is_new = False
    return plan.length > 0 or plan.fin


def may_send_small(tcb):
    """Nagle (RFC 9293 §3.7.4) in Minshall's form: it waits only while another small segment is under way."""
    if tcb.flags & TF_FORCE or fin_waits(tcb) or seq_lt(tcb.snd_nxt, tcb.snd_max):
        return True  # what was sent before need not wait to be sent again
    options = load32(cython.address(tcb.sock.options))
    if options & NEAT_OPT_CORK:
        return False
    # The end of a cork comes with text (MSG_MORE, then a send without), and tx_tail is stored first: who sees
    # the one without the other has old text, and the command that tells of the new is on its way.
    if load64(cython.address(tcb.sock.tx_tail)) != tcb.tx_tail:
        return False
    if options & NEAT_OPT_NODELAY:
        return True
    return seq_le(tcb.snd_small, tcb.snd_una)


def frame_limit(stack, tcb, mss):
    """Bytes of text in one frame: a segment, or as many as fit into 64 KiB if the device cuts them."""
    if not stack.config.offloads & OFFLOAD_TSO4:
        return mss
    return (MAX_IP_BYTES - IP_HEADER - TCP_HEADER - TS_OPTION) // mss * mss


def plan_next(stack, tcb, plan):
    mss = effective_mss(tcb)
    plan.blocked = False
    if tcb.flags & TF_RETRANSMIT:
        if plan_head(tcb, plan, min(mss, tcb.snd_max - tcb.snd_una)):
            return True
        tcb.flags &= ~TF_RETRANSMIT
    if tcb.flags & TF_PROBE:
        if tcb.slot.snd_wnd == 0 and plan_head(tcb, plan, 1):
            return True
        tcb.flags &= ~TF_PROBE
    in_flight = tcb.snd_nxt - tcb.snd_una
    if not has_unsent(tcb):
        return False
    fin = fin_waits(tcb)
    unsent = pending(tcb) - in_flight
    pushed = pushed_text(tcb, in_flight)
    if pushed:
        # As on Linux: setting TCP_NODELAY "overrides even TCP_CORK for currently queued segments".
        unsent = pushed
    wnd = tcb.slot.snd_wnd
    room = min(wnd, send_allowance(tcb))
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
