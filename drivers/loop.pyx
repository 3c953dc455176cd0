"""The loop: one timestamp, a burst from the device, a burst of each replica, sleep if there was nothing.

System calls: one for each frame; and for each time that it runs out of work a few sched_yield and reads that
find the device empty, one poll, and one doorbell for each replica that sleeps. The device is polled beside
the epoll set and is not in it: each frame that the kernel sends would tell the set, even while the driver is
awake. The driver's own bell is never read: it is in the set edge-triggered.
"""

from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from neat.drivers.links cimport (
    port_attach, ports_cancel_sleep, ports_check, ports_follow_steering, ports_prepare_sleep, ports_report,
)
from neat.drivers.lost cimport lost_burst
from neat.drivers.receive cimport receive_burst
from neat.drivers.state cimport Driver, monotonic
from neat.drivers.steer cimport steer_attach, steer_clock
from neat.drivers.transmit cimport transmit_burst
from neat.shm.board cimport BoardPage, board_busy, board_count, board_heartbeat
from neat.shm.counters cimport DRV_WAKEUPS, DRV_WORK_NS
from neat.shm.idle cimport Idle, idle_begin, idle_worked, idle_yields
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

    def __init__(self, tap, epoll, bell, board, steering, *, mac, heartbeat_ms, spin_ns):
        """tap: non-blocking. bell: is in the epoll set `epoll`, edge-triggered. board: a BoardWriter.
        steering: (address, flow entries, owner of the memory). mac: the stack's own, 6 bytes."""
        cdef int i
        self.driver = <Driver*>calloc(1, sizeof(Driver))
        if self.driver == NULL:
            raise MemoryError
        self.driver.tap = tap
        for i in range(6):
            self.driver.mac[i] = mac[i]
        self.driver.tap_ready = True
        self.driver.page = <BoardPage*><uintptr_t>board.address
        self.epoll = epoll
        self.bell = bell
        self.timeout = max(1, heartbeat_ms // 2)
        self.spin = spin_ns
        self.keep = [board, steering]
        address, entries, _owner = steering
        header = <SteeringHeader*><uintptr_t>address
        flows = <FlowEntry*><uintptr_t>(address + STEERING_HEADER)
        steering_state = &self.driver.steering
        if steer_attach(steering_state, header, flows, entries, self.driver.page) < 0:
            raise ValueError(f"a flow table of {entries} entries: must be a power of two")

    def __dealloc__(self):
        free(self.driver)

    def attach(self, k, link, bell):
        """Take up link k (neat.shm.link.Link); bell: the replica's eventfd."""
        if k not in range(MAX_REPLICAS):
            raise ValueError(f"slot {k}: must be 0 to {MAX_REPLICAS - 1}")
        rx = <void*><uintptr_t>link.rx_address
        tx = <void*><uintptr_t>link.tx_address
        self.keep.append(link)
        port_attach(self.driver, k, rx, tx, link.rx_capacity, bell)
        self.driver.ports = max(self.driver.ports, k + 1)

    def run(self):
        """Move frames until a descriptor in the epoll set other than the bell is readable: that one.
        OSError when the device is gone. For signals, put a wake-up descriptor into the set."""
        cdef int found
        self.awake_since = monotonic()
        with nogil:
            found = self.cycle()
        if found < 0:
            raise OSError(-found, "the TAP device is gone")
        return found

    cdef int cycle(self) noexcept nogil:
        cdef int found
        cdef uint64_t now
        cdef uint64_t began = 0
        cdef bint worked = False
        cdef uint32_t turns = 0
        cdef Idle idle
        idle_begin(&idle, self.spin)
        while not self.driver.failure:
            now = monotonic()
            if worked:
                board_count(self.driver.page, DRV_WORK_NS, now - began)
            self.driver.now = began = now
            worked = self.work()
            if worked:
                turns += 1
                idle_worked(&idle, now)
                # The first turn looked at what woke us. If there is more to do than that, look at the
                # device too.
                if turns > 1:
                    self.driver.tap_ready = True
                found = self.look() if now - self.looked > LOOK_NS else -1
            elif idle_yields(&idle, now):
                self.driver.tap_ready = True
                continue
            else:
                turns = 0
                found = self.sleep()
            if found >= 0:
                return found
        return -self.driver.failure

    cdef bint work(self) noexcept nogil:
        """One turn; whether there was anything to do."""
        steer_clock(&self.driver.steering, self.driver.now)
        board_heartbeat(self.driver.page, self.driver.now)
        ports_follow_steering(self.driver)
        cdef uint32_t moved = receive_burst(self.driver) if self.driver.tap_ready else 0
        moved += transmit_burst(self.driver)
        moved += lost_burst(self.driver)
        ports_check(self.driver)
        return moved > 0

    cdef int look(self) noexcept nogil:
        """A descriptor of the epoll set that is readable, other than the bell, or -1."""
        cdef epoll_event events[8]
        cdef int i
        self.looked = self.driver.now
        board_busy(self.driver.page, self.driver.now - self.awake_since)
        self.awake_since = self.driver.now
        ports_report(self.driver)
        cdef int ready = epoll_wait(self.epoll, events, LOOK_EVENTS, 0)
        cdef int found = -1
        for i in range(ready):
            if events[i].data.fd != self.bell:
                found = events[i].data.fd
        return found

    cdef int sleep(self) noexcept nogil:
        cdef pollfd sources[2]
        if not ports_prepare_sleep(self.driver):
            return -1
        self.driver.now = monotonic()
        board_busy(self.driver.page, self.driver.now - self.awake_since)
        ports_report(self.driver)
        sources[0].fd = self.driver.tap
        sources[1].fd = self.epoll
        sources[0].events = sources[1].events = POLLIN
        sources[0].revents = sources[1].revents = 0
        poll(sources, 2, self.timeout)
        self.driver.now = self.awake_since = monotonic()
        ports_cancel_sleep(self.driver)
        board_count(self.driver.page, DRV_WAKEUPS, 1)
        self.driver.tap_ready = sources[0].revents != 0
        return self.look() if sources[1].revents else -1
