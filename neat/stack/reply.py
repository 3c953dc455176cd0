"""Bounded queue of small frames which belong to no connection."""

import cython
from cython.cimports.libc.string import memcpy, memset


def reply_reserve(stack):
    queue = cython.address(stack.replies)
    if queue.tail - queue.head >= REPLY_SLOTS:
        count(stack, Counter.REPLY_QUEUE_FULL)
        return cython.NULL
    slot = cython.address(queue.slots[queue.tail & (REPLY_SLOTS - 1)])
    memset(cython.address(slot.record[0]), 0, VNET_BYTES)
    return cython.address(slot.record[0])


def reply_commit(stack, length):
    queue = cython.address(stack.replies)
    queue.slots[queue.tail & (REPLY_SLOTS - 1)].length = length
    queue.tail += 1


def reply_poll(stack, buffer):
    queue = cython.address(stack.replies)
    if queue.tail == queue.head:
        return 0
    slot = cython.address(queue.slots[queue.head & (REPLY_SLOTS - 1)])
    memcpy(buffer, cython.address(slot.record[0]), slot.length)
    queue.head += 1
    return slot.length
