"""How a process comes to a state's descriptors and keeps them from its own death, and how it goes on with a
predecessor's state (docs/contracts/start.md, "A successor")."""

from neat.replica.process cimport Process
from neat.stack.state cimport Suspect

# Put all descriptors that the ledger names under their numbers, out of the hands of the holder. ValueError
# when the state has none that lives.
cdef int take_over(Process* p) except -1
# A holder of our own, which the ledger names from then on; the one before is killed. OSError.
cdef int hold_on(Process* p, int lifeline) except -1
# In a process that ends in order, or whose holder has died.
cdef int let_go(Process* p) except -1
# Everything that the ledger names is in use again, and what may have been in the air is made good. Caller
# has made the epoll instance. `blame`: the frame that the predecessor was at is skipped. MemoryError.
cdef int rebuild(Process* p, bint blame) except -1
# Take up the receive ring behind the last frame that is done with; with `blame`, behind the one in *suspect.
cdef void resume(Process* p, bint blame, Suspect* suspect) noexcept nogil
