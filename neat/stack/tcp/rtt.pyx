"""Round-trip time and retransmission timeout (RFC 6298), in microseconds."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack


cdef void rtt_sample(Stack* stack, Tcb* tcb, uint64_t measured_us) noexcept nogil:
    cdef int64_t delta
    r = <uint32_t>(measured_us if measured_us < 60_000_000 else 60_000_000)
    if r == 0:
        r = 1
    if tcb.srtt_us == 0:
        # RFC 6298 §2.2
        tcb.srtt_us = r
        tcb.rttvar_us = r // 2
    else:
        # RFC 6298 §2.3: alpha = 1/8, beta = 1/4
        delta = <int64_t>r - tcb.srtt_us
        tcb.rttvar_us = (3 * tcb.rttvar_us + <uint32_t>(delta if delta >= 0 else -delta)) // 4
        tcb.srtt_us = (7 * tcb.srtt_us + r) // 8
    tcb.slot.srtt_us = tcb.srtt_us
    tcb.slot.rttvar_us = tcb.rttvar_us
    rto_restore(stack, tcb)


cdef void rto_restore(Stack* stack, Tcb* tcb) noexcept nogil:
    if tcb.srtt_us == 0:
        tcb.rto_us = INITIAL_RTO_US
        return
    cdef uint64_t rto = <uint64_t>tcb.srtt_us + max(4 * tcb.rttvar_us, GRANULARITY_US)
    low = <uint64_t>stack.config.min_rto_ms * 1000
    high = <uint64_t>stack.config.max_rto_ms * 1000
    tcb.rto_us = <uint32_t>min(max(rto, low), high)


cdef void rto_back_off(Stack* stack, Tcb* tcb) noexcept nogil:
    high = <uint64_t>stack.config.max_rto_ms * 1000
    tcb.rto_us = <uint32_t>min(<uint64_t>tcb.rto_us * 2, high)
