# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""UDP out. A datagram stays in its socket's ring until polled, then aside until its neighbour answers."""

import cython
from cython.cimports.neat.stack.ipv4 import L4_OFFSET, ipv4_prepare, ipv4_via, is_broadcast


def udp_poll(stack, buffer):
    table = table_of(stack)
    length = 0
    if table.ready:
        length = poll_waiting(stack, buffer)
    while length == 0 and table.first_pending >= 0:
        length = send_one(stack, table.first_pending, buffer)
    if length:
        count(stack, Counter.UDP_OUT)
    return length


def udp_put_rest_aside(stack, i):
    """Its socket is closed: what is still in its ring leaves from aside, as far as there is room."""
    table = table_of(stack)
    bind = cython.address(table.binds[i])
    sock = cython.address(bind.channel.socks[stack.udp_slots[i].sock])
    while bind.pending:
        length = send_one(stack, i, table.record)
        if length == 0:
            continue
        place = put_aside(stack, i, sock, table.record, length - L4_OFFSET)
        if place < 0:
            count(stack, Counter.UDP_UNSENDABLE)
            continue
        table.waiting[place].ready = True
        table.ready += 1


def send_one(stack, i, buffer):
    """Take one datagram out of the ring. Returns the length of the record to send, 0 for none."""
    bind = cython.address(table_of(stack).binds[i])
    slot = cython.address(stack.udp_slots[i])
    sock = cython.address(bind.channel.socks[slot.sock])
    leave_pending(stack, i)
    left = bind.tx_until - slot.tx_head
    if left < DATAGRAM_HEAD:
        break_off(stack, i)
        return 0
    ring_read(
        sock_tx_ring(bind.channel, slot.sock),
        bind.channel.tx_size,
        slot.tx_head,
        cython.address(head),
        DATAGRAM_HEAD,
    )
    need = padded(DATAGRAM_HEAD + cython.cast("uint64_t", head.length))
    if need > left:
        break_off(stack, i)
        return 0
    length = emit(stack, i, sock, cython.address(head), buffer)
    if length < 0:
        count(stack, Counter.UDP_UNSENDABLE)
        report(stack, i, -length)
        length = 0
    store64(cython.address(slot.tx_head), slot.tx_head + need)
    store64(cython.address(sock.tx_head), slot.tx_head)
    if bind.tx_until != slot.tx_head:
        join_pending(stack, i)
    if (bind.tx_until - slot.tx_head) * 3 <= cython.cast("uint64_t", bind.channel.tx_size) * 2:
        event_raise(cython.address(stack.events), cython.address(bind.node), EV_WRITABLE)
    return length


def emit(stack, i, sock, head, buffer):
    """Make a record of the datagram at the ring's head. Returns its length, 0 if it waits, or an error."""
    bind = cython.address(table_of(stack).binds[i])
    slot = cython.address(stack.udp_slots[i])
    options = load32(cython.address(sock.options))
    if head.addr.family == 0 and options & NEAT_OPT_PEER:
        peer = sock.peer
        head.addr = peer
    if head.addr.family != FAMILY_IPV4:
        return -EDESTADDRREQ
    if head.addr.port == 0:
        return -EINVAL
    l4_length = UDP_BYTES + head.length
    if l4_length + L4_OFFSET - IPV4_OFFSET > stack.config.mtu:
        return -EMSGSIZE
    if is_broadcast(stack, load_address(head.addr.addr)) and not options & NEAT_OPT_BROADCAST:
        return -EACCES
    ring = sock_tx_ring(bind.channel, slot.sock)
    data = buffer + L4_OFFSET + UDP_BYTES
    ring_read(ring, bind.channel.tx_size, slot.tx_head + DATAGRAM_HEAD, data, head.length)
    write_header(stack, buffer, slot.port, cython.address(head.addr), l4_length)
    error = ipv4_prepare(stack, buffer, head.addr.addr, PROTO_UDP, l4_length, sock.tos, sock.ttl)
    if error == -EAGAIN:
        memcpy(ip_destination(buffer), head.addr.addr, 4)
        if put_aside(stack, i, sock, buffer, l4_length) < 0:
            # As Linux: too many wait for this neighbour already, the rest is dropped and nobody is told.
            count(stack, Counter.UDP_UNSENDABLE)
        return 0
    if error < 0:
        return error
    return finish(stack, buffer, l4_length)


def write_header(stack, buffer, port, destination, l4_length):
    """The UDP header, with a full checksum or, when the device completes it, the sum of the pseudo-header."""
    header = cython.cast("UdpHeader*", buffer + L4_OFFSET)
    header.source_port = htons(port)
    header.destination_port = htons(destination.port)
    header.length = htons(cython.cast("uint16_t", l4_length))
    header.checksum = 0
    total = pseudo_header_v4(stack.config.address, destination.addr, PROTO_UDP, l4_length, 0)
    if stack.config.offloads & OFFLOAD_CSUM:
        header.checksum = checksum_fold(total)
        return
    header.checksum = checksum_fold(checksum_add(buffer + L4_OFFSET, l4_length, total)) ^ 0xFFFF
    # RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    if header.checksum == 0:
        header.checksum = 0xFFFF


def finish(stack, buffer, l4_length):
    """The record's length; what the device must know about the checksum is in the virtio-net header."""
    if stack.config.offloads & OFFLOAD_CSUM:
        vnet = cython.cast("VnetHeader*", buffer)
        vnet.flags = VNET_F_NEEDS_CSUM
        vnet.csum_start = L4_OFFSET - VNET_BYTES
        vnet.csum_offset = 6
    return L4_OFFSET + l4_length


def put_aside(stack, i, sock, buffer, l4_length):
    """Keep the datagram of a record until its neighbour answers. Its place; -1: too many wait."""
    table = table_of(stack)
    for k in range(WAITING_SLOTS):
        waiting = cython.address(table.waiting[k])
        if waiting.length:
            continue
        waiting.length = l4_length
        waiting.ready = False
        memcpy(waiting.destination, ip_destination(buffer), 4)
        waiting.tos, waiting.ttl = sock.tos, sock.ttl
        waiting.bind = cython.cast("int16_t", i)
        memcpy(table.bytes + k * table.room, buffer + L4_OFFSET, l4_length)
        return k
    return -1


def udp_neighbour_ready(stack, address, reachable):
    table = table_of(stack)
    for i in range(WAITING_SLOTS):
        waiting = cython.address(table.waiting[i])
        if waiting.length == 0 or waiting.ready or not ipv4_via(stack, waiting.destination, address):
            continue
        if reachable:
            waiting.ready = True
            table.ready += 1
        else:
            give_up(stack, waiting)


def poll_waiting(stack, buffer):
    table = table_of(stack)
    for i in range(WAITING_SLOTS):
        waiting = cython.address(table.waiting[i])
        if not waiting.ready:
            continue
        waiting.ready = False
        table.ready -= 1
        length = waiting.length
        memcpy(buffer + L4_OFFSET, table.bytes + i * table.room, length)
        l4 = ipv4_prepare(stack, buffer, waiting.destination, PROTO_UDP, length, waiting.tos, waiting.ttl)
        if l4 < 0:
            give_up(stack, waiting)
            continue
        waiting.length = 0
        return finish(stack, buffer, length)
    return 0


def give_up(stack, waiting):
    """The neighbour did not answer: the datagram is lost, its socket hears of it if it is still there."""
    waiting.length = 0
    count(stack, Counter.UDP_UNSENDABLE)
    if waiting.bind != NO_BIND:
        report(stack, waiting.bind, EHOSTUNREACH)
