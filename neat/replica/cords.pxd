"""Cords: one from each process of an application to this replica."""

from libc.stdint cimport uint32_t
from neat.replica.process cimport Cord, Process

# Take `fd` over as the cord `number` of `app`. 0; -EINVAL, -ENOBUFS, what epoll says: it stays the caller's
# then.
cdef int cord_add(Process* p, uint32_t app, uint32_t number, int fd) noexcept nogil
# In a successor: watch those that there are. -errno.
cdef int cords_recover(Process* p) noexcept nogil
# NULL: there is none, or not yet.
cdef Cord* cord_find(Process* p, uint32_t app, uint32_t number) noexcept nogil
# The one that an epoll event is about, NULL if it is stale.
cdef Cord* cord_at(Process* p, uint32_t index, uint32_t serial) noexcept nogil
cdef void cord_close(Process* p, Cord* cord) noexcept nogil
# All of an application.
cdef void cords_close(Process* p, uint32_t app) noexcept nogil
