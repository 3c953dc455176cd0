"""Going on with the UDP binds that a predecessor left (docs/contracts/state.md, "After a crash")."""

from neat.stack.types cimport Stack

# The channels are attached. Queues stay as they are; each socket is told to look, and looked at.
cdef void udp_recover(Stack* stack) noexcept nogil
