"""What a connection does when one of its timers fires (RFC 6298 §5, RFC 9293 §3.8.6.1, §3.8.4)."""
cimport cython
from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport NEAT_OPT_KEEPALIVE
from neat.shm.atomic cimport peek32
from neat.stack.counters cimport Counter
from neat.stack.state cimport SLOT_ORPHAN, SLOT_PASSIVE, ConnSlot
from neat.stack.tcp.congestion cimport congestion_timeout
from neat.stack.tcp.connection cimport conn_over
from neat.stack.tcp.deadlines cimport heap_due, heap_next, timer_clear, timer_due, timer_runs, timer_set
from neat.stack.tcp.keepalive cimport keep_idle, keep_interval, keep_probes
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.plan cimport has_unsent
from neat.stack.tcp.respond cimport respond_abort
from neat.stack.tcp.rtt cimport rto_back_off
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.text cimport owe_ack
from neat.stack.tcp.types cimport (
    MICROSECOND, MILLISECOND, TF_FORCE, TF_KEEPALIVE, TF_PROBE, TF_RETRANSMIT, TF_SEND_SYN, TF_TIMING, TIMER_DELACK,
    TIMER_KEEP, TIMER_PERSIST, TIMER_RETRANSMIT, Tcb, TcpPrivate,
)
from neat.stack.types cimport Channel, Stack, count

cdef enum:
    ORPHAN_RETRIES = 8              # timeouts that a connection without descriptor survives
    MOST_SYN_RETRIES = 127          # Linux's MAX_TCP_SYNCNT

@cython.locals(tcp="TcpPrivate*", tcb="Tcb*")
cdef void tcp_expire(Stack* stack) noexcept nogil
cdef uint64_t tcp_next_deadline(Stack* stack) noexcept nogil

# Each returns False when the connection is gone.
@cython.locals(slot="ConnSlot*")
cdef bint retransmit_fires(Stack* stack, Tcb* tcb) noexcept nogil
cdef bint persist_fires(Stack* stack, Tcb* tcb) noexcept nogil
cdef bint keep_fires(Stack* stack, Tcb* tcb) noexcept nogil
cdef bint handshake_fires(Stack* stack, Tcb* tcb) noexcept nogil
@cython.locals(n=uint32_t, channel="Channel*")
cdef uint32_t syn_retries(Stack* stack, Tcb* tcb) noexcept nogil
cdef uint64_t user_timeout(Tcb* tcb) noexcept nogil             # ns, 0: none
# Set that timer for the next retransmission or probe.
@cython.locals(wait=uint64_t, limit=uint64_t, spent=uint64_t)
cdef void try_again(Stack* stack, Tcb* tcb, uint32_t timer) noexcept nogil
# The user timeout (RFC 9293 §3.8.3, RFC 5482) is over.
@cython.locals(limit=uint64_t)
cdef bint is_too_long(Stack* stack, Tcb* tcb, uint64_t first) noexcept nogil
# Nobody answered for so long: data_retries timeouts, or the user timeout.
@cython.locals(most=uint32_t)
cdef bint has_patience(Stack* stack, Tcb* tcb) noexcept nogil
cdef void give_up(Stack* stack, Tcb* tcb) noexcept nogil
# Keepalive's verdict on the peer.
@cython.locals(limit=uint64_t)
cdef bint is_gone(Stack* stack, Tcb* tcb) noexcept nogil
