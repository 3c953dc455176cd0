"""Applications' segments as this replica maps them: attach, look for commands, sleep, let go."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from neat.replica.process cimport Channel, Process

cdef Channel* channel_find(Process* p, uint32_t app) noexcept nogil
# Take the mapping, its memfd and the doorbell over. 0; -EEXIST, -ENOSPC, or what the engine says; the caller
# unmaps and closes then.
cdef int channel_attach(
    Process* p, uint32_t app, void* memory, uint64_t length, uint32_t nsock, uint32_t rx, uint32_t tx,
    int segment, int bell, uint32_t pid
) noexcept nogil
# In a successor: take the one at that place up again, whose segment is mapped at `memory`; or give up all
# that it has.
cdef int channel_recover(Process* p, uint32_t place, void* memory) noexcept nogil
cdef void channel_lose(Channel* channel) noexcept nogil
# The application is gone: let go now, or when its last socket is freed.
cdef void channel_orphan(Process* p, uint32_t app) noexcept nogil
cdef void channel_reap(Process* p, Channel* channel) noexcept nogil
# Carry out what applications want, a bounded burst of each. Returns how many sockets were looked at.
cdef uint32_t channels_scan(Process* p) noexcept nogil
# Ask for a doorbell, or for none. After `sleep` the caller fences and asks `pending` once more.
cdef void channels_sleeping(Process* p, uint32_t flag) noexcept nogil
cdef bint channels_pending(Process* p) noexcept nogil
# Connections in END_OFFERED, of all.
cdef int32_t channels_offered(Process* p) noexcept nogil
