"""What a successor says to applications, peers and driver, as they may not have heard it."""

from neat.stack.types cimport Stack

# After tcp_recover_slots: carry out what applications may have asked for, take the steps of a close that were
# left out, raise each event once more, send what is outstanding and an ACK of all that came.
cdef void tcp_recover_speak(Stack* stack) noexcept nogil
