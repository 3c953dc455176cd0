"""What a replica process counts beside its engine. Their place in the board page is REPLICA_COUNTERS_BASE +
the number.

To add one: append it before REPLICA_COUNTERS. Its name for people is the rest in lower case.
"""

cdef enum:
    REPLICA_COUNTERS_BASE = 320     # the engine's end before that

cpdef enum ReplicaCounter:
    COUNT_WAKEUPS                   # times that it slept and was woken
    COUNT_DOORBELLS                 # doorbells of the driver that it rang
    COUNT_RX_RING_BROKEN            # the driver broke the contract of the receive ring
    COUNT_TX_RING_BROKEN
    COUNT_RX_UNKNOWN_RECORD
    COUNT_TX_RING_FULL              # turns that had to leave something unsent
    COUNT_TOKENS_SENT
    COUNT_ACCEPTS_SENT
    COUNT_ACCEPT_QUEUE_FULL         # the listener's socket was full: handed over later
    COUNT_ACCEPT_NO_FD              # no descriptor for a new connection: reset
    COUNT_ACCEPT_NO_LISTENER        # its listener is closed: reset
    COUNT_HANGUPS                   # connections whose last descriptor was closed
    COUNT_RESETS_TOLD
    COUNT_RINGS_PUNCHED             # memory of a socket's ring given back
    COUNT_DROP_CONTROL              # messages of the syscall server that make no sense
    COUNT_CHANNELS_REFUSED          # segments that could not be attached
    COUNT_CONNECTS_FAILED           # at once: no port, no slot, no route
    COUNT_LISTENERS                 # gauge
    COUNT_UDP_SOCKETS               # gauge
    COUNT_CHANNELS                  # gauge
    COUNT_DESCRIPTORS               # gauge: stack's ends of connections
    COUNT_POLLERS_RUNG              # bells of pollers that slept
    COUNT_POLLERS                   # gauge
    COUNT_PAIRS_REUSED              # connections that got the pair of one before
    # accept() has named one that there is not: reset; or sent one for a connection that is over
    COUNT_PAIRS_UNKNOWN
    COUNT_ACCEPTS_LOST              # who took it died before it had its pair: reset
    COUNT_ACCEPT_NO_MEMORY          # its application has all the memory that it may have: reset
    COUNT_CORDS                     # gauge
    COUNT_DROP_CORD                 # messages on a cord that make no sense
    COUNT_STATELESS                 # 1: its descriptors have no holder, so its state ends with it
    COUNT_SUSPECTS_SKIPPED          # frames that the process before it died of
    COUNT_RECOVERED                 # connections that it has from the process before it
    # its own queue of the device
    COUNT_QUEUE_RX_FRAMES
    COUNT_QUEUE_RX_BYTES            # Ethernet frames
    COUNT_QUEUE_TX_FRAMES
    COUNT_QUEUE_TX_BYTES
    COUNT_QUEUE_DROP_TRUNCATED      # longer than any record
    COUNT_QUEUE_DROP_NO_BUFFER      # the kernel had no memory for it
    COUNT_QUEUE_DROP_DEVICE_DOWN
    COUNT_QUEUE_DROP_WRITE          # the kernel refused it for another reason
    COUNT_QUEUE_DROP_LINK_FULL      # for the driver, whose ring was full
    COUNT_QUEUE_RX_PLACED           # frames whose text was read straight into its socket's ring
    COUNT_QUEUE_RX_MISPLACED        # into the wrong one, and copied from there
    COUNT_QUEUE_READ_FAILED         # 1: the device is gone
    COUNT_WORK_NS                   # spent in turns that had something to do
    COUNT_SPARES                    # gauge: stack's ends that wait for a connection
    # of an IP component
    COUNT_UP_RING_FULL              # packets that a transport component had no room for
    COUNT_TCP_LINK_BROKEN           # 1: that component broke the contract of a ring
    COUNT_UDP_LINK_BROKEN
    REPLICA_COUNTERS
