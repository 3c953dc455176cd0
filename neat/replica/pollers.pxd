"""Those who wait for many sockets in shared memory (ARCHITECTURE.md, "Pollers"): event bits, and their bells."""
cimport cython
from libc.stdint cimport int32_t, uint32_t, uint64_t

from neat.replica.channels cimport channel_find
from neat.replica.counters cimport COUNT_POLLERS, COUNT_POLLERS_RUNG
from neat.replica.posix cimport close, write
from neat.replica.process cimport Channel, Process, gauge, tally
from neat.abi.channel cimport NEAT_EVENTS_OFFSET, NEAT_POLLERS, NEAT_SOCK_WORDS, NEAT_WAITERS_POLLERS, neat_channel
from neat.shm.atomic cimport exchange32, fence, fetch_or64, load32

# The bell of poller `slot` of `app`, a write end that does not block; taken over when it returns 0. -ENOENT, -EINVAL.
cdef int poller_add(Process* p, uint32_t app, uint32_t slot, int bell) noexcept nogil
# Tell the pollers among `waiters` (neat_sock.waiters) of socket `index`. Caller has fenced after what it tells was stored.
@cython.locals(pollers=uint32_t, word=uint32_t, bits="uint64_t*", summary="uint64_t*")
cdef void pollers_notify(Process* p, uint32_t app, uint32_t index, uint64_t waiters) noexcept nogil
# Wake the pollers that sleep and have been signalled since this was called last.
cdef void pollers_ring(Process* p) noexcept nogil

# Parts of the above.
cdef void ring(Process* p, Channel* channel) noexcept nogil
