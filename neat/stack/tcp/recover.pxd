"""Going on with the TCP that a predecessor left in the state segment: what each slot says is checked before
it is believed, what it does not say is made anew (docs/contracts/state.md, "After a crash")."""

from libc.stdint cimport uint32_t
from neat.stack.types cimport Stack

# In this order, after listeners and TIME-WAITs; the channels are attached. slots: rebuild connections; what
# fails its check is reset. Returns how many go on.
cdef uint32_t tcp_recover_slots(Stack* stack) noexcept nogil
# Look at everything that their applications may have asked for; say to applications, peers and driver what
# they may not have heard.
cdef void tcp_recover_speak(Stack* stack) noexcept nogil
