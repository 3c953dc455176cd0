"""Channels: applications' segments as this replica maps them, and who uses which socket index in them."""

from libc.errno cimport EADDRINUSE, EEXIST, EINVAL, ENOMEM, ENOSPC
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from neat.abi.channel cimport (
    NEAT_DIRTY_OFFSET, NEAT_MAX_SOCKS, NEAT_SHARED_SOCKS, NEAT_SOCKS_OFFSET, NEAT_SOCK_FREE,
    NEAT_SOCK_TCP, NEAT_SUMMARY_OFFSET, neat_sock,
)
from neat.shm.atomic cimport fetch_and64, fetch_or64, load32, load64, store32
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


cdef Channel* channel_of(Stack* stack, uint32_t app) noexcept nogil:
    cdef Channel* channel
    cdef int32_t i
    for i in range(CHANNELS):
        channel = stack.channels[(app + i) & (CHANNELS - 1)]
        if channel != NULL and channel.app == app:
            return channel
    return NULL


cdef int channel_attach(
    Stack* stack, uint32_t app, void* memory, uint32_t nsock, uint32_t rx_size, uint32_t tx_size
) noexcept nogil:
    cdef int32_t i
    cdef uint32_t index
    if (
        nsock < NEAT_SHARED_SOCKS
        or nsock > NEAT_MAX_SOCKS
        or nsock & 63
        or rx_size < 4096
        or rx_size & (rx_size - 1)
        or tx_size < 4096
        or tx_size & (tx_size - 1)
        or rx_size > MAX_RING
        or tx_size > MAX_RING
        or memory == NULL
    ):
        return -EINVAL
    if channel_of(stack, app) != NULL:
        return -EEXIST
    cdef int32_t place = -1
    for i in range(CHANNELS):
        if stack.channels[(app + i) & (CHANNELS - 1)] == NULL:
            place = (app + i) & (CHANNELS - 1)
            break
    if place < 0:
        return -ENOSPC
    cdef Channel* channel = <Channel*>calloc(1, sizeof(Channel))
    if channel == NULL:
        return -ENOMEM
    channel.owners = <SockOwner*>calloc(nsock, sizeof(SockOwner))
    if channel.owners == NULL:
        free(channel)
        return -ENOMEM
    channel.app = app
    channel.resumed = stack.resumed
    channel.memory = <uint8_t*>memory
    channel.socks = <neat_sock*>(channel.memory + NEAT_SOCKS_OFFSET)
    channel.dirty = <uint64_t*>(channel.memory + NEAT_DIRTY_OFFSET)
    channel.summary = <uint64_t*>(channel.memory + NEAT_SUMMARY_OFFSET)
    channel.nsock = nsock
    channel.rx_size = rx_size
    channel.tx_size = tx_size
    for index in range(nsock):
        channel.owners[index].owner = OWNER_NONE
        channel.owners[index].next_free = index + 1 if index + 1 < nsock else NO_SOCK
    channel.first_free = NEAT_SHARED_SOCKS if nsock > NEAT_SHARED_SOCKS else NO_SOCK
    stack.channels[place] = channel
    return 0


cdef void channel_forget(Stack* stack, Channel* channel) noexcept nogil:
    cdef int32_t i
    for i in range(CHANNELS):
        if stack.channels[i] == channel:
            stack.channels[i] = NULL
    free(channel.owners)
    free(channel)


cdef uint32_t even(uint32_t generation) noexcept nogil:
    """That of a free socket, from that of one that may have been half born."""
    return (generation + 1) & ~<uint32_t>1


cdef int32_t sock_birth(Channel* channel, uint32_t index, uint8_t kind, int32_t owner) noexcept nogil:
    if index == NO_SOCK:
        index = channel.first_free
        if index == NO_SOCK:
            return -ENOSPC
        channel.first_free = channel.owners[index].next_free
    elif index >= NEAT_SHARED_SOCKS:
        return -EINVAL
    cdef SockOwner* who = &channel.owners[index]
    if who.kind != NEAT_SOCK_FREE:
        return -EADDRINUSE
    cdef neat_sock* sock = &channel.socks[index]
    if channel.resumed and who.generation == 0:
        # Only who wrote that there finds its own stale index alive again.
        who.generation = even(load32(&sock.generation))
    who.generation += 1
    who.kind = kind
    who.owner = owner
    channel.users += 1
    # The generation stays, so that it never goes back, whoever finds this half done.
    rest = <uint8_t*>&sock.kind
    memset(sock, 0, <uint8_t*>&sock.generation - <uint8_t*>sock)
    memset(rest, 0, <uint8_t*>(sock + 1) - rest)
    sock.kind = kind
    store32(&sock.generation, who.generation)
    return index


cdef void sock_death(Channel* channel, uint32_t index) noexcept nogil:
    cdef SockOwner* who = &channel.owners[index]
    cdef neat_sock* sock = &channel.socks[index]
    who.generation += 1
    who.kind = NEAT_SOCK_FREE
    who.owner = OWNER_NONE
    channel.users -= 1
    sock.kind = NEAT_SOCK_FREE
    store32(&sock.generation, who.generation)


cdef bint sock_resume(
    Channel* channel, uint32_t index, uint8_t kind, int32_t owner, uint32_t generation
) noexcept nogil:
    if index >= channel.nsock or (index < NEAT_SHARED_SOCKS) == (kind == NEAT_SOCK_TCP):
        return False
    cdef SockOwner* who = &channel.owners[index]
    if who.kind != NEAT_SOCK_FREE or not generation & 1:
        return False
    who.generation = generation
    who.kind = kind
    who.owner = owner
    channel.users += 1
    channel.socks[index].kind = kind
    store32(&channel.socks[index].generation, generation)
    return True


cdef void sock_bury(Channel* channel, uint32_t index, uint32_t generation) noexcept nogil:
    if index >= channel.nsock or channel.owners[index].kind != NEAT_SOCK_FREE or not generation & 1:
        return
    cdef neat_sock* sock = &channel.socks[index]
    if load32(&sock.generation) != generation:
        return
    sock.kind = NEAT_SOCK_FREE
    store32(&sock.generation, generation + 1)


cdef void channel_relink(Channel* channel) noexcept nogil:
    cdef uint32_t index = channel.nsock
    channel.first_free = NO_SOCK
    while index > NEAT_SHARED_SOCKS:
        index -= 1
        if channel.owners[index].kind == NEAT_SOCK_FREE:
            channel.owners[index].next_free = channel.first_free
            channel.first_free = index


cdef void sock_release(Channel* channel, uint32_t index) noexcept nogil:
    if index >= NEAT_SHARED_SOCKS:
        channel.owners[index].next_free = channel.first_free
        channel.first_free = index


cdef bint channel_pending(Channel* channel) noexcept nogil:
    cdef int32_t i
    cdef uint64_t some = 0
    for i in range(SUMMARY_WORDS):
        some |= load64(&channel.summary[i])
    return some != 0


cdef int32_t channel_next_dirty(Channel* channel) noexcept nogil:
    """The summary bit is cleared before its word is looked at, and set again while bits remain in it.

    Each summary word is read once: an application that sets bits without end does not hold us here.
    """
    cdef int32_t i
    cdef uint32_t word, bit
    cdef uint64_t bits, summary
    for i in range(SUMMARY_WORDS):
        summary = load64(&channel.summary[i])
        while summary:
            bit = ctz64(summary)
            summary &= summary - 1
            word = i * 64 + bit
            fetch_and64(&channel.summary[i], ~(ONE << bit))
            if word >= channel.nsock // 64:
                continue
            bits = load64(&channel.dirty[word])
            if bits == 0:
                continue
            bit = ctz64(bits)
            bits = fetch_and64(&channel.dirty[word], ~(ONE << bit)) & ~(ONE << bit)
            if bits:
                fetch_or64(&channel.summary[i], ONE << (word & 63))
            return word * 64 + bit
    return -1
