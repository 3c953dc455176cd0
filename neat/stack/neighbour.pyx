"""The neighbour cache. A slot: FREE, INCOMPLETE, REACHABLE, PROBE, REACHABLE, ...; unanswered: FAILED."""

from libc.errno cimport EAGAIN, EHOSTUNREACH
from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from neat.stack.arp cimport arp_announce, arp_request
from neat.stack.config cimport PART_TRANSPORT
from neat.stack.counters cimport Counter
from neat.stack.held cimport held_neighbour_ready
from neat.stack.ip_private cimport NEIGHBOUR_HEADS, NO_NEIGHBOUR, NeighbourTimer, load_address
from neat.stack.state cimport STATE_NEIGHBOURS, NeighbourSlot
from neat.stack.tcp.output cimport tcp_neighbour_ready
from neat.stack.types cimport Stack, count
from neat.stack.udp_output cimport udp_neighbour_ready
from neat.wire.flow cimport FAMILY_IPV4

cdef enum NeighbourState:
    NEIGHBOUR_FREE = 0
    NEIGHBOUR_INCOMPLETE = 1        # asked, not answered yet
    NEIGHBOUR_REACHABLE = 2
    NEIGHBOUR_PROBE = 3             # used after a long silence: asked again, in use meanwhile
    NEIGHBOUR_FAILED = 4            # gave up: unreachable until forgotten

cdef enum:
    REACHABLE_NS = 60_000_000_000   # a confirmation is good for so long
    RETRY_NS = 1_000_000_000
    FAILED_NS = 1_000_000_000
    TRIES = 3

# The chain for an address: multiplication by an odd constant mixes the host part into the high bits.
cdef inline uint32_t chain_of(uint32_t address) noexcept nogil:
    return (address * <uint32_t>0x9E3779B1) >> 24


cdef void neighbour_create(Stack* stack) noexcept nogil:
    cdef NeighbourSlot* slot
    cdef int32_t i
    # Nobody has forgotten us; and a transport component is not who is asked.
    stack.ip.announce = not stack.resumed and stack.config.part != PART_TRANSPORT
    stack.ip.recent = NO_NEIGHBOUR
    stack.ip.neighbour_due = <uint64_t>(-1)
    for i in range(NEIGHBOUR_HEADS):
        stack.ip.heads[i] = NO_NEIGHBOUR
    for i in range(STATE_NEIGHBOURS):
        slot = &stack.neighbours[i]
        if slot.state == NEIGHBOUR_REACHABLE or slot.state == NEIGHBOUR_PROBE:
            slot.state = NEIGHBOUR_REACHABLE
            link(stack, i)
        else:
            slot.state = NEIGHBOUR_FREE


cdef int neighbour_resolve(Stack* stack, uint32_t address, uint8_t* mac) noexcept nogil:
    cdef int32_t i = stack.ip.recent
    if (
        i < 0
        or load_address(stack.neighbours[i].address) != address
        or stack.neighbours[i].state == NEIGHBOUR_FREE
    ):
        i = find(stack, address)
        if i < 0:
            i = create(stack, address)
            if i < 0:
                return -EHOSTUNREACH
        stack.ip.recent = <int16_t>i
    cdef NeighbourSlot* slot = &stack.neighbours[i]
    cdef NeighbourTimer* timer = &stack.ip.timers[i]
    timer.used = stack.now
    if slot.state == NEIGHBOUR_REACHABLE and stack.now - slot.confirmed_at >= REACHABLE_NS:
        slot.state = NEIGHBOUR_PROBE
        ask(stack, i)
    if slot.state == NEIGHBOUR_REACHABLE or slot.state == NEIGHBOUR_PROBE:
        memcpy(mac, slot.mac, 6)
        return 0
    return -EAGAIN if slot.state == NEIGHBOUR_INCOMPLETE else -EHOSTUNREACH


cdef bint neighbour_known(Stack* stack, uint32_t address, uint8_t* mac) noexcept nogil:
    cdef int32_t i = find(stack, address)
    if i < 0:
        return False
    cdef NeighbourSlot* slot = &stack.neighbours[i]
    if slot.state != NEIGHBOUR_REACHABLE and slot.state != NEIGHBOUR_PROBE:
        return False
    memcpy(mac, slot.mac, 6)
    return True


cdef void neighbour_learn(Stack* stack, uint32_t address, const uint8_t* mac) noexcept nogil:
    cdef int32_t i = find(stack, address)
    if i < 0:
        return
    cdef NeighbourSlot* slot = &stack.neighbours[i]
    cdef bint waited = slot.state == NEIGHBOUR_INCOMPLETE or slot.state == NEIGHBOUR_FAILED
    memcpy(slot.mac, mac, 6)
    slot.confirmed_at = stack.now
    settle(stack, i, NEIGHBOUR_REACHABLE, 0)
    if waited:
        tcp_neighbour_ready(stack, slot.address, True)
        udp_neighbour_ready(stack, slot.address, True)
        held_neighbour_ready(stack, slot.address, slot.mac)


cdef void neighbour_confirm(Stack* stack, uint32_t address, const uint8_t* mac) noexcept nogil:
    if stack.ip.recent < 0:
        return
    cdef NeighbourSlot* slot = &stack.neighbours[stack.ip.recent]
    if load_address(slot.address) != address or memcmp(slot.mac, mac, 6) != 0:
        return
    if slot.state == NEIGHBOUR_PROBE:
        settle(stack, stack.ip.recent, NEIGHBOUR_REACHABLE, 0)
    if slot.state == NEIGHBOUR_REACHABLE and stack.now - slot.confirmed_at > RETRY_NS:
        slot.confirmed_at = stack.now


cdef uint32_t neighbour_poll(Stack* stack, uint8_t* buffer) noexcept nogil:
    cdef NeighbourSlot* slot
    cdef NeighbourTimer* timer
    cdef int32_t i
    cdef bint known
    if stack.ip.announce:
        stack.ip.announce = False
        return arp_announce(stack, buffer)
    if stack.ip.sends == 0:
        return 0
    for i in range(STATE_NEIGHBOURS):
        timer = &stack.ip.timers[i]
        if not timer.send:
            continue
        timer.send = False
        stack.ip.sends -= 1
        slot = &stack.neighbours[i]
        # RFC 1122 §2.3.2.1 (2): ask the host that we know first, then everybody.
        known = slot.state == NEIGHBOUR_PROBE and timer.tries == 1
        return arp_request(stack, buffer, slot.address, slot.mac if known else NULL)
    return 0


cdef void neighbour_expire(Stack* stack) noexcept nogil:
    cdef NeighbourTimer* timer
    cdef int32_t i
    cdef uint32_t state
    if stack.now < stack.ip.neighbour_due:
        return
    stack.ip.neighbour_due = <uint64_t>(-1)
    for i in range(STATE_NEIGHBOURS):
        timer = &stack.ip.timers[i]
        if timer.due == 0:
            continue
        if timer.due > stack.now:
            stack.ip.neighbour_due = min(stack.ip.neighbour_due, timer.due)
            continue
        state = stack.neighbours[i].state
        if state == NEIGHBOUR_FAILED:
            forget(stack, i)
        elif timer.tries < TRIES:
            ask(stack, i)
        else:
            count(stack, Counter.ARP_UNRESOLVED)
            settle(stack, i, NEIGHBOUR_FAILED, stack.now + FAILED_NS)
            tcp_neighbour_ready(stack, stack.neighbours[i].address, False)
            udp_neighbour_ready(stack, stack.neighbours[i].address, False)
            held_neighbour_ready(stack, stack.neighbours[i].address, NULL)


cdef uint64_t neighbour_next_deadline(Stack* stack) noexcept nogil:
    return stack.ip.neighbour_due


cdef int32_t find(Stack* stack, uint32_t address) noexcept nogil:
    cdef int32_t i = stack.ip.heads[chain_of(address)]
    while i >= 0 and load_address(stack.neighbours[i].address) != address:
        i = stack.ip.timers[i].next
    return i


cdef int32_t create(Stack* stack, uint32_t address) noexcept nogil:
    """A new entry for the address, asked for; -1 when the table is full of neighbours in use."""
    cdef int32_t i = vacate(stack)
    if i < 0:
        count(stack, Counter.NEIGHBOUR_TABLE_FULL)
        return i
    cdef NeighbourSlot* slot = &stack.neighbours[i]
    memset(slot, 0, sizeof(slot[0]))
    memset(&stack.ip.timers[i], 0, sizeof(stack.ip.timers[i]))
    slot.family = FAMILY_IPV4
    memcpy(slot.address, &address, 4)
    link(stack, i)
    slot.state = NEIGHBOUR_INCOMPLETE
    ask(stack, i)
    return i


cdef int32_t vacate(Stack* stack) noexcept nogil:
    """A free slot; else that of the neighbour unused for longest, and for REACHABLE_NS. -1: none."""
    cdef int32_t i
    cdef int32_t best = NO_NEIGHBOUR
    cdef uint64_t oldest = stack.now
    for i in range(STATE_NEIGHBOURS):
        if stack.neighbours[i].state == NEIGHBOUR_FREE:
            return i
        if stack.neighbours[i].state == NEIGHBOUR_INCOMPLETE:
            continue
        if stack.now - stack.ip.timers[i].used >= REACHABLE_NS and stack.ip.timers[i].used < oldest:
            best, oldest = i, stack.ip.timers[i].used
    if best >= 0:
        forget(stack, best)
    return best


cdef void link(Stack* stack, int32_t i) noexcept nogil:
    cdef uint32_t head = chain_of(load_address(stack.neighbours[i].address))
    stack.ip.timers[i].next = stack.ip.heads[head]
    stack.ip.heads[head] = <int16_t>i


cdef void forget(Stack* stack, int32_t i) noexcept nogil:
    settle(stack, i, NEIGHBOUR_FREE, 0)
    if stack.ip.recent == i:
        stack.ip.recent = NO_NEIGHBOUR
    cdef int16_t* at = &stack.ip.heads[chain_of(load_address(stack.neighbours[i].address))]
    while at[0] != i:
        at = &stack.ip.timers[at[0]].next
    at[0] = stack.ip.timers[i].next


cdef void ask(Stack* stack, int32_t i) noexcept nogil:
    """Send a request with the next poll, and again after RETRY_NS."""
    cdef NeighbourTimer* timer = &stack.ip.timers[i]
    timer.tries += 1
    timer.due = stack.now + RETRY_NS
    stack.ip.neighbour_due = min(stack.ip.neighbour_due, timer.due)
    if not timer.send:
        timer.send = True
        stack.ip.sends += 1


cdef void settle(Stack* stack, int32_t i, uint32_t state, uint64_t due) noexcept nogil:
    """Ask no more; `due`: when this state ends by itself, 0 for never."""
    stack.neighbours[i].state = state
    cdef NeighbourTimer* timer = &stack.ip.timers[i]
    timer.tries = 0
    timer.due = due
    if due:
        stack.ip.neighbour_due = min(stack.ip.neighbour_due, due)
    if timer.send:
        timer.send = False
        stack.ip.sends -= 1
