"""What the engine has to tell the process: a queue of nodes embedded in what they are about."""

import cython


def event_raise(queue, node, kinds):
    node.event.kinds |= kinds
    if not node.queued:
        node.queued = True
        node.next = cython.NULL
        if queue.last == cython.NULL:
            queue.first = node
        else:
            queue.last.next = node
        queue.last = node


def event_take(queue, event):
    node = queue.first
    if node == cython.NULL:
        return cython.NULL
    queue.first = node.next
    if queue.first == cython.NULL:
        queue.last = cython.NULL
    node.next = cython.NULL
    node.queued = False
    event[0] = node.event
    node.event.kinds = 0
    node.event.error = 0
    return node
