"""The stack's end of each connection's descriptor: tokens, hang-ups, resets, and memory given back. By connection index."""
cimport cython
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from neat.replica.posix cimport (
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLRDHUP, O_CLOEXEC, SHUT_RDWR, SHUT_WR,
    all_read, close, drain, pipe2, punch, send_with, shutdown, watch,
)
from neat.replica.counters cimport (
    COUNT_DESCRIPTORS, COUNT_HANGUPS, COUNT_PAIRS_REUSED, COUNT_PAIRS_UNKNOWN, COUNT_RESETS_TOLD, COUNT_RINGS_PUNCHED,
    COUNT_TOKENS_SENT,
)
from neat.replica.process cimport (
    END_CLOSED, END_CONNECTING, END_FREE, END_HALF, END_HUNG, END_OFFERED, END_OPEN, END_QUEUED, END_WATCH, KEEP_RING_BYTES,
    MAX_FRESH, MAX_UNBOUND, REASON_TICK, WATCH_ENDPOINT, Channel, Endpoint, Fresh, Process, SharedEnd, gauge, tally, watch_data,
)
from neat.replica.channels cimport channel_find
from neat.replica.pollers cimport pollers_notify
from neat.replica.spares cimport spare_keep, spare_take
from neat.abi.channel cimport (
    NEAT_OUT_WANTED, NEAT_REQ_CLOSE, NEAT_REQ_KEPT, NEAT_WAITERS_UNSEEN, neat_addr, neat_rx_offset, neat_sock, neat_tx_offset,
)
from neat.abi.control cimport NEAT_EV_CONNECTING, NEAT_EV_FAILED, NEAT_MSG_MAGIC, neat_msg
from neat.shm.atomic cimport exchange32, load32, load64
from neat.stack.engine cimport (
    EV_CLOSED, EV_CONNECTED, EV_FREED, EV_RDHUP, EV_READABLE, EV_RESET, EV_TAKEN, EV_WRITABLE, Event, stack_close,
    stack_conn_ready, stack_sock,
)

cdef enum:
    FRESH_NS = 5_000_000            # most short connections are over by then
    MAX_FILLS = 16                  # fill messages taken out at a time: an honest client core sends one or two

# The entry of `conn`, NULL if there is no such slot.
cdef Endpoint* endpoint_of(Process* p, int32_t conn) noexcept nogil
# Take `fd` as the stack's end of `conn` and watch it. -errno; the caller keeps fd then.
# `later`: not before FRESH_NS, unless it is gone by then.
cdef int endpoint_open(Process* p, int32_t conn, int fd, uint8_t state, bint later) noexcept nogil
# Watch those whose time has come; and when that is for the next one (UINT64_MAX: never).
cdef void endpoints_settle(Process* p) noexcept nogil
cdef uint64_t endpoints_deadline(Process* p) noexcept nogil
cdef void endpoint_drop(Process* p, Endpoint* end) noexcept nogil
# What the engine has to say about a connection that was handed over, or is about to be (shared.py).
@cython.locals(over="bint")
cdef void endpoint_event(Process* p, Event* event) noexcept nogil
# Tell those who wait, by memory or by the descriptor.
@cython.locals(connecting=bint, waiters=uint64_t)
cdef void notify(Process* p, Event* event, Endpoint* end, neat_sock* sock) noexcept nogil
# Make the descriptor show what holds, if it does not yet. `error`: why, when it fails to connect.
@cython.locals(ready=uint32_t)
cdef void endpoint_show(Process* p, int32_t conn, Endpoint* end, neat_sock* sock, int error) noexcept nogil
# What epoll has to say.
cdef void endpoint_hangup(Process* p, uint32_t conn, uint32_t serial, uint32_t events) noexcept nogil
# "Look at the rings": one token, unless one is on its way.
cdef void send_token(Process* p, neat_sock* sock, int fd) noexcept nogil
cdef void send_last_token(Process* p, neat_sock* sock, int fd) noexcept nogil
# Make the descriptor writable again.
cdef void take_fills(neat_sock* sock, int fd) noexcept nogil
# Leave the accept queue, if it is in one.
cdef void unqueue(Process* p, Endpoint* end) noexcept nogil
# A message about this socket of this replica.
cdef void compose(Process* p, neat_msg* message, uint16_t op, uint32_t app, uint32_t sock, uint32_t generation) noexcept nogil
# Say NEAT_EV_CONNECTING or NEAT_EV_FAILED on a connecting socket's descriptor.
@cython.locals(message=neat_msg)
cdef void tell_connecting(Process* p, Endpoint* end, const neat_addr* local) noexcept nogil
@cython.locals(message=neat_msg)
cdef void tell_failed(Process* p, int fd, int error) noexcept nogil

# END_OFFERED: has accept() brought a pair meanwhile?
@cython.locals(options=uint32_t, name=uint64_t)
cdef void endpoint_taken(Process* p, int32_t conn, Endpoint* end, neat_sock* sock) noexcept nogil
# END_OFFERED: its message has left the listener's queue; so has each that this replica sent before.
cdef void offer_read(Process* p, Endpoint* end) noexcept nogil
# It waits no longer for somebody to bring a pair: from END_OFFERED to END_CLOSED, if it was there.
cdef void offer_over(Process* p, Endpoint* end) noexcept nogil

# Parts of the above.
cdef int watch_endpoint(Process* p, uint32_t conn, int fd, uint32_t serial) noexcept nogil
cdef void unbind(Process* p, Endpoint* end) noexcept nogil
@cython.locals(request=uint32_t)
cdef void note_manners(Process* p, Endpoint* end, Event* event) noexcept nogil
cdef void peer_closed(Process* p, Endpoint* end, neat_sock* sock) noexcept nogil
cdef void hang_up(Process* p, Endpoint* end, neat_sock* sock) noexcept nogil
@cython.locals(ends="int[2]")
cdef void reset(Process* p, int32_t conn, Endpoint* end, neat_sock* sock, int error) noexcept nogil
cdef void application_gone(Process* p, int32_t conn, Endpoint* end) noexcept nogil
@cython.locals(nsock=uint32_t, rx=uint32_t, tx=uint32_t)
cdef void give_back(Process* p, uint32_t app, uint32_t sock, uint32_t touched) noexcept nogil
cdef void punch_ring(uint8_t* ring, uint64_t touched) noexcept nogil
