"""What the engine has to tell the process: a queue of nodes embedded in what they are about, each queued at
most once.

It cannot overflow and allocates nothing; kinds that come while a node waits are merged into it.
"""

from libc.stdint cimport uint32_t
from neat.stack.config cimport Event

cdef struct EventNode:
    EventNode* next
    bint queued
    Event event

cdef struct EventQueue:
    EventNode* first
    EventNode* last

# Queue `node` with these EventKind bits more. The identity in node.event (app, sock, generation, conn) is the
# owner's to keep.
cdef void event_raise(EventQueue* queue, EventNode* node, uint32_t kinds) noexcept nogil
# Take the oldest out, as a copy; its kinds and error are cleared in the node. NULL when there is none.
cdef EventNode* event_take(EventQueue* queue, Event* event) noexcept nogil
