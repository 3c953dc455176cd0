# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The loop: one timestamp, a burst from the device, a burst of each replica, sleep if there was nothing.

System calls: one for each frame; and for each time that it runs out of work a few sched_yield and reads that
find the device empty, one poll, and one doorbell for each replica that sleeps. The device is polled beside
the epoll set and is not in it: each frame that the kernel sends would tell the set, even while the driver is
awake. The driver's own bell is never read: it is in the set edge-triggered.
"""

import cython
from cython.cimports.libc.stdlib import calloc, free


class Loop:
    @cython.locals(i=cython.int)
    def __init__(self, tap, epoll, bell, board, steering, *, mac, heartbeat_ms, spin_ns):
        """tap: non-blocking. bell: is in the epoll set `epoll`, edge-triggered. board: a BoardWriter.
        steering: (address, flow entries, owner of the memory). mac: the stack's own, 6 bytes."""
        self.driver = cython.cast("Driver*", calloc(1, cython.sizeof(Driver)))
        if self.driver == cython.NULL:
            raise MemoryError
        self.driver.tap = tap
        for i in range(6):
            self.driver.mac[i] = mac[i]
        self.driver.tap_ready = True
        self.driver.page = cython.cast("BoardPage*", cython.cast(uintptr_t, board.address))
        self.epoll = epoll
        self.bell = bell
        self.timeout = max(1, heartbeat_ms // 2)
        self.spin = spin_ns
        self.keep = [board, steering]
        address, entries, _owner = steering
        header = cython.cast("SteeringHeader*", cython.cast(uintptr_t, address))
        flows = cython.cast("FlowEntry*", cython.cast(uintptr_t, address + STEERING_HEADER))
        steering_state = cython.address(self.driver.steering)
        if steer_attach(steering_state, header, flows, entries, self.driver.page) < 0:
            raise ValueError(f"a flow table of {entries} entries: must be a power of two")

    def __dealloc__(self):
        free(self.driver)

    def attach(self, k, link, bell):
        """Take up link k (neat.shm.link.Link); bell: the replica's eventfd."""
        if k not in range(MAX_REPLICAS):
            raise ValueError(f"slot {k}: must be 0 to {MAX_REPLICAS - 1}")
        rx = cython.cast("void*", cython.cast(uintptr_t, link.rx_address))
        tx = cython.cast("void*", cython.cast(uintptr_t, link.tx_address))
        self.keep.append(link)
        port_attach(self.driver, k, rx, tx, link.rx_capacity, bell)
        self.driver.ports = max(self.driver.ports, k + 1)

    @cython.locals(found=cython.int)
    def run(self):
        """Move frames until a descriptor in the epoll set other than the bell is readable: that one.
        OSError when the device is gone. For signals, put a wake-up descriptor into the set."""
        self.awake_since = monotonic()
        with cython.nogil:
            found = self.cycle()
        if found < 0:
            raise OSError(-found, "the TAP device is gone")
        return found

    @cython.locals(found=cython.int, turns=cython.uint, shared=cython.uint, worked_at=cython.ulonglong)
    @cython.locals(now=cython.ulonglong, idle_at=cython.ulonglong)
    def cycle(self):
        turns = 0
        shared = YIELDS
        worked_at = 0
        idle_at = 0
        while not self.driver.failure:
            now = monotonic()
            self.driver.now = now
            if self.work():
                turns += 1
                shared = 0
                worked_at = now
                # The first turn looked at what woke us. If there is more to do than that, look at the
                # device too.
                if turns > 1:
                    self.driver.tap_ready = True
                found = self.look() if now - self.looked > LOOK_NS else -1
            elif worth_a_yield(shared, now - idle_at, now - worked_at, self.spin):
                if now - idle_at >= ALONE_NS:
                    shared += 1
                idle_at = now
                self.driver.tap_ready = True
                sched_yield()
                continue
            else:
                turns = 0
                found = self.sleep()
            if found >= 0:
                return found
        return -self.driver.failure

    @cython.locals(moved=cython.uint)
    def work(self):
        """One turn; whether there was anything to do."""
        steer_clock(cython.address(self.driver.steering), self.driver.now)
        board_heartbeat(self.driver.page, self.driver.now)
        ports_follow_steering(self.driver)
        moved = receive_burst(self.driver) if self.driver.tap_ready else 0
        moved += transmit_burst(self.driver)
        ports_check(self.driver)
        return moved > 0

    @cython.locals(events=epoll_event[8], ready=cython.int, i=cython.int, found=cython.int)
    def look(self):
        """A descriptor of the epoll set that is readable, other than the bell, or -1."""
        self.looked = self.driver.now
        board_busy(self.driver.page, self.driver.now - self.awake_since)
        self.awake_since = self.driver.now
        ports_report(self.driver)
        ready = epoll_wait(self.epoll, events, LOOK_EVENTS, 0)
        found = -1
        for i in range(ready):
            if events[i].data.fd != self.bell:
                found = events[i].data.fd
        return found

    @cython.locals(sources=pollfd[2])
    def sleep(self):
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
