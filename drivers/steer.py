# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Steering. The order of choice is in `choose`; everything else is bookkeeping."""

import cython
from cython.cimports.libc.string import memcpy, memset


def steer_attach(steering, header, entries, flow_capacity, page):
    """The flow table's seed comes from the RSS key, so that a successor finds what its predecessor wrote."""
    memset(steering, 0, cython.sizeof(Steering))
    steering.header = header
    steering.page = page
    seed = cython.declare(cython.uint, 0)
    memcpy(cython.address(seed), header.rss_key, 4)
    steering.fragments.seed = seed
    toeplitz_init(cython.address(steering.toeplitz), header.rss_key)
    if flows_attach(cython.address(steering.flows), header, entries, flow_capacity, seed, page) < 0:
        return -1
    flows_check(cython.address(steering.flows))
    return 0


def steer_clock(steering, now):
    steering.now = now
    steering.flows.now = now


@cython.locals(state=cython.uint)
def slot_open(steering, replica):
    if replica >= MAX_REPLICAS:
        return False
    state = load32(cython.address(steering.header.slots[replica].state))
    return state in (SLOT_ACTIVE, SLOT_TERMINATING, SLOT_RECOVERING)


@cython.locals(replica=cython.int)
def steer_arrival(steering, packet):
    replica = choose(steering, packet)
    if replica < 0:
        return replica
    if not slot_open(steering, replica):
        board_count(steering.page, DRV_DROP_SLOT_INACTIVE, 1)
        return STEER_DROP
    if packet.fragment == FRAGMENT_FIRST:
        fragments = cython.address(steering.fragments)
        fragments_note(fragments, cython.address(packet.key), packet.fragment_id, replica, steering.now)
    return replica


@cython.locals(replica=cython.int, key="const FlowKey*")
def choose(steering, packet):
    key = cython.address(packet.key)
    if packet.kind == PACKET_TUPLE:
        return by_tuple(steering, packet)
    if packet.kind == PACKET_ICMP_ERROR:
        return by_flow(steering, key, True)
    if packet.kind == PACKET_NEIGHBOUR_NEWS:
        board_count(steering.page, DRV_STEER_BROADCAST, 1)
        return STEER_ALL
    if packet.kind == PACKET_HOSTS and packet.fragment == FRAGMENT_LATER:
        replica = fragments_find(cython.address(steering.fragments), key, packet.fragment_id, steering.now)
        if replica >= 0:
            return replica
        board_count(steering.page, DRV_FRAGMENTS_UNMATCHED, 1)
    if packet.kind == PACKET_HOSTS or packet.kind == PACKET_NEIGHBOUR_QUERY:
        return by_hash(steering, key, False)
    board_count(steering.page, DRV_DROP_NOT_IP if packet.kind == PACKET_NOT_IP else DRV_DROP_MALFORMED, 1)
    return STEER_DROP


@cython.locals(replica=cython.int)
def by_tuple(steering, packet):
    """RFC 9293 §3.10.7.2: only SYN without ACK and RST opens a connection. Its flow is remembered."""
    if packet.key.protocol != PROTO_TCP or not opens(packet.tcp_flags):
        return by_flow(steering, cython.address(packet.key), True)
    entry = flow_find(cython.address(steering.flows), cython.address(packet.key))
    if entry != cython.NULL:
        board_count(steering.page, DRV_STEER_FLOW, 1)
        return entry.replica
    replica = by_hash(steering, cython.address(packet.key), True)
    if replica >= 0 and slot_open(steering, replica):
        flow_learn(cython.address(steering.flows), cython.address(packet.key), replica, FLOW_NEW)
    return replica


def by_flow(steering, key, ports):
    entry = flow_find(cython.address(steering.flows), key)
    if entry == cython.NULL:
        return by_hash(steering, key, ports)
    board_count(steering.page, DRV_STEER_FLOW, 1)
    return entry.replica


@cython.locals(hash=cython.uint, replica=cython.uint)
def by_hash(steering, key, ports):
    hash = toeplitz_flow(cython.address(steering.toeplitz), key, ports)
    replica = steering.header.indirection[hash % INDIRECTION_ENTRIES]
    if replica >= MAX_REPLICAS:
        board_count(steering.page, DRV_DROP_NO_REPLICA, 1)
        return STEER_DROP
    board_count(steering.page, DRV_STEER_INDIRECTION, 1)
    return cython.cast(cython.int, replica)


@cython.locals(flags=cython.uint, entry="FlowEntry*")
def steer_departure(steering, packet, replica):
    """A SYN opens a flow. It is live when the stack has said more than SYN, SYN-ACK or RST: before that, no
    peer has proved that it is where it says it is, so a flood of SYNs cannot push out live flows."""
    if packet.kind != PACKET_TUPLE or packet.key.protocol != PROTO_TCP:
        return
    flags = packet.tcp_flags
    flows = cython.address(steering.flows)
    entry = flow_find(flows, cython.address(packet.key))
    if entry != cython.NULL and entry.replica != replica:
        # What a stranger's SYN claimed is no obstacle to a connection that the stack opens itself.
        if entry.state != FLOW_NEW or not opens(flags):
            board_count(steering.page, DRV_FLOW_FOREIGN, 1)
            return
        flow_forget(flows, entry)
        entry = cython.NULL
    if entry == cython.NULL:
        if flags & TCP_SYN and not flags & TCP_RST:
            flow_learn(flows, cython.address(packet.key), replica, FLOW_NEW)
    elif entry.state == FLOW_NEW:
        if flags & TCP_RST:
            flow_forget(flows, entry)
        elif not flags & TCP_SYN:
            store32(cython.address(entry.state), FLOW_LIVE)
    elif entry.state == FLOW_FADING and flags & TCP_SYN:
        store32(cython.address(entry.state), FLOW_NEW)  # opened anew (RFC 6191)


@cython.locals(entry="FlowEntry*")
def steer_add(steering, key, replica):
    if not key_sound(key):
        return -1
    flows = cython.address(steering.flows)
    entry = flow_find(flows, key)
    if entry != cython.NULL and entry.replica != replica:
        if entry.state != FLOW_NEW:
            board_count(steering.page, DRV_FLOW_FOREIGN, 1)
            return -1
        flow_forget(flows, entry)
        entry = cython.NULL
    if entry == cython.NULL:
        flow_learn(flows, key, replica, FLOW_LIVE)
    else:
        store32(cython.address(entry.state), FLOW_LIVE)
    return 0


def steer_fade(steering, key, replica):
    """As steer_delete, but packets for it go where they went while there is room."""
    if not key_sound(key):
        return -1
    entry = flow_find(cython.address(steering.flows), key)
    if entry == cython.NULL:
        return 0
    if entry.replica != replica:
        board_count(steering.page, DRV_FLOW_FOREIGN, 1)
        return -1
    store32(cython.address(entry.state), FLOW_FADING)
    return 0


def steer_delete(steering, key, replica):
    """A flow that is not in the table was perhaps never learnt: that is no fault."""
    if not key_sound(key):
        return -1
    entry = flow_find(cython.address(steering.flows), key)
    if entry == cython.NULL:
        return 0
    if entry.replica != replica:
        board_count(steering.page, DRV_FLOW_FOREIGN, 1)
        return -1
    flow_forget(cython.address(steering.flows), entry)
    board_count(steering.page, DRV_FLOWS_DELETED, 1)
    return 0
