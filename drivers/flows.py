# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The flow table. The contract is in flows.pxd."""

import cython
from cython.cimports.libc.string import memcpy, memset


def flows_attach(table, header, entries, capacity, seed, page):
    memset(table, 0, cython.sizeof(FlowTable))
    if capacity < FLOW_WINDOW or capacity & (capacity - 1):
        return -1
    table.header = header
    table.entries = entries
    table.mask = capacity - 1
    table.seed = seed
    table.page = page
    return 0


@cython.locals(replica=cython.uint)
def is_void(table, entry):
    """The connections of its slot are gone since it was learnt."""
    replica = entry.replica
    return replica >= MAX_REPLICAS or entry.epoch != load32(cython.address(table.header.slots[replica].epoch))


@cython.locals(i=cython.int, used=cython.uint)
def key_sound(key):
    """Of a family that we know, and zero where nothing belongs, so that one flow has one key."""
    if (key.family != FAMILY_IPV4 and key.family != FAMILY_IPV6) or key.zone != 0:
        return False
    used = 4 if key.family == FAMILY_IPV4 else 16
    for i in range(used, 16):  # noqa: SIM110 - a generator would be a Python object
        if key.local[i] or key.remote[i]:
            return False
    return True


@cython.locals(entry="const FlowEntry*", home=cython.uint)
def is_sound(table, index):
    """It could have been written by a driver: a key that is valid and lies where a lookup finds it."""
    entry = cython.address(table.entries[index])
    if entry.state > FLOW_LIVE or entry.replica >= MAX_REPLICAS or not key_sound(cython.address(entry.key)):
        return False
    home = flow_hash(cython.address(entry.key), table.seed)
    return ((index - home) & table.mask) < FLOW_WINDOW


@cython.locals(index=cython.uint, entry="FlowEntry*")
def flows_check(table):
    memset(table.flows, 0, cython.sizeof(table.flows))
    for index in range(table.mask + 1):
        entry = cython.address(table.entries[index])
        if entry.state == FLOW_FREE:
            continue
        if not is_sound(table, index):
            board_count(table.page, DRV_FLOWS_INVALID, 1)
            store32(cython.address(entry.state), FLOW_FREE)
        elif is_void(table, entry):
            store32(cython.address(entry.state), FLOW_FREE)
        else:
            table.flows[entry.replica] += 1


@cython.locals(home=cython.uint, i=cython.int, entry="FlowEntry*")
def flow_find(table, key):
    home = flow_hash(key, table.seed)
    for i in range(FLOW_WINDOW):
        entry = cython.address(table.entries[(home + i) & table.mask])
        if entry.state == FLOW_FREE or not flow_equal(cython.address(entry.key), key):
            continue
        if is_void(table, entry):
            flow_forget(table, entry)
            return cython.NULL
        if table.now - entry.seen > FLOW_SEEN_STEP:
            entry.seen = table.now
        return entry
    return cython.NULL


def weaker(a, b):
    if a == cython.NULL:
        return b
    if a.state != b.state:
        return a if a.state < b.state else b
    return a if a.seen <= b.seen else b


@cython.locals(home=cython.uint, i=cython.int, entry="FlowEntry*", room="FlowEntry*", oldest="FlowEntry*")
def flow_learn(table, key, replica, state):
    if replica >= MAX_REPLICAS:
        return cython.NULL
    home = flow_hash(key, table.seed)
    room = cython.NULL
    oldest = cython.NULL
    for i in range(FLOW_WINDOW):
        entry = cython.address(table.entries[(home + i) & table.mask])
        if entry.state == FLOW_FREE or is_void(table, entry):
            room = entry
            break
        oldest = weaker(oldest, entry)
    if room == cython.NULL:
        if oldest.state == FLOW_LIVE and table.now - oldest.seen < FLOW_IDLE:
            board_count(table.page, DRV_FLOW_TABLE_FULL, 1)
            return cython.NULL
        board_count(table.page, DRV_FLOWS_EVICTED, 1)
        room = oldest
    if room.state != FLOW_FREE:
        flow_forget(table, room)
    # Whoever kills us finds either no entry here, or a whole one.
    fence()
    memcpy(cython.address(room.key), key, cython.sizeof(FlowKey))
    room.epoch = load32(cython.address(table.header.slots[replica].epoch))
    room.seen = table.now
    room.replica = replica
    store32(cython.address(room.state), state)
    table.flows[replica] += 1
    board_count(table.page, DRV_FLOWS_LEARNT, 1)
    return room


def flow_forget(table, entry):
    """Void entries are in the count until flows_check has run."""
    store32(cython.address(entry.state), FLOW_FREE)
    if entry.replica < MAX_REPLICAS and table.flows[entry.replica] > 0:
        table.flows[entry.replica] -= 1
