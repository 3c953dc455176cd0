# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Those who wait for many sockets in shared memory: event bits, and their bells.

Why no wake-up is lost: docs/contracts/readiness.md. The write end of a bell has never been an application's, so
its O_NONBLOCK stays, and no write blocks; one that has filled the pipe is deaf by its own doing.
"""

import cython
from cython.cimports.libc.errno import EINVAL, ENOENT

ONE = cython.declare(uint64_t, 1)


def poller_add(p, app, slot, bell):
    channel = channel_find(p, app)
    if channel == cython.NULL:
        return -ENOENT
    if slot >= NEAT_POLLERS:
        return -EINVAL
    if channel.bells[slot] >= 0:
        close(channel.bells[slot])
    else:
        gauge(p, COUNT_POLLERS, 1)
    channel.bells[slot] = bell
    # It may have gone to sleep before we could have rung it.
    write(bell, b"b", 1)
    return 0


def pollers_notify(p, app, index, waiters):
    pollers = cython.cast(uint32_t, waiters & NEAT_WAITERS_POLLERS)
    channel = channel_find(p, app)
    if pollers == 0 or channel == cython.NULL or index >= channel.nsock:
        return
    header = cython.cast("neat_channel*", channel.memory)
    word = index >> 6
    for slot in range(NEAT_POLLERS):
        if not pollers >> slot & 1:
            continue
        # The bit, then its summary. One that is there still will be taken, and looked at, after this.
        bits = cython.cast("uint64_t*", channel.memory + NEAT_EVENTS_OFFSET) + slot * NEAT_SOCK_WORDS + word
        if not fetch_or64(bits, ONE << (index & 63)) >> (index & 63) & 1:
            summary = cython.address(header.pollers[slot].summary[word >> 6])
            fetch_or64(summary, ONE << (word & 63))
    channel.news |= pollers
    p.news = True


def pollers_ring(p):
    if not p.news:
        return
    p.news = False
    fence()
    for i in range(p.channels_end):
        channel = cython.address(p.channels[i])
        if channel.used and channel.news:
            ring(p, channel)
        channel.news = 0


def ring(p, channel):
    header = cython.cast("neat_channel*", channel.memory)
    for slot in range(NEAT_POLLERS):
        if not channel.news >> slot & 1 or channel.bells[slot] < 0:
            continue
        asleep = cython.address(header.pollers[slot].asleep)
        if load32(asleep) and exchange32(asleep, 0):
            write(channel.bells[slot], b"b", 1)
            tally(p, COUNT_POLLERS_RUNG)
