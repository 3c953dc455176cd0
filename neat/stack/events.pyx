"""What the engine has to tell the process: a queue of nodes embedded in what they are about."""

from libc.stdint cimport uint32_t
from neat.stack.config cimport Event


cdef void event_raise(EventQueue* queue, EventNode* node, uint32_t kinds) noexcept nogil:
    node.event.kinds |= kinds
    if not node.queued:
        node.queued = True
        node.next = NULL
        if queue.last == NULL:
            queue.first = node
        else:
            queue.last.next = node
        queue.last = node


cdef EventNode* event_take(EventQueue* queue, Event* event) noexcept nogil:
    node = queue.first
    if node == NULL:
        return NULL
    queue.first = node.next
    if queue.first == NULL:
        queue.last = NULL
    node.next = NULL
    node.queued = False
    event[0] = node.event
    node.event.kinds = 0
    node.event.error = 0
    return node
