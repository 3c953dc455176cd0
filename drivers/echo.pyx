"""What the device can do without a stack behind it: bursts of reads and writes, and a responder that turns
frames around. Its own cost, measured in compiled loops; used by neat.drivers.limit."""

import time

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
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


cdef void swap(uint8_t* a, uint8_t* b, uint32_t length) noexcept nogil:
    cdef uint32_t i
    cdef uint8_t byte
    for i in range(length):
        byte = a[i]
        a[i] = b[i]
        b[i] = byte


# Make an answer of a record, in place: ARP requests get `mac`; UDP, TCP and ICMP echo are sent back. False
# for all else.
cdef bint reflect(uint8_t* record, uint32_t length, const uint8_t* mac) noexcept nogil:
    if length < VNET_BYTES + ETHERNET_BYTES:
        return False
    cdef uint8_t* frame = record + VNET_BYTES
    length -= VNET_BYTES + ETHERNET_BYTES
    cdef uint32_t ethertype = be16_at(frame + 12)
    if ethertype == ETHERTYPE_ARP:
        if not reflect_arp(frame + ETHERNET_BYTES, length, mac):
            return False
        memcpy(frame, frame + 6, 6)
        memcpy(frame + 6, mac, 6)
        return True
    if ethertype != ETHERTYPE_IPV4 or not reflect_ip(frame + ETHERNET_BYTES, length):
        return False
    swap(frame, frame + 6, 6)
    return True


cdef bint reflect_arp(uint8_t* arp, uint32_t length, const uint8_t* mac) noexcept nogil:
    """RFC 826: the reply has the roles of sender and target exchanged."""
    if length < 28 or be16_at(arp + 6) != 1:
        return False
    arp[7] = 2
    swap(arp + 8, arp + 18, 10)
    memcpy(arp + 8, mac, 6)
    return True


cdef bint reflect_ip(uint8_t* ip, uint32_t length) noexcept nogil:
    """Addresses and ports change places, and no checksum notices. RFC 1624: add what an echo's type loses."""
    cdef uint32_t total
    cdef uint32_t header = (ip[0] & 15) * 4
    if length < 28 or header < 20 or length < header + 8:
        return False
    if ip[9] == PROTO_UDP or ip[9] == PROTO_TCP:
        swap(ip + header, ip + header + 2, 2)
    elif ip[9] == PROTO_ICMP and ip[header] == 8:
        ip[header] = 0
        total = be16_at(ip + header + 2) + 0x0800
        total = (total & 0xFFFF) + (total >> 16)
        ip[header + 2] = total >> 8
        ip[header + 3] = total & 0xFF
    else:
        return False
    swap(ip + 12, ip + 16, 4)
    return True


cdef void read_frames(int tap, uint8_t* room, uint64_t count, Tally* tally) noexcept nogil:
    cdef int length
    cdef uint64_t start = monotonic()
    while tally.frames < count:
        length = read_device(tap, room, MAX_RECORD)
        if length < VNET_BYTES:
            break
        tally.frames += 1
        tally.bytes += length - VNET_BYTES
    tally.nanoseconds = monotonic() - start


cdef int write_frames(
    int tap, const uint8_t* record, uint32_t length, uint64_t count, Tally* tally
) noexcept nogil:
    cdef int done
    cdef uint64_t start = monotonic()
    while tally.frames < count:
        done = write_device(tap, record, length)
        if done < 0:
            return done
        tally.frames += 1
        tally.bytes += length - VNET_BYTES
    tally.nanoseconds = monotonic() - start
    return 0


cdef void answer_frames(
    int tap, int stop, uint8_t* room, const uint8_t* mac, uint64_t deadline, Tally* tally
) noexcept nogil:
    """Until `stop` is readable or the deadline has passed."""
    cdef pollfd fds[2]
    cdef int length
    cdef uint64_t start, now
    fds[0].fd = tap
    fds[1].fd = stop
    fds[0].events = fds[1].events = POLLIN
    now = start = monotonic()
    while now < deadline:
        fds[0].revents = fds[1].revents = 0
        poll(fds, 2, WAIT_MS)
        if fds[1].revents:
            break
        while now < deadline:
            length = read_device(tap, room, MAX_RECORD)
            if length < 0:
                break
            if reflect(room, length, mac) and write_device(tap, room, length) >= 0:
                tally.frames += 1
                tally.bytes += length - VNET_BYTES
            now = monotonic()
        now = monotonic()
    tally.nanoseconds = now - start


cdef uint64_t exchange_datagrams(
    int fd, uint8_t* room, uint32_t size, uint32_t window, uint64_t count, uint64_t deadline, Tally* tally
) noexcept nogil:
    """Keep `window` datagrams on their way until `count` came back. Returns how many were given up."""
    cdef pollfd fds[1]
    cdef int length
    fds[0].fd = fd
    fds[0].events = POLLIN
    cdef uint64_t lost = 0
    cdef uint32_t flying = 0
    cdef uint64_t start = monotonic()
    while tally.frames + lost < count and monotonic() < deadline:
        while flying < window and write_device(fd, room, size) >= 0:
            flying += 1
        fds[0].revents = 0
        if poll(fds, 1, WAIT_MS) <= 0:
            lost += flying
            flying = 0
            continue
        length = read_device(fd, room, MAX_RECORD)
        while length >= 0:
            tally.frames += 1
            tally.bytes += length
            flying -= 1 if flying else 0
            length = read_device(fd, room, MAX_RECORD)
    tally.nanoseconds = monotonic() - start
    return lost


cdef class Meter:
    """Timed operations on descriptors that do not block. Each result: {"frames", "bytes", "ns"}."""

    cdef uint8_t* room

    def __init__(self):
        self.room = <uint8_t*>malloc(MAX_RECORD)
        if self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)

    def read(self, tap, count):
        """Read at most `count` frames that wait in the device."""
        cdef int fd
        cdef uint64_t limit
        fd, limit = tap, count
        cdef Tally tally = Tally(0, 0, 0)
        with nogil:
            read_frames(fd, self.room, limit, &tally)
        return {"frames": tally.frames, "bytes": tally.bytes, "ns": tally.nanoseconds}

    def write(self, tap, record, count):
        """Write one record `count` times. OSError when the device refuses it."""
        cdef int fd, failed
        cdef uint64_t limit
        cdef bytes data
        cdef uint32_t size
        fd, limit, data, size = tap, count, bytes(record), len(record)
        if size > MAX_RECORD:
            raise ValueError(f"a record has at most {MAX_RECORD} bytes")
        memcpy(self.room, <uint8_t*>data, size)
        cdef Tally tally = Tally(0, 0, 0)
        with nogil:
            failed = write_frames(fd, self.room, size, limit, &tally)
        if failed:
            raise OSError(-failed, "the device refused a frame")
        return {"frames": tally.frames, "bytes": tally.bytes, "ns": tally.nanoseconds}

    def answer(self, tap, stop, mac, seconds):
        """Answer frames until the descriptor `stop` is readable, at most `seconds`."""
        cdef int fd, end
        cdef bytes address
        fd, end, address = tap, stop, bytes(mac)
        if len(address) != 6:
            raise ValueError("a MAC address has 6 bytes")
        cdef uint64_t deadline = time.monotonic_ns() + int(seconds * 1e9)
        cdef uint8_t* at = <uint8_t*>address
        cdef Tally tally = Tally(0, 0, 0)
        with nogil:
            answer_frames(fd, end, self.room, at, deadline, &tally)
        return {"frames": tally.frames, "bytes": tally.bytes, "ns": tally.nanoseconds}

    def exchange(self, sock, size, window, count, seconds):
        """Send datagrams over a connected socket and read them back; `lost` did not return in time."""
        cdef int fd
        cdef uint32_t n, w
        cdef uint64_t limit, lost
        fd, n, w, limit = sock, size, window, count
        cdef uint64_t deadline = time.monotonic_ns() + int(seconds * 1e9)
        cdef Tally tally = Tally(0, 0, 0)
        with nogil:
            lost = exchange_datagrams(fd, self.room, n, w, limit, deadline, &tally)
        return {"frames": tally.frames, "bytes": tally.bytes, "ns": tally.nanoseconds, "lost": lost}
