"""Applications' segments as this replica maps them: attach, look for commands, sleep, let go."""

from libc.errno cimport EEXIST, ENOSPC
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from neat.abi.channel cimport NEAT_POLLERS, NEAT_SHARED_SOCKS, NEAT_SPARES, neat_channel
from neat.replica.cords cimport cords_close
from neat.replica.counters cimport COUNT_CHANNELS, COUNT_POLLERS
from neat.replica.posix cimport EPOLLET, EPOLLIN, EPOLL_CTL_ADD, EPOLL_CTL_DEL, munmap, watch
from neat.replica.process cimport (
    MAX_CHANNELS, WATCH_CHANNEL, Channel, Process, close_number, gauge, watch_data,
)
from neat.replica.spares cimport spares_close, spares_open
from neat.shm.atomic cimport store32
from neat.stack.engine cimport (
    stack_channel_attach, stack_channel_detach, stack_channel_pending, stack_channel_users,
    stack_scan_channel,
)

cdef enum:
    SCAN_BUDGET = 64                # sockets of one channel in one turn


cdef Channel* channel_find(Process* p, uint32_t app) noexcept nogil:
    for i in range(p.channels_end):
        channel = &p.channels[i]
        if channel.used and channel.app == app:
            return channel
    return NULL


cdef int channel_attach(
    Process* p, uint32_t app, void* memory, uint64_t length, uint32_t nsock, uint32_t rx, uint32_t tx,
    int segment, int bell, uint32_t pid
) noexcept nogil:
    if channel_find(p, app) != NULL:
        return -EEXIST
    cdef uint32_t place = 0
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
    channel = &p.channels[place]
    channel.app = app
    channel.orphan = False
    channel.full = False
    channel.announces = False
    channel.segment = segment
    channel.bell = bell
    channel.pid = pid
    channel.memory = <uint8_t*>memory
    channel.bytes = length
    channel.nsock = nsock
    channel.rx_size = rx
    channel.tx_size = tx
    for i in range(NEAT_POLLERS):
        channel.bells[i] = -1
    spares_open(channel)
    channel_derive(channel)
    store32(<uint32_t*>&channel.used, True)
    if place >= p.channels_end:
        p.channels_end = place + 1
    gauge(p, COUNT_CHANNELS, 1)
    return 0


cdef void channel_derive(Channel* channel) noexcept nogil:
    for i in range(NEAT_SHARED_SOCKS):
        channel.shared[i] = -1
    channel.news = 0
    channel.offered = 0


cdef int channel_recover(Process* p, uint32_t place, void* memory) noexcept nogil:
    channel = &p.channels[place]
    data = watch_data(WATCH_CHANNEL, 0, place)
    status = watch(p.epoll, EPOLL_CTL_ADD, channel.bell, EPOLLIN | EPOLLET, data)
    if status == 0:
        status = stack_channel_attach(
            p.stack, channel.app, memory, channel.nsock, channel.rx_size, channel.tx_size
        )
    if status < 0:
        return status
    channel.memory = <uint8_t*>memory
    channel_derive(channel)
    if place >= p.channels_end:
        p.channels_end = place + 1
    gauge(p, COUNT_CHANNELS, 1)
    return 0


cdef void channel_lose(Channel* channel) noexcept nogil:
    close_number(&channel.bell)
    close_number(&channel.segment)
    for i in range(NEAT_POLLERS):
        close_number(&channel.bells[i])
    for i in range(NEAT_SPARES):
        close_number(&channel.spares[i].fd)
    channel.memory = NULL
    store32(<uint32_t*>&channel.used, False)


cdef void channel_orphan(Process* p, uint32_t app) noexcept nogil:
    channel = channel_find(p, app)
    if channel != NULL:
        channel.orphan = True
        channel_reap(p, channel)


cdef void channel_reap(Process* p, Channel* channel) noexcept nogil:
    if channel.used and channel.orphan and stack_channel_users(p.stack, channel.app) == 0:
        channel_detach(p, channel)


cdef void channel_detach(Process* p, Channel* channel) noexcept nogil:
    stack_channel_detach(p.stack, channel.app)
    munmap(channel.memory, channel.bytes)
    watch(p.epoll, EPOLL_CTL_DEL, channel.bell, 0, 0)
    for i in range(NEAT_POLLERS):
        if channel.bells[i] >= 0:
            gauge(p, COUNT_POLLERS, -1)
    spares_close(p, channel)
    cords_close(p, channel.app)
    channel_lose(channel)
    while p.channels_end > 0 and not p.channels[p.channels_end - 1].used:
        p.channels_end -= 1
    gauge(p, COUNT_CHANNELS, -1)


cdef uint32_t channels_scan(Process* p) noexcept nogil:
    cdef uint32_t done = 0
    for i in range(p.channels_end):
        channel = &p.channels[i]
        if channel.used and stack_channel_pending(p.stack, channel.app):
            done += stack_scan_channel(p.stack, channel.app, SCAN_BUDGET, p.now)
    return done


cdef void channels_sleeping(Process* p, uint32_t flag) noexcept nogil:
    for i in range(p.channels_end):
        channel = &p.channels[i]
        if channel.used:
            header = <neat_channel*>channel.memory
            store32(&header.sleeping, flag)


cdef bint channels_pending(Process* p) noexcept nogil:
    for i in range(p.channels_end):
        channel = &p.channels[i]
        if channel.used and stack_channel_pending(p.stack, channel.app):
            return True
    return False


cdef int32_t channels_offered(Process* p) noexcept nogil:
    cdef int32_t offered = 0
    for i in range(p.channels_end):
        if p.channels[i].used:
            offered += p.channels[i].offered
    return offered
