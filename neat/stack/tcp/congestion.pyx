"""Congestion control: slow start, congestion avoidance, fast retransmit; recovery by NewReno or the
scoreboard."""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.counters cimport Counter
from neat.stack.tcp.scoreboard cimport DUP_THRESHOLD, scoreboard_head_is_lost
from neat.stack.tcp.types cimport TF_BACKED_OFF, TF_RECOVERY, TF_RETRANSMIT, TF_SACKED, Tcb
from neat.stack.types cimport Stack, count
from neat.wire.seq cimport seq_ge, seq_gt


cdef uint32_t initial_window(Tcb* tcb) noexcept nogil:
    """RFC 6928 §2: min (10*MSS, max (2*MSS, 14600))."""
    cdef uint32_t mss = tcb.slot.snd_mss
    return min(10 * mss, max(2 * mss, <uint32_t>14600))


cdef uint32_t half_flight(Tcb* tcb, uint32_t flight) noexcept nogil:
    """RFC 5681 §3.1 equation (4): ssthresh = max (FlightSize / 2, 2*SMSS)."""
    return max(flight // 2, 2 * <uint32_t>tcb.slot.snd_mss)


cdef void congestion_start(Tcb* tcb) noexcept nogil:
    # RFC 5681 §3.1: a lost SYN means an initial window of one segment.
    tcb.cwnd = tcb.slot.snd_mss if tcb.retries > 1 else initial_window(tcb)
    tcb.ssthresh = 0x7FFFFFFF
    tcb.recover = tcb.slot.iss
    tcb.dup_acks = 0
    tcb.retries = 0


cdef void congestion_ack(Stack* stack, Tcb* tcb, uint32_t acked, uint32_t in_flight) noexcept nogil:
    cdef uint32_t mss = tcb.slot.snd_mss
    tcb.dup_acks = 0
    if seq_gt(tcb.snd_una, tcb.recover):
        # It stays close behind: what is 2**31 apart cannot be compared.
        tcb.recover = tcb.snd_una - 1
    if tcb.flags & TF_RECOVERY:
        if seq_ge(tcb.snd_una, tcb.recover):
            # RFC 6582 §3.2 step 3, full acknowledgment, option 1
            flight = tcb.slot.snd_max - tcb.snd_una
            tcb.cwnd = min(tcb.ssthresh, max(flight, mss) + mss)
            tcb.flags &= ~(TF_RECOVERY | TF_SACKED | TF_RETRANSMIT)
        elif tcb.flags & TF_SACKED:
            tcb.flags |= TF_RETRANSMIT  # what and how much the scoreboard says
        else:
            # Partial: "retransmit the first unacknowledged segment", deflate by what was acknowledged, add
            # back one.
            tcb.flags |= TF_RETRANSMIT
            tcb.cwnd = tcb.cwnd - acked if tcb.cwnd > acked else mss
            if acked >= mss:
                tcb.cwnd += mss
            tcb.cwnd = max(tcb.cwnd, mss)
        return
    if 2 * in_flight < tcb.cwnd:
        return  # cwnd did not limit us, so this ACK says nothing about it (RFC 7661 §4.1)
    if tcb.cwnd < tcb.ssthresh:
        # Deviates from RFC 5681 §3.1 (at most SMSS an ACK), because merged ACKs cover many segments: RFC 3465
        # without L. But not beyond ssthresh, which one ACK for all that waited behind a loss would else leap.
        tcb.cwnd = min(tcb.cwnd + acked, tcb.ssthresh)
    else:
        tcb.cwnd += max(<uint32_t>(<uint64_t>mss * acked // tcb.cwnd), 1)
    tcb.cwnd = min(tcb.cwnd, 4 * tcb.tx_size)


cdef void congestion_dup_ack(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef uint32_t mss = tcb.slot.snd_mss
    count(stack, Counter.TCP_DUP_ACKS_IN)
    tcb.dup_acks += 1
    if tcb.flags & TF_RECOVERY:
        tcb.cwnd = min(tcb.cwnd + mss, 4 * tcb.tx_size)  # RFC 6582 §3.2 step 2: inflate
        return
    if tcb.dup_acks < DUP_THRESHOLD:
        count(stack, Counter.TCP_LIMITED_TRANSMITS)
        return
    # RFC 6582 §3.2 step 1: not again for losses that an earlier recovery or timeout deals with.
    if tcb.dup_acks == DUP_THRESHOLD and seq_gt(tcb.snd_una, tcb.recover):
        recover(stack, tcb)
        tcb.cwnd += DUP_THRESHOLD * mss


cdef void recover(Stack* stack, Tcb* tcb) noexcept nogil:
    """Fast recovery begins (RFC 5681 §3.2, RFC 6675 §5 step 4)."""
    count(stack, Counter.TCP_FAST_RETRANSMITS)
    # RFC 3042 §2: what limited transmit added must not count.
    tcb.ssthresh = half_flight(tcb, min(tcb.slot.snd_max - tcb.snd_una, tcb.cwnd))
    tcb.cwnd = tcb.ssthresh
    tcb.recover = tcb.slot.snd_max
    tcb.high_rxt = tcb.snd_una - 1  # nothing yet
    tcb.flags |= TF_RECOVERY | TF_RETRANSMIT


cdef void congestion_sacked(Stack* stack, Tcb* tcb, bint duplicate) noexcept nogil:
    if duplicate:
        count(stack, Counter.TCP_DUP_ACKS_IN)
        tcb.dup_acks += 1
    if tcb.flags & TF_RECOVERY:
        tcb.flags |= TF_RETRANSMIT
        return
    if tcb.dup_acks < DUP_THRESHOLD and not scoreboard_head_is_lost(tcb):
        count(stack, Counter.TCP_LIMITED_TRANSMITS)
        return
    if seq_gt(tcb.snd_una, tcb.recover):
        recover(stack, tcb)
        tcb.flags |= TF_SACKED


cdef void congestion_timeout(Stack* stack, Tcb* tcb) noexcept nogil:
    if not tcb.flags & TF_BACKED_OFF:
        tcb.ssthresh = half_flight(tcb, tcb.slot.snd_max - tcb.snd_una)
    tcb.cwnd = tcb.slot.snd_mss
    tcb.recover = tcb.slot.snd_max
    tcb.dup_acks = 0
    if tcb.flags & TF_BACKED_OFF:
        tcb.sacked_count = 0  # RFC 2018 §8: the peer may have gone back on it
    tcb.flags = (tcb.flags & ~(TF_RECOVERY | TF_SACKED | TF_RETRANSMIT)) | TF_BACKED_OFF


cdef void congestion_restart(Tcb* tcb) noexcept nogil:
    tcb.cwnd = min(tcb.cwnd, initial_window(tcb))
