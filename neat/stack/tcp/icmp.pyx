"""What ICMP errors mean to a connection."""

from libc.errno cimport ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT
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


cdef int32_t unreachable_error(uint8_t code) noexcept nogil:
    """As Linux reports it."""
    if code == CODE_PORT:
        return ECONNREFUSED
    if code == CODE_PROTOCOL:
        return ENOPROTOOPT
    if code in (CODE_NET, CODE_NET_UNKNOWN, CODE_NET_PROHIBITED, CODE_NET_TOS):
        return ENETUNREACH
    return EHOSTUNREACH


cdef void tcp_icmp_error(
    Stack* stack, const FlowKey* key, uint32_t sequence, uint8_t type, uint8_t code, uint16_t mtu
) noexcept nogil:
    """RFC 5927 §4.1: only what quotes a sequence number in flight is believed."""
    cdef uint32_t at = lookup(&stack.tcp, key)
    if at & TW_BIT:
        count(stack, Counter.TCP_ICMP_IGNORED)
        return
    cdef Tcb* tcb = &stack.tcp.tcbs[at]
    cdef ConnSlot* slot = tcb.slot
    if not (seq_ge(sequence, tcb.snd_una) and seq_lt(sequence, tcb.slot.snd_max)):
        count(stack, Counter.TCP_ICMP_IGNORED)
        return
    if type == ICMP_UNREACHABLE and code == CODE_TOO_BIG:
        if mtu >= LEAST_MTU and mtu - 40 < slot.snd_mss:
            slot.snd_mss = <uint16_t>(mtu - 40)
            # RFC 1191 §6.5: "retransmit"; all of it, because every segment in flight is too large.
            tcb.snd_nxt = tcb.snd_una
            tcb.flags |= TF_RETRANSMIT
            output_want(stack, tcb)
        return
    if slot.state == TcpState.SYN_SENT and type == ICMP_UNREACHABLE:
        # RFC 5461 §4.1: a connection that is not established yet may be given up at once.
        count(stack, Counter.TCP_ICMP_HARD)
        conn_over(stack, tcb, unreachable_error(code), False)
        return
    count(stack, Counter.TCP_ICMP_SOFT)
