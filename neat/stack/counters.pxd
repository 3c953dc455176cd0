"""What the engine counts: one word for each, with a reason for every drop. Names in lower case are what `neat
status` prints.

New ones go to the end of their group; the numbers are nobody's contract (readers go by
neat.stack.counters.NAMES)."""

cpdef enum Counter:
    # ethernet and IPv4
    RX_FRAMES
    RX_BYTES
    RX_RUNT                         # shorter than its headers
    RX_NOT_FOR_US                   # another MAC or IP address
    RX_UNKNOWN_ETHERTYPE
    RX_VLAN                         # dropped: not built
    RX_IPV6                         # dropped: not built
    RX_BAD_VNET                     # a virtio-net header that makes no sense
    ARP_IN
    ARP_BAD
    ARP_CONFLICT                    # somebody else uses our address
    ARP_REQUESTS_OUT
    ARP_REPLIES_OUT
    ARP_UNRESOLVED                  # gave up on a neighbour
    NEIGHBOUR_TABLE_FULL
    IP_IN
    IP_OUT
    IP_BAD_HEADER
    IP_BAD_CHECKSUM
    IP_BAD_ADDRESS                  # a source that no packet may have
    IP_FRAGMENT                     # dropped: reassembly is not built
    IP_OPTIONS                      # packets with options (processed, options skipped)
    IP_UNKNOWN_PROTOCOL
    IP_NO_ROUTE
    # packet filter
    FILTER_IN_DROPPED
    FILTER_IN_REJECTED              # dropped, and its source was told
    FILTER_OUT_DROPPED
    FILTER_OUT_REJECTED             # dropped, and the socket was told
    FILTER_BAD_RULES                # a set of rules that makes no sense: the one before stays
    IP_HANDED_UP                    # packets for transport components
    IP_FORWARDED                    # packets of transport components that left
    IP_BAD_FORWARD                  # packets of theirs that make no sense
    IP_UNRESOLVED                   # packets of theirs that were lost: too many wait for a neighbour
    # ICMP
    ICMP_IN
    ICMP_BAD
    ICMP_ECHO_OUT
    ICMP_ERRORS_IN
    ICMP_ERRORS_OUT
    ICMP_LIMITED                    # errors not sent: rate limit
    ICMP_IGNORED
    # UDP
    UDP_IN
    UDP_OUT
    UDP_BAD_LENGTH
    UDP_BAD_CHECKSUM
    UDP_NO_PORT
    UDP_RING_FULL
    UDP_NOT_PEER
    UDP_BAD_COMMAND                 # an application wrote nonsense
    UDP_UNSENDABLE
    # engine
    REPLY_QUEUE_FULL
    FLOW_QUEUE_FULL
    CHANNEL_BAD_BIT                 # a dirty bit of a socket that is not in use
    # TCP in
    TCP_IN
    TCP_OUT
    TCP_BYTES_IN
    TCP_BYTES_OUT
    TCP_BAD_HEADER
    TCP_BAD_CHECKSUM
    TCP_BAD_ADDRESS                 # broadcast or multicast
    TCP_NO_CONNECTION               # answered by RST unless it was one
    TCP_RST_OUT
    TCP_RST_IN
    TCP_OUT_OF_WINDOW               # RFC 9293 §3.10.7.4, first: not acceptable
    TCP_PAWS
    TCP_NO_TIMESTAMP                # negotiated but missing: accepted
    TCP_INEXACT_RST                 # RFC 5961 §3.2
    TCP_SYN_IN_WINDOW               # RFC 5961 §4.2
    TCP_BAD_ACK                     # RFC 5961 §5.2
    TCP_NO_ACK
    TCP_CHALLENGE_ACKS
    TCP_CHALLENGE_LIMITED
    TCP_OLD_DATA
    TCP_OUT_OF_ORDER
    TCP_OOO_FULL                    # more holes than intervals, or beyond the window
    TCP_BEYOND_WINDOW
    TCP_DATA_AFTER_CLOSE            # answered by RST
    TCP_DATA_AFTER_FIN
    TCP_URGENT_IGNORED
    # opening
    TCP_SYNS_IN
    TCP_PASSIVE_OPENS
    TCP_ACTIVE_OPENS
    TCP_BACKLOG_FULL                # a SYN dropped
    TCP_ACCEPTS_DEFERRED            # TCP_DEFER_ACCEPT: text is awaited
    TCP_TABLE_FULL                  # no slot for a connection
    TCP_NO_SOCK                     # the application's channel has no free socket
    TCP_NO_PORT
    TCP_SYN_TIMEOUT
    TCP_CONNECT_REFUSED
    TCP_HANDSHAKES                  # completed, from either side
    # connections whose peer has our first text, or that were read to the end without any
    TCP_SERVED
    # sending
    TCP_RETRANSMITS
    TCP_TIMEOUTS
    TCP_SYN_RETRANSMITS             # of those: SYNs and SYN-ACKs
    TCP_FAST_RETRANSMITS
    TCP_LIMITED_TRANSMITS
    TCP_DUP_ACKS_IN
    TCP_DELAYED_ACKS
    TCP_ZERO_WINDOW_PROBES
    TCP_KEEPALIVE_PROBES
    TCP_UNREACHABLE                 # frames that could not leave: no route or no neighbour
    TCP_ACKED                       # segments that acknowledged something new
    # closing
    TCP_CLOSED
    TCP_RESETS                      # connections ended by the peer's RST
    TCP_ABORTS                      # connections that we reset
    TCP_STRUCK_OUT                  # connections that we reset as they had killed three replicas
    TCP_TIMED_OUT
    TCP_KEEPALIVE_FAILED
    TCP_USER_TIMEOUT
    TCP_FIN_WAIT_TIMEOUT
    TCP_TIME_WAITS
    TCP_TIME_WAIT_RECYCLED          # the oldest made room
    TCP_TIME_WAIT_REUSED            # by a new SYN, of either side (RFC 6191)
    TCP_TIME_WAITS_ADOPTED          # of a replica that left
    TCP_ICMP_SOFT
    TCP_ICMP_HARD
    TCP_ICMP_IGNORED                # does not quote a sequence number in flight
    TCP_LOST_FLOWS                  # peers asked to speak, as the replica that had their connection lost it
    # applications that write nonsense into their channel
    TCP_BAD_TX_TAIL
    TCP_BAD_RX_HEAD
    # what a predecessor left (neat/stack/recover.pyx): gone on with, or given up and why
    RECOVER_CONNECTIONS             # gone on with
    RECOVER_NO_CHANNEL              # its application's segment is not there any more
    RECOVER_NO_LISTENER             # not accepted yet, and its listener is gone
    RECOVER_DUPLICATE               # another has its addresses and ports
    RECOVER_BAD_STATE               # what its state says and its flags say cannot be
    RECOVER_BAD_KEY
    RECOVER_BAD_SOCK                # no such socket, or it is another's
    RECOVER_BAD_OPTIONS             # segment sizes or window scales
    RECOVER_BAD_OFFSETS             # they do not fit each other, the ring or what the application wrote
    RECOVER_BAD_LISTENER
    RECOVER_BAD_UDP
    RECOVER_BAD_WAIT                # an entry of the TIME-WAIT table
    # gauges
    TCP_CONNECTIONS                 # slots in use
    TCP_TIME_WAITING
    TCP_FIN_WAITING                 # of them, in FIN_WAIT_2
    COUNTER_COUNT
