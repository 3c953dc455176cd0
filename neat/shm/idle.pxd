"""What a loop does that has run out of work: yield the core and look again, and sleep only then. The one
place where it is decided.

Alone on its core it yields for `spin` ns: nobody of its scheduling group wants the core, and to be awake
saves the next one who needs it a wake-up. Where others run meanwhile it looks only a few times: who sleeps
can be woken on a core that is idle. A loop that had no work since it began, or since it slept, sleeps at
once."""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from "<sched.h>" nogil:
    int sched_yield() noexcept

cdef enum:
    # times that others may have used the core since there was work, before a loop sleeps
    YIELDS = 3
    ALONE_NS = 3_000                # a turn with sched_yield that was over so soon let nobody else run

cdef struct Idle:                   # times in ns on CLOCK_MONOTONIC
    uint64_t spin                   # ns
    uint64_t worked_at              # when there was work
    uint64_t yielded_at
    uint32_t shared                 # yields since there was work that let others run

cdef inline void idle_begin(Idle* idle, uint64_t spin) noexcept nogil:
    idle.spin = spin
    idle.worked_at = 0
    idle.yielded_at = 0
    idle.shared = YIELDS

# There was work in the turn that began at `now`.
cdef inline void idle_worked(Idle* idle, uint64_t now) noexcept nogil:
    idle.worked_at = now
    idle.shared = 0

# There was none. True when it yielded, and the loop looks again; False when it is time to sleep.
cdef inline bint idle_yields(Idle* idle, uint64_t now) noexcept nogil:
    cdef uint64_t since = now - idle.yielded_at
    if idle.shared >= YIELDS or (since < ALONE_NS and now - idle.worked_at >= idle.spin):
        return False
    if since >= ALONE_NS:
        idle.shared += 1
    idle.yielded_at = now
    sched_yield()
    return True
