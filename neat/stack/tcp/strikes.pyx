"""Three strikes. They are counted in the slot, which outlives the process that dies of it."""

from libc.errno cimport ECONNRESET
from libc.stdint cimport uint32_t
from neat.stack.counters cimport Counter
from neat.stack.tcp.connection cimport conn_over
from neat.stack.tcp.respond cimport respond_abort
from neat.stack.tcp.state cimport TcpState
from neat.stack.types cimport Stack, count


cdef bint tcp_strike(Stack* stack, uint32_t conn) noexcept nogil:
    if conn >= stack.state.slots_used:
        return False
    slot = &stack.slots[conn]
    if slot.state in (TcpState.FREE, TcpState.CLOSED, TcpState.TIME_WAIT):
        return False
    slot.strikes += 1
    if slot.strikes < STRIKES:
        return False
    if stack.unrecovered:
        return True
    count(stack, Counter.TCP_STRUCK_OUT)
    tcb = &stack.tcp.tcbs[conn]
    if slot.state != TcpState.SYN_SENT:
        respond_abort(stack, tcb)
    conn_over(stack, tcb, ECONNRESET, False)
    return True
