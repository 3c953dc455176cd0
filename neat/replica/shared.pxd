"""The stack's ends of listening and UDP sockets, which every replica has, and the way of connections to accept()."""
cimport cython
from libc.stdint cimport int16_t, int32_t, uint32_t, uint64_t

from neat.replica.channels cimport channel_find, channel_reap, channels_offered
from neat.replica.counters cimport (
    COUNT_ACCEPT_NO_FD, COUNT_ACCEPT_NO_LISTENER, COUNT_ACCEPT_NO_MEMORY, COUNT_ACCEPT_QUEUE_FULL, COUNT_ACCEPTS_LOST,
    COUNT_ACCEPTS_SENT, COUNT_DESCRIPTORS, COUNT_LISTENERS,
    COUNT_PAIRS_MISSED, COUNT_UDP_SOCKETS,
)
from neat.replica.endpoints cimport (
    application_gone, compose, endpoint_drop, endpoint_of, endpoint_open, endpoint_show, endpoint_taken, offer_over, offer_read, send_token, take_fills, unqueue,
)
from neat.replica.posix cimport (
    EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLOUT, EPOLLRDHUP, all_read, close, make_pair, send_with, watch,
)
from neat.replica.process cimport (
    END_FREE, END_OFFERED, END_OPEN, END_QUEUED, MAX_SHARED, WATCH_SHARED, Channel, Endpoint, Process,
    SharedEnd, gauge, tally, watch_data,
)
from neat.replica.spares cimport spares_suffice, spares_sweep
from neat.abi.channel cimport (
    NEAT_OPT_KEEPS, NEAT_OPT_LOOKS, NEAT_OPT_NONBLOCK, NEAT_OPT_OF_ACCEPT, NEAT_REQ_ABORT, NEAT_SHARED_SOCKS, NEAT_SOCK_LISTENER,
    NEAT_SOCK_UDP, NEAT_WAITERS_UNSEEN, neat_addr,
)
from neat.abi.control cimport NEAT_EV_ACCEPT, NEAT_EV_REPLICA, neat_msg
from neat.shm.atomic cimport fetch_or32, load32, replace64, store64
from neat.stack.engine cimport (
    EV_FREED, EV_READABLE, EV_WRITABLE, ConnInfo, Event, stack_conn_info, stack_listen,
    stack_set_backlog, stack_set_defer, stack_sock, stack_udp_bind, stack_udp_unbind, stack_unlisten,
)

cdef enum:
    OFFERS_NS = 500_000_000
    PATIENCE = 10                   # looks

cdef SharedEnd* shared_find(Process* p, uint32_t app, uint32_t sock) noexcept nogil
# A listening socket of `app` under index `sock`; takes fd over when it returns 0. A known bind_id: its backlog and defer_s change,
# and fd stays the caller's (returns 1). -errno.
cdef int listener_add(Process* p, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t backlog, uint32_t flags, uint32_t defer_s, const neat_addr* local, int fd) noexcept nogil
# A UDP socket; likewise. `announce`: say NEAT_EV_REPLICA on it, as its application does not expect it here yet.
@cython.locals(message=neat_msg)
cdef int udp_add(Process* p, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t flags, const neat_addr* local, int fd, bint announce) noexcept nogil
# EV_ACCEPT: hand the connection over, or queue it until there is room.
cdef void accept_event(Process* p, Event* event) noexcept nogil
# EV_OFFER: who accepts a connection has no spare for it: offer it again, with a new pair.
cdef void spare_missing(Process* p, Event* event) noexcept nogil
# Every OFFERS_NS.
@cython.locals(i=int32_t, waiting=int32_t)
cdef void offers_look(Process* p) noexcept nogil
cdef void udp_event(Process* p, Event* event) noexcept nogil
# What epoll has to say: the application's end is gone, or there is room.
cdef void shared_ready(Process* p, uint32_t index, uint32_t serial, uint32_t events) noexcept nogil

# Parts of the above.
cdef int32_t shared_place(Process* p, Channel* channel, uint32_t app, uint32_t sock) noexcept nogil
cdef int shared_open(Process* p, int32_t place, Channel* channel, uint32_t kind, uint32_t sock, uint32_t bind_id, const neat_addr* local, int fd) noexcept nogil
@cython.locals(i=int32_t)
cdef void refuse_offered(Process* p, SharedEnd* listener) noexcept nogil
cdef void shared_close(Process* p, SharedEnd* end) noexcept nogil
cdef void refuse(Process* p, int32_t conn, Endpoint* end) noexcept nogil
cdef bint withdraw(Process* p, Endpoint* end) noexcept nogil
# END_OFFERED: its message has left the queue, as far as one can tell.
cdef bint is_read(Process* p, Endpoint* end) noexcept nogil
cdef SharedEnd* listener_of(Process* p, Endpoint* end) noexcept nogil
cdef void hand_over(Process* p, int32_t conn, Endpoint* end, SharedEnd* listener) noexcept nogil
cdef bint may_bring(Process* p, Endpoint* end, SharedEnd* listener) noexcept nogil
@cython.locals(ends="int[2]", options=uint32_t)
cdef bint new_pair(Process* p, int32_t conn, Endpoint* end, SharedEnd* listener) noexcept nogil
@cython.locals(info=ConnInfo, message=neat_msg, brings=bint, unseen=uint64_t)
cdef int offer(Process* p, int32_t conn, Endpoint* end, SharedEnd* listener) noexcept nogil
cdef void serve_queue(Process* p, SharedEnd* listener) noexcept nogil
cdef void await_room(Process* p, SharedEnd* listener, bint wanted) noexcept nogil
