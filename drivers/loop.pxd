"""The driver's loop: receive burst, transmit burst, and sleep when there is nothing to do."""
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from neat.drivers.links cimport (
    port_attach, ports_cancel_sleep, ports_check, ports_follow_steering, ports_prepare_sleep, ports_report,
)
from neat.drivers.receive cimport receive_burst
from neat.drivers.state cimport Driver, monotonic
from neat.drivers.steer cimport steer_attach, steer_clock
from neat.drivers.transmit cimport transmit_burst
from neat.shm.board cimport BoardPage, board_busy, board_count, board_heartbeat
from neat.shm.counters cimport DRV_WAKEUPS
from neat.shm.doorbell cimport ALONE_NS, YIELDS, worth_a_yield
from neat.shm.steering cimport MAX_REPLICAS, STEERING_HEADER, FlowEntry, SteeringHeader

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_wait(int epoll, epoll_event* events, int size, int timeout)

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* sources, unsigned long count, int timeout)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    LOOK_NS = 1_000_000             # a busy loop looks at its other descriptors as often as this
    LOOK_EVENTS = 8

cdef class Loop:
    cdef Driver* driver
    cdef int epoll
    cdef int bell
    cdef int timeout                # ms
    cdef uint64_t spin              # ns
    cdef uint64_t awake_since
    cdef uint64_t looked
    cdef list keep                  # what holds the mapped memory

    cdef bint work(self) noexcept nogil
    cdef int look(self) noexcept nogil
    cdef int sleep(self) noexcept nogil
    cdef int cycle(self) noexcept nogil
