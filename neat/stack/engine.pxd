"""The protocol engine's public face: what the replica process and the tests call (design §6).

The engine does no I/O and reads no clock. `now` is nanoseconds on any monotonic clock; randomness comes in as a seed.
A caller drives it in a fixed order: frames in, commands, expire, then poll_transmit and poll_event until both are empty.
All functions are nogil and allocate nothing after stack_create and channel_attach; one Stack belongs to one thread.
Errors are negative errno values.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from neat.shim.channel cimport neat_addr, neat_sock

cdef struct Stack                       # its fields: neat/stack/types.pxd

cdef struct StackConfig:
    uint8_t mac[6]                      # all replicas share one MAC and one address
    uint8_t address[4]
    uint8_t prefix
    uint8_t _pad
    uint8_t gateway[4]                  # zero: none
    uint16_t mtu                        # of the link, without Ethernet header
    uint16_t replica                    # this replica's slot ...
    uint16_t replicas                   # ... of how many port classes: ephemeral ports p with p % replicas == replica are ours
    uint16_t port_low, port_high        # ephemeral range, inclusive
    uint32_t max_connections            # slots in the state segment
    uint32_t max_listeners
    uint32_t max_udp
    uint32_t offloads                   # enum Offload: what the device does for us
    uint32_t time_wait_ms               # 2 MSL
    uint32_t min_rto_ms                 # Linux uses 200; RFC 6298 says 1000
    uint32_t max_rto_ms
    uint32_t delayed_ack_ms
    uint32_t syn_retries, data_retries
    uint8_t secret[32]                  # key of ISNs (RFC 6528), timestamps offset, hash seeds: the same for all replicas of a stack

cdef enum Offload:
    OFFLOAD_CSUM = 1                    # we may leave a partial checksum to the device, and need not verify what it verified
    OFFLOAD_TSO4 = 2                    # we may hand it TCP/IPv4 segments up to 64 KiB

cdef enum EventKind:
    EV_ACCEPT = 1                       # connection `conn` of listener `listener_sock` is established: make a descriptor, hand it over
    EV_CONNECTED = 2                    # active open done
    EV_READABLE = 4                     # data, a datagram or a FIN arrived
    EV_WRITABLE = 8                     # at least a third of the transmit ring is free again
    EV_RDHUP = 16                       # peer's FIN is in order and consumed into the stream
    EV_CLOSED = 32                      # both directions over in order: the descriptor should hang up
    EV_RESET = 64                       # it ended with `error`
    EV_FREED = 128                      # its sock and conn index may be reused from now on: forget them

cdef struct Event:                      # bits are merged: one event may carry several
    uint32_t kinds
    uint32_t app
    uint32_t sock
    uint32_t generation
    int32_t conn                        # index of the connection slot; -1 for UDP
    int32_t error                       # errno, positive
    uint32_t listener_sock              # for EV_ACCEPT

# state: memory of the state segment (zeroed at birth), at least stack_state_bytes(config). NULL: no memory or bad config.
cdef uint64_t stack_state_bytes(const StackConfig* config) noexcept nogil
cdef Stack* stack_create(const StackConfig* config, void* state, uint64_t state_bytes, uint64_t now) noexcept nogil
cdef void stack_destroy(Stack* stack) noexcept nogil

# One record from the receive ring: 10 bytes of virtio-net header, then an Ethernet frame. Any bytes at all.
cdef void stack_frame_arrives(Stack* stack, uint8_t* record, uint32_t length, uint64_t now) noexcept nogil
# Fill `buffer` (at least MAX_RECORD bytes) with the next thing to send. Returns its length and sets *record_type
# (RECORD_FRAME, RECORD_FLOW_ADD, RECORD_FLOW_DELETE); 0 when there is nothing. Stopping early is fine: what is left stays queued.
cdef uint32_t stack_poll_transmit(Stack* stack, uint8_t* buffer, uint16_t* record_type, uint64_t now) noexcept nogil
cdef bint stack_poll_event(Stack* stack, Event* event) noexcept nogil
cdef void stack_expire(Stack* stack, uint64_t now) noexcept nogil
cdef uint64_t stack_next_deadline(Stack* stack) noexcept nogil      # UINT64_MAX: none

# Channels: an application's segment (neat/shim/channel.h) as this replica maps it. Geometry comes from the caller, who
# knows it from the syscall server, never from the segment.
cdef int stack_channel_attach(Stack* stack, uint32_t app, void* memory, uint32_t nsock, uint32_t rx_size, uint32_t tx_size) noexcept nogil
cdef void stack_channel_detach(Stack* stack, uint32_t app) noexcept nogil       # aborts what is still open in it
cdef uint32_t stack_channel_users(Stack* stack, uint32_t app) noexcept nogil     # sockets of it still in use
# The dirty bitmap of one channel: take what is set and carry it out, at most `budget` sockets. Returns how many.
cdef uint32_t stack_scan_channel(Stack* stack, uint32_t app, uint32_t budget, uint64_t now) noexcept nogil
cdef bint stack_channel_pending(Stack* stack, uint32_t app) noexcept nogil       # a dirty bit is set
cdef neat_sock* stack_sock(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil     # NULL if no such index

# What sockets ask for. `sock` of listeners and UDP sockets is the shared index that the syscall server gave out.
cdef int stack_listen(Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t backlog, uint32_t flags) noexcept nogil
cdef int stack_set_backlog(Stack* stack, uint32_t app, uint32_t sock, uint32_t backlog) noexcept nogil
cdef int stack_unlisten(Stack* stack, uint32_t app, uint32_t sock, uint64_t now) noexcept nogil   # resets what waits to be accepted
# Active open. local.port 0: the replica's choice. Returns the connection's index; its sock index and generation are in stack_conn_info.
cdef int stack_connect(Stack* stack, uint32_t app, const neat_addr* local, const neat_addr* remote, uint32_t options, uint64_t now) noexcept nogil
cdef int stack_udp_bind(Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t flags) noexcept nogil
cdef int stack_udp_unbind(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil
# The last descriptor of a connection is closed: as close() does on Linux (FIN; RST if unread data or NEAT_REQ_ABORT).
# EV_FREED follows, at once or after TIME_WAIT's hand-over: the sock is freed at once when nothing is left to send.
cdef void stack_close(Stack* stack, int32_t conn, uint64_t now) noexcept nogil

cdef struct ConnInfo:                   # 128 bytes, for ss, accept messages, and tests
    uint32_t app
    uint32_t sock
    uint32_t generation
    uint8_t state                       # RFC 9293 state
    uint8_t passive
    uint8_t accepted
    uint8_t _pad
    neat_addr local, remote
    uint32_t iss, irs, snd_una, snd_nxt, rcv_nxt, snd_wnd, rcv_wnd
    uint32_t cwnd, ssthresh, mss, srtt_us, rto_us, retransmits
cdef int stack_conn_info(Stack* stack, int32_t conn, ConnInfo* info) noexcept nogil     # -ENOENT
cdef uint64_t* stack_counters(Stack* stack) noexcept nogil      # COUNTER_COUNT words, indexed by neat.stack.counters.Counter
# Point the counters at shared memory (the board page) instead of private memory.
cdef void stack_use_counters(Stack* stack, uint64_t* counters) noexcept nogil
