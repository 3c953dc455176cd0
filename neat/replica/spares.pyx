"""Pairs that serve one connection after another. The application's half of the story: neat/shim/spares.c.

A spare is as a new pair: the canary is unread in the stack's end, the application's is empty (each token was
read), and the stack's is not watched. The table in the segment is the applications' to fight over; which
descriptor stands at which place is known here only.
"""

from libc.stdint cimport int32_t, uint64_t
from neat.abi.channel cimport (
    NEAT_OPT_KEEPS, NEAT_SPARES, NEAT_SPARES_OFFSET, NEAT_SPARE_KEPT, neat_sock, neat_spare_place,
)
from neat.replica.counters cimport COUNT_DESCRIPTORS
from neat.replica.posix cimport EPOLL_CTL_DEL, close, is_hung_up, watch
from neat.replica.process cimport END_OPEN, Channel, Endpoint, Process, Spare, gauge
from neat.shm.atomic cimport load32, load64, replace64

cdef enum:
    SWEEP_NS = 100_000_000          # a process that dies with its spares is rare


cdef uint64_t* entry_of(Channel* channel, uint64_t name) noexcept nogil:
    table = <uint64_t*>(channel.memory + NEAT_SPARES_OFFSET)
    return &table[neat_spare_place(name)]


cdef void spare_keep(Process* p, Channel* channel, Endpoint* end, neat_sock* lines) noexcept nogil:
    cdef uint64_t name = load64(&lines.kept)
    entry = entry_of(channel, name)
    if name == 0 or name & NEAT_SPARE_KEPT or load64(entry) != name:
        return
    spare = &channel.spares[neat_spare_place(name)]
    spare_close(p, channel, spare)  # given up, or its process would not have found the place free
    if not is_new(p, channel, end, lines):
        replace64(entry, name, 0)
        return
    if not replace64(entry, name, name | NEAT_SPARE_KEPT):
        return
    spare.name = name
    spare.fd = end.fd
    channel.spare_count += 1
    end.fd = -1


cdef bint is_new(Process* p, Channel* channel, Endpoint* end, neat_sock* lines) noexcept nogil:
    if end.fd < 0 or end.state != END_OPEN or end.options & NEAT_OPT_KEEPS == 0 or channel.orphan:
        return False
    if end.spoken or load32(&lines.in_token) != 0:
        return False
    return not end.watched or watch(p.epoll, EPOLL_CTL_DEL, end.fd, 0, 0) == 0


cdef int32_t spare_take(Process* p, Channel* channel, uint64_t name) noexcept nogil:
    spare = &channel.spares[neat_spare_place(name)]
    fd = spare.fd
    if fd < 0 or spare.name != name:
        return -1
    spare.fd = -1
    channel.spare_count -= 1
    replace64(entry_of(channel, name), name | NEAT_SPARE_KEPT, 0)
    gauge(p, COUNT_DESCRIPTORS, -1)  # it counts as a new one again
    return fd


cdef bint spares_suffice(Channel* channel, uint64_t who) noexcept nogil:
    if channel.spare_count <= channel.offered:
        return False
    cdef int32_t found = 0
    for i in range(NEAT_SPARES):
        if channel.spares[i].fd >= 0 and channel.spares[i].name >> 32 == who:
            found += 1
            if found > channel.offered:
                return True
    return False


cdef void spares_sweep(Process* p, Channel* channel) noexcept nogil:
    cdef uint64_t kept
    if p.now - channel.swept_at < SWEEP_NS:
        return
    channel.swept_at = p.now
    for i in range(NEAT_SPARES):
        spare = &channel.spares[i]
        if spare.fd < 0:
            continue
        entry = entry_of(channel, spare.name)
        kept = spare.name | NEAT_SPARE_KEPT
        if load64(entry) != kept or is_hung_up(spare.fd):
            spare_close(p, channel, spare)
            replace64(entry, kept, 0)


cdef void spare_close(Process* p, Channel* channel, Spare* spare) noexcept nogil:
    if spare.fd < 0:
        return
    close(spare.fd)
    spare.fd = -1
    channel.spare_count -= 1
    gauge(p, COUNT_DESCRIPTORS, -1)


cdef void spares_open(Channel* channel) noexcept nogil:
    for i in range(NEAT_SPARES):
        channel.spares[i].fd = -1
    channel.spare_count = 0
    channel.offered = 0
    channel.swept_at = 0


cdef void spares_close(Process* p, Channel* channel) noexcept nogil:
    for i in range(NEAT_SPARES):
        spare_close(p, channel, &channel.spares[i])
