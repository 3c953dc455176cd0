"""The protocol engine's public face: what the replica process and the tests call (ARCHITECTURE.md, "The
engine").

The engine does no I/O and reads no clock. `now` is nanoseconds on any monotonic clock; randomness comes in as
a seed. A caller drives it in a fixed order: frames in, commands, expire, then poll_transmit and poll_event
until both are empty. All functions are nogil and allocate nothing after stack_create and channel_attach; one
Stack belongs to one thread. Errors are negative errno values."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from neat.abi.channel cimport neat_addr, neat_sock
from neat.stack.config cimport (
    EV_ACCEPT, EV_CLOSED, EV_CONNECTED, EV_FREED, EV_RDHUP, EV_READABLE, EV_RESET, EV_TAKEN,
    EV_WRITABLE, OFFLOAD_CSUM, OFFLOAD_TSO4, PART_IP, PART_TRANSPORT, PART_WHOLE, ConnectWishes, Event,
    Guess, Span, StackConfig,
)
from neat.stack.state cimport Suspect, WaitSlot
from neat.stack.types cimport Stack

# state: memory of the state segment (zeroed at birth), at least stack_state_bytes(config). NULL: no memory,
# bad config, or the state is one of another version or geometry.
cdef uint64_t stack_state_bytes(const StackConfig* config) noexcept nogil
cdef Stack* stack_create(
    const StackConfig* config, void* state, uint64_t state_size, uint64_t now
) noexcept nogil
cdef void stack_destroy(Stack* stack) noexcept nogil

# Have packets go through a packet filter, in and out (docs/contracts/filter.md). header: a filter segment;
# the rest is of a track segment: the rates, its own area, which is number `area`, and all areas (`many`). All
# stay mapped while the stack lives. 0, or -ENOMEM.
cdef int stack_filter(
    Stack* stack, const void* header, void* rates, void* own, const void* areas, uint32_t area, uint32_t many
) noexcept nogil

# A state segment that a predecessor has left (docs/contracts/state.md, "After a crash"). Caller attaches all
# channels that there were, asks for stack_resume_position, and calls stack_recover before anything else.
cdef bint stack_has_past(Stack* stack) noexcept nogil       # it has sockets or connections
# Where to go on in the receive ring; *suspect: what the predecessor was at (kind 0: nothing).
cdef uint64_t stack_resume_position(Stack* stack, Suspect* suspect) noexcept nogil
# Rebuild listeners, connections, TIME-WAITs and UDP sockets. Each is treated as if its application had marked
# it, and has its events again, for whoever has not heard. What fails its check is reset, freed, and counted
# (Counter.RECOVER_*). Returns how many connections go on, or -ENOMEM.
cdef int32_t stack_recover(Stack* stack, uint64_t now) noexcept nogil

# One record from the receive ring: 10 bytes of virtio-net header, then an Ethernet frame. Any bytes at all.
# position: of the record in the ring; next: of what comes after it.
cdef void stack_frame_arrives(
    Stack* stack, uint8_t* record, uint32_t length, uint64_t position, uint64_t next, uint64_t now
) noexcept nogil
# One that the driver says a replica of this stack has sent: from our own address, which no packet on the wire
# may come from.
cdef void stack_own_frame_arrives(
    Stack* stack, uint8_t* record, uint32_t length, uint64_t position, uint64_t next, uint64_t now
) noexcept nogil
# Long text need not be copied from a frame into its socket's ring (tcp/spans.pyx). stack_guess: where the
# text of the next frame belongs, if that is of the flow whose long text came last; False: do not guess.
# stack_is_guessed: of a frame that was read so, with only its first guess.header bytes in `record`, whether
# it is just that. If so it is given to stack_placed_arrives; if not, the caller puts it together first. What
# lies in the room counts for nothing before that. stack_guess_again: of a guess that a predecessor made,
# with so much room, before stack_recover; False: its text was accepted, or cannot be had.
cdef bint stack_guess(Stack* stack, Guess* guess) noexcept nogil
cdef bint stack_is_guessed(
    Stack* stack, const Guess* guess, const uint8_t* record, uint32_t length
) noexcept nogil
cdef void stack_placed_arrives(
    Stack* stack, uint32_t conn, uint8_t* record, uint32_t length, uint64_t position, uint64_t next,
    uint64_t now
) noexcept nogil
cdef bint stack_guess_again(
    Stack* stack, uint32_t conn, uint64_t offset, uint32_t room, Guess* guess
) noexcept nogil
# RECORD_FLOW_LOST: a connection of this stack that its replica has lost; its peer is told. Any bytes at all.
cdef void stack_flow_lost(Stack* stack, const uint8_t* payload, uint32_t length, uint64_t now) noexcept nogil
# A successor's: its predecessor died by its own doing with this connection in its hands (Suspect.conn). True:
# it has killed too often, and is reset. Best before stack_recover, which carries out commands: one that kills
# would else kill there again.
cdef bint stack_strike(Stack* stack, uint32_t conn, uint64_t now) noexcept nogil
# Of an IP component (PART_IP). stack_handed_up: the protocol of the component that the record which has just
# arrived goes up to, as it is; 0: to none. stack_forward: a record of the component of this protocol is to
# leave. True: it may, and its Ethernet header is filled in; False: it was kept back, or dropped. `record` is
# nobody else's. stack_poll_up: the next record for the component of *protocol, which it takes as one of the
# stack's own: an ICMP error about a packet that could not leave, at most UP_BYTES; 0: none.
cdef enum:
    UP_BYTES = 640
cdef uint8_t stack_handed_up(Stack* stack) noexcept nogil
cdef bint stack_forward(
    Stack* stack, uint8_t* record, uint32_t length, uint8_t protocol, uint64_t now
) noexcept nogil
cdef uint32_t stack_poll_up(Stack* stack, uint8_t* buffer, uint8_t* protocol) noexcept nogil
# Fill `buffer` (at least MAX_RECORD bytes) with the next thing to send. Returns its length and sets
# *record_type (RECORD_FRAME, RECORD_FLOW_ADD, RECORD_FLOW_FADES, RECORD_FLOW_DELETE); 0 when there is
# nothing. Stopping early is fine: what is left stays queued.
cdef uint32_t stack_poll_transmit(
    Stack* stack, uint8_t* buffer, uint16_t* record_type, uint64_t now
) noexcept nogil
# From now on long text is not copied into the buffer: the length counts it, and the frame's end is
# spans[0], spans[1] (of length 0 when all is in the buffer).
cdef void stack_gather(Stack* stack, Span* spans) noexcept nogil
cdef bint stack_poll_event(Stack* stack, Event* event) noexcept nogil
cdef void stack_expire(Stack* stack, uint64_t now) noexcept nogil
cdef uint64_t stack_next_deadline(Stack* stack) noexcept nogil      # UINT64_MAX: none

# Channels: an application's segment (neat/abi/channel.h) as this replica maps it. Geometry comes from the
# caller, who knows it from the syscall server, never from the segment.
cdef int stack_channel_attach(
    Stack* stack, uint32_t app, void* memory, uint32_t nsock, uint32_t rx_size, uint32_t tx_size
) noexcept nogil
# aborts what is still open in it
cdef void stack_channel_detach(Stack* stack, uint32_t app) noexcept nogil
cdef uint32_t stack_channel_users(Stack* stack, uint32_t app) noexcept nogil     # sockets of it still in use
# The dirty bitmap of one channel: take what is set and carry it out, at most `budget` sockets. Returns how
# many.
cdef uint32_t stack_scan_channel(Stack* stack, uint32_t app, uint32_t budget, uint64_t now) noexcept nogil
cdef bint stack_channel_pending(Stack* stack, uint32_t app) noexcept nogil       # a dirty bit is set
# NULL if no such index
cdef neat_sock* stack_sock(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil

# What sockets ask for. `sock` of listeners and UDP sockets is the shared index that the syscall server gave
# out.
cdef int stack_listen(
    Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t backlog, uint32_t flags
) noexcept nogil
cdef int stack_set_backlog(Stack* stack, uint32_t app, uint32_t sock, uint32_t backlog) noexcept nogil
# TCP_DEFER_ACCEPT, in seconds; 0: off.
cdef int stack_set_defer(Stack* stack, uint32_t app, uint32_t sock, uint32_t seconds) noexcept nogil
# resets what waits to be accepted
cdef int stack_unlisten(Stack* stack, uint32_t app, uint32_t sock, uint64_t now) noexcept nogil
# Active open. local.port 0: the replica's choice. Returns the connection's index; its sock index and
# generation are in stack_conn_info.
cdef int stack_connect(
    Stack* stack, uint32_t app, const neat_addr* local, const neat_addr* remote, const ConnectWishes* wishes,
    uint64_t now
) noexcept nogil
# The ports are shared out anew, those p with p % replicas == rank to this replica (0 replicas: none), in two
# steps (neat/ports.py). First it keeps only what it has in both shares, the present and the next, and says
# from which ports it has connections: a bit each in used[1024]. Then it takes the next share whole, but for
# the ports whose bit is set in held[1024] (NULL: none): another one still has connections from there.
# Connections that are open stay where they are. -EINVAL.
cdef int stack_narrow_ports(Stack* stack, uint32_t rank, uint32_t replicas) noexcept nogil
cdef void stack_ports_in_use(Stack* stack, uint64_t* used) noexcept nogil
cdef int stack_share_ports(
    Stack* stack, uint32_t rank, uint32_t replicas, const uint64_t* held
) noexcept nogil
# Go on with the TIME-WAITs of a replica that has ended, from a copy of its table: see wait_adopt() in
# tcp/timewait.pxd. How many were looked at: the rest when more has been transmitted.
cdef uint32_t stack_adopt(Stack* stack, const WaitSlot* waits, uint32_t number, uint64_t now) noexcept nogil
cdef bint stack_flows_said(Stack* stack) noexcept nogil     # all that the driver is to know was transmitted
cdef int stack_udp_bind(
    Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t flags
) noexcept nogil
cdef int stack_udp_unbind(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil
# The last descriptor of a connection is closed: as close() does on Linux (FIN; RST if unread data or
# NEAT_REQ_ABORT).
# EV_FREED follows, at once or after TIME_WAIT's hand-over: the sock is freed at once when nothing is left to
# send.
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
# What holds of a connection now, that its descriptor can show: of EV_READABLE, EV_RDHUP, EV_CLOSED, EV_RESET.
cdef uint32_t stack_conn_ready(Stack* stack, int32_t conn) noexcept nogil
# Connections in TIME_WAIT, or in FIN_WAIT_2 without a descriptor, hold no slot: they are listed apart. Start
# with 0, go on with what it returns; 0 is the end.
cdef uint32_t stack_waiting_info(Stack* stack, uint32_t start, ConnInfo* info) noexcept nogil
# COUNTER_COUNT words, indexed by neat.stack.counters.Counter
cdef uint64_t* stack_counters(Stack* stack) noexcept nogil
# Point the counters at shared memory (the board page) instead of private memory.
cdef void stack_use_counters(Stack* stack, uint64_t* counters) noexcept nogil
