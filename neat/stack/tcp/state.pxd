"""The states of RFC 9293 §3.3.2, with the numbers that Linux reports in TCP_INFO. 0 is a free slot."""
from libc.stdint cimport uint32_t

cpdef enum TcpState:
    FREE = 0
    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RCVD = 3
    FIN_WAIT_1 = 4
    FIN_WAIT_2 = 5
    TIME_WAIT = 6
    CLOSED = 7                      # over, but the application still has its descriptor
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11

# The peer may still send us text: ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2.
cdef inline bint can_receive(uint32_t state) noexcept nogil:
    return state == ESTABLISHED or state == FIN_WAIT_1 or state == FIN_WAIT_2

# We have a stream to send or to finish: everything after the handshake but FIN_WAIT_2 and TIME_WAIT.
cdef inline bint can_transmit(uint32_t state) noexcept nogil:
    return (state == ESTABLISHED or state == CLOSE_WAIT or state == FIN_WAIT_1 or state == LAST_ACK
            or state == CLOSING)
