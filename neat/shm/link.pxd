"""Segment link k: layout (link.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    LINK_MAGIC = 0x4B4E494C
    LINK_VERSION = 2
    LINK_HEADER = 4096
    INTAKE_CAPACITY = 1 << 18       # small, so that it stays in the cache; it holds a burst at least

# What is being read into the intake. The replica writes it; its successor reads it.
cdef struct Intake:                 # 64 bytes; the ring is behind it
    uint64_t pending                # position + 1 of the room that a system call fills, or has filled
    # where the text was to go, if the frame was what we expected (neat.stack.engine.stack_guess)
    uint64_t offset                 # in the stream
    uint32_t conn                   # index + 1; 0: into the room
    uint32_t header                 # bytes before the text
    uint32_t room                   # bytes of text that go there; the rest is where it belongs in the record
    uint8_t _reserved[36]

cdef struct LinkHeader:
    uint32_t magic
    uint32_t version
    uint64_t rx_capacity
    uint64_t tx_capacity
