"""The replica's main loop, and what Python may ask of it between turns (ARCHITECTURE.md, "The replica's loop"). One turn, in this order:

closed descriptors, if epoll was not asked for a while; one timestamp; frames; commands; timers; transmit; events of the engine; publish; heartbeat; sleep.
"""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from neat.replica.channels cimport channels_pending, channels_scan, channels_sleeping, channel_find, channel_reap
from neat.replica.counters cimport (
    COUNT_DOORBELLS, COUNT_RX_RING_BROKEN, COUNT_RX_UNKNOWN_RECORD, COUNT_TX_RING_BROKEN, COUNT_TX_RING_FULL,
    COUNT_WAKEUPS,
)
from neat.replica.endpoints cimport endpoint_event, endpoint_hangup, endpoints_deadline, endpoints_settle
from neat.replica.pollers cimport pollers_ring
from neat.replica.posix cimport epoll_event, monotonic_ns, wait_events
from neat.replica.process cimport (
    REASON_CTL, REASON_LIFELINE, REASON_SYS, REASON_TICK, WATCH_BELL, WATCH_CTL, WATCH_ENDPOINT, WATCH_LIFELINE,
    WATCH_SHARED, WATCH_SYS, Process, note, tally,
)
from neat.replica.shared cimport OFFERS_NS, accept_event, offers_look, shared_ready, spare_missing, udp_event
from neat.shm.atomic cimport fence
from neat.shm.board cimport board_busy, board_heartbeat
from neat.shm.doorbell cimport doorbell_clear, doorbell_ring
from neat.shm.idle cimport Idle, idle_begin, idle_worked, idle_yields
from neat.shm.ring cimport (
    BURST_BYTES, MAX_RECORD, RECORD_FRAME, RECORD_OWN_FRAME, RecordHeader, ring_advance, ring_cancel_sleep, ring_commit, ring_peek, ring_prepare_sleep,
    ring_publish, ring_release, ring_reserve, record_payload,
)
from neat.stack.engine cimport (
    EV_ACCEPT, EV_FREED, EV_OFFER, Event, stack_expire, stack_frame_arrives, stack_next_deadline, stack_own_frame_arrives,
    stack_poll_event, stack_poll_transmit,
)

cdef enum:
    RECEIVE_BURST = 64              # records in one turn
    TRANSMIT_BURST = 64
    EVENT_BURST = 256
    DESCRIPTOR_BURST = 64           # epoll events in one call
    DESCRIPTOR_NS = 100_000         # while busy, epoll is asked this often
    FULL_RING_NS = 50_000           # the driver does not ring when it has made room: look again after this

# Turn until Python is wanted. Returns the Reasons.
@cython.locals(idle=Idle)
cdef uint32_t run(Process* p) noexcept nogil
cdef uint32_t turn(Process* p) noexcept nogil
@cython.locals(done=uint32_t, moved=uint32_t)
cdef uint32_t receive(Process* p) noexcept nogil
@cython.locals(done=uint32_t, moved=uint32_t, record_type=uint16_t, length=uint32_t)
cdef uint32_t transmit(Process* p) noexcept nogil
@cython.locals(done=uint32_t, event=Event)
cdef uint32_t signal(Process* p) noexcept nogil
cdef void publish(Process* p) noexcept nogil
@cython.locals(data=uint64_t, kind=uint32_t, serial=uint32_t, index=uint32_t, i=cython.int, n=cython.int)
cdef int descriptors(Process* p, int64_t timeout) noexcept nogil
@cython.locals(deadline=uint64_t, until=uint64_t)
cdef void rest(Process* p) noexcept nogil
