"""Cords: one from each process of an application to this replica. What comes over them: accept.py.

A process has a cord for itself alone, so its hang-up says that the process is gone; and it has our end's only
copy here, so a hang-up over there says that we are. `number` is what the application calls it: what the
process holds in shared memory stands there under that number (control.h, NEAT_OP_CORD).
"""

from libc.errno cimport EINVAL, ENOBUFS
from libc.stdint cimport int32_t, uint32_t
from neat.replica.counters cimport COUNT_CORDS
from neat.replica.posix cimport EPOLLIN, EPOLL_CTL_ADD, watch
from neat.replica.process cimport (
    MAX_CORDS, WATCH_CORD, Cord, Process, close_number, gauge, own_number, watch_data,
)


cdef int cord_add(Process* p, uint32_t app, uint32_t number, int fd) noexcept nogil:
    if number == 0 or cord_find(p, app, number) != NULL:
        return -EINVAL
    if cords_of(p, app) >= MAX_CORDS - p.cord_count:
        return -ENOBUFS  # an application gets one more while it has fewer than are left for all
    cdef uint32_t place = 0
    while p.cords[place].fd >= 0:
        place += 1
    p.serial += 1
    status = watch(p.epoll, EPOLL_CTL_ADD, fd, EPOLLIN, watch_data(WATCH_CORD, p.serial, place))
    if status < 0:
        return status
    cord = &p.cords[place]
    cord.app = app
    cord.number = number
    cord.serial = p.serial
    cord.over = False
    own_number(&cord.fd, fd)
    if place >= p.cords_end:
        p.cords_end = place + 1
    p.cord_count += 1
    gauge(p, COUNT_CORDS, 1)
    return 0


cdef int cords_recover(Process* p) noexcept nogil:
    p.cords_end = p.cord_count = 0
    for i in range(MAX_CORDS):
        cord = &p.cords[i]
        cord.over = False
        if cord.fd < 0:
            continue
        p.serial += 1
        cord.serial = p.serial
        p.cords_end = i + 1
        p.cord_count += 1
        gauge(p, COUNT_CORDS, 1)
        status = watch(p.epoll, EPOLL_CTL_ADD, cord.fd, EPOLLIN, watch_data(WATCH_CORD, p.serial, i))
        if status < 0:
            return status
    return 0


cdef uint32_t cords_of(Process* p, uint32_t app) noexcept nogil:
    cdef uint32_t count = 0
    for i in range(p.cords_end):
        if p.cords[i].fd >= 0 and p.cords[i].app == app:
            count += 1
    return count


cdef Cord* cord_find(Process* p, uint32_t app, uint32_t number) noexcept nogil:
    for i in range(p.cords_end):
        cord = &p.cords[i]
        if cord.fd >= 0 and cord.number == number and cord.app == app and not cord.over:
            return cord
    return NULL


cdef Cord* cord_at(Process* p, uint32_t index, uint32_t serial) noexcept nogil:
    if index >= MAX_CORDS:
        return NULL
    cord = &p.cords[index]
    if cord.fd < 0 or (cord.serial & 0xFFFFFF) != serial:
        return NULL
    return cord


cdef void cord_close(Process* p, Cord* cord) noexcept nogil:
    close_number(&cord.fd)
    p.cord_count -= 1
    while p.cords_end > 0 and p.cords[p.cords_end - 1].fd < 0:
        p.cords_end -= 1
    gauge(p, COUNT_CORDS, -1)


cdef void cords_close(Process* p, uint32_t app) noexcept nogil:
    for i in range(<int32_t>p.cords_end):
        if p.cords[i].fd >= 0 and p.cords[i].app == app:
            cord_close(p, &p.cords[i])
