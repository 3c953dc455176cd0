"""Segment board: one page a component, written by that component only, read by everyone (ARCHITECTURE.md,
"Memory").

A component maps its own page writable and the rest read-only. Page index: see neat.shm.board.BOARD_PAGES
(supervisor 0, driver 1, syscall 2, guardian 3, replica k 8 + k, IP part of replica k 24 + k). Counter names:
neat/shm/counters.pyx.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from neat.shm.atomic cimport poke64

cdef enum:
    BOARD_MAGIC = 0x44524F42
    BOARD_PAGE = 4096
    BOARD_PAGES_TOTAL = 32
    BOARD_FIRST_REPLICA = 8
    BOARD_COUNTERS = 384

cpdef enum ComponentState:
    COMPONENT_ABSENT = 0
    COMPONENT_STARTING = 1
    COMPONENT_RUNNING = 2
    COMPONENT_STOPPING = 3

cdef struct LastWords:              # 448 bytes: what a process says when a signal ends it (lastwords.pyx)
    uint32_t signal                 # 0: nothing
    int32_t code                    # si_code
    uint64_t address                # si_addr
    uint64_t incarnation
    uint32_t length                 # of the text, which grows while it is being written
    uint8_t text[420]               # where it was: a line a frame, innermost first

cdef struct BoardPage:              # 4096 bytes
    uint32_t magic
    uint32_t version                # 1
    uint32_t pid
    uint32_t state                  # a ComponentState
    uint64_t start_ticks            # field 22 of /proc/PID/stat: with pid it names one process for ever
    uint64_t incarnation            # 1 for the first start, +1 for each restart
    uint64_t started_ns             # CLOCK_MONOTONIC when it became RUNNING
    uint64_t heartbeat              # CLOCK_MONOTONIC ns of the last turn of its loop; at least every 100 ms
    uint64_t busy_ns                # time spent awake, for the load
    uint64_t loops
    LastWords last_words
    uint64_t counters[BOARD_COUNTERS]   # 3072 bytes, at offset 512
    uint8_t _tail[512]

# For compiled loops; each by the page's owner only.
cdef inline void board_heartbeat(BoardPage* page, uint64_t now) noexcept nogil:
    poke64(&page.loops, page.loops + 1)
    poke64(&page.heartbeat, now)

cdef inline void board_busy(BoardPage* page, uint64_t nanoseconds) noexcept nogil:
    poke64(&page.busy_ns, page.busy_ns + nanoseconds)

cdef inline void board_count(BoardPage* page, uint32_t counter, uint64_t n) noexcept nogil:
    poke64(&page.counters[counter], page.counters[counter] + n)
