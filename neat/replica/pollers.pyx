"""Those who wait for many sockets in shared memory: event bits, and their bells.

Why no wake-up is lost: docs/contracts/readiness.md. The write end of a bell has never been an application's,
so its O_NONBLOCK stays, and no write blocks; one that has filled the pipe is deaf by its own doing."""

from libc.errno cimport EINVAL, ENOENT
from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport (
    NEAT_EVENTS_OFFSET, NEAT_POLLERS, NEAT_SOCK_WORDS, NEAT_WAITERS_POLLERS, neat_channel,
)
from neat.replica.channels cimport channel_find
from neat.replica.counters cimport COUNT_POLLERS, COUNT_POLLERS_RUNG
from neat.replica.posix cimport write
from neat.replica.process cimport Channel, Process, close_number, gauge, own_number, tally
from neat.shm.atomic cimport exchange32, fence, fetch_or64, load32, load64, store32


cdef uint64_t ONE = 1


cdef int poller_add(Process* p, uint32_t app, uint32_t slot, int bell) noexcept nogil:
    channel = channel_find(p, app)
    if channel == NULL:
        return -ENOENT
    if slot >= NEAT_POLLERS:
        return -EINVAL
    if channel.bells[slot] < 0:
        gauge(p, COUNT_POLLERS, 1)
    close_number(&channel.bells[slot])
    own_number(&channel.bells[slot], bell)
    # It may have gone to sleep before we could have rung it.
    write(bell, b"b", 1)
    return 0


cdef void pollers_notify(Process* p, uint32_t app, uint32_t index, uint64_t waiters) noexcept nogil:
    cdef uint64_t* bits
    cdef uint64_t* summary
    cdef uint32_t pollers = <uint32_t>(waiters & NEAT_WAITERS_POLLERS)
    channel = channel_find(p, app)
    if pollers == 0 or channel == NULL or index >= channel.nsock:
        return
    header = <neat_channel*>channel.memory
    cdef uint32_t word = index >> 6
    for slot in range(NEAT_POLLERS):
        if not pollers >> slot & 1:
            continue
        # The bit, then its summary. One that is there still will be taken, and looked at, after this.
        bits = <uint64_t*>(channel.memory + NEAT_EVENTS_OFFSET) + slot * NEAT_SOCK_WORDS + word
        if not fetch_or64(bits, ONE << (index & 63)) >> (index & 63) & 1:
            summary = &header.pollers[slot].summary[word >> 6]
            fetch_or64(summary, ONE << (word & 63))
    channel.news |= pollers
    p.news = True


cdef void pollers_forget(Process* p, Channel* channel, uint32_t number) noexcept nogil:
    header = <neat_channel*>channel.memory
    for slot in range(NEAT_POLLERS):
        if load32(&header.pollers[slot].owner) != number:
            continue
        if channel.bells[slot] >= 0:
            close_number(&channel.bells[slot])
            gauge(p, COUNT_POLLERS, -1)
        store32(&header.pollers[slot].asleep, 0)
        store32(&header.pollers[slot].owner, 0)


cdef void pollers_ring(Process* p) noexcept nogil:
    if not p.news:
        return
    p.news = False
    fence()
    for i in range(p.channels_end):
        channel = &p.channels[i]
        if channel.used and channel.news:
            ring(p, channel)
        channel.news = 0


cdef void pollers_recover(Process* p, Channel* channel) noexcept nogil:
    """A predecessor may have taken `asleep` away and not have rung, or have set a bit and not its summary:
    who sets that bit again would find it there."""
    header = <neat_channel*>channel.memory
    for slot in range(NEAT_POLLERS):
        if load32(&header.pollers[slot].owner) != 0:
            summarize(channel, slot)
        if channel.bells[slot] < 0:
            continue
        gauge(p, COUNT_POLLERS, 1)
        store32(&header.pollers[slot].asleep, 0)
        write(channel.bells[slot], b"b", 1)


cdef void summarize(Channel* channel, uint32_t slot) noexcept nogil:
    header = <neat_channel*>channel.memory
    bits = <uint64_t*>(channel.memory + NEAT_EVENTS_OFFSET) + slot * NEAT_SOCK_WORDS
    for word in range(channel.nsock >> 6):
        if load64(&bits[word]) != 0:
            fetch_or64(&header.pollers[slot].summary[word >> 6], ONE << (word & 63))


cdef void ring(Process* p, Channel* channel) noexcept nogil:
    header = <neat_channel*>channel.memory
    for slot in range(NEAT_POLLERS):
        if not channel.news >> slot & 1 or channel.bells[slot] < 0:
            continue
        asleep = &header.pollers[slot].asleep
        if load32(asleep) and exchange32(asleep, 0):
            write(channel.bells[slot], b"b", 1)
            tally(p, COUNT_POLLERS_RUNG)
