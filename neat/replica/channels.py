# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Applications' segments as this replica maps them: attach, look for commands, sleep, let go."""

import cython
from cython.cimports.libc.errno import EEXIST, ENOSPC


def channel_find(p, app):
    for i in range(p.channels_end):
        channel = cython.address(p.channels[i])
        if channel.used and channel.app == app:
            return channel
    return cython.NULL


def channel_attach(p, app, memory, length, nsock, rx, tx, bell):
    if channel_find(p, app) != cython.NULL:
        return -EEXIST
    place = cython.declare(uint32_t, 0)
    while place < MAX_CHANNELS and p.channels[place].used:
        place += 1
    if place == MAX_CHANNELS:
        return -ENOSPC
    # Never read: the application could make that block. Each ring is an edge.
    status = watch(p.epoll, EPOLL_CTL_ADD, bell, EPOLLIN | EPOLLET, watch_data(WATCH_CHANNEL, 0, place))
    if status < 0:
        return status
    status = stack_channel_attach(p.stack, app, memory, nsock, rx, tx)
    if status < 0:
        watch(p.epoll, EPOLL_CTL_DEL, bell, 0, 0)
        return status
    channel = cython.address(p.channels[place])
    channel.app = app
    channel.used = True
    channel.orphan = False
    channel.full = False
    channel.announces = False
    channel.bell = bell
    channel.memory = cython.cast("uint8_t*", memory)
    channel.bytes = length
    channel.nsock = nsock
    channel.rx_size = rx
    channel.tx_size = tx
    for i in range(NEAT_SHARED_SOCKS):
        channel.shared[i] = -1
    for i in range(NEAT_POLLERS):
        channel.bells[i] = -1
    channel.news = 0
    spares_open(channel)
    if place >= p.channels_end:
        p.channels_end = place + 1
    gauge(p, COUNT_CHANNELS, 1)
    return 0


def channel_orphan(p, app):
    channel = channel_find(p, app)
    if channel != cython.NULL:
        channel.orphan = True
        channel_reap(p, channel)


def channel_reap(p, channel):
    if channel.used and channel.orphan and stack_channel_users(p.stack, channel.app) == 0:
        channel_detach(p, channel)


def channel_detach(p, channel):
    stack_channel_detach(p.stack, channel.app)
    munmap(channel.memory, channel.bytes)
    watch(p.epoll, EPOLL_CTL_DEL, channel.bell, 0, 0)
    close(channel.bell)
    for i in range(NEAT_POLLERS):
        if channel.bells[i] >= 0:
            close(channel.bells[i])
            gauge(p, COUNT_POLLERS, -1)
    spares_close(p, channel)
    channel.used = False
    channel.memory = cython.NULL
    while p.channels_end > 0 and not p.channels[p.channels_end - 1].used:
        p.channels_end -= 1
    gauge(p, COUNT_CHANNELS, -1)


def channels_scan(p):
    done = cython.declare(uint32_t, 0)
    for i in range(p.channels_end):
        channel = cython.address(p.channels[i])
        if channel.used and stack_channel_pending(p.stack, channel.app):
            done += stack_scan_channel(p.stack, channel.app, SCAN_BUDGET, p.now)
    return done


def channels_sleeping(p, flag):
    for i in range(p.channels_end):
        channel = cython.address(p.channels[i])
        if channel.used:
            header = cython.cast("neat_channel*", channel.memory)
            store32(cython.address(header.sleeping), flag)


def channels_pending(p):
    for i in range(p.channels_end):
        channel = cython.address(p.channels[i])
        if channel.used and stack_channel_pending(p.stack, channel.app):
            return True
    return False


def channels_offered(p):
    offered = cython.declare(int32_t, 0)
    for i in range(p.channels_end):
        if p.channels[i].used:
            offered += p.channels[i].offered
    return offered
