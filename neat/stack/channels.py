"""Channels: applications' segments as this replica maps them, and who uses which socket index in them."""

import cython
from cython.cimports.libc.errno import EADDRINUSE, EEXIST, EINVAL, ENOMEM, ENOSPC
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memset


def channel_of(stack, app):
    for i in range(CHANNELS):
        channel = stack.channels[(app + i) & (CHANNELS - 1)]
        if channel != cython.NULL and channel.app == app:
            return channel
    return cython.NULL


def channel_attach(stack, app, memory, nsock, rx_size, tx_size):
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
        or memory == cython.NULL
    ):
        return -EINVAL
    if channel_of(stack, app) != cython.NULL:
        return -EEXIST
    place = -1
    for i in range(CHANNELS):
        if stack.channels[(app + i) & (CHANNELS - 1)] == cython.NULL:
            place = (app + i) & (CHANNELS - 1)
            break
    if place < 0:
        return -ENOSPC
    channel = cython.cast(cython.pointer(Channel), calloc(1, cython.sizeof(Channel)))
    if channel == cython.NULL:
        return -ENOMEM
    channel.owners = cython.cast(cython.pointer(SockOwner), calloc(nsock, cython.sizeof(SockOwner)))
    if channel.owners == cython.NULL:
        free(channel)
        return -ENOMEM
    channel.app = app
    channel.memory = cython.cast(cython.pointer(uint8_t), memory)
    channel.socks = cython.cast(cython.pointer(neat_sock), channel.memory + NEAT_SOCKS_OFFSET)
    channel.dirty = cython.cast(cython.pointer(uint64_t), channel.memory + NEAT_DIRTY_OFFSET)
    channel.summary = cython.cast(cython.pointer(uint64_t), channel.memory + NEAT_SUMMARY_OFFSET)
    channel.nsock = nsock
    channel.rx_size = rx_size
    channel.tx_size = tx_size
    for index in range(nsock):
        channel.owners[index].owner = OWNER_NONE
        channel.owners[index].next_free = index + 1 if index + 1 < nsock else NO_SOCK
    channel.first_free = NEAT_SHARED_SOCKS if nsock > NEAT_SHARED_SOCKS else NO_SOCK
    stack.channels[place] = channel
    return 0


def channel_forget(stack, channel):
    for i in range(CHANNELS):
        if stack.channels[i] == channel:
            stack.channels[i] = cython.NULL
    free(channel.owners)
    free(channel)


def sock_birth(channel, index, kind, owner):
    if index == NO_SOCK:
        index = channel.first_free
        if index == NO_SOCK:
            return -ENOSPC
        channel.first_free = channel.owners[index].next_free
    elif index >= NEAT_SHARED_SOCKS:
        return -EINVAL
    who = cython.address(channel.owners[index])
    if who.kind != NEAT_SOCK_FREE:
        return -EADDRINUSE
    who.generation += 1
    who.kind = kind
    who.owner = owner
    channel.users += 1
    sock = cython.address(channel.socks[index])
    memset(sock, 0, cython.sizeof(neat_sock))
    sock.kind = kind
    store32(cython.address(sock.generation), who.generation)
    return index


def sock_death(channel, index):
    who = cython.address(channel.owners[index])
    sock = cython.address(channel.socks[index])
    who.generation += 1
    who.kind = NEAT_SOCK_FREE
    who.owner = OWNER_NONE
    channel.users -= 1
    sock.kind = NEAT_SOCK_FREE
    store32(cython.address(sock.generation), who.generation)


def sock_release(channel, index):
    if index >= NEAT_SHARED_SOCKS:
        channel.owners[index].next_free = channel.first_free
        channel.first_free = index


def channel_pending(channel):
    some = cython.cast(uint64_t, 0)
    for i in range(SUMMARY_WORDS):
        some |= load64(cython.address(channel.summary[i]))
    return some != 0


def channel_next_dirty(channel):
    """The summary bit is cleared before its word is looked at, and set again while bits remain in it.

    Each summary word is read once: an application that sets bits without end does not hold us here.
    """
    for i in range(SUMMARY_WORDS):
        summary = load64(cython.address(channel.summary[i]))
        while summary:
            bit = ctz64(summary)
            summary &= summary - 1
            word = i * 64 + bit
            fetch_and64(cython.address(channel.summary[i]), ~(ONE << bit))
            if word >= channel.nsock // 64:
                continue
            bits = load64(cython.address(channel.dirty[word]))
            if bits == 0:
                continue
            bit = ctz64(bits)
            bits = fetch_and64(cython.address(channel.dirty[word]), ~(ONE << bit)) & ~(ONE << bit)
            if bits:
                fetch_or64(cython.address(channel.summary[i]), ONE << (word & 63))
            return word * 64 + bit
    return -1
