"""Round-trip time and retransmission timeout (RFC 6298), in microseconds."""

import cython
from cython.cimports.libc.stdint import uint32_t, uint64_t


def rtt_sample(stack, tcb, measured_us):
    r = cython.cast(uint32_t, measured_us if measured_us < 60_000_000 else 60_000_000)
    if r == 0:
        r = 1
    if tcb.srtt_us == 0:
        # RFC 6298 §2.2
        tcb.srtt_us = r
        tcb.rttvar_us = r // 2
    else:
        # RFC 6298 §2.3: alpha = 1/8, beta = 1/4
        delta = cython.cast(int64_t, r) - tcb.srtt_us
        tcb.rttvar_us = (3 * tcb.rttvar_us + cython.cast(uint32_t, delta if delta >= 0 else -delta)) // 4
        tcb.srtt_us = (7 * tcb.srtt_us + r) // 8
    rto_restore(stack, tcb)


def rto_restore(stack, tcb):
    if tcb.srtt_us == 0:
        tcb.rto_us = INITIAL_RTO_US
        return
    rto = cython.cast(uint64_t, tcb.srtt_us) + max(4 * tcb.rttvar_us, GRANULARITY_US)
    low = cython.cast(uint64_t, stack.config.min_rto_ms) * 1000
    high = cython.cast(uint64_t, stack.config.max_rto_ms) * 1000
    tcb.rto_us = cython.cast(uint32_t, min(max(rto, low), high))


def rto_back_off(stack, tcb):
    high = cython.cast(uint64_t, stack.config.max_rto_ms) * 1000
    tcb.rto_us = cython.cast(uint32_t, min(cython.cast(uint64_t, tcb.rto_us) * 2, high))
