"""What the application asks of a connection: its lines of the socket object, each value checked before it is used."""
cimport cython
from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport (
    NEAT_OPT_KEEPALIVE, NEAT_OPT_LINGER, NEAT_REQ_ABORT, NEAT_REQ_ACCEPTED, NEAT_REQ_CLOSE, NEAT_REQ_NOTIFY, NEAT_REQ_OFFER,
    NEAT_REQ_SHUT_WR, NEAT_ST_ORPHAN, NEAT_ST_WRCLOSED, neat_sock,
)
from neat.shm.atomic cimport fetch_and32, load32, load64, peek32, store32
from neat.stack.config cimport EV_NOTIFY, EV_OFFER, EV_WRITABLE
from neat.stack.counters cimport Counter
from neat.stack.state cimport SLOT_FIN_QUEUED, SLOT_FIN_SEEN, SLOT_ORPHAN, ConnSlot
from neat.stack.tcp.ack cimport is_writable
from neat.stack.tcp.connection cimport conn_event, conn_free, conn_leave_backlog, conn_over, conn_set_state, conn_status, conn_taken
from neat.stack.tcp.keepalive cimport keepalive_is_late, keepalive_start
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.plan cimport has_unsent, pending
from neat.stack.tcp.respond cimport respond_abort
from neat.stack.tcp.state cimport TcpState, can_receive, can_transmit
from neat.stack.tcp.text cimport owe_ack
from neat.stack.tcp.timewait cimport wait_enter
from neat.stack.tcp.types cimport TF_ABORT, TF_WAITS_NEIGHBOUR, Tcb
from neat.stack.tcp.window cimport window_worth_update
from neat.stack.types cimport Stack, count

# Its dirty bit was set: look at everything that the application may have changed.
@cython.locals(sock="neat_sock*", request=uint32_t, head=uint64_t)
cdef void tcp_command(Stack* stack, Tcb* tcb) noexcept nogil
# The last descriptor is closed, as with close() on Linux.
@cython.locals(slot="ConnSlot*", state=uint32_t)
cdef void tcp_close(Stack* stack, Tcb* tcb) noexcept nogil
# Reset it and free it, after what may be sent.
cdef void tcp_abort(Stack* stack, Tcb* tcb) noexcept nogil
# Whether close() is to reset it: RFC 9293 §3.10.5, ABORT.
cdef bint wants_reset(Tcb* tcb) noexcept nogil
# Reset it and free it, without a word to the application (whose channel may be gone).
cdef void tcp_drop(Stack* stack, Tcb* tcb) noexcept nogil

# Take over rx_head and tx_tail. False: nonsense, the connection was reset.
@cython.locals(head=uint64_t, tail=uint64_t)
cdef bint take_offsets(Stack* stack, Tcb* tcb) noexcept nogil
# No more text from us: a FIN after what is in the ring (RFC 9293 §3.10.4).
@cython.locals(state=uint32_t)
cdef void finish_sending(Stack* stack, Tcb* tcb) noexcept nogil
