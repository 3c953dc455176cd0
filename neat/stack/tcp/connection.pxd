"""The life of a connection: slot, Tcb and socket object are taken together and given back together.

Order of the writes: a slot's `state` last at birth and first at death, so a successor never sees half a
connection."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from neat.abi.channel cimport neat_addr
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Channel, Stack
from neat.wire.flow cimport FlowKey

# Queue a FLOW_ADD, FLOW_FADES or FLOW_DELETE for the driver. Full: dropped and counted; the driver's table
# ages.
cdef void flow_record(Stack* stack, const FlowKey* key, uint32_t type) noexcept nogil

# A new connection, in the hash; NULL when there is no slot (counted). Caller must fill in the slot, then set
# its state.
cdef Tcb* conn_birth(Stack* stack, const FlowKey* key, uint32_t iss) noexcept nogil
# Give it a socket object. 0, -ENOSPC (counted).
cdef int conn_take_sock(Stack* stack, Tcb* tcb, Channel* channel) noexcept nogil
cdef void conn_set_state(Tcb* tcb, uint32_t state) noexcept nogil
cdef void conn_status(Tcb* tcb, uint32_t bits) noexcept nogil          # or-s neat_status bits in
cdef void conn_event(Stack* stack, Tcb* tcb, uint32_t kinds) noexcept nogil
# What holds now, as kinds of events, from what the engine itself knows.
cdef uint32_t conn_ready(Tcb* tcb) noexcept nogil
# accept() has taken it: EV_TAKEN, once.
cdef void conn_taken(Stack* stack, Tcb* tcb) noexcept nogil
# Or it died first: it no longer counts against its listener's backlog.
cdef void conn_leave_backlog(Stack* stack, Tcb* tcb) noexcept nogil
# It is over on the wire: no segments, no timers. error 0: in order. The socket stays for the application
# until stack_close; an orphan is freed at once. keep_flow: a WaitSlot stands in for it.
cdef void conn_over(Stack* stack, Tcb* tcb, int32_t error, bint keep_flow) noexcept nogil
# Free slot and sock. The indexes are reused only after the process was told (EV_FREED), if it ever knew of
# them.
cdef void conn_free(Stack* stack, Tcb* tcb) noexcept nogil
cdef void conn_release(Stack* stack, Tcb* tcb) noexcept nogil
# Copy what TCP_INFO shows into the socket object.
cdef void conn_publish(Tcb* tcb) noexcept nogil

# One end of a flow, as applications see it: the key's `local` or `remote` with its port.
cdef void put_address(
    neat_addr* addr, const FlowKey* key, const uint8_t* address, uint16_t port
) noexcept nogil
