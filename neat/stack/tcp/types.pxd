"""The volatile half of a connection (Tcb) and TCP's private memory. What must survive the process is in
ConnSlot.

Names are RFC 9293 §3.3.1's. Sequence numbers are uint32_t, stream offsets uint64_t, times ns unless the name
says otherwise."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.abi.channel cimport neat_sock
from neat.stack.events cimport EventNode
from neat.stack.state cimport ConnSlot, WaitSlot

cdef enum:
    NO_INDEX = 0xFFFFFFFF
    PAWS_IDLE_S = 24 * 86400        # RFC 7323 §5.5
    TW_BIT = 0x80000000             # in hash chains: the index is one of a WaitSlot
    PORT_COUNTERS = 1 << 16         # RFC 6056 §3.3.4: the table of counters, a power of two
    LATEST = 4                      # intervals of which it is known when they got text
    SACKED_MAX = 16                 # intervals that the peer has selectively acknowledged

cdef extern from *:
    """
    #define NEAT_NEVER UINT64_MAX
    #define NEAT_MICROSECOND UINT64_C(1000)
    #define NEAT_MILLISECOND UINT64_C(1000000)
    #define NEAT_SECOND UINT64_C(1000000000)
    """
    const uint64_t NEVER "NEAT_NEVER"
    const uint64_t MICROSECOND "NEAT_MICROSECOND"
    const uint64_t MILLISECOND "NEAT_MILLISECOND"
    const uint64_t SECOND "NEAT_SECOND"

cdef enum Timer:
    TIMER_RETRANSMIT = 0            # RFC 6298; zero-window probes too: never both
    TIMER_DELACK = 1
    TIMER_KEEP = 2                  # keepalive
    TIMER_PERSIST = 3               # zero window, silly window or cork override
    TIMERS = 4

cdef enum TcbFlag:
    TF_QUEUED = 1                   # in the transmit queue
    TF_SEND_SYN = 2                 # SYN or SYN-ACK is due (again)
    TF_RETRANSMIT = 4               # one segment at snd_una is due
    TF_RECOVERY = 8                 # fast recovery (RFC 6582)
    TF_PROBE = 16                   # a window probe is due
    TF_FORCE = 32                   # send less than a segment now: the override timer fired
    TF_KEEPALIVE = 64               # a keepalive probe is due
    TF_TIMING = 128                 # rtt_seq is being timed
    TF_BACKED_OFF = 256             # timed out since the last new ACK
    TF_FIN_WAITS = 512              # the peer's FIN came early, at fin_seq
    TF_WAITS_NEIGHBOUR = 1024
    TF_FIN_SENT = 2048
    TF_HASHED = 4096
    TF_KNOWN = 8192                 # the process was told of it: EV_FREED is due at its end
    TF_DEFERRED = 16384             # TCP_DEFER_ACCEPT: the handshake is done, text is awaited
    TF_ABORT = 32768                # SLOT_ABORT
    TF_SACKED = 131072              # this fast recovery goes by the scoreboard (RFC 6675)
    TF_RESUMED = 65536              # goes on after a crash: the next text is acknowledged at once

cdef struct Tcb:
    # what each segment touches
    ConnSlot* slot
    neat_sock* sock                 # NULL: none (yet, or any more)
    uint8_t* rx_ring
    uint8_t* tx_ring
    uint64_t rx_head                # last good value that the application wrote
    uint64_t tx_tail                # last good value, or the offset of our FIN once that is queued
    uint32_t snd_una, snd_nxt       # snd_nxt goes back to snd_una when the retransmission timer fires
    uint32_t rcv_nxt
    uint32_t flags                  # TcbFlag
    uint32_t ack_owed               # ACKs that must leave now; duplicates are owed one by one
    uint32_t unacked                # bytes received in order since the last ACK
    uint32_t cwnd, ssthresh
    uint32_t rx_size, tx_size       # of the rings
    uint32_t rcv_limit              # receive buffer, bytes
    uint32_t rcv_space              # what that is if the application has not said: it grows with what is read
    uint64_t rcv_from               # rx_head when it grew, or when too little had been read for that
    uint64_t rcv_since              # and when that was
    uint32_t rcv_seg                # largest segment seen: what "full-sized" means for delayed ACKs
    uint32_t last_ack_sent          # RFC 7323 §4.3
    uint32_t max_window             # largest snd_wnd seen
    uint32_t snd_small              # end of the last small segment sent (Nagle as Minshall has it)
    uint32_t told_wnd               # what the socket object says of our window
    uint32_t told_limit             # and of rcv_limit
    uint32_t index
    uint32_t ooo_count              # intervals in the slot
    uint8_t latest[LATEST]          # of them: those that got text last, the last first
    uint64_t twice                  # an interval of text that came again, until it is reported; 0: none
    # timers
    uint64_t deadline[TIMERS]
    uint64_t heap_key               # never later than the earliest deadline
    uint32_t heap_at                # NO_INDEX: not in the heap
    uint32_t rto_us, srtt_us, rttvar_us
    uint32_t rtt_seq
    uint64_t rtt_at
    uint64_t stalled_since          # first retransmission or probe since there was progress; 0: none
    uint64_t heard_at               # last segment from the peer, for keepalive
    uint64_t published_at           # TCP_INFO in the socket object
    uint64_t sent_at                # last data sent, for restart after idle
    # loss
    uint32_t recover                # RFC 6582; RecoveryPoint of RFC 6675
    uint32_t high_rxt               # HighRxt of RFC 6675: what recovery has sent again ends there
    uint32_t sacked_count
    uint64_t sacked[SACKED_MAX]     # neat/stack/tcp/scoreboard.pxd
    uint32_t dup_acks
    uint32_t retries                # timeouts or probes in a row
    uint32_t keep_probes
    uint32_t retransmits            # ever
    uint32_t fin_seq
    uint64_t challenged_at          # RFC 5961 §7: limit of challenge ACKs
    uint32_t challenges
    # links
    uint32_t hash_next
    uint32_t queue_next
    uint32_t free_next
    uint32_t verdict                # while a predecessor's slots are looked through: what is wrong with it
    uint32_t status                 # neat_status bits, as the socket object has them
    uint32_t errors
    void* channel                   # Channel*; NULL without sock
    EventNode event

cdef struct WaitLink:               # volatile half of a WaitSlot
    uint32_t hash_next
    uint32_t previous, next         # by deadline; next also links the free list

cdef struct Listener:               # volatile half of a ListenerSlot
    uint32_t next                   # chain of its port bucket
    uint32_t pending                # connections in SYN_RCVD or not accepted yet
    void* channel                   # Channel*

cdef enum:
    LISTENER_BUCKETS = 256

cdef struct TcpPrivate:
    Tcb* tcbs                       # [max_connections], parallel to the slots
    WaitSlot* waits                 # [wait_capacity], in the state segment
    WaitLink* wait_links            # [wait_capacity], parallel to them
    Listener* listeners             # [max_listeners], parallel to the slots
    uint32_t listener_buckets[LISTENER_BUCKETS]
    uint32_t* buckets               # hash of connections and TimeWaits
    uint32_t bucket_mask
    uint32_t hash_seed
    uint32_t first_free             # Tcb
    uint32_t wait_capacity, wait_free, wait_first, wait_last
    uint32_t* heap
    uint32_t heap_size
    uint32_t queue_first, queue_last    # transmit queue
    uint32_t waiting_first          # connections that wait for a neighbour
    uint32_t guess                  # whose long text came last; NO_INDEX: it was not long
    uint32_t guess_header           # bytes of its record before the text
    uint32_t placed                 # connection whose text is in its ring already; NO_INDEX
    uint64_t isn_key[2]
    uint64_t ts_key[2]
    uint64_t port_key[2]
    uint32_t* port_counters         # [PORT_COUNTERS]: mostly untouched
