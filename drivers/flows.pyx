"""The flow table. The contract is in flows.pxd."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from neat.shm.atomic cimport exchange64, load32, peek64, replace32, store32
from neat.shm.board cimport BoardPage, board_count
from neat.shm.counters cimport DRV_FLOWS_EVICTED, DRV_FLOWS_INVALID, DRV_FLOWS_LEARNT, DRV_FLOW_TABLE_FULL
from neat.shm.steering cimport (
    FLOW_BUSY, FLOW_FADING, FLOW_FREE, FLOW_LIVE, FLOW_TAKEN, MAX_REPLICAS, FlowEntry, SteeringHeader,
)
from neat.wire.flow cimport FAMILY_IPV4, FAMILY_IPV6, FlowKey, flow_equal

cdef enum:
    STATE_SHIFT = 60                # of an entry's strength: below it is when it was seen
    SEEN_MASK = 0x0FFFFFFFFFFFFFFF

# For drivers/program_flows.py, which has the same rules.
WINDOW, SEEN_STEP, IDLE = FLOW_WINDOW, <uint64_t>FLOW_SEEN_STEP, <uint64_t>FLOW_IDLE


cdef int flows_attach(
    FlowTable* table, SteeringHeader* header, FlowEntry* entries, uint32_t capacity, BoardPage* page
) noexcept nogil:
    memset(table, 0, sizeof(FlowTable))
    if capacity < FLOW_WINDOW or capacity & (capacity - 1):
        return -1
    table.header = header
    table.entries = entries
    table.mask = capacity - 1
    # From the RSS key, so that a successor and the program find what the predecessor wrote.
    memcpy(table.secret, header.rss_key, sizeof(table.secret))
    table.page = page
    return 0


cdef uint32_t flow_home(FlowTable* table, const FlowKey* key) noexcept nogil:
    """Pair-multiply-shift (Thorup, "High Speed Hashing for Integers and Strings", 2015, §3.5): strongly
    universal for who does not know the secrets. Then one step more, so that neighbouring ports do not walk
    through the table in step. No product is wider than 64 bits: the program in the kernel makes the same."""
    cdef uint32_t w[10]
    cdef uint32_t i
    cdef uint64_t* secret = table.secret
    memcpy(w, key, sizeof(FlowKey))
    cdef uint64_t h = (secret[0] + w[0]) * (secret[1] + w[1])
    for i in range(1 if key.family == FAMILY_IPV4 else 4):
        h += (secret[2] + w[2 + i]) * (secret[3] + w[6 + i])
        h ^= h >> 32
        h *= secret[4] | 1
    return <uint32_t>(h >> 32)


cdef inline bint is_entry(uint32_t state) noexcept nogil:
    """FADING, NEW or LIVE; not free, not claimed, not nonsense."""
    return FLOW_FREE < state <= FLOW_LIVE


cdef bint flow_turn(FlowEntry* entry, uint32_t before, uint32_t after) noexcept nogil:
    return replace32(&entry.state, before, after)


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


cdef bint flow_become(FlowEntry* entry, uint32_t after) noexcept nogil:
    cdef uint32_t before = load32(&entry.state)
    return is_entry(before) and flow_turn(entry, before, after)


cdef bint is_sound(FlowTable* table, uint32_t index, uint32_t state) noexcept nogil:
    """It could have been written by a driver: a key that is valid and lies where a lookup finds it."""
    cdef const FlowEntry* entry = &table.entries[index]
    if not is_entry(state) or entry.replica >= MAX_REPLICAS or not key_sound(&entry.key):
        return False
    return ((index - flow_home(table, &entry.key)) & table.mask) < FLOW_WINDOW


cdef void flows_check(FlowTable* table) noexcept nogil:
    """The peer of a void flow that was FADING has seen our FIN: it waits for nothing. What is BUSY the
    program in the kernel writes just now; what is TAKEN a driver was writing when it was killed."""
    cdef uint32_t index, state
    cdef FlowEntry* entry
    memset(table.flows, 0, sizeof(table.flows))
    for index in range(<uint32_t>MAX_REPLICAS):
        exchange64(<uint64_t*>&table.header.program.flows[index], 0)
    for index in range(table.mask + 1):
        entry = &table.entries[index]
        state = load32(&entry.state)
        if state in (FLOW_FREE, FLOW_BUSY):
            continue
        if state == FLOW_TAKEN:
            flow_turn(entry, state, FLOW_FREE)
        elif not is_sound(table, index, state):
            if flow_turn(entry, state, FLOW_FREE):
                board_count(table.page, DRV_FLOWS_INVALID, 1)
        elif flow_void(table, entry):
            if state == FLOW_FADING:
                flow_turn(entry, state, FLOW_FREE)
            else:
                table.passes = LOST_PASSES
                table.at = 0
                table.due = table.now
        else:
            table.flows[entry.replica] += 1


cdef void flows_take_counts(FlowTable* table) noexcept nogil:
    program = &table.header.program
    take(table, &program.learnt, DRV_FLOWS_LEARNT)
    take(table, &program.evicted, DRV_FLOWS_EVICTED)
    take(table, &program.full, DRV_FLOW_TABLE_FULL)


cdef void take(FlowTable* table, uint64_t* counted, uint32_t counter) noexcept nogil:
    if peek64(counted):
        board_count(table.page, counter, exchange64(counted, 0))


cdef uint64_t flows_of(FlowTable* table, uint32_t replica) noexcept nogil:
    cdef int64_t flows = table.flows[replica]
    flows += <int64_t>peek64(<uint64_t*>&table.header.program.flows[replica])
    return max(flows, 0)


cdef FlowEntry* flow_find(FlowTable* table, const FlowKey* key) noexcept nogil:
    cdef uint32_t i
    cdef FlowEntry* entry
    cdef uint32_t home = flow_home(table, key)
    for i in range(<uint32_t>FLOW_WINDOW):
        entry = &table.entries[(home + i) & table.mask]
        if not is_entry(load32(&entry.state)) or not flow_equal(&entry.key, key) or flow_void(table, entry):
            continue
        if not is_entry(load32(&entry.state)):
            continue  # claimed meanwhile: what was read may be of two flows
        if <int64_t>(table.now - entry.seen) > <int64_t>FLOW_SEEN_STEP:
            entry.seen = table.now
        return entry
    return NULL


cdef void flow_heard(FlowTable* table, const FlowKey* key) noexcept nogil:
    cdef uint32_t i
    cdef FlowEntry* entry
    cdef uint32_t home = flow_home(table, key)
    for i in range(<uint32_t>FLOW_WINDOW):
        entry = &table.entries[(home + i) & table.mask]
        if is_entry(load32(&entry.state)) and flow_equal(&entry.key, key) and flow_void(table, entry):
            flow_forget(table, entry)


cdef uint64_t strength(FlowTable* table, const FlowEntry* entry, uint32_t state) noexcept nogil:
    """Of two entries the weaker one is rather given up: what is void, else by its state, else what was not
    seen for longer."""
    if flow_void(table, entry):
        return 0
    return (<uint64_t>state << STATE_SHIFT) | (entry.seen & SEEN_MASK)


cdef FlowEntry* flow_claim(FlowTable* table, uint32_t home) noexcept nogil:
    """An entry of this window that is now ours alone to write. NULL: there is none."""
    cdef uint32_t i, state
    cdef uint32_t weakest_state = FLOW_FREE
    cdef uint64_t value
    cdef uint64_t least = ~<uint64_t>0
    cdef FlowEntry* entry
    cdef FlowEntry* weakest = NULL
    for i in range(<uint32_t>FLOW_WINDOW):
        entry = &table.entries[(home + i) & table.mask]
        state = load32(&entry.state)
        if state == FLOW_FREE and flow_turn(entry, FLOW_FREE, FLOW_TAKEN):
            return entry
        if is_entry(state):
            value = strength(table, entry, state)
            if value < least:
                least, weakest, weakest_state = value, entry, state
    if weakest == NULL:
        board_count(table.page, DRV_FLOW_TABLE_FULL, 1)
        return NULL
    cdef bint void = least == 0
    if not void and weakest_state == FLOW_LIVE and <int64_t>(table.now - weakest.seen) < <int64_t>FLOW_IDLE:
        board_count(table.page, DRV_FLOW_TABLE_FULL, 1)
        return NULL
    if not flow_turn(weakest, weakest_state, FLOW_TAKEN):
        board_count(table.page, DRV_FLOW_TABLE_FULL, 1)
        return NULL
    if not void:
        board_count(table.page, DRV_FLOWS_EVICTED, 1)
        count_gone(table, weakest)
    return weakest


cdef FlowEntry* flow_learn(
    FlowTable* table, const FlowKey* key, uint32_t replica, uint32_t state
) noexcept nogil:
    if replica >= MAX_REPLICAS:
        return NULL
    if table.passes:
        flow_heard(table, key)
    cdef FlowEntry* entry = flow_claim(table, flow_home(table, key))
    if entry == NULL:
        return NULL
    memcpy(&entry.key, key, sizeof(FlowKey))
    entry.epoch = load32(&table.header.slots[replica].epoch)
    entry.seen = table.now
    entry.replica = replica
    store32(&entry.state, state)
    table.flows[replica] += 1
    board_count(table.page, DRV_FLOWS_LEARNT, 1)
    return entry


cdef void flow_forget(FlowTable* table, FlowEntry* entry) noexcept nogil:
    cdef uint32_t state = load32(&entry.state)
    cdef bint void = flow_void(table, entry)
    if is_entry(state) and flow_turn(entry, state, FLOW_FREE) and not void:
        count_gone(table, entry)


cdef void count_gone(FlowTable* table, const FlowEntry* entry) noexcept nogil:
    """Void entries are in the count until flows_check has run."""
    cdef uint32_t replica = entry.replica
    if replica < MAX_REPLICAS:
        table.flows[replica] -= 1
