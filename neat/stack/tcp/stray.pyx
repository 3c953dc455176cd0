"""A peer that only waits hears of a lost connection from nobody: its RST must carry the very sequence number
that the peer expects (RFC 5961 §3.2), and nobody knows that any more.

But the peer says it when it is asked. RFC 9293 §3.10.7.4: "If an incoming segment is not acceptable, an
acknowledgment should be sent in reply". So it gets one that is not: without text, with a sequence number out
of the air. Its answer meets no connection here and draws the RST that is exactly right (respond_rst). This is
the recovery from a half-open connection of RFC 9293 §3.5.1, begun from this side.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.ip_private cimport load_address
from neat.stack.ipv4 cimport is_broadcast
from neat.stack.tcp.isn cimport timestamp_offset
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.respond cimport respond, timestamp_now
from neat.stack.tcp.segment cimport NO_WSCALE, Outgoing
from neat.stack.tcp.types cimport NO_INDEX
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FAMILY_IPV4, FlowKey, flow_hash
from neat.wire.headers cimport PROTO_TCP, TCP_ACK


cdef void stray_lost(Stack* stack, const uint8_t* payload, uint32_t length) noexcept nogil:
    cdef FlowKey key
    if length != sizeof(FlowKey):
        count(stack, Counter.TCP_BAD_ADDRESS)
        return
    memcpy(&key, payload, sizeof(FlowKey))
    if not is_ours(stack, &key):
        count(stack, Counter.TCP_BAD_ADDRESS)
        return
    # The tuple may be in use again.
    if lookup(&stack.tcp, &key) == NO_INDEX and respond_stray(stack, &key):
        count(stack, Counter.TCP_LOST_FLOWS)


cdef bint is_ours(Stack* stack, const FlowKey* key) noexcept nogil:
    """A TCP connection between our address and one host's."""
    return (
        key.family == FAMILY_IPV4
        and key.protocol == PROTO_TCP
        and load_address(key.local) == stack.ip.address
        and not is_broadcast(stack, load_address(key.remote))
    )


cdef bint respond_stray(Stack* stack, const FlowKey* key) noexcept nogil:
    """Its numbers are others each time, so that one that happens to lie in the window is no lasting bad luck.

    The timestamp is for peers that negotiated them and drop what has none (RFC 7323 §3.2); to others it says
    nothing, and one that is too old is answered, too (RFC 7323 §5.3, R1)."""
    cdef Outgoing out
    memset(&out, 0, sizeof(Outgoing))
    out.wscale = NO_WSCALE
    out.local_port = key.local_port
    out.remote_port = key.remote_port
    out.seq = flow_hash(key, <uint32_t>stack.now)
    out.ack = flow_hash(key, ~<uint32_t>stack.now)
    out.flags = TCP_ACK
    out.has_ts = True
    out.tsval = timestamp_now(stack, timestamp_offset(stack, key))
    return respond(stack, key.local, key.remote, &out)
