"""Channels: applications' segments as this replica maps them, and who uses which socket index in them.

The geometry comes from the caller, never from the segment. What the replica itself wrote there is never read back.
"""
cimport cython
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from neat.abi.channel cimport (
    NEAT_DIRTY_OFFSET, NEAT_MAX_SOCKS, NEAT_SHARED_SOCKS, NEAT_SOCK_FREE, NEAT_SOCKS_OFFSET, NEAT_SUMMARY_OFFSET,
    neat_rx_offset, neat_sock, neat_tx_offset,
)
from neat.shm.atomic cimport fetch_and64, fetch_or64, load64, store32
from neat.stack.types cimport CHANNELS, OWNER_NONE, Channel, SockOwner, Stack

cdef extern from *:
    """
    #define neat_ctz64(v) ((uint32_t)__builtin_ctzll(v))
    #define NEAT_ONE UINT64_C(1)
    """
    uint32_t ctz64 "neat_ctz64"(uint64_t v) noexcept nogil      # v is not zero
    const uint64_t ONE "NEAT_ONE"

cdef enum:
    SUMMARY_WORDS = 4               # 256 words of 64 sockets: NEAT_MAX_SOCKS
    MAX_RING = 1 << 26

@cython.locals(channel="Channel*", i=int32_t)
cdef Channel* channel_of(Stack* stack, uint32_t app) noexcept nogil        # NULL if it is not attached

@cython.locals(channel="Channel*", place=int32_t, i=int32_t, index=uint32_t)
cdef int channel_attach(Stack* stack, uint32_t app, void* memory, uint32_t nsock, uint32_t rx_size, uint32_t tx_size) noexcept nogil
@cython.locals(i=int32_t)
cdef void channel_forget(Stack* stack, Channel* channel) noexcept nogil    # the memory is not touched

# Take socket `index` (or any free connection index with NO_SOCK) into use: zero the object, set kind and generation.
# Returns the index; -ENOSPC, -EINVAL, -EADDRINUSE.
cdef enum:
    NO_SOCK = 0xFFFFFFFF

@cython.locals(sock="neat_sock*", who="SockOwner*")
cdef int32_t sock_birth(Channel* channel, uint32_t index, uint8_t kind, int32_t owner) noexcept nogil
@cython.locals(sock="neat_sock*", who="SockOwner*")
cdef void sock_death(Channel* channel, uint32_t index) noexcept nogil
# The index may be used again. Apart from sock_death, so that the process hears of the death before the next birth.
cdef void sock_release(Channel* channel, uint32_t index) noexcept nogil

cdef inline uint8_t* sock_rx_ring(Channel* channel, uint32_t index) noexcept nogil:
    return channel.memory + neat_rx_offset(channel.nsock, channel.rx_size, channel.tx_size, index)

cdef inline uint8_t* sock_tx_ring(Channel* channel, uint32_t index) noexcept nogil:
    return channel.memory + neat_tx_offset(channel.nsock, channel.rx_size, channel.tx_size, index)

@cython.locals(i=int32_t)
cdef bint channel_pending(Channel* channel) noexcept nogil
# Take one dirty socket out of the bitmap. Returns its index, -1 when there is none.
@cython.locals(i=int32_t, word=uint32_t, bits=uint64_t, summary=uint64_t, bit=uint32_t)
cdef int32_t channel_next_dirty(Channel* channel) noexcept nogil
