"""The states of a connection: enum neat_tcp_state, which applications see, by the engine's names."""

from libc.stdint cimport uint32_t
from neat.abi.channel cimport (
    NEAT_TCP_CLOSED, NEAT_TCP_CLOSE_WAIT, NEAT_TCP_CLOSING, NEAT_TCP_ESTABLISHED, NEAT_TCP_FIN_WAIT_1,
    NEAT_TCP_FIN_WAIT_2, NEAT_TCP_FREE, NEAT_TCP_LAST_ACK, NEAT_TCP_LISTEN, NEAT_TCP_SYN_RCVD,
    NEAT_TCP_SYN_SENT, NEAT_TCP_TIME_WAIT,
)

cpdef enum TcpState:
    FREE = NEAT_TCP_FREE
    ESTABLISHED = NEAT_TCP_ESTABLISHED
    SYN_SENT = NEAT_TCP_SYN_SENT
    SYN_RCVD = NEAT_TCP_SYN_RCVD
    FIN_WAIT_1 = NEAT_TCP_FIN_WAIT_1
    FIN_WAIT_2 = NEAT_TCP_FIN_WAIT_2
    TIME_WAIT = NEAT_TCP_TIME_WAIT
    CLOSED = NEAT_TCP_CLOSED
    CLOSE_WAIT = NEAT_TCP_CLOSE_WAIT
    LAST_ACK = NEAT_TCP_LAST_ACK
    LISTEN = NEAT_TCP_LISTEN
    CLOSING = NEAT_TCP_CLOSING

# The peer may still send us text: ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2.
cdef inline bint can_receive(uint32_t state) noexcept nogil:
    return state == ESTABLISHED or state == FIN_WAIT_1 or state == FIN_WAIT_2

# We have a stream to send or to finish: everything after the handshake but FIN_WAIT_2 and TIME_WAIT.
cdef inline bint can_transmit(uint32_t state) noexcept nogil:
    return (state == ESTABLISHED or state == CLOSE_WAIT or state == FIN_WAIT_1 or state == LAST_ACK
            or state == CLOSING)

cdef inline bint is_opening(uint32_t state) noexcept nogil:
    return state == SYN_SENT or state == SYN_RCVD

# Over on the wire; the application still has its descriptor.
cdef inline bint is_over(uint32_t state) noexcept nogil:
    return state == CLOSED or state == TIME_WAIT
