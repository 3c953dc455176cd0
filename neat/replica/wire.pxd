"""A replica's wire: where its frames come from, and where they go. Two kinds behind one face, so that neither
the loop nor the engine knows which it has (docs/contracts/steering.md, "Two datapaths").

The *ring*: all frames go over the driver, through the two rings of the link.

The *queue*: it reads and writes a queue of the device by itself. What the driver has for it (frames that the
kernel does not steer, frames to the stack's own address, news of lost flows) comes over the link's receive
ring, and what only the driver may do (the stack's own address, the SYN of a flow that it is to learn) goes
over the transmit ring.

Either way the engine reads one ring, `Process.rx`, whose positions say what was done when a replica dies. For
a queue that is the link's *intake*: the replica itself fills it, with one frame at a time from the queue, or
a record of the link."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from neat.replica.process cimport Process
from neat.shm.ring cimport RecordHeader

# link_rx, link_tx, intake: where the rings start; capacity: of the link's. queue: a non-blocking descriptor
# of the device, -1 for a wire that is a ring. 0, or -1: a ring of the link makes no sense, or no memory.
cdef int wire_open(
    Process* p, void* link_rx, void* link_tx, void* intake, uint64_t capacity, int queue
) noexcept nogil
# A successor without its predecessor's state: what lies in the rings belongs to that one.
cdef void wire_discard(Process* p) noexcept nogil
# A successor with it: a frame that the predecessor read, and did not come to publish, is there to be read.
cdef void wire_recover(Process* p) noexcept nogil

# The next record to be processed, as ring_peek has it; NULL: nothing for now. Consume it by
# ring_advance(&p.rx).
cdef RecordHeader* wire_next(Process* p) noexcept nogil
# Where the engine writes its next frame (MAX_RECORD bytes); NULL: there is no room for now.
cdef uint8_t* wire_room(Process* p) noexcept nogil
# What it wrote there leaves. A queue loses what it has no room for, as a device does.
cdef void wire_send(Process* p, const uint8_t* record, uint32_t length, uint16_t type) noexcept nogil
# Give the driver what is for it, and the room of what was received.
cdef void wire_publish(Process* p) noexcept nogil

# The way to sleep, as a ring's: flags first, then a last look. False: there is something to do.
cdef bint wire_prepare_sleep(Process* p) noexcept nogil
cdef void wire_cancel_sleep(Process* p) noexcept nogil
