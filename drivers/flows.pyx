"""The flow table. The contract is in flows.pxd."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset
from neat.shm.atomic cimport fence, load32, store32
from neat.shm.board cimport BoardPage, board_count
from neat.shm.counters cimport DRV_FLOWS_EVICTED, DRV_FLOWS_INVALID, DRV_FLOWS_LEARNT, DRV_FLOW_TABLE_FULL
from neat.shm.steering cimport FLOW_FADING, FLOW_FREE, FLOW_LIVE, MAX_REPLICAS, FlowEntry, SteeringHeader
from neat.wire.flow cimport FAMILY_IPV4, FAMILY_IPV6, FlowKey, flow_equal, flow_hash


cdef int flows_attach(
    FlowTable* table, SteeringHeader* header, FlowEntry* entries, uint32_t capacity, uint32_t seed,
    BoardPage* page
) noexcept nogil:
    memset(table, 0, sizeof(FlowTable))
    if capacity < FLOW_WINDOW or capacity & (capacity - 1):
        return -1
    table.header = header
    table.entries = entries
    table.mask = capacity - 1
    table.seed = seed
    table.page = page
    return 0


cdef bint flow_void(FlowTable* table, const FlowEntry* entry) noexcept nogil:
    """The connections of its slot are gone since it was learnt."""
    cdef uint32_t replica = entry.replica
    return replica >= MAX_REPLICAS or entry.epoch != load32(&table.header.slots[replica].epoch)


cdef bint key_sound(const FlowKey* key) noexcept nogil:
    """Of a family that we know, and zero where nothing belongs, so that one flow has one key."""
    cdef int i
    if (key.family != FAMILY_IPV4 and key.family != FAMILY_IPV6) or key.zone != 0:
        return False
    cdef uint32_t used = 4 if key.family == FAMILY_IPV4 else 16
    for i in range(used, 16):  # noqa: SIM110 - a generator would be a Python object
        if key.local[i] or key.remote[i]:
            return False
    return True


cdef bint is_sound(FlowTable* table, uint32_t index) noexcept nogil:
    """It could have been written by a driver: a key that is valid and lies where a lookup finds it."""
    cdef const FlowEntry* entry = &table.entries[index]
    if entry.state > FLOW_LIVE or entry.replica >= MAX_REPLICAS or not key_sound(&entry.key):
        return False
    cdef uint32_t home = flow_hash(&entry.key, table.seed)
    return ((index - home) & table.mask) < FLOW_WINDOW


cdef void flows_check(FlowTable* table) noexcept nogil:
    """The peer of a void flow that was FADING has seen our FIN: it waits for nothing."""
    cdef uint32_t index
    cdef FlowEntry* entry
    memset(table.flows, 0, sizeof(table.flows))
    for index in range(table.mask + 1):
        entry = &table.entries[index]
        if entry.state == FLOW_FREE:
            continue
        if not is_sound(table, index):
            board_count(table.page, DRV_FLOWS_INVALID, 1)
            store32(&entry.state, FLOW_FREE)
        elif flow_void(table, entry):
            if entry.state == FLOW_FADING:
                store32(&entry.state, FLOW_FREE)
            else:
                table.passes = LOST_PASSES
                table.at = 0
                table.due = table.now
        else:
            table.flows[entry.replica] += 1


cdef FlowEntry* flow_find(FlowTable* table, const FlowKey* key) noexcept nogil:
    cdef int i
    cdef FlowEntry* entry
    cdef uint32_t home = flow_hash(key, table.seed)
    for i in range(FLOW_WINDOW):
        entry = &table.entries[(home + i) & table.mask]
        if entry.state == FLOW_FREE or not flow_equal(&entry.key, key) or flow_void(table, entry):
            continue
        if table.now - entry.seen > FLOW_SEEN_STEP:
            entry.seen = table.now
        return entry
    return NULL


cdef void flow_heard(FlowTable* table, const FlowKey* key) noexcept nogil:
    cdef int i
    cdef FlowEntry* entry
    cdef uint32_t home = flow_hash(key, table.seed)
    for i in range(FLOW_WINDOW):
        entry = &table.entries[(home + i) & table.mask]
        if entry.state != FLOW_FREE and flow_equal(&entry.key, key) and flow_void(table, entry):
            flow_forget(table, entry)


# Which of two entries is rather given up: by its state, then the one that was not seen for longer. NULL:
# none.
cdef FlowEntry* weaker(FlowEntry* a, FlowEntry* b) noexcept nogil:
    if a == NULL:
        return b
    if a.state != b.state:
        return a if a.state < b.state else b
    return a if a.seen <= b.seen else b


cdef FlowEntry* flow_learn(
    FlowTable* table, const FlowKey* key, uint32_t replica, uint32_t state
) noexcept nogil:
    cdef int i
    cdef FlowEntry* entry
    if replica >= MAX_REPLICAS:
        return NULL
    cdef uint32_t home = flow_hash(key, table.seed)
    cdef FlowEntry* room = NULL
    cdef FlowEntry* oldest = NULL
    if table.passes:
        flow_heard(table, key)
    for i in range(FLOW_WINDOW):
        entry = &table.entries[(home + i) & table.mask]
        if entry.state == FLOW_FREE:
            room = entry
            break
        if flow_void(table, entry):
            room = entry
        else:
            oldest = weaker(oldest, entry)
    if room == NULL:
        if oldest.state == FLOW_LIVE and table.now - oldest.seen < FLOW_IDLE:
            board_count(table.page, DRV_FLOW_TABLE_FULL, 1)
            return NULL
        board_count(table.page, DRV_FLOWS_EVICTED, 1)
        room = oldest
    if room.state != FLOW_FREE:
        flow_forget(table, room)
    # Whoever kills us finds either no entry here, or a whole one.
    fence()
    memcpy(&room.key, key, sizeof(FlowKey))
    room.epoch = load32(&table.header.slots[replica].epoch)
    room.seen = table.now
    room.replica = replica
    store32(&room.state, state)
    table.flows[replica] += 1
    board_count(table.page, DRV_FLOWS_LEARNT, 1)
    return room


cdef void flow_forget(FlowTable* table, FlowEntry* entry) noexcept nogil:
    """Void entries are in the count until flows_check has run."""
    store32(&entry.state, FLOW_FREE)
    if not flow_void(table, entry) and table.flows[entry.replica] > 0:
        table.flows[entry.replica] -= 1
