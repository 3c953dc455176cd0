"""Classification, hash and steering as Python sees them: for tests and tools."""
import ipaddress

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from neat.drivers cimport classify as packets, flows as tables, steer, toeplitz as hashing
from neat.drivers.state cimport monotonic
from neat.shm.board cimport BOARD_COUNTERS, BoardPage
from neat.shm.steering cimport STEERING_HEADER, FlowEntry, SteeringHeader
from neat.wire.flow cimport FlowKey

from neat.drivers.classify import FragmentPart, PacketKind

FLOW_WINDOW = tables.FLOW_WINDOW
HEADERS_MAX = packets.HEADERS_MAX


cdef int fill_key(FlowKey* flow, key) except -1:
    """key: (protocol, local, local_port, remote, remote_port), addresses as text."""
    protocol, local, local_port, remote, remote_port = key
    cdef bytes here = ipaddress.ip_address(local).packed
    cdef bytes there = ipaddress.ip_address(remote).packed
    if len(here) != len(there):
        raise ValueError(f"{local} and {remote} are of different families")
    memset(flow, 0, sizeof(FlowKey))
    flow.family = 6 if len(here) == 16 else 4
    flow.protocol = protocol
    flow.local_port = local_port
    flow.remote_port = remote_port
    memcpy(flow.local, <const uint8_t*>here, len(here))
    memcpy(flow.remote, <const uint8_t*>there, len(there))
    return 0


def flow_key(protocol, local, local_port, remote, remote_port):
    """The 40 bytes of a FlowKey; addresses as text. What a FLOW_ADD or FLOW_DELETE record carries."""
    cdef FlowKey flow
    fill_key(&flow, (protocol, local, local_port, remote, remote_port))
    return (<const uint8_t*>&flow)[:sizeof(FlowKey)]


def toeplitz(bytes key not None, remote, local, ports=None):
    """The hash of a packet from `remote` to `local`, addresses as text; ports: (remote, local)."""
    cdef hashing.Toeplitz table
    cdef FlowKey flow
    if len(key) != hashing.TOEPLITZ_KEY:
        raise ValueError(f"an RSS key has {hashing.TOEPLITZ_KEY} bytes, not {len(key)}")
    remote_port, local_port = ports or (0, 0)
    fill_key(&flow, (0, local, local_port, remote, remote_port))
    hashing.toeplitz_init(&table, key)
    return hashing.toeplitz_flow(&table, &flow, ports is not None)


def classify(const uint8_t[::1] record not None, bint outgoing=False):
    """What classify_record makes of a record, as a dict. Addresses as text, None where there are none."""
    cdef packets.Packet packet
    cdef uint32_t length = <uint32_t>record.shape[0]
    packets.classify_record(&record[0] if length else <const uint8_t*>b"", length, outgoing, &packet)
    width = {4: 4, 6: 16}.get(packet.key.family, 0)
    return {
        "kind": PacketKind(packet.kind),
        "fragment": FragmentPart(packet.fragment),
        "fragment_id": packet.fragment_id,
        "tcp_flags": packet.tcp_flags,
        "protocol": packet.key.protocol,
        "local": str(ipaddress.ip_address((<const uint8_t*>packet.key.local)[:width])) if width else None,
        "remote": str(ipaddress.ip_address((<const uint8_t*>packet.key.remote)[:width])) if width else None,
        "local_port": packet.key.local_port,
        "remote_port": packet.key.remote_port,
    }


cdef class Steering:
    """The driver's view of a steering segment in a writable buffer, with counters of its own."""

    cdef steer.Steering* steering
    cdef Py_buffer memory
    cdef BoardPage page
    cdef bint held

    def __cinit__(self, memory, uint32_t flow_capacity):
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        self.held = True
        if self.memory.len < STEERING_HEADER + <Py_ssize_t>flow_capacity * <Py_ssize_t>sizeof(FlowEntry):
            raise ValueError(
                f"a flow table of {flow_capacity} entries does not fit into {self.memory.len} bytes"
            )
        self.steering = <steer.Steering*>calloc(1, sizeof(steer.Steering))
        if self.steering == NULL:
            raise MemoryError()
        cdef uint8_t* start = <uint8_t*>self.memory.buf
        cdef FlowEntry* entries = <FlowEntry*>(start + STEERING_HEADER)
        if steer.steer_attach(self.steering, <SteeringHeader*>start, entries, flow_capacity, &self.page) < 0:
            raise ValueError(f"a flow table of {flow_capacity} entries: must be a power of two")

    def __dealloc__(self):
        free(self.steering)
        if self.held:
            PyBuffer_Release(&self.memory)

    def clock(self, uint64_t now):
        """Nanoseconds."""
        steer.steer_clock(self.steering, now)

    def count(self, uint32_t counter):
        """The value of a DriverCounter."""
        if counter >= BOARD_COUNTERS:
            raise IndexError(counter)
        return self.page.counters[counter]

    def flows(self, uint32_t replica):
        """How many entries of the flow table belong to a slot."""
        if replica >= tables.MAX_REPLICAS:
            raise IndexError(replica)
        return tables.flows_of(&self.steering.flows, replica)

    def take_counts(self):
        """What the steering program has counted is counted here from now on."""
        tables.flows_take_counts(&self.steering.flows)

    def arrive(self, const uint8_t[::1] record not None):
        """The replica that a record from the wire goes to, "all", or "drop"."""
        cdef packets.Packet packet
        packets.classify_record(&record[0], <uint32_t>record.shape[0], False, &packet)
        replica = steer.steer_arrival(self.steering, &packet)
        return {steer.STEER_ALL: "all", steer.STEER_DROP: "drop"}.get(replica, replica)

    def time_arrivals(self, const uint8_t[::1] record not None, uint32_t count):
        """Nanoseconds to classify and steer a record from the wire, the mean of `count` times."""
        cdef packets.Packet packet
        cdef uint32_t _time
        cdef uint64_t start = monotonic()
        for _time in range(count):
            packets.classify_record(&record[0], <uint32_t>record.shape[0], False, &packet)
            steer.steer_arrival(self.steering, &packet)
        return (monotonic() - start) / count

    def depart(self, const uint8_t[::1] record not None, uint32_t replica):
        cdef packets.Packet packet
        packets.classify_record(&record[0], <uint32_t>record.shape[0], True, &packet)
        steer.steer_departure(self.steering, &packet, replica)

    def add(self, key, uint32_t replica):
        """key: (protocol, local, local port, remote, remote port). False when it is another replica's."""
        cdef FlowKey flow
        fill_key(&flow, key)
        return steer.steer_add(self.steering, &flow, replica) == 0

    def fade(self, key, uint32_t replica):
        cdef FlowKey flow
        fill_key(&flow, key)
        return steer.steer_fade(self.steering, &flow, replica) == 0

    def delete(self, key, uint32_t replica):
        cdef FlowKey flow
        fill_key(&flow, key)
        return steer.steer_delete(self.steering, &flow, replica) == 0

    def learn(self, key, uint32_t replica, uint32_t state):
        """Straight into the flow table. False when its window is full of live flows."""
        cdef FlowKey flow
        fill_key(&flow, key)
        return tables.flow_learn(&self.steering.flows, &flow, replica, state) != NULL

    def find(self, key):
        """(replica, state) of a flow, or None."""
        cdef FlowKey flow
        fill_key(&flow, key)
        cdef FlowEntry* entry = tables.flow_find(&self.steering.flows, &flow)
        return None if entry == NULL else (entry.replica, entry.state)

    def place(self, key):
        """Which entry of the flow table find() finds, or None."""
        cdef FlowKey flow
        fill_key(&flow, key)
        cdef FlowEntry* entry = tables.flow_find(&self.steering.flows, &flow)
        return None if entry == NULL else entry - self.steering.flows.entries

    def follow(self):
        """The supervisor has changed page 0."""
        steer.steer_follow(self.steering)

    def check(self):
        """Free what is not valid, or void."""
        tables.flows_check(&self.steering.flows)
