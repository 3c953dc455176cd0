"""The packet filter of an engine: what becomes of a packet, by the rules that count when it comes
(docs/contracts/filter.md). Without rules it costs a comparison.

It says what is to be done, and does nothing but count, log and remember: who asks answers a packet that is
refused."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.shm.atomic cimport load64
from neat.stack.packet cimport Packet
from neat.stack.types cimport Stack

# What became of a packet. code: of the ICMP error of a VERDICT_REJECT.
cdef struct Judgement:
    uint8_t verdict                 # VERDICT_ACCEPT, DROP, REJECT or RESET
    uint8_t code

# header: a filter segment; rates, own (number `area`), areas (`many`): of the track segment. 0, or -ENOMEM.
cdef int filter_attach(
    Stack* stack, const void* header, void* rates, void* own, const void* areas, uint32_t area, uint32_t many
) noexcept nogil
cdef void filter_detach(Stack* stack) noexcept nogil

# Take up the rules that count now. Whole and sound, or the old ones stay, and it is counted.
cdef void filter_take_up(Stack* stack) noexcept nogil
cdef Judgement filter_input(Stack* stack, const Packet* packet) noexcept nogil
# record: a frame that is about to leave, of which at least the headers are there.
cdef Judgement filter_output(Stack* stack, const uint8_t* record, uint32_t length) noexcept nogil

# Whether there is anything to ask: before each packet.
cdef inline bint filter_acts(Stack* stack) noexcept nogil:
    if stack.filter.header == NULL:
        return False
    if load64(<uint64_t*>&stack.filter.header.generation) != stack.filter.generation:
        filter_take_up(stack)
    return stack.filter.active
