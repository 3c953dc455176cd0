"""Flows of UDP. The contract is in track.pxd."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from neat.shm.atomic cimport load32, store32
from neat.shm.filter cimport (
    STATE_ESTABLISHED, STATE_NEW, TRACK_FLOWS, TRACK_INBOUND, TRACK_REPLIED, TRACK_USED, TRACK_WINDOW,
    TrackFlow,
)
from neat.stack.types cimport Stack
from neat.wire.flow cimport FAMILY_IPV4, FlowKey, flow_hash
from neat.wire.headers cimport PROTO_UDP

cdef enum:
    NANOSECONDS = 1_000_000_000
    # As nf_conntrack_udp_timeout and nf_conntrack_udp_timeout_stream of Linux.
    UNREPLIED_S = 30
    REPLIED_S = 120


cdef uint32_t home(Stack* stack, uint32_t remote, uint16_t remote_port, uint16_t local_port) noexcept nogil:
    """Keyed by the stack's secret, which all its replicas have: nobody outside can aim at a window."""
    cdef FlowKey key
    cdef uint32_t seed
    memset(&key, 0, sizeof(key))
    key.family, key.protocol = FAMILY_IPV4, PROTO_UDP
    key.local_port, key.remote_port = local_port, remote_port
    (<uint32_t*>key.remote)[0] = remote
    seed = (<uint32_t*>stack.config.secret)[0]
    return flow_hash(&key, seed)


cdef bint expired(Stack* stack, uint32_t state, uint64_t seen) noexcept nogil:
    """Signed: what lies ahead was seen just now by another replica."""
    cdef int64_t life = REPLIED_S if state & TRACK_REPLIED else UNREPLIED_S
    return <int64_t>(stack.now - seen) > life * NANOSECONDS


cdef uint32_t look_up(
    Stack* stack, const TrackFlow* flows, uint32_t at, uint32_t remote, uint16_t remote_port,
    uint16_t local_port, TrackFlow** found
) noexcept nogil:
    """The state of a flow in one table, and its entry; 0: it is not there."""
    cdef uint32_t i, state
    cdef const TrackFlow* flow
    for i in range(<uint32_t>TRACK_WINDOW):
        flow = &flows[(at + i) & (TRACK_FLOWS - 1)]
        state = load32(&flow.state)
        if (
            state & TRACK_USED
            and flow.remote == remote
            and flow.remote_port == remote_port
            and flow.local_port == local_port
            and not expired(stack, state, flow.seen)
        ):
            found[0] = <TrackFlow*>flow
            return state
    return 0


cdef uint32_t known(
    Stack* stack, uint32_t at, uint32_t remote, uint16_t remote_port, uint16_t local_port, TrackFlow** own
) noexcept nogil:
    """What all replicas together know of a flow; *own: this one's entry, NULL if it has none."""
    cdef uint32_t area, state, other
    cdef TrackFlow* entry
    own[0] = NULL
    state = look_up(stack, stack.filter.own.flows, at, remote, remote_port, local_port, own)
    if state & TRACK_REPLIED:
        return state
    for area in range(stack.filter.area_count):
        if area == stack.filter.area:
            continue
        other = look_up(stack, stack.filter.areas[area].flows, at, remote, remote_port, local_port, &entry)
        if other:
            # Two that have each seen the first of one direction have seen both.
            if state and (state ^ other) & TRACK_INBOUND:
                return state | TRACK_REPLIED
            state |= other
            if state & TRACK_REPLIED:
                break
    return state


cdef uint32_t track_state(
    Stack* stack, uint32_t remote, uint16_t remote_port, uint16_t local_port, bint inbound
) noexcept nogil:
    cdef TrackFlow* own
    state = known(stack, home(stack, remote, remote_port, local_port), remote, remote_port, local_port, &own)
    if state == 0:
        return STATE_NEW
    if state & TRACK_REPLIED or (state & TRACK_INBOUND != 0) != inbound:
        return STATE_ESTABLISHED
    return STATE_NEW


cdef bint track_knows(
    Stack* stack, uint32_t remote, uint16_t remote_port, uint16_t local_port
) noexcept nogil:
    cdef TrackFlow* own
    at = home(stack, remote, remote_port, local_port)
    return known(stack, at, remote, remote_port, local_port, &own) != 0


cdef void track_passed(
    Stack* stack, uint32_t remote, uint16_t remote_port, uint16_t local_port, bint inbound
) noexcept nogil:
    cdef TrackFlow* own
    at = home(stack, remote, remote_port, local_port)
    state = known(stack, at, remote, remote_port, local_port, &own)
    if state == 0:
        state = TRACK_USED | (TRACK_INBOUND if inbound else 0)
    elif (state & TRACK_INBOUND != 0) != inbound:
        state |= TRACK_REPLIED
    if own == NULL:
        own = room(stack, at)
        store32(&own.state, 0)
        own.remote, own.remote_port, own.local_port = remote, remote_port, local_port
    own.seen = stack.now
    if own.state != state:
        store32(&own.state, state)


cdef TrackFlow* room(Stack* stack, uint32_t at) noexcept nogil:
    """A free entry of the window, or the one that was not seen for longest: unreplied ones first."""
    cdef uint32_t i, state
    cdef int64_t age, oldest = -1
    cdef TrackFlow* flow
    cdef TrackFlow* chosen = NULL
    for i in range(<uint32_t>TRACK_WINDOW):
        flow = &stack.filter.own.flows[(at + i) & (TRACK_FLOWS - 1)]
        state = flow.state
        if not state & TRACK_USED or expired(stack, state, flow.seen):
            return flow
        age = max(<int64_t>(stack.now - flow.seen), <int64_t>0)
        if not state & TRACK_REPLIED:
            age += REPLIED_S * <int64_t>NANOSECONDS
        if age > oldest:
            oldest, chosen = age, flow
    return chosen
