"""The flight recorder: the last packets and events of a replica, in memory that outlives it (the end of its
link segment). Always on: an entry is one cache line.

Written by the replica only; read by the supervisor after its death."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.shm.atomic cimport store64

cdef enum:
    RECORDER_ENTRIES = 256          # a power of two
    RECORDED_BYTES = 48             # of a packet: IP header, TCP header, and a little
    RECORDED_FROM = 24              # of a record: behind its virtio-net and Ethernet headers

cdef enum RecordedKind:
    RECORDED_NOTHING = 0
    RECORDED_IN = 1
    RECORDED_OUT = 2
    RECORDED_EVENT = 3              # kinds (neat/stack/config.pxd), connection, errno: a word each

cdef struct Recorded:               # 64 bytes, aligned
    uint64_t at                     # CLOCK_MONOTONIC ns
    uint32_t length                 # of the whole record
    uint16_t kind                   # a RecordedKind
    uint16_t held                   # bytes of it that follow
    uint8_t bytes[RECORDED_BYTES]

cdef struct Recorder:
    uint64_t next                   # entries ever written; stored after each
    uint8_t _pad[56]
    Recorded entries[RECORDER_ENTRIES]

cdef inline void recorder_packet(
    Recorder* recorder, uint16_t kind, const uint8_t* record, uint32_t length, uint64_t now
) noexcept nogil:
    cdef Recorded* entry = &recorder.entries[recorder.next & (RECORDER_ENTRIES - 1)]
    entry.at = now
    entry.length = length
    entry.kind = kind
    entry.held = 0
    if length >= RECORDED_FROM + RECORDED_BYTES:
        entry.held = RECORDED_BYTES
        memcpy(entry.bytes, record + RECORDED_FROM, RECORDED_BYTES)
    elif length > RECORDED_FROM:
        entry.held = <uint16_t>(length - RECORDED_FROM)
        memcpy(entry.bytes, record + RECORDED_FROM, entry.held)
    store64(&recorder.next, recorder.next + 1)

cdef inline void recorder_event(
    Recorder* recorder, uint32_t kinds, int32_t conn, int32_t error, uint64_t now
) noexcept nogil:
    cdef Recorded* entry = &recorder.entries[recorder.next & (RECORDER_ENTRIES - 1)]
    entry.at = now
    entry.length = 0
    entry.kind = RECORDED_EVENT
    entry.held = 12
    memcpy(entry.bytes, &kinds, 4)
    memcpy(entry.bytes + 4, &conn, 4)
    memcpy(entry.bytes + 8, &error, 4)
    store64(&recorder.next, recorder.next + 1)
