"""UDP: binds, datagrams and errors in, commands. A received datagram goes into its socket's ring at once."""

from libc.errno cimport (
    EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED, EHOSTUNREACH, EINVAL, EIO, ENOBUFS, ENOENT, ENOMEM, ENOPROTOOPT,
)
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from neat.abi.channel cimport (
    NEAT_OPT_PEER, NEAT_REQ_NOTIFY, NEAT_SOCK_UDP, neat_addr, neat_datagram, neat_sock,
)
from neat.abi.control cimport NEAT_BIND_REUSEADDR, NEAT_BIND_REUSEPORT
from neat.shm.atomic cimport fetch_and32, load32, load64, store32, store64
from neat.stack.channels cimport channel_of, sock_birth, sock_death, sock_rx_ring
from neat.stack.config cimport EV_READABLE, EV_WRITABLE
from neat.stack.counters cimport Counter
from neat.stack.events cimport event_raise
from neat.stack.icmp cimport (
    ICMP_HOST_UNREACHABLE, ICMP_PORT_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE, ICMP_UNREACHABLE,
)
from neat.stack.ip_private cimport load_address
from neat.stack.ipv4 cimport IPV4_OFFSET, ipv4_error
from neat.stack.packet cimport Packet
from neat.stack.state cimport UdpSlot
from neat.stack.types cimport Channel, Stack, count
from neat.stack.udp_output cimport udp_put_rest_aside
from neat.wire.checksum cimport checksum_add, checksum_fold, pseudo_header_v4
from neat.wire.flow cimport FAMILY_IPV4, FlowKey, flow_hash
from neat.wire.headers cimport PROTO_UDP, UdpHeader, ntohs

# Copy between a ring of `size` bytes (a power of two) and flat memory; the ring's part may wrap. length <=
# size.
cdef inline void ring_write(
    uint8_t* ring, uint32_t size, uint64_t offset, const void* source, uint32_t length
) noexcept nogil:
    cdef uint32_t start = <uint32_t>(offset & (size - 1))
    cdef uint32_t first = min(length, size - start)
    memcpy(ring + start, source, first)
    memcpy(ring, <const uint8_t*>source + first, length - first)


# Binds ------------------------------------------------------------------------------------------


cdef int udp_create(Stack* stack) noexcept nogil:
    cdef int32_t head
    cdef UdpTable* table = <UdpTable*>calloc(1, sizeof(UdpTable))
    stack.udp.memory = table
    if table == NULL:
        return -ENOMEM
    table.room = stack.config.mtu
    table.binds = <UdpBind*>calloc(stack.config.max_udp, sizeof(UdpBind))
    table.bytes = <uint8_t*>calloc(WAITING_SLOTS, table.room)
    table.record = <uint8_t*>calloc(1, IPV4_OFFSET + table.room)
    if table.binds == NULL or table.bytes == NULL or table.record == NULL:
        return -ENOMEM
    table.first_pending = table.last_pending = NO_BIND
    for head in range(UDP_HEADS):
        table.heads[head] = NO_BIND
    return 0


cdef void udp_destroy(Stack* stack) noexcept nogil:
    cdef UdpTable* table = table_of(stack)
    if table != NULL:
        free(table.binds)
        free(table.bytes)
        free(table.record)
        free(table)
        stack.udp.memory = NULL


cdef int udp_bind(
    Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t flags
) noexcept nogil:
    cdef Channel* channel = channel_of(stack, app)
    if channel == NULL:
        return -ENOENT
    if local.port == 0 or (local.family != 0 and local.family != FAMILY_IPV4) or sock >= channel.nsock:
        return -EINVAL
    if load_address(local.addr) != 0 and load_address(local.addr) != stack.ip.address:
        return -EADDRNOTAVAIL
    if conflicts(stack, local, flags):
        return -EADDRINUSE
    cdef int32_t i = 0
    while i < <int32_t>stack.config.max_udp and stack.udp_slots[i].used:
        i += 1
    if i == <int32_t>stack.config.max_udp:
        return -ENOBUFS
    cdef int32_t index = sock_birth(channel, sock, NEAT_SOCK_UDP, i)
    if index < 0:
        return index
    channel.socks[sock].local = local[0]
    cdef UdpSlot* slot = &stack.udp_slots[i]
    memset(slot, 0, sizeof(slot[0]))
    slot.app, slot.sock, slot.generation = app, sock, channel.owners[sock].generation
    slot.flags, slot.port, slot.family = flags, local.port, FAMILY_IPV4
    memcpy(slot.address, local.addr, 4)
    udp_begin(stack, i, channel)
    store32(&slot.used, True)
    return 0


cdef void udp_begin(Stack* stack, int32_t i, Channel* channel) noexcept nogil:
    cdef UdpTable* table = table_of(stack)
    cdef UdpSlot* slot = &stack.udp_slots[i]
    cdef UdpBind* bind = &table.binds[i]
    bind.channel = channel
    bind.pending = bind.broken = False
    bind.tx_until = bind.errors = bind.drops = 0
    # The node may still be queued for a bind that was here before: its links stay.
    bind.node.event.kinds = bind.node.event.error = 0
    bind.node.event.app, bind.node.event.sock = slot.app, slot.sock
    bind.node.event.generation = slot.generation
    bind.node.event.conn = -1
    bind.next = table.heads[slot.port & (UDP_HEADS - 1)]
    table.heads[slot.port & (UDP_HEADS - 1)] = <int16_t>i


cdef bint conflicts(Stack* stack, const neat_addr* local, uint32_t flags) noexcept nogil:
    """Another bind has this port on an address that overlaps, and one of the two does not share."""
    cdef uint32_t mine, theirs
    cdef int32_t i = table_of(stack).heads[local.port & (UDP_HEADS - 1)]
    while i >= 0:
        if stack.udp_slots[i].port == local.port:
            mine, theirs = load_address(local.addr), load_address(stack.udp_slots[i].address)
            shared = flags & stack.udp_slots[i].flags & (NEAT_BIND_REUSEADDR | NEAT_BIND_REUSEPORT)
            if (mine == 0 or theirs == 0 or mine == theirs) and not shared:
                return True
        i = table_of(stack).binds[i].next
    return False


cdef int udp_unbind(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil:
    cdef Channel* channel = channel_of(stack, app)
    if channel == NULL:
        return -ENOENT
    if sock >= channel.nsock or channel.owners[sock].kind != NEAT_SOCK_UDP:
        return -EINVAL
    # close() may be heard of before what was written just before it.
    udp_command(stack, channel, sock, &channel.socks[sock])
    udp_put_rest_aside(stack, channel.owners[sock].owner)
    release(stack, channel.owners[sock].owner)
    return 0


cdef void udp_detach(Stack* stack, Channel* channel) noexcept nogil:
    cdef uint32_t i
    for i in range(stack.config.max_udp):
        if stack.udp_slots[i].used and table_of(stack).binds[i].channel == channel:
            release(stack, i)


cdef void release(Stack* stack, uint32_t i) noexcept nogil:
    """Unbind. Its datagrams that were put aside still go."""
    cdef int32_t k
    cdef UdpTable* table = table_of(stack)
    leave_pending(stack, i)
    for k in range(WAITING_SLOTS):
        if table.waiting[k].bind == <int32_t>i:
            table.waiting[k].bind = NO_BIND
    cdef int16_t* at = &table.heads[stack.udp_slots[i].port & (UDP_HEADS - 1)]
    while at[0] != <int32_t>i:
        at = &table.binds[at[0]].next
    at[0] = table.binds[i].next
    store32(&stack.udp_slots[i].used, False)
    sock_death(table.binds[i].channel, stack.udp_slots[i].sock)


cdef void join_pending(Stack* stack, uint32_t i) noexcept nogil:
    cdef UdpTable* table = table_of(stack)
    if table.binds[i].pending:
        return
    table.binds[i].pending = True
    table.binds[i].next_pending = NO_BIND
    if table.last_pending < 0:
        table.first_pending = <int16_t>i
    else:
        table.binds[table.last_pending].next_pending = <int16_t>i
    table.last_pending = <int16_t>i


cdef void leave_pending(Stack* stack, uint32_t i) noexcept nogil:
    cdef UdpTable* table = table_of(stack)
    if not table.binds[i].pending:
        return
    table.binds[i].pending = False
    cdef int16_t previous = NO_BIND
    cdef int16_t* at = &table.first_pending
    while at[0] != <int32_t>i:
        previous = at[0]
        at = &table.binds[at[0]].next_pending
    at[0] = table.binds[i].next_pending
    if table.last_pending == <int32_t>i:
        table.last_pending = previous


cdef void report(Stack* stack, int32_t i, int32_t error) noexcept nogil:
    """An error for the application to read as SO_ERROR."""
    cdef UdpBind* bind = &table_of(stack).binds[i]
    cdef neat_sock* sock = &bind.channel.socks[stack.udp_slots[i].sock]
    bind.errors += 1
    store32(&sock.error, error)
    store32(&sock.error_count, bind.errors)
    event_raise(&stack.events, &bind.node, EV_READABLE | EV_WRITABLE)


cdef void break_off(Stack* stack, int32_t i) noexcept nogil:
    """The application broke the contract of its rings: they are not used any more."""
    count(stack, Counter.UDP_BAD_COMMAND)
    table_of(stack).binds[i].broken = True
    leave_pending(stack, i)
    report(stack, i, EIO)


# In ---------------------------------------------------------------------------------------------


cdef void udp_input(Stack* stack, Packet* packet) noexcept nogil:
    cdef uint64_t total
    count(stack, Counter.UDP_IN)
    cdef UdpHeader* header = <UdpHeader*>(packet.record + packet.l4)
    if packet.l4_length < UDP_BYTES:
        count(stack, Counter.UDP_BAD_LENGTH)
        return
    cdef uint32_t size = ntohs(header.length)
    if size < UDP_BYTES or size > packet.l4_length:
        count(stack, Counter.UDP_BAD_LENGTH)
        return
    # RFC 768: "An all zero transmitted checksum value means that the transmitter generated no checksum".
    if header.checksum != 0 and not packet.csum_ok:
        total = pseudo_header_v4(packet.source, packet.destination, PROTO_UDP, size, 0)
        if checksum_fold(checksum_add(packet.record + packet.l4, size, total)) != 0xFFFF:
            count(stack, Counter.UDP_BAD_CHECKSUM)
            return
    port, stranger = ntohs(header.destination_port), False
    cdef int32_t i = match(
        stack, packet.destination, port, packet.source, ntohs(header.source_port), &stranger
    )
    if i >= 0:
        deliver(stack, i, packet, ntohs(header.source_port), size - UDP_BYTES)
        return
    count(stack, Counter.UDP_NOT_PEER if stranger else Counter.UDP_NO_PORT)
    ipv4_error(stack, packet, ICMP_UNREACHABLE, ICMP_PORT_UNREACHABLE)


# The bind that a datagram is for, by exact address and peer before wildcard; NO_BIND. *stranger: one has
# another peer.
cdef int32_t match(
    Stack* stack, const uint8_t* local, uint16_t port, const uint8_t* remote, uint16_t remote_port,
    bint* stranger
) noexcept nogil:
    cdef UdpSlot* slot
    cdef int32_t best, score, highest
    cdef uint32_t address
    cdef UdpTable* table = table_of(stack)
    best, highest = NO_BIND, -1
    cdef int32_t i = table.heads[port & (UDP_HEADS - 1)]
    while i >= 0:
        slot = &stack.udp_slots[i]
        address = load_address(slot.address)
        if slot.port == port and (address == 0 or address == load_address(local)):
            score = 1 if address else 0
            sock = &table.binds[i].channel.socks[slot.sock]
            if load32(&sock.options) & NEAT_OPT_PEER:
                score = score + 2 if is_peer(sock, remote, remote_port) else -1
                if score < 0:
                    stranger[0] = True
            if score > highest:
                best, highest = i, score
            elif (
                score >= 0
                and score == highest
                and shares(stack, best, i)
                and rank(stack, i, remote, remote_port, port) > rank(stack, best, remote, remote_port, port)
            ):
                best = i
        i = table.binds[i].next
    return best


cdef bint shares(Stack* stack, int32_t i, int32_t j) noexcept nogil:
    """Both said SO_REUSEPORT, and neither is connected: those have what is theirs already."""
    cdef int32_t at, turn
    cdef UdpSlot* slot
    cdef neat_sock* sock
    for turn in range(2):
        at = j if turn else i
        slot = &stack.udp_slots[at]
        sock = &table_of(stack).binds[at].channel.socks[slot.sock]
        if not slot.flags & NEAT_BIND_REUSEPORT or load32(&sock.options) & NEAT_OPT_PEER:
            return False
    return True


cdef uint32_t rank(
    Stack* stack, int32_t i, const uint8_t* remote, uint16_t remote_port, uint16_t port
) noexcept nogil:
    """Each flow has one at each bind: so a bind that goes takes only its own flows with it."""
    cdef FlowKey key
    memset(&key, 0, sizeof(FlowKey))
    key.family = FAMILY_IPV4
    key.protocol = PROTO_UDP
    key.local_port = port
    key.remote_port = remote_port
    memcpy(key.remote, remote, 4)
    return flow_hash(&key, stack.tcp.hash_seed + <uint32_t>i)


cdef bint is_peer(neat_sock* sock, const uint8_t* address, uint16_t port) noexcept nogil:
    cdef neat_addr peer = sock.peer
    return (
        peer.family == FAMILY_IPV4 and peer.port == port and load_address(peer.addr) == load_address(address)
    )


cdef void deliver(Stack* stack, int32_t i, Packet* packet, uint16_t port, uint32_t size) noexcept nogil:
    """One datagram into the ring: bytes first, then the counter, then the news. Dropped without room."""
    cdef neat_datagram head
    cdef UdpBind* bind = &table_of(stack).binds[i]
    if bind.broken:
        count(stack, Counter.UDP_BAD_COMMAND)
        return
    cdef UdpSlot* slot = &stack.udp_slots[i]
    cdef neat_sock* sock = &bind.channel.socks[slot.sock]
    cdef uint64_t frame = stack.state.suspect.position + 1
    if slot.rx_frame == frame and slot.rx_next == slot.rx_tail:
        return  # a predecessor took this frame up to here
    cdef uint64_t used = slot.rx_tail - load64(&sock.rx_head)
    if used > bind.channel.rx_size or used & 7:
        break_off(stack, i)
        return
    cdef uint64_t limit = load32(&sock.rcvbuf)
    cdef uint64_t need = padded(DATAGRAM_HEAD + size)
    # One datagram always fits, however small SO_RCVBUF is.
    if limit == 0 or limit > bind.channel.rx_size or used == 0:
        limit = bind.channel.rx_size
    if used + need > limit:
        count(stack, Counter.UDP_RING_FULL)
        bind.drops += 1
        store32(&sock.drops, bind.drops)
        return
    memset(&head, 0, sizeof(head))
    head.length = size
    head.addr.family, head.addr.protocol, head.addr.port = FAMILY_IPV4, PROTO_UDP, port
    memcpy(head.addr.addr, packet.source, 4)
    head.flags = packet.tos | <uint32_t>packet.ttl << 8
    memcpy(&head.addr.scope, packet.destination, 4)
    cdef uint8_t* ring = sock_rx_ring(bind.channel, slot.sock)
    ring_write(ring, bind.channel.rx_size, slot.rx_tail, &head, DATAGRAM_HEAD)
    data = packet.record + packet.l4 + UDP_BYTES
    ring_write(ring, bind.channel.rx_size, slot.rx_tail + DATAGRAM_HEAD, data, size)
    # In this order, so that the two never say of a datagram that is not there that it is.
    slot.rx_next = slot.rx_tail + need
    store64(&slot.rx_frame, frame)
    store64(&slot.rx_tail, slot.rx_next)
    store64(&sock.rx_tail, slot.rx_tail)
    event_raise(&stack.events, &bind.node, EV_READABLE)


cdef void udp_icmp_error(Stack* stack, const FlowKey* key, uint8_t type, uint8_t code) noexcept nogil:
    """RFC 1122 §4.1.3.3: told to the application; as on Linux, if it has a peer and it will not heal."""
    cdef int32_t error = 0
    if type == ICMP_UNREACHABLE and code == ICMP_PORT_UNREACHABLE:
        error = ECONNREFUSED
    elif type == ICMP_UNREACHABLE and code == ICMP_PROTOCOL_UNREACHABLE:
        error = ENOPROTOOPT
    elif stack.ip.own_frame and type == ICMP_UNREACHABLE and code == ICMP_HOST_UNREACHABLE:
        error = EHOSTUNREACH  # our own IP component: no neighbour
    stranger = False
    cdef int32_t i = match(stack, key.local, key.local_port, key.remote, key.remote_port, &stranger)
    if error == 0 or i < 0:
        count(stack, Counter.ICMP_IGNORED)
        return
    cdef neat_sock* sock = &table_of(stack).binds[i].channel.socks[stack.udp_slots[i].sock]
    if load32(&sock.options) & NEAT_OPT_PEER or error == EHOSTUNREACH:
        report(stack, i, error)
    else:
        count(stack, Counter.ICMP_IGNORED)


# Commands ---------------------------------------------------------------------------------------


cdef void udp_command(Stack* stack, Channel* channel, uint32_t sock, neat_sock* shared) noexcept nogil:
    cdef UdpTable* table = table_of(stack)
    cdef int32_t i = channel.owners[sock].owner
    cdef UdpBind* bind = &table.binds[i]
    cdef UdpSlot* slot = &stack.udp_slots[i]
    if load32(&shared.request) & NEAT_REQ_NOTIFY:
        fetch_and32(&shared.request, ~<uint32_t>NEAT_REQ_NOTIFY)
        event_raise(&stack.events, &bind.node, EV_READABLE | EV_WRITABLE)
    if bind.broken:
        return
    cdef uint64_t tail = load64(&shared.tx_tail)
    if tail - slot.tx_head > channel.tx_size or tail & 7:
        break_off(stack, i)
        return
    # Only what was there now is sent on this command: a writer that never stops cannot hold the replica up.
    bind.tx_until = tail
    if tail != slot.tx_head:
        join_pending(stack, i)
