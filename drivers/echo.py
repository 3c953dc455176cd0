# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The device's own cost, measured in compiled loops. Used by neat.drivers.limit."""

import time

import cython
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy


@cython.locals(i=cython.uint, byte=cython.uchar)
def swap(a, b, length):
    for i in range(length):
        byte = a[i]
        a[i] = b[i]
        b[i] = byte


@cython.locals(frame="uint8_t*", ethertype=cython.uint)
def reflect(record, length, mac):
    if length < VNET_BYTES + ETHERNET_BYTES:
        return False
    frame = record + VNET_BYTES
    length -= VNET_BYTES + ETHERNET_BYTES
    ethertype = be16_at(frame + 12)
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


def reflect_arp(arp, length, mac):
    """RFC 826: the reply has the roles of sender and target exchanged."""
    if length < 28 or be16_at(arp + 6) != 1:
        return False
    arp[7] = 2
    swap(arp + 8, arp + 18, 10)
    memcpy(arp + 8, mac, 6)
    return True


@cython.locals(header=cython.uint, total=cython.uint)
def reflect_ip(ip, length):
    """Addresses and ports change places, and no checksum notices. RFC 1624: add what an echo's type loses."""
    header = (ip[0] & 15) * 4
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


@cython.locals(start=cython.ulonglong, length=cython.int)
def read_frames(tap, room, count, tally):
    start = monotonic()
    while tally.frames < count:
        length = read_device(tap, room, MAX_RECORD)
        if length < VNET_BYTES:
            break
        tally.frames += 1
        tally.bytes += length - VNET_BYTES
    tally.nanoseconds = monotonic() - start


@cython.locals(start=cython.ulonglong, done=cython.int)
def write_frames(tap, record, length, count, tally):
    start = monotonic()
    while tally.frames < count:
        done = write_device(tap, record, length)
        if done < 0:
            return done
        tally.frames += 1
        tally.bytes += length - VNET_BYTES
    tally.nanoseconds = monotonic() - start
    return 0


@cython.locals(fds=pollfd[2], length=cython.int, start=cython.ulonglong, now=cython.ulonglong)
def answer_frames(tap, stop, room, mac, deadline, tally):
    """Until `stop` is readable or the deadline has passed."""
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


@cython.locals(
    fds=pollfd[1], lost=cython.ulonglong, flying=cython.uint, start=cython.ulonglong, length=cython.int
)
def exchange_datagrams(fd, room, size, window, count, deadline, tally):
    """Keep `window` datagrams on their way until `count` came back. Returns how many were given up."""
    fds[0].fd = fd
    fds[0].events = POLLIN
    lost = 0
    flying = 0
    start = monotonic()
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


class Meter:
    """Timed operations on descriptors that do not block. Each result: {"frames", "bytes", "ns"}."""

    def __init__(self):
        self.room = cython.cast("uint8_t*", malloc(MAX_RECORD))
        if self.room == cython.NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)

    @cython.locals(fd=cython.int, limit=cython.ulonglong, tally=Tally)
    def read(self, tap, count):
        """Read at most `count` frames that wait in the device."""
        fd, limit = tap, count
        tally = Tally(0, 0, 0)
        with cython.nogil:
            read_frames(fd, self.room, limit, cython.address(tally))
        return {"frames": tally.frames, "bytes": tally.bytes, "ns": tally.nanoseconds}

    @cython.locals(
        fd=cython.int, limit=cython.ulonglong, tally=Tally, data=bytes, size=cython.uint, failed=cython.int
    )
    def write(self, tap, record, count):
        """Write one record `count` times. OSError when the device refuses it."""
        fd, limit, data, size = tap, count, bytes(record), len(record)
        if size > MAX_RECORD:
            raise ValueError(f"a record has at most {MAX_RECORD} bytes")
        memcpy(self.room, cython.cast("uint8_t*", data), size)
        tally = Tally(0, 0, 0)
        with cython.nogil:
            failed = write_frames(fd, self.room, size, limit, cython.address(tally))
        if failed:
            raise OSError(-failed, "the device refused a frame")
        return {"frames": tally.frames, "bytes": tally.bytes, "ns": tally.nanoseconds}

    @cython.locals(
        fd=cython.int, end=cython.int, tally=Tally, address=bytes, at="uint8_t*", deadline=cython.ulonglong
    )
    def answer(self, tap, stop, mac, seconds):
        """Answer frames until the descriptor `stop` is readable, at most `seconds`."""
        fd, end, address = tap, stop, bytes(mac)
        if len(address) != 6:
            raise ValueError("a MAC address has 6 bytes")
        deadline = time.monotonic_ns() + int(seconds * 1e9)
        at = cython.cast("uint8_t*", address)
        tally = Tally(0, 0, 0)
        with cython.nogil:
            answer_frames(fd, end, self.room, at, deadline, cython.address(tally))
        return {"frames": tally.frames, "bytes": tally.bytes, "ns": tally.nanoseconds}

    @cython.locals(
        fd=cython.int, n=cython.uint, w=cython.uint, limit=cython.ulonglong, deadline=cython.ulonglong
    )
    @cython.locals(tally=Tally, lost=cython.ulonglong)
    def exchange(self, sock, size, window, count, seconds):
        """Send datagrams over a connected socket and read them back; `lost` did not return in time."""
        fd, n, w, limit = sock, size, window, count
        deadline = time.monotonic_ns() + int(seconds * 1e9)
        tally = Tally(0, 0, 0)
        with cython.nogil:
            lost = exchange_datagrams(fd, self.room, n, w, limit, deadline, cython.address(tally))
        return {"frames": tally.frames, "bytes": tally.bytes, "ns": tally.nanoseconds, "lost": lost}
