"""The volatile half of a connection (Tcb) and TCP's private memory. What must survive the process is in ConnSlot."""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from neat.shim.channel cimport neat_sock
from neat.stack.events cimport EventNode
from neat.stack.state cimport ConnSlot
from neat.wire.flow cimport FlowKey

cdef enum:
    OOO_MAX = 16                    # intervals of out-of-order data kept for a connection
    NO_INDEX = 0xFFFFFFFF

cdef struct Interval:               # sequence numbers, start <= x < end
    uint32_t start, end

cdef struct TcpPrivate:
    void* memory
