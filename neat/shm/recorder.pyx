"""The flight recorder as Python sees it: what a dead replica has left, from a copy. Any bytes at all."""

import ipaddress
import struct

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

RECORDER_BYTES = sizeof(Recorder)
WAYS = {RECORDED_IN: "in", RECORDED_OUT: "out"}
EVENTS = (
    "accept", "connected", "readable", "writable", "rdhup", "closed", "reset", "freed", "notify", "taken"
)
FLAGS = "FSRP.UEW"


def recorded(bytes memory not None):
    """(ns on CLOCK_MONOTONIC, words) of each entry, oldest first. memory: RECORDER_BYTES of a segment."""
    cdef Recorder copy
    cdef uint64_t number
    if len(memory) != sizeof(Recorder):
        return []
    memcpy(&copy, <const char*>memory, sizeof(Recorder))
    found = []
    first = copy.next - RECORDER_ENTRIES if copy.next > RECORDER_ENTRIES else 0
    for number in range(first, copy.next):
        entry = &copy.entries[number & (RECORDER_ENTRIES - 1)]
        held = bytes(entry.bytes[:RECORDED_BYTES])[: entry.held]
        if entry.kind in WAYS:
            found.append((entry.at, f"{WAYS[entry.kind]} {packet(held, entry.length)}"))
        elif entry.kind == RECORDED_EVENT and len(held) == 12:
            kinds, conn, error = struct.unpack("<Iii", held)
            names = [name for bit, name in enumerate(EVENTS) if kinds >> bit & 1]
            what = f"event {','.join(names)} of {conn}"
            found.append((entry.at, f"{what}, error {error}" if error else what))
    return found


def packet(bytes ip, uint32_t length):
    """One line. length: of the record."""
    size = (ip[0] & 15) * 4 if ip else 0
    if len(ip) < 20 or ip[0] >> 4 != 4 or size < 20:
        return f"{length} bytes, no IPv4"
    source, destination = (ipaddress.ip_address(ip[at : at + 4]) for at in (12, 16))
    transport = ip[size:]
    if ip[9] not in (6, 17) or len(transport) < 8:
        return f"{source} > {destination} protocol {ip[9]}, {length} bytes"
    ports = struct.unpack_from("!HH", transport)
    ends = f"{source}:{ports[0]} > {destination}:{ports[1]}"
    if ip[9] == 17 or len(transport) < 16:
        return f"{ends} {'udp' if ip[9] == 17 else 'tcp'}, {length} bytes"
    seq, ack, _offset, bits, window = struct.unpack_from("!IIBBH", transport, 4)
    flags = "".join(letter for bit, letter in enumerate(FLAGS) if bits >> bit & 1)
    return f"{ends} tcp {flags or '-'} seq {seq} ack {ack} win {window}, {length} bytes"


def time_notes(const uint8_t[::1] record not None, uint32_t count):
    """Nanoseconds to note a packet, the mean of `count` times."""
    cdef Recorder recorder
    cdef timespec begin, end
    cdef uint32_t i
    memset(&recorder, 0, sizeof(Recorder))
    clock_gettime(CLOCK_MONOTONIC, &begin)
    for i in range(count):
        recorder_packet(&recorder, RECORDED_IN, &record[0], <uint32_t>record.shape[0], i)
    clock_gettime(CLOCK_MONOTONIC, &end)
    return ((end.tv_sec - begin.tv_sec) * 1_000_000_000 + end.tv_nsec - begin.tv_nsec) / count
