"""Bounded queue of small frames which belong to no connection."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.types cimport REPLY_SLOTS, Reply, ReplyQueue, Stack, count
from neat.wire.vnet cimport VNET_BYTES


cdef uint8_t* reply_reserve(Stack* stack) noexcept nogil:
    cdef ReplyQueue* queue = &stack.replies
    if queue.tail - queue.head >= REPLY_SLOTS:
        count(stack, Counter.REPLY_QUEUE_FULL)
        return NULL
    cdef Reply* slot = &queue.slots[queue.tail & (REPLY_SLOTS - 1)]
    memset(&slot.record[0], 0, VNET_BYTES)
    return &slot.record[0]


cdef void reply_commit(Stack* stack, uint32_t length) noexcept nogil:
    cdef ReplyQueue* queue = &stack.replies
    queue.slots[queue.tail & (REPLY_SLOTS - 1)].length = length
    queue.tail += 1


cdef uint32_t reply_poll(Stack* stack, uint8_t* buffer) noexcept nogil:
    cdef ReplyQueue* queue = &stack.replies
    if queue.tail == queue.head:
        return 0
    cdef Reply* slot = &queue.slots[queue.head & (REPLY_SLOTS - 1)]
    memcpy(buffer, &slot.record[0], slot.length)
    queue.head += 1
    return slot.length
