"""A TCP segment: parsed from a Packet, and written into a record (RFC 9293 §3.1, options RFC 7323)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from neat.stack.packet cimport Packet
from neat.stack.types cimport Stack

cdef enum:
    TCP_HEADER = 20
    TS_OPTION = 12                  # with two NOPs before it; on a SYN SACK-permitted takes their place
    MAX_SACK_BLOCKS = 4
    NO_WSCALE = 255
    MAX_WSCALE = 14                 # RFC 7323 §2.3

cdef struct Segment:                # SEG.* of RFC 9293 §3.3.1
    uint16_t local_port, remote_port
    uint32_t seq, ack
    uint32_t wnd                    # as in the header, not scaled
    uint32_t len                    # sequence space: text, SYN and FIN
    uint8_t flags
    uint8_t wscale                  # NO_WSCALE: none
    bint has_ts
    bint sack_ok
    uint8_t poison                  # neat/stack/poison.pxd; 0: none
    uint16_t mss                    # 0: none
    uint32_t tsval, tsecr
    uint32_t blocks                 # of SACK
    uint32_t sack[2 * MAX_SACK_BLOCKS]  # their edges, as in Outgoing
    uint8_t* text
    uint32_t text_len

# Safe to parse? Counts and returns False if not. Caller looks at nothing of the segment then.
cdef bint segment_parse(Stack* stack, Packet* packet, Segment* seg) noexcept nogil

cdef struct Outgoing:               # what goes into a header
    uint16_t local_port, remote_port
    uint32_t seq, ack
    uint16_t wnd
    uint8_t flags
    uint8_t wscale                  # SYN: NO_WSCALE for none
    uint16_t mss                    # SYN: 0 for none
    bint sack_ok                    # SYN: SACK-permitted
    bint has_ts
    uint32_t tsval, tsecr
    uint32_t blocks                 # of SACK
    uint32_t sack[2 * MAX_SACK_BLOCKS]  # their edges: left, right, left, ...

# Bytes of the header with its options.
cdef inline uint32_t outgoing_bytes(const Outgoing* out) noexcept nogil:
    cdef uint32_t options = (4 if out.mss else 0) + (4 if out.wscale != NO_WSCALE else 0)
    if out.has_ts:
        options += TS_OPTION
    elif out.sack_ok:
        options += 4
    return TCP_HEADER + options + (4 + 8 * out.blocks if out.blocks else 0)

cdef void segment_write(uint8_t* l4, const Outgoing* out) noexcept nogil
# Finish a frame whose header and text are in place: checksum, partial or full, and the virtio-net header.
# gso: MSS, 0 for one segment.
cdef void segment_finish(
    Stack* stack, uint8_t* record, uint32_t l4_at, uint32_t header_bytes, uint32_t l4_bytes, uint32_t gso,
    const uint8_t* source, const uint8_t* destination
) noexcept nogil
