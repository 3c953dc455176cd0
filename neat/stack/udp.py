# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""UDP: binds, datagrams and errors in, commands. A received datagram goes into its socket's ring at once."""

import cython
from cython.cimports.neat.stack.icmp import ICMP_PORT_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE, ICMP_UNREACHABLE
from cython.cimports.neat.stack.ipv4 import IPV4_OFFSET, ipv4_error
from cython.cimports.neat.stack.udp_output import udp_put_rest_aside

# Binds ------------------------------------------------------------------------------------------


def udp_create(stack):
    table = cython.cast("UdpTable*", calloc(1, cython.sizeof(UdpTable)))
    stack.udp.memory = table
    if table == cython.NULL:
        return -ENOMEM
    table.room = stack.config.mtu
    table.binds = cython.cast("UdpBind*", calloc(stack.config.max_udp, cython.sizeof(UdpBind)))
    table.bytes = cython.cast("uint8_t*", calloc(WAITING_SLOTS, table.room))
    table.record = cython.cast("uint8_t*", calloc(1, IPV4_OFFSET + table.room))
    if table.binds == cython.NULL or table.bytes == cython.NULL or table.record == cython.NULL:
        return -ENOMEM
    table.first_pending = table.last_pending = NO_BIND
    for head in range(UDP_HEADS):
        table.heads[head] = NO_BIND
    for i in range(stack.config.max_udp):
        stack.udp_slots[i].used = False
    return 0


def udp_destroy(stack):
    table = table_of(stack)
    if table != cython.NULL:
        free(table.binds)
        free(table.bytes)
        free(table.record)
        free(table)
        stack.udp.memory = cython.NULL


def udp_bind(stack, app, sock, local, flags):
    table = table_of(stack)
    channel = channel_of(stack, app)
    if channel == cython.NULL:
        return -ENOENT
    if local.port == 0 or (local.family != 0 and local.family != FAMILY_IPV4) or sock >= channel.nsock:
        return -EINVAL
    if load_address(local.addr) != 0 and load_address(local.addr) != stack.ip.address:
        return -EADDRNOTAVAIL
    if conflicts(stack, local, flags):
        return -EADDRINUSE
    i = 0
    while i < cython.cast("int32_t", stack.config.max_udp) and stack.udp_slots[i].used:
        i += 1
    if i == cython.cast("int32_t", stack.config.max_udp):
        return -ENOBUFS
    index = sock_birth(channel, sock, NEAT_SOCK_UDP, i)
    if index < 0:
        return index
    channel.socks[sock].local = local[0]
    slot = cython.address(stack.udp_slots[i])
    memset(slot, 0, cython.sizeof(slot[0]))
    slot.app, slot.sock, slot.generation = app, sock, channel.owners[sock].generation
    slot.flags, slot.port, slot.family = flags, local.port, FAMILY_IPV4
    memcpy(slot.address, local.addr, 4)
    bind = cython.address(table.binds[i])
    bind.channel = channel
    bind.pending = bind.broken = False
    bind.tx_until = bind.errors = bind.drops = 0
    # The node may still be queued for a bind that was here before: its links stay.
    bind.node.event.kinds = bind.node.event.error = 0
    bind.node.event.app, bind.node.event.sock, bind.node.event.generation = app, sock, slot.generation
    bind.node.event.conn = -1
    bind.next = table.heads[slot.port & (UDP_HEADS - 1)]
    table.heads[slot.port & (UDP_HEADS - 1)] = cython.cast("int16_t", i)
    slot.used = True
    return 0


def conflicts(stack, local, flags):
    """Another bind has this port on an address that overlaps, and one of the two does not share."""
    i = table_of(stack).heads[local.port & (UDP_HEADS - 1)]
    while i >= 0:
        if stack.udp_slots[i].port == local.port:
            mine, theirs = load_address(local.addr), load_address(stack.udp_slots[i].address)
            shared = flags & stack.udp_slots[i].flags & (NEAT_BIND_REUSEADDR | NEAT_BIND_REUSEPORT)
            if (mine == 0 or theirs == 0 or mine == theirs) and not shared:
                return True
        i = table_of(stack).binds[i].next
    return False


def udp_unbind(stack, app, sock):
    channel = channel_of(stack, app)
    if channel == cython.NULL:
        return -ENOENT
    if sock >= channel.nsock or channel.owners[sock].kind != NEAT_SOCK_UDP:
        return -EINVAL
    # close() may be heard of before what was written just before it.
    udp_command(stack, channel, sock, cython.address(channel.socks[sock]))
    udp_put_rest_aside(stack, channel.owners[sock].owner)
    release(stack, channel.owners[sock].owner)
    return 0


def udp_detach(stack, channel):
    for i in range(stack.config.max_udp):
        if stack.udp_slots[i].used and table_of(stack).binds[i].channel == channel:
            release(stack, i)


def release(stack, i):
    """Unbind. Its datagrams that were put aside still go."""
    table = table_of(stack)
    leave_pending(stack, i)
    for k in range(WAITING_SLOTS):
        if table.waiting[k].bind == cython.cast("int32_t", i):
            table.waiting[k].bind = NO_BIND
    at = cython.address(table.heads[stack.udp_slots[i].port & (UDP_HEADS - 1)])
    while at[0] != cython.cast("int32_t", i):
        at = cython.address(table.binds[at[0]].next)
    at[0] = table.binds[i].next
    stack.udp_slots[i].used = False
    sock_death(table.binds[i].channel, stack.udp_slots[i].sock)


def join_pending(stack, i):
    table = table_of(stack)
    if table.binds[i].pending:
        return
    table.binds[i].pending = True
    table.binds[i].next_pending = NO_BIND
    if table.last_pending < 0:
        table.first_pending = cython.cast("int16_t", i)
    else:
        table.binds[table.last_pending].next_pending = cython.cast("int16_t", i)
    table.last_pending = cython.cast("int16_t", i)


def leave_pending(stack, i):
    table = table_of(stack)
    if not table.binds[i].pending:
        return
    table.binds[i].pending = False
    previous = NO_BIND
    at = cython.address(table.first_pending)
    while at[0] != cython.cast("int32_t", i):
        previous = at[0]
        at = cython.address(table.binds[at[0]].next_pending)
    at[0] = table.binds[i].next_pending
    if table.last_pending == cython.cast("int32_t", i):
        table.last_pending = previous


def report(stack, i, error):
    """An error for the application to read as SO_ERROR."""
    bind = cython.address(table_of(stack).binds[i])
    sock = cython.address(bind.channel.socks[stack.udp_slots[i].sock])
    bind.errors += 1
    store32(cython.address(sock.error), error)
    store32(cython.address(sock.error_count), bind.errors)
    event_raise(cython.address(stack.events), cython.address(bind.node), EV_READABLE | EV_WRITABLE)


def break_off(stack, i):
    """The application broke the contract of its rings: they are not used any more."""
    count(stack, Counter.UDP_BAD_COMMAND)
    table_of(stack).binds[i].broken = True
    leave_pending(stack, i)
    report(stack, i, EIO)


# In ---------------------------------------------------------------------------------------------


def udp_input(stack, packet):
    count(stack, Counter.UDP_IN)
    header = cython.cast("UdpHeader*", packet.record + packet.l4)
    if packet.l4_length < UDP_BYTES:
        count(stack, Counter.UDP_BAD_LENGTH)
        return
    size = ntohs(header.length)
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
    i = match(
        stack, packet.destination, port, packet.source, ntohs(header.source_port), cython.address(stranger)
    )
    if i >= 0:
        deliver(stack, i, packet, ntohs(header.source_port), size - UDP_BYTES)
        return
    count(stack, Counter.UDP_NOT_PEER if stranger else Counter.UDP_NO_PORT)
    ipv4_error(stack, packet, ICMP_UNREACHABLE, ICMP_PORT_UNREACHABLE)


def match(stack, local, port, remote, remote_port, stranger):
    table = table_of(stack)
    best, highest = NO_BIND, -1
    i = table.heads[port & (UDP_HEADS - 1)]
    while i >= 0:
        slot = cython.address(stack.udp_slots[i])
        address = load_address(slot.address)
        if slot.port == port and (address == 0 or address == load_address(local)):
            score = 1 if address else 0
            sock = cython.address(table.binds[i].channel.socks[slot.sock])
            if load32(cython.address(sock.options)) & NEAT_OPT_PEER:
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


def shares(stack, i, j):
    """Both said SO_REUSEPORT, and neither is connected: those have what is theirs already."""
    for turn in range(2):
        at = j if turn else i
        slot = cython.address(stack.udp_slots[at])
        sock = cython.address(table_of(stack).binds[at].channel.socks[slot.sock])
        if not slot.flags & NEAT_BIND_REUSEPORT or load32(cython.address(sock.options)) & NEAT_OPT_PEER:
            return False
    return True


def rank(stack, i, remote, remote_port, port):
    """Each flow has one at each bind: so a bind that goes takes only its own flows with it."""
    memset(cython.address(key), 0, cython.sizeof(FlowKey))
    key.family = FAMILY_IPV4
    key.protocol = PROTO_UDP
    key.local_port = port
    key.remote_port = remote_port
    memcpy(key.remote, remote, 4)
    return flow_hash(cython.address(key), stack.tcp.hash_seed + cython.cast(uint32_t, i))


def is_peer(sock, address, port):
    peer = sock.peer
    return (
        peer.family == FAMILY_IPV4 and peer.port == port and load_address(peer.addr) == load_address(address)
    )


def deliver(stack, i, packet, port, size):
    """One datagram into the ring: bytes first, then the counter, then the news. Dropped without room."""
    bind = cython.address(table_of(stack).binds[i])
    if bind.broken:
        count(stack, Counter.UDP_BAD_COMMAND)
        return
    slot = cython.address(stack.udp_slots[i])
    sock = cython.address(bind.channel.socks[slot.sock])
    used = slot.rx_tail - load64(cython.address(sock.rx_head))
    if used > bind.channel.rx_size or used & 7:
        break_off(stack, i)
        return
    limit = load32(cython.address(sock.rcvbuf))
    need = padded(DATAGRAM_HEAD + size)
    # One datagram always fits, however small SO_RCVBUF is.
    if limit == 0 or limit > bind.channel.rx_size or used == 0:
        limit = bind.channel.rx_size
    if used + need > limit:
        count(stack, Counter.UDP_RING_FULL)
        bind.drops += 1
        store32(cython.address(sock.drops), bind.drops)
        return
    memset(cython.address(head), 0, cython.sizeof(head))
    head.length = size
    head.addr.family, head.addr.protocol, head.addr.port = FAMILY_IPV4, PROTO_UDP, port
    memcpy(head.addr.addr, packet.source, 4)
    head.flags = packet.tos | cython.cast("uint32_t", packet.ttl) << 8
    memcpy(cython.address(head.addr.scope), packet.destination, 4)
    ring = sock_rx_ring(bind.channel, slot.sock)
    ring_write(ring, bind.channel.rx_size, slot.rx_tail, cython.address(head), DATAGRAM_HEAD)
    data = packet.record + packet.l4 + UDP_BYTES
    ring_write(ring, bind.channel.rx_size, slot.rx_tail + DATAGRAM_HEAD, data, size)
    store64(cython.address(slot.rx_tail), slot.rx_tail + need)
    store64(cython.address(sock.rx_tail), slot.rx_tail)
    event_raise(cython.address(stack.events), cython.address(bind.node), EV_READABLE)


def udp_icmp_error(stack, key, type, code):
    """RFC 1122 §4.1.3.3: told to the application; as on Linux, if it has a peer and it will not heal."""
    error = 0
    if type == ICMP_UNREACHABLE and code == ICMP_PORT_UNREACHABLE:
        error = ECONNREFUSED
    elif type == ICMP_UNREACHABLE and code == ICMP_PROTOCOL_UNREACHABLE:
        error = ENOPROTOOPT
    stranger = False
    i = match(stack, key.local, key.local_port, key.remote, key.remote_port, cython.address(stranger))
    if error == 0 or i < 0:
        count(stack, Counter.ICMP_IGNORED)
        return
    sock = cython.address(table_of(stack).binds[i].channel.socks[stack.udp_slots[i].sock])
    if load32(cython.address(sock.options)) & NEAT_OPT_PEER:
        report(stack, i, error)
    else:
        count(stack, Counter.ICMP_IGNORED)


# Commands ---------------------------------------------------------------------------------------


def udp_command(stack, channel, sock, shared):
    table = table_of(stack)
    i = channel.owners[sock].owner
    bind = cython.address(table.binds[i])
    slot = cython.address(stack.udp_slots[i])
    if load32(cython.address(shared.request)) & NEAT_REQ_NOTIFY:
        fetch_and32(cython.address(shared.request), ~cython.cast("uint32_t", NEAT_REQ_NOTIFY))
        event_raise(cython.address(stack.events), cython.address(bind.node), EV_READABLE | EV_WRITABLE)
    if bind.broken:
        return
    tail = load64(cython.address(shared.tx_tail))
    if tail - slot.tx_head > channel.tx_size or tail & 7:
        break_off(stack, i)
        return
    # Only what was there now is sent on this command: a writer that never stops cannot hold the replica up.
    bind.tx_until = tail
    if tail != slot.tx_head:
        join_pending(stack, i)
