"""The packet filter. The contract is in filter.pxd."""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from neat.shm.atomic cimport fence, load64, replace64, store64
from neat.shm.filter cimport (
    CHAIN_INPUT, CHAIN_OUTPUT, FILTER_HEADER, FILTER_RANGES, FILTER_RULES, FLAG_LIMIT, FLAG_LOG, FLAG_OVER,
    INTERFACE_LO, INTERFACE_TAP, LOG_ENTRIES, MATCHES, MATCH_DESTINATION, MATCH_DPORT, MATCH_ICMP_TYPE,
    MATCH_PROTOCOL, MATCH_SOURCE, MATCH_SPORT, STATE_ESTABLISHED, STATE_INVALID, STATE_NEW, STATE_RELATED,
    VERDICT_ACCEPT, VERDICT_DROP, VERDICT_NONE, VERDICT_RESET, FilterHeader, FilterLogEntry,
    FilterMatch, FilterRange, FilterRule, FilterSet, TrackArea, TrackHeader,
)
from neat.stack.counters cimport Counter
from neat.stack.ip_private cimport load_address
from neat.stack.packet cimport Packet
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.types cimport NO_INDEX, TW_BIT
from neat.stack.track cimport track_knows, track_passed, track_state
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FAMILY_IPV4, FlowKey
from neat.wire.headers cimport (
    ETHERTYPE_IPV4, PROTO_ICMP, PROTO_TCP, PROTO_UDP, TCP_ACK, TCP_RST, TCP_SYN, Ipv4Header, ntohl, ntohs,
)
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    ETHERTYPE_AT = VNET_BYTES + 12
    IP_AT = VNET_BYTES + 14
    IPV4_BYTES = 20
    ICMP_BYTES = 8
    TCP_FLAGS_AT = 13
    NOT_KNOWN = 0                   # of View.state
    TRIES = 8                       # for a rate that other replicas change at the same time

cdef struct View:                   # a packet as rules see it
    uint32_t numbers[MATCHES]       # by MATCH_*: host order
    uint32_t has                    # a bit for each that the packet has
    uint32_t length                 # of the IP packet
    uint32_t local, remote          # addresses as on the wire
    uint16_t local_port, remote_port
    uint8_t state                   # a STATE_ bit, once somebody asked
    uint8_t interface
    uint8_t chain
    uint8_t protocol
    const uint8_t* l4
    uint32_t l4_length


cdef int filter_attach(
    Stack* stack, const void* header, void* rates, void* own, const void* areas, uint32_t area, uint32_t many
) noexcept nogil:
    f = &stack.filter
    f.rules = <FilterSet*>calloc(1, sizeof(FilterSet))
    f.spare = <FilterSet*>calloc(1, sizeof(FilterSet))
    if f.rules == NULL or f.spare == NULL:
        return -ENOMEM
    f.sets = <const FilterSet*>(<const uint8_t*>header + FILTER_HEADER)
    f.rates = <TrackHeader*>rates
    f.own = <TrackArea*>own
    f.areas = <const TrackArea*>areas
    f.area, f.area_count = area, many
    f.header = <const FilterHeader*>header
    filter_take_up(stack)
    return 0


cdef void filter_detach(Stack* stack) noexcept nogil:
    free(stack.filter.rules)
    free(stack.filter.spare)
    stack.filter.rules = stack.filter.spare = NULL
    stack.filter.header = NULL


# --- which rules count


cdef void filter_take_up(Stack* stack) noexcept nogil:
    """A copy, so that a packet meets one set from its first rule to its last, whatever is written meanwhile.
    It is the copy that is checked."""
    f = &stack.filter
    cdef uint64_t generation = load64(<uint64_t*>&f.header.generation)
    cdef const FilterSet* found = &f.sets[generation & 1]
    cdef FilterSet* copy = f.spare
    if generation == f.generation or load64(<uint64_t*>&found.generation) != generation:
        return  # nothing new, or the one after the next is being written there
    cdef bint sound = take_copy(found, copy)
    fence()
    if load64(<uint64_t*>&found.generation) != generation:
        return
    f.generation = generation
    if not sound or not are_sound(copy):
        count(stack, Counter.FILTER_BAD_RULES)
        return
    f.spare, f.rules = f.rules, copy
    take_effect(stack)


cdef bint take_copy(const FilterSet* found, FilterSet* copy) noexcept nogil:
    memcpy(copy, found, offsetof_rules())
    if copy.inputs > FILTER_RULES or copy.outputs > FILTER_RULES - copy.inputs or copy.ranges > FILTER_RANGES:
        return False
    memcpy(copy.rules, found.rules, (copy.inputs + copy.outputs) * sizeof(FilterRule))
    memcpy(copy.range_pool, found.range_pool, copy.ranges * sizeof(FilterRange))
    return True


cdef inline size_t offsetof_rules() noexcept nogil:
    cdef FilterSet* at = NULL
    return <size_t>at.rules


cdef void take_effect(Stack* stack) noexcept nogil:
    cdef uint32_t i
    f = &stack.filter
    f.tracks = False
    for i in range(f.rules.inputs + f.rules.outputs):
        f.tracks |= f.rules.rules[i].states != 0
    f.active = (
        f.rules.inputs + f.rules.outputs != 0
        or f.rules.policies[0] == VERDICT_DROP
        or f.rules.policies[1] == VERDICT_DROP
    )


cdef bint is_policy(uint8_t verdict) noexcept nogil:
    return verdict == VERDICT_ACCEPT or verdict == VERDICT_DROP


cdef bint are_sound(const FilterSet* copy) noexcept nogil:
    """No index leads out of a table, and each verdict is one."""
    cdef uint32_t i, kind
    cdef const FilterMatch* match
    if not is_policy(copy.policies[0]) or not is_policy(copy.policies[1]):
        return False
    for i in range(copy.inputs + copy.outputs):
        if copy.rules[i].index >= FILTER_RULES or copy.rules[i].verdict > VERDICT_RESET:
            return False
        if copy.rules[i].asked >> MATCHES:
            return False
        for kind in range(<uint32_t>MATCHES):
            match = &copy.rules[i].matches[kind]
            if <uint32_t>match.first + match.count > copy.ranges:
                return False
    return True


# --- what a packet is


cdef Judgement filter_input(Stack* stack, const Packet* packet) noexcept nogil:
    cdef View view
    view.chain = CHAIN_INPUT
    view.interface = INTERFACE_LO if stack.ip.own_frame else INTERFACE_TAP
    view.protocol = packet.protocol
    view.length = packet.ip_length
    view.l4 = packet.record + packet.l4
    view.l4_length = packet.l4_length
    view.local = load_address(packet.destination)
    view.remote = load_address(packet.source)
    look(&view, view.remote, view.local)
    view.local_port = <uint16_t>view.numbers[<uint32_t>MATCH_DPORT]
    view.remote_port = <uint16_t>view.numbers[<uint32_t>MATCH_SPORT]
    return judge(stack, &view)


cdef Judgement filter_output(Stack* stack, const uint8_t* record, uint32_t length) noexcept nogil:
    """The engine wrote it: it is what it looks like."""
    cdef View view
    cdef Judgement passes
    cdef const Ipv4Header* ip = <const Ipv4Header*>(record + IP_AT)
    passes.verdict, passes.code = VERDICT_ACCEPT, 0
    if length < IP_AT + IPV4_BYTES or ntohs((<const uint16_t*>(record + ETHERTYPE_AT))[0]) != ETHERTYPE_IPV4:
        return passes
    cdef uint32_t header = (ip.version_ihl & 15) * 4
    view.chain = CHAIN_OUTPUT
    view.protocol = ip.protocol
    view.length = ntohs(ip.total_length)
    view.l4 = record + IP_AT + header
    view.l4_length = view.length - header
    view.local = load_address(ip.source)
    view.remote = load_address(ip.destination)
    view.interface = INTERFACE_LO if view.remote == stack.ip.address else INTERFACE_TAP
    look(&view, view.local, view.remote)
    view.local_port = <uint16_t>view.numbers[<uint32_t>MATCH_SPORT]
    view.remote_port = <uint16_t>view.numbers[<uint32_t>MATCH_DPORT]
    return judge(stack, &view)


cdef void look(View* view, uint32_t source, uint32_t destination) noexcept nogil:
    cdef const uint8_t* l4 = view.l4
    view.state = NOT_KNOWN
    view.has = 1 << MATCH_PROTOCOL | 1 << MATCH_SOURCE | 1 << MATCH_DESTINATION
    memset(view.numbers, 0, sizeof(view.numbers))
    view.numbers[<uint32_t>MATCH_PROTOCOL] = view.protocol
    view.numbers[<uint32_t>MATCH_SOURCE] = ntohl(source)
    view.numbers[<uint32_t>MATCH_DESTINATION] = ntohl(destination)
    if (view.protocol == PROTO_TCP or view.protocol == PROTO_UDP) and view.l4_length >= 4:
        view.has |= 1 << MATCH_SPORT | 1 << MATCH_DPORT
        view.numbers[<uint32_t>MATCH_SPORT] = l4[0] << 8 | l4[1]
        view.numbers[<uint32_t>MATCH_DPORT] = l4[2] << 8 | l4[3]
    elif view.protocol == PROTO_ICMP and view.l4_length >= 1:
        view.has |= 1 << MATCH_ICMP_TYPE
        view.numbers[<uint32_t>MATCH_ICMP_TYPE] = l4[0]


# --- the state of its connection


cdef uint8_t state_of(Stack* stack, View* view) noexcept nogil:
    if view.state == NOT_KNOWN:
        if view.protocol == PROTO_TCP:
            view.state = tcp_state(stack, view)
        elif view.protocol == PROTO_UDP:
            view.state = udp_state(stack, view)
        elif view.protocol == PROTO_ICMP:
            view.state = icmp_state(stack, view)
        else:
            view.state = STATE_NEW
    return view.state


cdef void make_key(Stack* stack, FlowKey* key, uint8_t protocol, uint32_t remote) noexcept nogil:
    memset(key, 0, sizeof(FlowKey))
    key.family = FAMILY_IPV4
    key.protocol = protocol
    memcpy(key.local, stack.config.address, 4)
    memcpy(key.remote, &remote, 4)


cdef uint8_t tcp_state(Stack* stack, View* view) noexcept nogil:
    """Its connections are the engine's own. A SYN to one in TIME-WAIT opens another; what is for no
    connection and opens none is invalid, but for what the engine answers to it."""
    cdef FlowKey key
    if view.l4_length <= TCP_FLAGS_AT:
        return STATE_INVALID
    flags = view.l4[TCP_FLAGS_AT]
    cdef bint opens = flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
    if view.chain == CHAIN_OUTPUT:
        return STATE_NEW if opens else STATE_ESTABLISHED
    make_key(stack, &key, PROTO_TCP, view.remote)
    key.local_port, key.remote_port = view.local_port, view.remote_port
    at = lookup(&stack.tcp, &key)
    if at != NO_INDEX and not (at & TW_BIT and opens):
        return STATE_ESTABLISHED
    return STATE_NEW if opens else STATE_INVALID


cdef uint8_t udp_state(Stack* stack, View* view) noexcept nogil:
    if not view.has & 1 << MATCH_SPORT:
        return STATE_INVALID
    return <uint8_t>track_state(
        stack, view.remote, view.remote_port, view.local_port, view.chain == CHAIN_INPUT
    )


cdef uint8_t icmp_state(Stack* stack, View* view) noexcept nogil:
    """An error is related to the connection whose packet it quotes; the stack itself asks for nothing."""
    if view.l4_length < ICMP_BYTES:
        return STATE_INVALID
    type = view.l4[0]
    if type == 8:
        return STATE_NEW
    if view.chain == CHAIN_OUTPUT:
        return STATE_ESTABLISHED if type == 0 else STATE_RELATED
    if type != 3 and type != 11 and type != 12:
        return STATE_INVALID
    return STATE_RELATED if quotes_ours(stack, view) else STATE_INVALID


cdef bint quotes_ours(Stack* stack, View* view) noexcept nogil:
    cdef FlowKey key
    cdef const uint8_t* quote = view.l4 + ICMP_BYTES
    cdef uint32_t size = view.l4_length - ICMP_BYTES
    cdef const Ipv4Header* ip = <const Ipv4Header*>quote
    if size < IPV4_BYTES + 8:
        return False
    cdef uint32_t ihl = (ip.version_ihl & 15) * 4
    if ip.version_ihl >> 4 != 4 or ihl < IPV4_BYTES or ihl + 8 > size:
        return False
    if load_address(ip.source) != stack.ip.address:
        return False
    cdef uint32_t remote = load_address(ip.destination)
    make_key(stack, &key, ip.protocol, remote)
    key.local_port = <uint16_t>(quote[ihl] << 8 | quote[ihl + 1])
    key.remote_port = <uint16_t>(quote[ihl + 2] << 8 | quote[ihl + 3])
    if ip.protocol == PROTO_TCP:
        return lookup(&stack.tcp, &key) != NO_INDEX
    return ip.protocol == PROTO_UDP and track_knows(stack, remote, key.remote_port, key.local_port)


# --- what becomes of it


cdef Judgement judge(Stack* stack, View* view) noexcept nogil:
    """The first rule that matches and has a verdict; else the policy."""
    cdef Judgement judgement
    f = &stack.filter
    cdef const FilterRule* rule = f.rules.rules
    cdef const FilterRule* end = rule + f.rules.inputs
    if view.chain == CHAIN_OUTPUT:
        rule = end
        end = rule + f.rules.outputs
    judgement.verdict, judgement.code = f.rules.policies[view.chain], 0
    while rule != end:
        if matches(stack, rule, view):
            note(stack, rule, view)
            if rule.verdict != VERDICT_NONE:
                judgement.verdict, judgement.code = rule.verdict, rule.reject_code
                break
        rule += 1
    if judgement.verdict == VERDICT_ACCEPT and f.tracks and view.protocol == PROTO_UDP:
        if view.has & 1 << MATCH_SPORT:
            track_passed(stack, view.remote, view.remote_port, view.local_port, view.chain == CHAIN_INPUT)
    if judgement.verdict != VERDICT_ACCEPT:
        count_loss(stack, view.chain, judgement.verdict)
    return judgement


cdef void count_loss(Stack* stack, uint8_t chain, uint8_t verdict) noexcept nogil:
    if chain == CHAIN_INPUT:
        count(stack, Counter.FILTER_IN_DROPPED if verdict == VERDICT_DROP else Counter.FILTER_IN_REJECTED)
    else:
        count(stack, Counter.FILTER_OUT_DROPPED if verdict == VERDICT_DROP else Counter.FILTER_OUT_REJECTED)


cdef inline bint matches(Stack* stack, const FilterRule* rule, View* view) noexcept nogil:
    cdef uint32_t kind = 0
    cdef uint32_t asked = rule.asked
    if rule.interface and rule.interface != view.interface:
        return False
    while asked:
        if asked & 1 and not number_matches(stack, rule, view, kind):
            return False
        asked >>= 1
        kind += 1
    if rule.states and not rule.states & state_of(stack, view):
        return False
    return not rule.flags & FLAG_LIMIT or within(stack, rule) != (rule.flags & FLAG_OVER != 0)


cdef inline bint number_matches(
    Stack* stack, const FilterRule* rule, View* view, uint32_t kind
) noexcept nogil:
    """What a packet does not have matches neither a number nor its negation."""
    cdef uint32_t i
    cdef uint32_t value = view.numbers[kind]
    cdef const FilterRange* ranges = &stack.filter.rules.range_pool[rule.matches[kind].first]
    cdef bint negated = rule.negated >> kind & 1
    if not view.has >> kind & 1:
        return False
    for i in range(rule.matches[kind].count):
        if ranges[i].low <= value <= ranges[i].high:
            return not negated
    return negated


cdef bint within(Stack* stack, const FilterRule* rule) noexcept nogil:
    """The generic cell rate algorithm (ITU-T I.371, annex A) on a word that all replicas share."""
    cdef uint64_t due, from_
    cdef uint32_t _i
    cdef uint64_t* word = &stack.filter.rates.due[rule.index]
    for _i in range(<uint32_t>TRIES):
        due = load64(word)
        from_ = due
        # What lies in the past, or further ahead than it can be, is as new.
        if <int64_t>(due - stack.now) < 0 or due - stack.now > rule.burst + rule.interval:
            from_ = stack.now
        if from_ - stack.now > rule.burst:
            return False
        if replace64(word, due, from_ + rule.interval):
            return True
    return False


cdef void note(Stack* stack, const FilterRule* rule, const View* view) noexcept nogil:
    own = stack.filter.own
    own.counts[rule.index].packets += 1
    own.counts[rule.index].bytes += view.length
    if not rule.flags & FLAG_LOG:
        return
    cdef uint64_t number = own.logged
    cdef FilterLogEntry* entry = &own.log[number & (LOG_ENTRIES - 1)]
    entry.at = stack.now
    entry.handle = rule.handle
    entry.source = view.numbers[<uint32_t>MATCH_SOURCE]
    entry.destination = view.numbers[<uint32_t>MATCH_DESTINATION]
    entry.length = view.length
    entry.sport = <uint16_t>view.numbers[<uint32_t>MATCH_SPORT]
    entry.dport = <uint16_t>view.numbers[<uint32_t>MATCH_DPORT]
    entry.protocol, entry.chain, entry.interface = view.protocol, view.chain, view.interface
    entry.icmp_type = <uint8_t>view.numbers[<uint32_t>MATCH_ICMP_TYPE]
    store64(&own.logged, number + 1)
