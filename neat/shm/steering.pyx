"""The steering segment as the supervisor writes it and `neat status` reads it. The layout is in steering.pxd.

The driver reads page 0 with the structs of steering.pxd, and writes the flow table behind it; so does the
program in the kernel, by the offsets that layout() has.
"""

import ipaddress
from dataclasses import dataclass

from neat.shm import bpf, segment as segments
from neat.shm.rss_key import draw
from neat.shm.segment import PAGE, Segment, SegmentError, page_align

from libc.stdint cimport uint8_t, uint32_t, uintptr_t
from libc.string cimport memcpy, memset
from neat.shm.atomic cimport load32, store32, store64
from neat.wire.flow cimport FlowKey

ENTRIES = INDIRECTION_ENTRIES
SLOTS = MAX_REPLICAS
NOBODY = NO_REPLICA


def steering_bytes(flow_capacity):
    """Size of a steering segment with so many flow entries, a power of two."""
    if flow_capacity < 64 or flow_capacity & (flow_capacity - 1) or flow_capacity > 1 << 24:
        raise SegmentError(
            f"a flow table of {flow_capacity} entries: must be a power of two from 64 to 2**24"
        )
    return page_align(STEERING_HEADER + flow_capacity * sizeof(FlowEntry))


def create(flow_capacity, *, kernel=False):
    """A new steering segment, initialised: its descriptor. kernel: as a BPF map, which a program in the
    kernel can read and write too; BpfError when there can be none."""
    size = steering_bytes(flow_capacity)
    fd = bpf.array("neat_steering", size) if kernel else segments.create("steering", size)
    initialise(fd, flow_capacity)
    return fd


def initialise(fd, flow_capacity, rss_key=None):
    """Write page 0 of a steering segment that was just created: all slots absent, a random RSS key
    (neat/shm/rss_key.py)."""
    rss_key = draw() if rss_key is None else bytes(rss_key)
    if len(rss_key) != RSS_KEY_BYTES:
        raise ValueError(f"an RSS key has {RSS_KEY_BYTES} bytes, not {len(rss_key)}")
    segment = Segment(fd, steering_bytes(flow_capacity), length=PAGE)
    header = <SteeringHeader*><uintptr_t>segment.address
    header.flow_capacity = flow_capacity
    memcpy(header.rss_key, <const uint8_t*><bytes>rss_key, RSS_KEY_BYTES)
    memset(header.indirection, NO_REPLICA, INDIRECTION_ENTRIES)
    header.format = STEERING_VERSION
    header.magic = STEERING_MAGIC


def balance(table, accepting):
    """`table`, changed as little as possible, with an even share (to within one) for each slot that accepts.

    An entry whose slot no longer accepts goes to the slots that have least; a new slot takes its share
    from those that have more than theirs; all other entries stay where they are.
    """
    if not accepting:
        return bytes([NOBODY]) * len(table)
    owned = {slot: [i for i, owner in enumerate(table) if owner == slot] for slot in sorted(accepting)}
    share, extra = divmod(len(table), len(owned))
    result = [NOBODY] * len(table)
    quota = {}
    for rank, slot in enumerate(sorted(owned, key=lambda slot: -len(owned[slot]))):
        quota[slot] = share + (rank < extra)
        for i in owned[slot][: quota[slot]]:
            result[i] = slot
    missing = {slot: quota[slot] - len(owned[slot]) for slot in owned}
    for i, owner in enumerate(result):
        if owner == NOBODY:
            slot = max(missing, key=missing.__getitem__)
            result[i] = slot
            missing[slot] -= 1
    return bytes(result)


@dataclass(frozen=True)
class SlotStatus:
    slot: int
    state: int
    epoch: int
    entries: int  # of the indirection table

    @property
    def state_name(self) -> str:
        names = {1: "starting", 2: "active", 3: "recovering", 4: "terminating"}
        return names.get(self.state, "absent")


cdef class Steering:
    """A mapped steering segment. Writable for the supervisor, read-only for everybody else."""

    cdef SteeringHeader* header
    cdef FlowEntry* flows
    cdef readonly object segment
    cdef readonly uint32_t flow_capacity

    def __init__(self, fd, flow_capacity, *, writable=False):
        self.segment = Segment(fd, steering_bytes(flow_capacity), writable=writable)
        self.header = <SteeringHeader*><uintptr_t>self.segment.address
        self.flows = <FlowEntry*><uintptr_t>(self.segment.address + STEERING_HEADER)
        self.flow_capacity = flow_capacity
        if self.header.magic != STEERING_MAGIC or self.header.format != STEERING_VERSION:
            raise SegmentError(f"descriptor {fd} is no steering segment of version {STEERING_VERSION}")
        if self.header.flow_capacity != flow_capacity:
            raise SegmentError(
                f"steering segment {fd} has {self.header.flow_capacity} flows instead of {flow_capacity}"
            )

    @property
    def version(self):
        return load32(&self.header.version)

    @property
    def rss_key(self):
        return bytes(self.header.rss_key[:RSS_KEY_BYTES])

    @property
    def indirection(self):
        """The table as bytes, a slot each; NOBODY where none accepts."""
        return bytes(self.header.indirection[:INDIRECTION_ENTRIES])

    def slot(self, slot):
        cdef uint32_t i = self.check_slot(slot)
        table = self.indirection
        return SlotStatus(
            slot, load32(&self.header.slots[i].state), load32(&self.header.slots[i].epoch), table.count(i)
        )

    def slots(self):
        """SlotStatus of all slots."""
        return [self.slot(slot) for slot in range(SLOTS)]

    def set_state(self, slot, state):
        """Change the state of a slot (SlotState); only active ones have entries in the indirection table."""
        cdef uint32_t i = self.check_slot(slot)
        self.check_writable()
        if int(state) not in range(SLOT_TERMINATING + 1):
            raise ValueError(f"{state} is no state of a slot")
        store32(&self.header.slots[i].state, int(state))
        self.rebuild()

    def bump_epoch(self, slot):
        """The connections of a slot are gone: its entries in the flow table are void. The new epoch."""
        cdef uint32_t i = self.check_slot(slot)
        self.check_writable()
        store32(&self.header.slots[i].epoch, self.header.slots[i].epoch + 1)
        self.publish()
        return self.header.slots[i].epoch

    def rebuild(self):
        """Balance the table over the active slots. A supervisor that takes over calls it once: its
        predecessor may have died between two writes."""
        cdef uint32_t i
        self.check_writable()
        accepting = {s.slot for s in self.slots() if s.state == SLOT_ACTIVE}
        for i, owner in enumerate(balance(self.indirection, accepting)):
            self.header.indirection[i] = owner
        self.publish()

    def quarantine(self, address, protocol, port, until):
        """Have the driver drop packets from this source until then (ns on CLOCK_MONOTONIC). `protocol` 0: all
        that is of no live flow. The entry that ends first makes room."""
        cdef Quarantine* entry = NULL
        cdef uint32_t i
        self.check_writable()
        packed = ipaddress.ip_address(address).packed
        family = 4 if len(packed) == 4 else 6
        packed = packed.ljust(16, b"\0")
        for i in range(<uint32_t>QUARANTINES):
            old = &self.header.quarantine[i]
            same = (old.family, old.protocol, old.port) == (family, protocol, port)
            if same and bytes(old.address[:16]) == packed:
                entry = old
                break
            if entry == NULL or old.until < entry.until:
                entry = old
        store64(&entry.until, 0)
        entry.family = family
        entry.protocol = protocol
        entry.port = port
        memcpy(entry.address, <const uint8_t*><bytes>packed, 16)
        store64(&entry.until, until)
        store64(&self.header.quarantined, max(until, self.header.quarantined))
        self.publish()

    def quarantined(self, now):
        """(address, protocol, port, until) of each source that is in quarantine at `now` (ns)."""
        cdef uint32_t i
        found = []
        for i in range(<uint32_t>QUARANTINES):
            entry = &self.header.quarantine[i]
            if entry.until > now:
                packed = bytes(entry.address[: 16 if entry.family == 6 else 4])
                found.append((str(ipaddress.ip_address(packed)), entry.protocol, entry.port, entry.until))
        return found

    def flow_counts(self):
        """Flows of each slot in its present epoch. Reads the whole table: for status, not for a loop."""
        cdef uint32_t counts[16]
        memset(counts, 0, sizeof(counts))
        count_flows(self.header, self.flows, self.flow_capacity, counts)
        return [counts[i] for i in range(SLOTS)]

    def publish(self):
        store32(&self.header.version, self.header.version + 1)

    def check_slot(self, slot):
        if slot not in range(SLOTS):
            raise ValueError(f"slot {slot}: must be 0 to {SLOTS - 1}")
        return slot

    def check_writable(self):
        if not self.segment.writable:
            raise SegmentError("this mapping of the steering segment is read-only")


cdef void count_flows(
    SteeringHeader* header, FlowEntry* flows, uint32_t capacity, uint32_t* counts
) noexcept nogil:
    for i in range(capacity):
        state = load32(&flows[i].state)
        slot = flows[i].replica
        if not FLOW_FREE < state <= FLOW_LIVE or slot >= MAX_REPLICAS:
            continue
        if flows[i].epoch == header.slots[slot].epoch:
            counts[slot] += 1


def layout():
    """(name, size or offset in the segment or entry) of what other languages and tests rely on."""
    cdef SteeringHeader* header = NULL
    cdef ReplicaSlot* slot = NULL
    cdef Quarantine* quarantine = NULL
    cdef FlowEntry* entry = NULL
    return {
        "SteeringHeader": sizeof(SteeringHeader),
        "ReplicaSlot": sizeof(ReplicaSlot),
        "Quarantine": sizeof(Quarantine),
        "FlowEntry": sizeof(FlowEntry),
        "FlowKey": sizeof(FlowKey),
        "indirection": <size_t>&header.indirection,
        "slots": <size_t>&header.slots,
        "quarantine": <size_t>&header.quarantine,
        "quarantined": <size_t>&header.quarantined,
        "learnt": <size_t>&header.program.learnt,
        "evicted": <size_t>&header.program.evicted,
        "full": <size_t>&header.program.full,
        "program.flows": <size_t>&header.program.flows,
        "flows": STEERING_HEADER,
        "slot.state": <size_t>&slot.state,
        "slot.epoch": <size_t>&slot.epoch,
        "quarantine.until": <size_t>&quarantine.until,
        "quarantine.family": <size_t>&quarantine.family,
        "quarantine.address": <size_t>&quarantine.address,
        "flow.key": <size_t>&entry.key,
        "flow.local": <size_t>&entry.key.local,
        "flow.remote": <size_t>&entry.key.remote,
        "flow.state": <size_t>&entry.state,
        "flow.epoch": <size_t>&entry.epoch,
        "flow.seen": <size_t>&entry.seen,
        "flow.replica": <size_t>&entry.replica,
    }
