"""TIME_WAIT in a compact table of its own (RFC 9293 §3.6.1, RFC 6191). No slot and no socket is held.

FIN_WAIT_2 of a closed descriptor waits here too. All wait for the same time, so the list by deadline is a FIFO; when the
table is full the oldest makes room.
"""
cimport cython
from libc.stdint cimport uint32_t, uint64_t
from neat.shm.ring cimport RECORD_FLOW_DELETE, RECORD_FLOW_FADES
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_TIMESTAMPS, ConnSlot
from neat.stack.tcp.connection cimport conn_over, flow_record
from neat.stack.tcp.lookup cimport lookup_insert_wait, lookup_remove, lookup_remove_wait
from neat.stack.tcp.respond cimport respond_rst, respond_wait_ack
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.types cimport MILLISECOND, NEVER, NO_INDEX, PAWS_IDLE_S, SECOND, Tcb, TcpPrivate, TimeWait
from neat.stack.types cimport Stack, count, count_add
from neat.wire.headers cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN
from neat.wire.seq cimport seq_gt, seq_le, seq_lt

cdef enum:
    GIVES_WAY_AFTER_MS = 1000       # Linux's tcp_tw_reuse_delay

cdef int wait_create(Stack* stack) noexcept nogil
# The connection goes on in the table, in TIME_WAIT or FIN_WAIT_2, and is over for everyone else. ack: answer its FIN.
@cython.locals(tcp="TcpPrivate*", wait="TimeWait*", slot="ConnSlot*", index=uint32_t)
cdef void wait_enter(Stack* stack, Tcb* tcb, uint32_t state, bint ack) noexcept nogil
# A segment for it. True: it was a new SYN, the entry is gone, go on as in LISTEN with an ISS beyond *iss_floor.
@cython.locals(tcp="TcpPrivate*", wait="TimeWait*")
cdef bint wait_input(Stack* stack, uint32_t index, Packet* packet, Segment* seg, uint32_t* iss_floor) noexcept nogil
# May a connection that we open ourselves take the place of this one?
@cython.locals(wait="TimeWait*", since=uint64_t)
cdef bint wait_gives_way(Stack* stack, uint32_t index) noexcept nogil
# It does: the entry is gone. The driver goes on knowing whose flow it is.
cdef void wait_replace(Stack* stack, uint32_t index) noexcept nogil
@cython.locals(tcp="TcpPrivate*", index=uint32_t)
cdef void wait_expire(Stack* stack) noexcept nogil
cdef uint64_t wait_next_deadline(Stack* stack) noexcept nogil

@cython.locals(tcp="TcpPrivate*", wait="TimeWait*")
cdef void append(Stack* stack, uint32_t index) noexcept nogil
cdef void unlink(TcpPrivate* tcp, TimeWait* wait) noexcept nogil
@cython.locals(tcp="TcpPrivate*", wait="TimeWait*")
cdef void remove(Stack* stack, uint32_t index, bint flow_ends) noexcept nogil
@cython.locals(index=uint32_t, tcp="TcpPrivate*")
cdef uint32_t take(Stack* stack) noexcept nogil
cdef void answer(Stack* stack, TimeWait* wait) noexcept nogil
cdef bint is_newer(Stack* stack, TimeWait* wait, Segment* seg) noexcept nogil
cdef bint is_old_duplicate(Stack* stack, TimeWait* wait, Segment* seg) noexcept nogil
cdef bint is_in_window(TimeWait* wait, Segment* seg) noexcept nogil
