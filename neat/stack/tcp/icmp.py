"""What ICMP errors mean to a connection."""

import cython
from cython.cimports.libc.errno import ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT
from cython.cimports.libc.stdint import uint16_t


def unreachable_error(code):
    """As Linux reports it."""
    if code == CODE_PORT:
        return ECONNREFUSED
    if code == CODE_PROTOCOL:
        return ENOPROTOOPT
    if code in (CODE_NET, CODE_NET_UNKNOWN, CODE_NET_PROHIBITED, CODE_NET_TOS):
        return ENETUNREACH
    return EHOSTUNREACH


def tcp_icmp_error(stack, key, sequence, type, code, mtu):
    """RFC 5927 §4.1: only what quotes a sequence number in flight is believed."""
    at = lookup(cython.address(stack.tcp), key)
    if at & TW_BIT:
        count(stack, Counter.TCP_ICMP_IGNORED)
        return
    tcb = cython.address(stack.tcp.tcbs[at])
    slot = tcb.slot
    if not (seq_ge(sequence, tcb.snd_una) and seq_lt(sequence, tcb.snd_max)):
        count(stack, Counter.TCP_ICMP_IGNORED)
        return
    if type == ICMP_UNREACHABLE and code == CODE_TOO_BIG:
        if mtu >= LEAST_MTU and mtu - 40 < slot.snd_mss:
            slot.snd_mss = cython.cast(uint16_t, mtu - 40)
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
