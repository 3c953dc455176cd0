"""Listening sockets, and what arrives for them (RFC 9293 §3.10.7.1, §3.10.7.2). The backlog is real.

A connection counts against its listener's backlog from its SYN until accept() has taken it.
"""
cimport cython
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from neat.abi.channel cimport NEAT_REQ_ACCEPTED, NEAT_SOCK_LISTENER, neat_addr, neat_sock
from neat.abi.control cimport NEAT_BIND_REUSEPORT
from neat.shm.atomic cimport load32, peek32
from neat.stack.channels cimport NO_SOCK, channel_of, sock_birth, sock_death
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_ACCEPTED, SLOT_PASSIVE, ConnSlot, ListenerSlot
from neat.stack.tcp.connection cimport conn_birth, conn_free, conn_set_state, conn_take_sock, conn_taken
from neat.stack.tcp.deadlines cimport timer_set
from neat.stack.tcp.handshake cimport handshake_offer, handshake_settle
from neat.stack.tcp.isn cimport isn, isn_beyond
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.respond cimport respond_abort, respond_rst
from neat.stack.tcp.rtt cimport INITIAL_RTO_US
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport LISTEN, TcpState
from neat.stack.tcp.types cimport LISTENER_BUCKETS, NO_INDEX, SECOND, TF_DEFERRED, TF_SEND_SYN, TIMER_RETRANSMIT, Listener, Tcb
from neat.stack.types cimport Channel, Stack, count
from neat.wire.flow cimport FlowKey, flow_hash
from neat.wire.headers cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN

cdef enum:
    DEFER_MOST_S = 0xFFFF

cdef int listen_create(Stack* stack) noexcept nogil
cdef int listen_open(Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t backlog, uint32_t flags) noexcept nogil
cdef int listen_backlog(Stack* stack, uint32_t app, uint32_t sock, uint32_t backlog) noexcept nogil
cdef int listen_defer(Stack* stack, uint32_t app, uint32_t sock, uint32_t seconds) noexcept nogil
# Is this ACK, which ends the handshake, not enough for accept()?
@cython.locals(slot="ConnSlot*", limit=uint64_t)
cdef bint listen_defers(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
cdef int listen_close(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil    # resets what waits to be accepted
cdef void listen_detach(Stack* stack, Channel* channel) noexcept nogil
@cython.locals(at=uint32_t)
cdef bint port_listens(Stack* stack, uint16_t port) noexcept nogil
# Would a SYN for `key` be answered?
@cython.locals(index=uint32_t)
cdef bint listen_has_room(Stack* stack, const FlowKey* key) noexcept nogil
# A segment for no connection. iss_floor: the ISN must be beyond it (RFC 6191), NULL: anything.
cdef void listen_input(Stack* stack, Packet* packet, Segment* seg, const FlowKey* key, const uint32_t* iss_floor) noexcept nogil
# The handshake is done: a socket for the connection, with the listener's options.
@cython.locals(slot="ListenerSlot*", listener="Listener*", parent="neat_sock*", channel="Channel*", node_sock=uint32_t)
cdef bint listen_establish(Stack* stack, Tcb* tcb) noexcept nogil

@cython.locals(best=uint32_t, at=uint32_t, score=uint32_t, best_score=uint32_t, slot="ListenerSlot*", rank=uint32_t, best_rank=uint32_t)
cdef uint32_t find_listener(Stack* stack, const FlowKey* key) noexcept nogil
@cython.locals(tcb="Tcb*", slot="ListenerSlot*", listener="Listener*", sock="neat_sock*", channel="Channel*", iss=uint32_t)
cdef void open_passive(Stack* stack, uint32_t index, Segment* seg, const FlowKey* key, const uint32_t* iss_floor) noexcept nogil
@cython.locals(slot="ListenerSlot*", i=uint32_t)
cdef uint32_t listener_of(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil
@cython.locals(link="uint32_t*", slot="ListenerSlot*", conn="ConnSlot*", tcb="Tcb*", i=uint32_t)
cdef void close_at(Stack* stack, uint32_t index, bint memory_stays) noexcept nogil
@cython.locals(i=uint32_t, slot="ListenerSlot*", same=cython.bint)
cdef bint conflicts(Stack* stack, const neat_addr* local, uint32_t flags) noexcept nogil
