"""The way of connections to accept(). Read first: docs/contracts/accept.md."""

from libc.stdint cimport int32_t, uint32_t
from neat.replica.process cimport Endpoint, Process, SharedEnd
from neat.stack.engine cimport Event

cdef enum:
    OFFERS_NS = 500_000_000

# EV_ACCEPT: offer the connection, or queue it until there is room.
cdef void accept_event(Process* p, Event* event) noexcept nogil
# Something was said about a connection: has accept() got it meanwhile? Before the event is passed on.
cdef void accept_look(Process* p, Event* event) noexcept nogil
# In a successor: one that was QUEUED or OFFERED.
cdef void accept_recover(Process* p, int32_t conn, Endpoint* end) noexcept nogil
# There is room in a listener's socket: offer those that wait.
cdef void accept_room(Process* p, SharedEnd* listener) noexcept nogil
# A listener is closed.
cdef void accept_close(Process* p, SharedEnd* listener) noexcept nogil
# Every OFFERS_NS.
cdef void accept_patience(Process* p) noexcept nogil
# What epoll has to say of a cord.
cdef void cord_ready(Process* p, uint32_t index, uint32_t serial) noexcept nogil
