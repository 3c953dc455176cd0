"""Going on with the TCP that a predecessor left in the state segment: what each slot says is checked before
it is believed, what it does not say is made anew (docs/contracts/state.md, "After a crash")."""

from libc.stdint cimport uint32_t
from neat.stack.types cimport Stack

# After listeners and TIME-WAITs; the channels are attached. What fails its check is reset. Returns how many
# connections go on.
cdef uint32_t tcp_recover_slots(Stack* stack) noexcept nogil
