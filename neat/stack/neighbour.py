# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The neighbour cache. A slot: FREE, INCOMPLETE, REACHABLE, PROBE, REACHABLE, ...; unanswered: FAILED."""

import cython
from cython.cimports.neat.stack.arp import arp_announce, arp_request
from cython.cimports.neat.stack.tcp.output import tcp_neighbour_ready
from cython.cimports.neat.stack.udp_output import udp_neighbour_ready


def neighbour_create(stack):
    stack.ip.announce = True
    stack.ip.recent = NO_NEIGHBOUR
    stack.ip.neighbour_due = cython.cast("uint64_t", -1)
    for i in range(NEIGHBOUR_HEADS):
        stack.ip.heads[i] = NO_NEIGHBOUR
    for i in range(STATE_NEIGHBOURS):
        slot = cython.address(stack.neighbours[i])
        if slot.state == NEIGHBOUR_REACHABLE or slot.state == NEIGHBOUR_PROBE:
            slot.state = NEIGHBOUR_REACHABLE
            link(stack, i)
        else:
            slot.state = NEIGHBOUR_FREE


def neighbour_resolve(stack, address, mac):
    i = stack.ip.recent
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
        stack.ip.recent = cython.cast("int16_t", i)
    slot = cython.address(stack.neighbours[i])
    timer = cython.address(stack.ip.timers[i])
    timer.used = stack.now
    if slot.state == NEIGHBOUR_REACHABLE and stack.now - slot.confirmed_at >= REACHABLE_NS:
        slot.state = NEIGHBOUR_PROBE
        ask(stack, i)
    if slot.state == NEIGHBOUR_REACHABLE or slot.state == NEIGHBOUR_PROBE:
        memcpy(mac, slot.mac, 6)
        return 0
    return -EAGAIN if slot.state == NEIGHBOUR_INCOMPLETE else -EHOSTUNREACH


def neighbour_known(stack, address, mac):
    i = find(stack, address)
    if i < 0:
        return False
    slot = cython.address(stack.neighbours[i])
    if slot.state != NEIGHBOUR_REACHABLE and slot.state != NEIGHBOUR_PROBE:
        return False
    memcpy(mac, slot.mac, 6)
    return True


def neighbour_learn(stack, address, mac):
    i = find(stack, address)
    if i < 0:
        return
    slot = cython.address(stack.neighbours[i])
    waited = slot.state == NEIGHBOUR_INCOMPLETE or slot.state == NEIGHBOUR_FAILED
    memcpy(slot.mac, mac, 6)
    slot.confirmed_at = stack.now
    settle(stack, i, NEIGHBOUR_REACHABLE, 0)
    if waited:
        tcp_neighbour_ready(stack, slot.address, True)
        udp_neighbour_ready(stack, slot.address, True)


def neighbour_confirm(stack, address, mac):
    if stack.ip.recent < 0:
        return
    slot = cython.address(stack.neighbours[stack.ip.recent])
    if load_address(slot.address) != address or memcmp(slot.mac, mac, 6) != 0:
        return
    if slot.state == NEIGHBOUR_PROBE:
        settle(stack, stack.ip.recent, NEIGHBOUR_REACHABLE, 0)
    if slot.state == NEIGHBOUR_REACHABLE and stack.now - slot.confirmed_at > RETRY_NS:
        slot.confirmed_at = stack.now


def neighbour_poll(stack, buffer):
    if stack.ip.announce:
        stack.ip.announce = False
        return arp_announce(stack, buffer)
    if stack.ip.sends == 0:
        return 0
    for i in range(STATE_NEIGHBOURS):
        timer = cython.address(stack.ip.timers[i])
        if not timer.send:
            continue
        timer.send = False
        stack.ip.sends -= 1
        slot = cython.address(stack.neighbours[i])
        # RFC 1122 §2.3.2.1 (2): ask the host that we know first, then everybody.
        known = slot.state == NEIGHBOUR_PROBE and timer.tries == 1
        return arp_request(stack, buffer, slot.address, slot.mac if known else cython.NULL)
    return 0


def neighbour_expire(stack):
    if stack.now < stack.ip.neighbour_due:
        return
    stack.ip.neighbour_due = cython.cast("uint64_t", -1)
    for i in range(STATE_NEIGHBOURS):
        timer = cython.address(stack.ip.timers[i])
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


def neighbour_next_deadline(stack):
    return stack.ip.neighbour_due


def find(stack, address):
    i = stack.ip.heads[chain_of(address)]
    while i >= 0 and load_address(stack.neighbours[i].address) != address:
        i = stack.ip.timers[i].next
    return i


def create(stack, address):
    """A new entry for the address, asked for; -1 when the table is full of neighbours in use."""
    i = vacate(stack)
    if i < 0:
        count(stack, Counter.NEIGHBOUR_TABLE_FULL)
        return i
    slot = cython.address(stack.neighbours[i])
    memset(slot, 0, cython.sizeof(slot[0]))
    memset(cython.address(stack.ip.timers[i]), 0, cython.sizeof(stack.ip.timers[i]))
    slot.family = FAMILY_IPV4
    memcpy(slot.address, cython.address(address), 4)
    link(stack, i)
    slot.state = NEIGHBOUR_INCOMPLETE
    ask(stack, i)
    return i


def vacate(stack):
    """A free slot; else that of the neighbour unused for longest, and for REACHABLE_NS. -1: none."""
    best = NO_NEIGHBOUR
    oldest = stack.now
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


def link(stack, i):
    head = chain_of(load_address(stack.neighbours[i].address))
    stack.ip.timers[i].next = stack.ip.heads[head]
    stack.ip.heads[head] = cython.cast("int16_t", i)


def forget(stack, i):
    settle(stack, i, NEIGHBOUR_FREE, 0)
    if stack.ip.recent == i:
        stack.ip.recent = NO_NEIGHBOUR
    at = cython.address(stack.ip.heads[chain_of(load_address(stack.neighbours[i].address))])
    while at[0] != i:
        at = cython.address(stack.ip.timers[at[0]].next)
    at[0] = stack.ip.timers[i].next


def ask(stack, i):
    """Send a request with the next poll, and again after RETRY_NS."""
    timer = cython.address(stack.ip.timers[i])
    timer.tries += 1
    timer.due = stack.now + RETRY_NS
    stack.ip.neighbour_due = min(stack.ip.neighbour_due, timer.due)
    if not timer.send:
        timer.send = True
        stack.ip.sends += 1


def settle(stack, i, state, due):
    """Ask no more; `due`: when this state ends by itself, 0 for never."""
    stack.neighbours[i].state = state
    timer = cython.address(stack.ip.timers[i])
    timer.tries = 0
    timer.due = due
    if due:
        stack.ip.neighbour_due = min(stack.ip.neighbour_due, due)
    if timer.send:
        timer.send = False
        stack.ip.sends -= 1
