"""Those who wait for many sockets in shared memory (docs/contracts/readiness.md): event bits, and their
bells."""

from libc.stdint cimport uint32_t, uint64_t
from neat.replica.process cimport Channel, Process

# The bell of poller `slot` of `app`, a write end that does not block; taken over when it returns 0. -ENOENT,
# -EINVAL.
cdef int poller_add(Process* p, uint32_t app, uint32_t slot, int bell) noexcept nogil
# Tell the pollers among `waiters` (neat_sock.waiters) of socket `index`. Caller has fenced after what it
# tells was stored.
cdef void pollers_notify(Process* p, uint32_t app, uint32_t index, uint64_t waiters) noexcept nogil
# Places of the process whose cord had that number: it has died.
cdef void pollers_forget(Process* p, Channel* channel, uint32_t number) noexcept nogil
# Wake the pollers that sleep and have been signalled since this was called last.
cdef void pollers_ring(Process* p) noexcept nogil
# In a successor: wake them all.
cdef void pollers_recover(Process* p, Channel* channel) noexcept nogil
