"""The holder: a process that has this replica's descriptors and outlives it, so that none of them hangs up
(docs/contracts/start.md)."""

from libc.stdint cimport uint64_t
from neat.replica.process cimport TICKS_BITS, LedgerHeader

# Clone it: it shares the caller's descriptor table, waits for the end of `lifeline`, and does nothing else.
# It goes by itself if its parent dies before the ledger names it. Its pid, -errno.
cdef int holder_clone(LedgerHeader* ledger, int lifeline) noexcept nogil
# A copy of descriptor `fd` of the process that `pidfd` names. -errno; -EBADF: it has none.
cdef int holder_give(int pidfd, int fd) noexcept nogil
# As LedgerHeader has it.
cdef inline uint64_t holder_word(uint64_t pid, uint64_t ticks) noexcept:
    return pid << TICKS_BITS | ticks
