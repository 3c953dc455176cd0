"""Going on with what a predecessor left in the state segment and the applications' segments."""

from libc.stdint cimport int32_t, uint32_t
from neat.shm.atomic cimport store32
from neat.stack.state cimport SUSPECT_FRAME, SUSPECT_NONE
from neat.stack.tcp.listen cimport listen_recover
from neat.stack.tcp.recover cimport tcp_recover_slots
from neat.stack.tcp.speak cimport tcp_recover_speak
from neat.stack.tcp.timewait cimport wait_recover
from neat.stack.types cimport Stack
from neat.stack.udp_recover cimport udp_recover


cdef bint has_past(Stack* stack) noexcept nogil:
    cdef uint32_t i
    if not stack.resumed:
        return False
    if stack.state.slots_used or stack.state.waits_used:
        return True
    for i in range(stack.config.max_listeners):
        if stack.listeners[i].used:
            return True
    for i in range(stack.config.max_udp):
        if stack.udp_slots[i].used:
            return True
    return False


cdef int32_t recover(Stack* stack) noexcept nogil:
    """Listeners before connections, which may wait at them; TIME-WAITs before connections, for which some of
    them stand in; nothing is said before all is there."""
    cdef uint32_t resumed
    stack.unrecovered = False
    if stack.state.suspect.kind == SUSPECT_FRAME:
        stack.state.redone = stack.state.suspect.position + 1
    store32(&stack.state.suspect.kind, SUSPECT_NONE)
    listen_recover(stack)
    error = wait_recover(stack)
    if error < 0:
        return error
    resumed = tcp_recover_slots(stack)
    tcp_recover_speak(stack)
    udp_recover(stack)
    return <int32_t>resumed
