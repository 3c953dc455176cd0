"""Congestion control: slow start, congestion avoidance, fast retransmit, NewReno (RFC 5681, 6582, 3042,
6928) and recovery by selective acknowledgments (RFC 6675). Bytes."""

from libc.stdint cimport uint32_t
from neat.stack.tcp.types cimport TF_RECOVERY, Tcb
from neat.stack.types cimport Stack

cdef void congestion_start(Tcb* tcb) noexcept nogil                     # the handshake is done
# New data is acknowledged; tcb.snd_una is already the new one. in_flight: before this ACK.
cdef void congestion_ack(Stack* stack, Tcb* tcb, uint32_t acked, uint32_t in_flight) noexcept nogil
cdef void congestion_dup_ack(Stack* stack, Tcb* tcb) noexcept nogil
# An ACK has brought news for the scoreboard; `duplicate`: and acknowledges nothing else (RFC 6675 §2,
# DupAcks).
cdef void congestion_sacked(Stack* stack, Tcb* tcb, bint duplicate) noexcept nogil
cdef void congestion_timeout(Stack* stack, Tcb* tcb) noexcept nogil
# RFC 5681 §4.1: nothing was sent for more than an RTO.
cdef void congestion_restart(Tcb* tcb) noexcept nogil

# What may be in flight now: cwnd, and a segment more for each of the first two duplicate ACKs (RFC 3042).
cdef inline uint32_t send_allowance(Tcb* tcb) noexcept nogil:
    if tcb.dup_acks and not tcb.flags & TF_RECOVERY:
        return tcb.cwnd + min(tcb.dup_acks, 2) * tcb.slot.snd_mss
    return tcb.cwnd
