"""Steering. The order of choice is in `choose`; everything else is bookkeeping."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from neat.drivers.classify cimport (
    FRAGMENT_FIRST, FRAGMENT_LATER, PACKET_HOSTS, PACKET_ICMP_ERROR, PACKET_NEIGHBOUR_NEWS,
    PACKET_NEIGHBOUR_QUERY, PACKET_NOT_IP, PACKET_TUPLE, Packet,
)
from neat.drivers.flows cimport (
    flow_become, flow_find, flow_forget, flow_heard, flow_learn, flow_turn, flows_attach, flows_check,
    key_sound,
)
from neat.drivers.fragments cimport fragments_find, fragments_note
from neat.drivers.toeplitz cimport toeplitz_flow, toeplitz_init
from neat.shm.atomic cimport load32
from neat.shm.board cimport BoardPage, board_count
from neat.shm.counters cimport (
    DRV_DROP_MALFORMED, DRV_DROP_NOT_IP, DRV_DROP_NO_REPLICA, DRV_DROP_QUARANTINE, DRV_DROP_SLOT_INACTIVE,
    DRV_FLOWS_DELETED, DRV_FLOW_FOREIGN, DRV_FRAGMENTS_UNMATCHED, DRV_STEER_BROADCAST, DRV_STEER_FLOW,
    DRV_STEER_INDIRECTION,
)
from neat.shm.steering cimport (
    FLOW_FADING, FLOW_LIVE, FLOW_NEW, INDIRECTION_ENTRIES, MAX_REPLICAS, QUARANTINES, SLOT_ACTIVE,
    SLOT_RECOVERING, SLOT_TERMINATING, FlowEntry, Quarantine, SteeringHeader,
)
from neat.wire.flow cimport FlowKey
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_RST, TCP_SYN

# RFC 9293 §3.10.7.2: whether a segment with these flags asks for a connection.
cdef inline bint opens(uint32_t flags) noexcept nogil:
    return (flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN


cdef int steer_attach(
    Steering* steering, SteeringHeader* header, FlowEntry* entries, uint32_t flow_capacity, BoardPage* page
) noexcept nogil:
    memset(steering, 0, sizeof(Steering))
    steering.header = header
    steering.page = page
    cdef uint32_t seed = 0
    memcpy(&seed, header.rss_key, 4)
    steering.fragments.seed = seed
    toeplitz_init(&steering.toeplitz, header.rss_key)
    if flows_attach(&steering.flows, header, entries, flow_capacity, page) < 0:
        return -1
    flows_check(&steering.flows)
    steer_follow(steering)
    return 0


cdef void steer_follow(Steering* steering) noexcept nogil:
    cdef uint32_t i
    steering.quarantined = 0
    for i in range(<uint32_t>QUARANTINES):
        steering.quarantine[i] = steering.header.quarantine[i]
        steering.quarantined = max(steering.quarantined, steering.quarantine[i].until)


cdef bint is_quarantined(Steering* steering, const Packet* packet) noexcept nogil:
    """A source with a protocol: all of it. One without: what belongs to no live flow, as each of those has
    strikes of its own. Neighbours are never lost."""
    cdef uint32_t i
    cdef const Quarantine* entry
    cdef FlowEntry* flow
    if packet.kind not in (PACKET_TUPLE, PACKET_HOSTS, PACKET_ICMP_ERROR):
        return False
    for i in range(<uint32_t>QUARANTINES):
        entry = &steering.quarantine[i]
        if entry.until <= steering.now or entry.family != packet.key.family:
            continue
        if memcmp(entry.address, packet.key.remote, 16) != 0:
            continue
        if entry.protocol == packet.key.protocol and entry.port == packet.key.remote_port:
            return True
        if entry.protocol == 0:
            flow = flow_find(&steering.flows, &packet.key)
            if flow == NULL or flow.state == FLOW_NEW:
                return True
    return False


cdef void steer_clock(Steering* steering, uint64_t now) noexcept nogil:
    steering.now = now
    steering.flows.now = now


cdef bint slot_open(Steering* steering, uint32_t replica) noexcept nogil:
    if replica >= MAX_REPLICAS:
        return False
    cdef uint32_t state = load32(&steering.header.slots[replica].state)
    return state in (SLOT_ACTIVE, SLOT_TERMINATING, SLOT_RECOVERING)


cdef int steer_arrival(Steering* steering, const Packet* packet) noexcept nogil:
    if steering.now < steering.quarantined and is_quarantined(steering, packet):
        board_count(steering.page, DRV_DROP_QUARANTINE, 1)
        return STEER_DROP
    cdef int replica = choose(steering, packet)
    if replica < 0:
        return replica
    if not slot_open(steering, replica):
        board_count(steering.page, DRV_DROP_SLOT_INACTIVE, 1)
        return STEER_DROP
    if packet.fragment == FRAGMENT_FIRST:
        fragments = &steering.fragments
        fragments_note(fragments, &packet.key, packet.fragment_id, replica, steering.now)
    return replica


cdef int choose(Steering* steering, const Packet* packet) noexcept nogil:
    cdef int replica
    cdef const FlowKey* key = &packet.key
    if packet.kind == PACKET_TUPLE:
        return by_tuple(steering, packet)
    if packet.kind == PACKET_ICMP_ERROR:
        return by_flow(steering, key, True)
    if packet.kind == PACKET_NEIGHBOUR_NEWS:
        board_count(steering.page, DRV_STEER_BROADCAST, 1)
        return STEER_ALL
    if packet.kind == PACKET_HOSTS and packet.fragment == FRAGMENT_LATER:
        replica = fragments_find(&steering.fragments, key, packet.fragment_id, steering.now)
        if replica >= 0:
            return replica
        board_count(steering.page, DRV_FRAGMENTS_UNMATCHED, 1)
    if packet.kind == PACKET_HOSTS or packet.kind == PACKET_NEIGHBOUR_QUERY:
        return by_hash(steering, key, False)
    board_count(steering.page, DRV_DROP_NOT_IP if packet.kind == PACKET_NOT_IP else DRV_DROP_MALFORMED, 1)
    return STEER_DROP


cdef int by_tuple(Steering* steering, const Packet* packet) noexcept nogil:
    """RFC 9293 §3.10.7.2: only SYN without ACK and RST opens a connection. Its flow is remembered."""
    entry = find_or_hear(steering, &packet.key)
    if entry != NULL:
        return entry.replica
    cdef int replica = by_hash(steering, &packet.key, True)
    if packet.key.protocol == PROTO_TCP and opens(packet.tcp_flags) and slot_open(steering, replica):
        flow_learn(&steering.flows, &packet.key, replica, FLOW_NEW)
    return replica


cdef int by_flow(Steering* steering, const FlowKey* key, bint ports) noexcept nogil:
    entry = find_or_hear(steering, key)
    return by_hash(steering, key, ports) if entry == NULL else <int>entry.replica


cdef FlowEntry* find_or_hear(Steering* steering, const FlowKey* key) noexcept nogil:
    """The flow that a packet from the wire belongs to. If there is none, its peer has said something."""
    entry = flow_find(&steering.flows, key)
    if entry != NULL:
        board_count(steering.page, DRV_STEER_FLOW, 1)
    elif steering.flows.passes:
        flow_heard(&steering.flows, key)
    return entry


cdef uint32_t steer_home(Steering* steering, const FlowKey* key, bint ports) noexcept nogil:
    return steering.header.indirection[toeplitz_flow(&steering.toeplitz, key, ports) % INDIRECTION_ENTRIES]


cdef int by_hash(Steering* steering, const FlowKey* key, bint ports) noexcept nogil:
    cdef uint32_t replica = steer_home(steering, key, ports)
    if replica >= MAX_REPLICAS:
        board_count(steering.page, DRV_DROP_NO_REPLICA, 1)
        return STEER_DROP
    board_count(steering.page, DRV_STEER_INDIRECTION, 1)
    return <int>replica


cdef void steer_departure(Steering* steering, const Packet* packet, uint32_t replica) noexcept nogil:
    """A SYN opens a flow. It is live when the stack has said more than SYN, SYN-ACK or RST: before that, no
    peer has proved that it is where it says it is, so a flood of SYNs cannot push out live flows."""
    if packet.kind != PACKET_TUPLE or packet.key.protocol != PROTO_TCP:
        return
    cdef uint32_t flags = packet.tcp_flags
    flows = &steering.flows
    cdef FlowEntry* entry = flow_find(flows, &packet.key)
    if entry != NULL and entry.replica != replica:
        # What a stranger's SYN claimed is no obstacle to a connection that the stack opens itself.
        if entry.state != FLOW_NEW or not opens(flags):
            board_count(steering.page, DRV_FLOW_FOREIGN, 1)
            return
        flow_forget(flows, entry)
        entry = NULL
    if entry == NULL:
        if flags & TCP_SYN and not flags & TCP_RST:
            flow_learn(flows, &packet.key, replica, FLOW_NEW)
    elif entry.state == FLOW_NEW:
        if flags & TCP_RST:
            flow_forget(flows, entry)
        elif not flags & TCP_SYN:
            flow_turn(entry, FLOW_NEW, FLOW_LIVE)
    elif entry.state == FLOW_FADING and flags & TCP_SYN:
        flow_turn(entry, FLOW_FADING, FLOW_NEW)  # opened anew (RFC 6191)


cdef int steer_add(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil:
    if not key_sound(key):
        return -1
    flows = &steering.flows
    cdef FlowEntry* entry = flow_find(flows, key)
    if entry != NULL and entry.replica != replica:
        if entry.state != FLOW_NEW:
            board_count(steering.page, DRV_FLOW_FOREIGN, 1)
            return -1
        flow_forget(flows, entry)
        entry = NULL
    if entry == NULL:
        flow_learn(flows, key, replica, FLOW_LIVE)
    else:
        flow_become(entry, FLOW_LIVE)
    return 0


cdef int steer_fade(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil:
    """As steer_delete, but packets for it go where they went while there is room."""
    cdef FlowEntry* entry
    if find_own(steering, key, replica, &entry) < 0:
        return -1
    if entry != NULL:
        flow_become(entry, FLOW_FADING)
    return 0


cdef int steer_delete(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil:
    cdef FlowEntry* entry
    if find_own(steering, key, replica, &entry) < 0:
        return -1
    if entry != NULL:
        flow_forget(&steering.flows, entry)
        board_count(steering.page, DRV_FLOWS_DELETED, 1)
    return 0


# The entry of a flow that `replica` speaks for. -1: no key, or another replica's flow.
cdef int find_own(
    Steering* steering, const FlowKey* key, uint32_t replica, FlowEntry** entry
) noexcept nogil:
    """A flow that is not in the table (NULL) was perhaps never learnt: that is no fault."""
    if not key_sound(key):
        return -1
    entry[0] = flow_find(&steering.flows, key)
    if entry[0] != NULL and entry[0].replica != replica:
        board_count(steering.page, DRV_FLOW_FOREIGN, 1)
        return -1
    return 0
