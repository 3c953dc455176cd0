"""What an engine is made with and what it reports: StackConfig, Offload, Event. engine.pxd gives these names
on."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef struct StackConfig:
    uint8_t mac[6]                      # all replicas share one MAC and one address
    uint8_t address[4]
    uint8_t prefix
    uint8_t part                        # enum Part
    uint8_t gateway[4]                  # zero: none
    uint16_t mtu                        # of the link, without Ethernet header
    # the share of ports that a new state begins with: those with p % replicas == replica; 0 replicas: none
    uint16_t replica, replicas
    uint16_t port_low, port_high        # connect() without bind chooses from these, inclusive
    uint32_t max_connections            # slots in the state segment
    uint32_t max_listeners
    uint32_t max_udp
    uint32_t offloads                   # enum Offload: what the device does for us
    uint32_t time_wait_ms               # 2 MSL
    uint32_t min_rto_ms                 # Linux uses 200; RFC 6298 says 1000
    uint32_t max_rto_ms
    uint32_t delayed_ack_ms
    uint32_t syn_retries, data_retries
    bint poison                         # neat/stack/poison.pxd
    # key of ISNs (RFC 6528), timestamps offset, hash seeds: the same for all replicas of a stack
    uint8_t secret[32]

# What an application had set before connect(), as far as the SYN shows it: fields of neat_sock.
cdef struct ConnectWishes:
    uint32_t options
    uint32_t maxseg, rcvbuf
    uint8_t tos, ttl

# How much of an engine this one is (ARCHITECTURE.md, "Multi-component replicas").
cdef enum Part:
    PART_WHOLE = 0
    PART_IP = 1                         # TCP and UDP are in other processes, which it hands packets to
    PART_TRANSPORT = 2                  # IP is in another process: it finds the neighbour of what leaves here

cdef enum Offload:
    # we may leave a partial checksum to the device, and need not verify what it verified
    OFFLOAD_CSUM = 1
    OFFLOAD_TSO4 = 2                    # we may hand it TCP/IPv4 segments up to 64 KiB

cdef struct Span:                       # a piece of a socket's ring
    uint8_t* at
    uint32_t length

cdef struct Guess:                      # where the text of the next frame goes, if it is what we expect
    uint32_t conn
    uint32_t header                     # bytes of the record before the text
    uint64_t offset                     # of the text in the stream
    Span room[2]

cdef enum EventKind:
    # connection `conn` of listener `listener_sock` is established: make a descriptor, hand it over
    EV_ACCEPT = 1
    EV_CONNECTED = 2                    # active open done
    EV_READABLE = 4                     # data, a datagram or a FIN arrived
    EV_WRITABLE = 8                     # at least a third of the transmit ring is free again
    EV_RDHUP = 16                       # peer's FIN is in order and consumed into the stream
    EV_CLOSED = 32                      # both directions over in order: the descriptor should hang up
    EV_RESET = 64                       # it ended with `error`
    EV_FREED = 128                      # its sock and conn index may be reused from now on: forget them
    EV_NOTIFY = 256                     # NEAT_REQ_NOTIFY: tell all who wait, whatever has changed
    EV_TAKEN = 512                      # NEAT_REQ_ACCEPTED

cdef struct Event:                      # bits are merged: one event may carry several
    uint32_t kinds
    uint32_t app
    uint32_t sock
    uint32_t generation
    int32_t conn                        # index of the connection slot; -1 for UDP
    int32_t error                       # errno, positive
    uint32_t listener_sock              # for EV_ACCEPT
    # for EV_FREED: at most so many bytes of each of its rings were ever used
    uint32_t touched
