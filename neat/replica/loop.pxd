"""The replica's main loop, and what Python may ask of it between turns (ARCHITECTURE.md, "The replica's
loop"). One turn, in this order:

closed descriptors, if epoll was not asked for a while; one timestamp; frames; commands; timers; transmit;
events of the engine; publish; heartbeat; sleep."""

from libc.stdint cimport int64_t, uint32_t
from neat.replica.process cimport Process

cdef enum:
    RECEIVE_BURST = 64              # records in one turn
    TRANSMIT_BURST = 64
    EVENT_BURST = 256
    DESCRIPTOR_BURST = 64           # epoll events in one call
    DESCRIPTOR_NS = 100_000         # while busy, epoll is asked this often
    FULL_RING_NS = 50_000           # the driver does not ring when it has made room: look again after this

# Turn until Python is wanted. Returns the Reasons.
cdef uint32_t run(Process* p) noexcept nogil
cdef int descriptors(Process* p, int64_t timeout) noexcept nogil
# Until a descriptor or the queue has something, for at most `timeout` ns.
cdef void sleep(Process* p, int64_t timeout) noexcept nogil
