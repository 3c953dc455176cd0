"""Pairs that serve one connection after another. The application's half of the story: neat/shim/spares.c.

A spare is as a new pair: the canary is unread in the stack's end, the application's is empty (each token was
read), and the stack's is not watched. The table in the segment is the applications' to fight over; which
descriptor stands at which place is known here only.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from neat.abi.channel cimport (
    NEAT_SPARES, NEAT_SPARES_OFFSET, NEAT_SPARE_KEPT, neat_sock, neat_spare_place,
)
from neat.replica.counters cimport COUNT_DESCRIPTORS, COUNT_SPARES
from neat.replica.posix cimport EPOLL_CTL_DEL, watch
from neat.replica.process cimport (
    END_OPEN, Channel, Endpoint, Process, Spare, close_number, gauge, own_number,
)
from neat.shm.atomic cimport load32, load64, replace64


cdef uint64_t* entry_of(Channel* channel, uint64_t name) noexcept nogil:
    table = <uint64_t*>(channel.memory + NEAT_SPARES_OFFSET)
    return &table[neat_spare_place(name)]


cdef void spare_keep(Process* p, Channel* channel, Endpoint* end, neat_sock* lines) noexcept nogil:
    cdef uint64_t name = load64(&lines.kept)
    entry = entry_of(channel, name)
    if name == 0 or name & NEAT_SPARE_KEPT or load64(entry) != name:
        return
    spare = &channel.spares[neat_spare_place(name)]
    spare_close(p, spare)  # given up, or its process would not have found the place free
    if not is_new(p, channel, end, lines):
        replace64(entry, name, 0)
        return
    spare.name = name
    own_number(&spare.fd, end.fd)  # twice, for a while: the spare's, as that connection is over
    if not replace64(entry, name, name | NEAT_SPARE_KEPT):
        own_number(&spare.fd, -1)
        return
    own_number(&end.fd, -1)
    gauge(p, COUNT_DESCRIPTORS, -1)
    gauge(p, COUNT_SPARES, 1)


cdef void spare_keep_again(Process* p, Channel* channel, Endpoint* end) noexcept nogil:
    cdef uint64_t name
    if end.fd < 0:
        return
    for i in range(NEAT_SPARES):
        spare = &channel.spares[i]
        if spare.fd != end.fd:
            continue
        name = spare.name
        entry = entry_of(channel, name)
        if replace64(entry, name, name | NEAT_SPARE_KEPT) or load64(entry) == name | NEAT_SPARE_KEPT:
            own_number(&end.fd, -1)
        else:
            own_number(&spare.fd, -1)
            gauge(p, COUNT_SPARES, -1)
        return


cdef bint is_new(Process* p, Channel* channel, Endpoint* end, neat_sock* lines) noexcept nogil:
    if end.fd < 0 or end.state != END_OPEN or channel.orphan:
        return False
    if end.spoken or load32(&lines.in_token) != 0:
        return False
    return not end.watched or watch(p.epoll, EPOLL_CTL_DEL, end.fd, 0, 0) == 0


cdef int32_t spare_find(Channel* channel, uint64_t name) noexcept nogil:
    spare = &channel.spares[neat_spare_place(name)]
    return spare.fd if spare.name == name else -1


cdef void spare_take(Process* p, Channel* channel, uint64_t name, bint taken) noexcept nogil:
    spare = &channel.spares[neat_spare_place(name)]
    if taken:
        own_number(&spare.fd, -1)  # twice until here: the connection's, as that is open
        gauge(p, COUNT_SPARES, -1)
    else:
        spare_close(p, spare)
    replace64(entry_of(channel, name), name | NEAT_SPARE_KEPT, 0)


cdef void spares_count(Process* p, Channel* channel) noexcept nogil:
    for i in range(NEAT_SPARES):
        if channel.spares[i].fd >= 0:
            gauge(p, COUNT_SPARES, 1)


cdef void spares_recover(Process* p, Channel* channel) noexcept nogil:
    """The table says what the ledger does: who takes a place must find a pair there."""
    cdef uint64_t name
    table = <uint64_t*>(channel.memory + NEAT_SPARES_OFFSET)
    for i in range(NEAT_SPARES):
        spare = &channel.spares[i]
        name = load64(&table[i])
        if spare.fd >= 0:
            if name == spare.name:
                replace64(&table[i], name, name | NEAT_SPARE_KEPT)
            elif name != spare.name | NEAT_SPARE_KEPT:
                spare_close(p, spare)
        if spare.fd < 0 and name & NEAT_SPARE_KEPT:
            replace64(&table[i], name, 0)


cdef void spares_forget(Process* p, Channel* channel, uint32_t number) noexcept nogil:
    """Names that its process has given to places whose connections are not over are nobody's either."""
    cdef uint64_t name
    table = <uint64_t*>(channel.memory + NEAT_SPARES_OFFSET)
    for i in range(NEAT_SPARES):
        spare = &channel.spares[i]
        if spare.fd >= 0 and spare.name >> 32 == number:
            spare_close(p, spare)
        name = load64(&table[i])
        if name >> 32 == number:
            replace64(&table[i], name, 0)


cdef void spare_close(Process* p, Spare* spare) noexcept nogil:
    if spare.fd < 0:
        return
    close_number(&spare.fd)
    gauge(p, COUNT_SPARES, -1)


cdef void spares_open(Channel* channel) noexcept nogil:
    for i in range(NEAT_SPARES):
        channel.spares[i].fd = -1
    channel.offered = 0


cdef void spares_close(Process* p, Channel* channel) noexcept nogil:
    for i in range(NEAT_SPARES):
        spare_close(p, &channel.spares[i])
