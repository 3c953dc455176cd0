"""Round-trip time and retransmission timeout (RFC 6298), in microseconds."""

from libc.stdint cimport uint64_t
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

cdef enum:
    INITIAL_RTO_US = 1000000        # RFC 6298 §2.1
    RTO_AFTER_SYN_LOSS_US = 3000000
    GRANULARITY_US = 1000           # G: what our timers can tell apart

cdef void rtt_sample(Stack* stack, Tcb* tcb, uint64_t measured_us) noexcept nogil
# RFC 6298 §5.5: "The host MUST set RTO <- RTO * 2".
cdef void rto_back_off(Stack* stack, Tcb* tcb) noexcept nogil
# After an ACK of new data the estimate counts again.
cdef void rto_restore(Stack* stack, Tcb* tcb) noexcept nogil
