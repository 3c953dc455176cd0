"""What ICMP errors mean to a connection (RFC 9293 §3.9.2.2, RFC 5927, RFC 5461)."""
cimport cython
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from neat.stack.counters cimport Counter
from neat.stack.state cimport ConnSlot
from neat.stack.tcp.connection cimport conn_over
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.types cimport TF_RETRANSMIT, TW_BIT, Tcb
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FlowKey
from neat.wire.seq cimport seq_ge, seq_lt

cdef enum:
    ICMP_UNREACHABLE = 3
    CODE_NET = 0
    CODE_PROTOCOL = 2
    CODE_PORT = 3
    CODE_TOO_BIG = 4
    CODE_NET_UNKNOWN = 6
    CODE_NET_PROHIBITED = 9
    CODE_NET_TOS = 11
    LEAST_MTU = 552                 # Linux's min_pmtu: a liar cannot make us send crumbs

# An ICMP error that quotes `sequence` of a segment of ours. mtu: of "fragmentation needed", else 0.
@cython.locals(at=uint32_t, tcb="Tcb*", slot="ConnSlot*")
cdef void tcp_icmp_error(Stack* stack, const FlowKey* key, uint32_t sequence, uint8_t type, uint8_t code, uint16_t mtu) noexcept nogil

cdef int32_t unreachable_error(uint8_t code) noexcept nogil
