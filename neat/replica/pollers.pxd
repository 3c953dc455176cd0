"""Those who wait for many sockets in shared memory (ARCHITECTURE.md, "Pollers"): event bits, and their bells."""
cimport cython
from libc.stdint cimport int32_t, uint32_t, uint64_t

from neat.replica.channels cimport channel_find
from neat.replica.counters cimport COUNT_POLLERS, COUNT_POLLERS_RUNG
from neat.replica.posix cimport close, write
from neat.replica.process cimport Channel, Process, gauge, tally
from neat.abi.channel cimport NEAT_NOBODY_YET, NEAT_POLLERS, neat_channel, neat_sock
from neat.shm.atomic cimport exchange32, fence, fetch_or64, load32

# The bell of poller `slot` of `app`, a write end that does not block; taken over when it returns 0. -ENOENT, -EINVAL.
cdef int poller_add(Process* p, uint32_t app, uint32_t slot, int bell) noexcept nogil
# Signal socket `index` to the poller that watches it. False: none does, so its descriptor must be signalled.
# Caller has fenced after what it signals was stored.
@cython.locals(watcher=uint32_t, bit=uint64_t)
cdef bint poller_signal(Process* p, uint32_t app, uint32_t index, neat_sock* sock) noexcept nogil
# It was taken off its poller: all of them look.
@cython.locals(bit=uint64_t)
cdef void poller_tell(Process* p, uint32_t app, uint32_t index) noexcept nogil
# Wake the pollers that sleep and have been signalled since this was called last.
cdef void pollers_ring(Process* p) noexcept nogil

# Parts of the above.
cdef void ring(Process* p, Channel* channel) noexcept nogil
