"""Channels: applications' segments as this replica maps them, and who uses which socket index in them.

The geometry comes from the caller, never from the segment. What the replica itself wrote there is never read
back."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from neat.abi.channel cimport neat_rx_offset, neat_tx_offset
from neat.stack.types cimport Channel, Stack

cdef Channel* channel_of(Stack* stack, uint32_t app) noexcept nogil        # NULL if it is not attached

cdef int channel_attach(
    Stack* stack, uint32_t app, void* memory, uint32_t nsock, uint32_t rx_size, uint32_t tx_size
) noexcept nogil
cdef void channel_forget(Stack* stack, Channel* channel) noexcept nogil    # the memory is not touched

# Take socket `index` (or any free connection index with NO_SOCK) into use: zero the object, set kind and
# generation.
# Returns the index; -ENOSPC, -EINVAL, -EADDRINUSE.
cdef enum:
    NO_SOCK = 0xFFFFFFFF

cdef int32_t sock_birth(Channel* channel, uint32_t index, uint8_t kind, int32_t owner) noexcept nogil
cdef void sock_death(Channel* channel, uint32_t index) noexcept nogil
# The index may be used again. Apart from sock_death, so that the process hears of the death before the next
# birth.
cdef void sock_release(Channel* channel, uint32_t index) noexcept nogil

cdef inline uint8_t* sock_rx_ring(Channel* channel, uint32_t index) noexcept nogil:
    return channel.memory + neat_rx_offset(channel.nsock, channel.rx_size, channel.tx_size, index)

cdef inline uint8_t* sock_tx_ring(Channel* channel, uint32_t index) noexcept nogil:
    return channel.memory + neat_tx_offset(channel.nsock, channel.rx_size, channel.tx_size, index)

# What a predecessor left. resume: socket `index` lives on with this generation; False: it cannot, or another
# has it. bury: one that was half born or half dead is dead. relink: the other indexes are free.
cdef bint sock_resume(
    Channel* channel, uint32_t index, uint8_t kind, int32_t owner, uint32_t generation
) noexcept nogil
cdef void sock_bury(Channel* channel, uint32_t index, uint32_t generation) noexcept nogil
cdef void channel_relink(Channel* channel) noexcept nogil

cdef bint channel_pending(Channel* channel) noexcept nogil
# Take one dirty socket out of the bitmap. Returns its index, -1 when there is none.
cdef int32_t channel_next_dirty(Channel* channel) noexcept nogil
