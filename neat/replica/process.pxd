"""What a replica process holds beside its engine. Layouts only.

Endpoints, SharedEnds, Channels and Cords lie in the ledger (ledger.pxd), which a successor goes on with; what
is marked *derived* there it makes anew. A descriptor's number is stored last at birth (own_number) and first
at death (close_number), so every prefix of the writes is valid.

An Endpoint is the stack's end of one connection's descriptor (ARCHITECTURE.md, "Sockets"); a SharedEnd that
of a listening or UDP socket, which all replicas have; a Channel an application's segment as it is mapped
here."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from neat.abi.channel cimport NEAT_POLLERS, NEAT_SHARED_SOCKS, NEAT_SPARES, neat_addr
from neat.replica.posix cimport close
from neat.shm.atomic cimport store32
from neat.shm.board cimport BoardPage
from neat.shm.link cimport Intake
from neat.shm.recorder cimport Recorder
from neat.shm.ring cimport Ring
from neat.stack.engine cimport Guess, Span, Stack

cdef enum:
    MAX_CHANNELS = 256              # applications at one time
    # listening and UDP sockets at one time: the most of both that may be configured
    MAX_SHARED = 8192
    MAX_UNBOUND = 4096              # bound sockets whose connections are over, a power of two
    MAX_FRESH = 1024                # descriptors that are not watched yet, a power of two
    TICKS_BITS = 40
    KEEP_RING_BYTES = 32768         # of a freed socket's ring: what was touched beyond is given back
    MAX_CORDS = 8192                # as many as the syscall server has sessions

cdef enum EndpointState:
    END_FREE = 0
    # established, its claim is its generation; waits for room in the listener's queue, or is being offered
    END_QUEUED = 1
    END_OFFERED = 2                 # NEAT_EV_ACCEPT was sent: who takes that says which pair it gets
    END_CONNECTING = 3
    END_OPEN = 4
    END_HALF = 5                    # the peer's FIN was passed on: shutdown(SHUT_WR)
    END_HUNG = 6                    # both directions over: shutdown(SHUT_RDWR)
    # reset: the stack's end is closed; `fd` is a pipe that tells when the application's is
    END_WATCH = 7
    END_CLOSED = 8                  # no descriptor any more: the engine has been told, EV_FREED will follow

cdef struct Endpoint:               # by index of the connection slot
    int32_t fd
    uint32_t app, sock, generation
    uint32_t bind_id                # of the bound socket that it was; 0: none
    uint32_t serial                 # derived; of `fd`: an epoll event that carries another one is stale
    int32_t next                    # derived; next in the accept queue
    uint32_t listener               # index of the listening socket that it came by
    int16_t queue                   # derived; the listener's place in `shared` while it is queued there, -1
    uint8_t state                   # EndpointState
    uint8_t watched                 # derived; `fd` is in the epoll set
    uint8_t spoken                  # more than tokens was sent, or something shut, on `fd`
    uint8_t unanswered              # END_OFFERED: looks since it should have been claimed
    uint8_t told                    # of an active one: NEAT_EV_CONNECTING was sent
    uint8_t recovered               # its fills may be fewer than its socket object says
    uint32_t offer                  # END_OFFERED: the listener's `offers` when it was sent

cdef struct Fresh:                  # a descriptor that may be closed before watching it is worth it
    uint32_t conn, serial
    uint64_t since

cdef struct SharedEnd:
    int32_t fd                      # -1: unused
    uint32_t kind                   # NEAT_SOCK_LISTENER or NEAT_SOCK_UDP
    uint32_t app, sock, bind_id, backlog
    uint32_t flags, defer_s         # NEAT_BIND_*; TCP_DEFER_ACCEPT
    uint32_t serial                 # derived
    uint32_t offers                 # NEAT_EV_ACCEPTs that this replica has sent, modulo 2^32
    uint32_t read                   # the latest of them that is known to have left the queue
    int32_t first, last             # derived; accept queue: connections that wait for room in the socket
    bint blocked                    # derived; EPOLLOUT is awaited
    neat_addr local

cdef struct Spare:                  # the stack's end of a pair without a connection, clean as a new one
    uint64_t name                   # what the application calls its end; the upper half is the process
    int32_t fd                      # -1: none

cdef struct Channel:
    uint32_t app
    bint used                       # stored last at birth and at death
    bint orphan                     # its application is gone; goes when its last socket does
    bint full                       # its application has all the memory that it may have
    bint announces                  # it said NEAT_REQ_CLOSE before it closed its last connection
    int32_t segment                 # its memfd, for a successor to map
    int32_t bell                    # an eventfd of its own
    uint32_t pid                    # a process of it
    uint8_t* memory                 # derived
    uint64_t bytes
    uint32_t nsock, rx_size, tx_size
    int16_t shared[NEAT_SHARED_SOCKS]   # derived; index into `shared`, -1
    int32_t bells[NEAT_POLLERS]     # of its pollers: write ends of pipes, -1
    uint32_t news                   # derived; bitmap of pollers that have event bits to hear of
    Spare spares[NEAT_SPARES]       # by place in the segment's table
    int32_t offered                 # derived; connections in END_OFFERED

cdef struct Cord:                   # from a process of an application
    int32_t fd                      # -1: unused
    uint32_t app, number            # `number` is the application's name for it
    uint32_t serial                 # derived
    bint over                       # derived; has hung up, and what its process left is being looked over

# upper byte of an epoll event's data; below it the serial (24 bits) and an index (32 bits)
cdef enum WatchKind:
    WATCH_BELL = 1
    WATCH_SYS = 2
    WATCH_CTL = 3
    WATCH_LIFELINE = 4
    WATCH_ENDPOINT = 5
    WATCH_SHARED = 6
    WATCH_CHANNEL = 7               # nothing to do but to be awake
    WATCH_CORD = 8
    WATCH_HOLDER = 9

cdef enum Reason:                   # why the loop returns to Python: a bitmap
    REASON_SYS = 1
    REASON_CTL = 2
    REASON_LIFELINE = 4
    REASON_TICK = 8
    REASON_HOLDER = 16

# The ledger's last page: ledger.pxd.
cdef struct LedgerHeader:           # 4096 bytes; sizes.py reads the beginning
    uint32_t magic                  # stored last
    uint32_t version
    uint64_t bytes                  # of the whole ledger
    # pid << TICKS_BITS | start ticks of the process that holds the descriptors; 0: none. One store: whoever
    # is named here has all that the ledger names
    uint64_t holder
    uint64_t previous               # likewise: to be killed, if it is not `holder`
    uint32_t endpoint_count
    uint32_t unbound_head, unbound_tail     # free-running
    uint8_t _reserved[4044]

cdef struct Process:
    Stack* stack
    BoardPage* board
    uint64_t* counters              # ReplicaCounter, in the board page
    Ring rx                         # what the engine reads: the link's receive ring, or the intake
    Ring tx                         # to the driver
    Ring link                       # with a queue: the link's receive ring
    Ring intake                     # with a queue: `rx` as its producer sees it
    int queue                       # -1: all frames go over the driver
    bint queue_ready                # there may be something to read
    bint queue_gone                 # its device is: nobody need wait for it any more
    bint tx_committed               # there is something to publish
    # with a queue, for the frame that leaves next: MAX_RECORD bytes, and text that is left where it lies
    uint8_t* out
    Span gathered[2]
    Intake* reading                 # with a queue: what a successor is to know of a read
    Guess guess                     # with a queue: of that read
    uint64_t placed_at              # position + 1 of the record whose text is in its socket's ring already
    uint8_t mac[6]                  # the stack's own
    Recorder* recorder
    int epoll, bell, driver_bell
    bint deaf                       # frames wait: it has not heard of all its sockets yet
    uint32_t replica
    uint64_t incarnation
    uint64_t now                    # of this turn
    uint64_t spin_ns
    uint64_t tick_ns                # Python has its turn at least so often
    uint64_t polled_at              # when epoll was asked last
    uint64_t woke_at
    uint64_t returned_at            # when Python had its turn last
    uint64_t offers_at              # when offers were looked over last
    uint32_t reasons
    bint tx_blocked                 # the transmit ring was full
    LedgerHeader* ledger
    Endpoint* endpoints             # [max_connections]
    uint32_t endpoint_count
    uint32_t serial
    Fresh fresh[MAX_FRESH]          # oldest first
    uint32_t fresh_head, fresh_tail     # free-running
    uint32_t* unbound               # [MAX_UNBOUND], a ring: bind_ids that the syscall server should hear of
    SharedEnd* shared               # [MAX_SHARED]
    Channel* channels               # [MAX_CHANNELS]
    uint32_t channels_end           # one beyond the last used
    bint news                       # some channel has
    Cord* cords                     # [MAX_CORDS]
    uint32_t cords_end              # one beyond the last used
    uint32_t cord_count

cdef inline void tally(Process* p, uint32_t counter) noexcept nogil:
    p.counters[counter] += 1

cdef inline void gauge(Process* p, uint32_t counter, int64_t change) noexcept nogil:
    p.counters[counter] += <uint64_t>change

# For what is said once.
cdef inline void note(Process* p, uint32_t counter) noexcept nogil:
    p.counters[counter] = 1

# Its descriptor from now on: all else about it is stored.
cdef inline void own_number(int32_t* number, int32_t fd) noexcept nogil:
    store32(<uint32_t*>number, <uint32_t>fd)

# Close it, if there is one.
cdef inline void close_number(int32_t* number) noexcept nogil:
    cdef int32_t fd = number[0]
    if fd >= 0:
        store32(<uint32_t*>number, <uint32_t>-1)
        close(fd)

cdef inline uint64_t watch_data(uint32_t kind, uint32_t serial, uint32_t index) noexcept nogil:
    return (<uint64_t>kind << 56) | (<uint64_t>(serial & 0xFFFFFF) << 32) | index
