"""What the device can do without a stack behind it: bursts of reads and writes, and a responder that turns frames around."""
from libc.errno cimport EAGAIN, ENOBUFS
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.drivers.classify cimport ETHERNET_BYTES, be16_at
from neat.drivers.state cimport monotonic, read_device, write_device
from neat.shm.ring cimport MAX_RECORD
from neat.wire.headers cimport ETHERTYPE_ARP, ETHERTYPE_IPV4, PROTO_ICMP, PROTO_TCP, PROTO_UDP
from neat.wire.vnet cimport VNET_BYTES

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout)
    const short POLLIN

cdef enum:
    WAIT_MS = 20                        # an answer that takes longer is lost

cdef struct Tally:
    uint64_t frames
    uint64_t bytes                      # without virtio-net headers
    uint64_t nanoseconds

# Make an answer of a record, in place: ARP requests get `mac`; UDP, TCP and ICMP echo are sent back. False for all else.
cdef bint reflect(uint8_t* record, uint32_t length, const uint8_t* mac) noexcept nogil
cdef bint reflect_arp(uint8_t* arp, uint32_t length, const uint8_t* mac) noexcept nogil
cdef bint reflect_ip(uint8_t* ip, uint32_t length) noexcept nogil
cdef void swap(uint8_t* a, uint8_t* b, uint32_t length) noexcept nogil
cdef void read_frames(int tap, uint8_t* room, uint64_t count, Tally* tally) noexcept nogil
cdef int write_frames(int tap, const uint8_t* record, uint32_t length, uint64_t count, Tally* tally) noexcept nogil
cdef void answer_frames(int tap, int stop, uint8_t* room, const uint8_t* mac, uint64_t deadline, Tally* tally) noexcept nogil
cdef uint64_t exchange_datagrams(int fd, uint8_t* room, uint32_t size, uint32_t window, uint64_t count, uint64_t deadline, Tally* tally) noexcept nogil

cdef class Meter:
    cdef uint8_t* room
