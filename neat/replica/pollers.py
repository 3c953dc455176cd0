# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Those who wait for many sockets in shared memory: event bits, and their bells.

Why no wake-up is lost: neat/shim/watch.c. The write end of a bell has never been an application's, so its
O_NONBLOCK stays, and no write blocks; one that has filled the pipe is deaf by its own doing.
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


def poller_signal(p, app, index, sock):
    watcher = load32(cython.address(sock.watcher))
    if watcher == NEAT_NOBODY_YET:
        return True
    if watcher == 0 or watcher > NEAT_POLLERS:
        return False
    channel = channel_find(p, app)
    if channel == cython.NULL or index >= channel.nsock:
        return False
    header = cython.cast("neat_channel*", channel.memory)
    bit = ONE << (index & 63)
    fetch_or64(cython.address(header.events[index >> 6]), bit)
    channel.news |= cython.cast(uint32_t, 1) << (watcher - 1)
    p.news = True
    return True


def poller_tell(p, app, index):
    channel = channel_find(p, app)
    if channel == cython.NULL or index >= channel.nsock:
        return
    header = cython.cast("neat_channel*", channel.memory)
    bit = ONE << (index & 63)
    fetch_or64(cython.address(header.events[index >> 6]), bit)
    channel.news = (cython.cast(uint32_t, 1) << NEAT_POLLERS) - 1
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
