# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""ARP for Ethernet and IPv4."""

import cython
from cython.cimports.neat.stack.neighbour import neighbour_learn


def arp_input(stack, record, length):
    count(stack, Counter.ARP_IN)
    arp = cython.cast("ArpPacket*", record + VNET_BYTES + cython.sizeof(EthernetHeader))
    if not well_formed(arp, length):
        count(stack, Counter.ARP_BAD)
        return
    sender = load_address(arp.sender_ip)
    target = load_address(arp.target_ip)
    if sender == stack.ip.address:
        conflict(stack, arp)
        return
    # A probe (RFC 5227 §1.1) has no sender address: nothing to learn.
    if sender != 0:
        neighbour_learn(stack, sender, arp.sender_mac)
    if arp.operation == htons(ARP_REQUEST) and target == stack.ip.address:
        answer(stack, arp)


def well_formed(arp, length):
    if length < ARP_RECORD:
        return False
    if arp.hardware != htons(ARP_HARDWARE_ETHERNET) or arp.protocol != htons(ETHERTYPE_IPV4):
        return False
    if arp.hardware_length != 6 or arp.protocol_length != 4:
        return False
    if arp.operation != htons(ARP_REQUEST) and arp.operation != htons(ARP_REPLY):
        return False
    # A group address is nobody's own.
    return not arp.sender_mac[0] & 1


def answer(stack, request):
    buffer = reply_reserve(stack)
    if buffer == cython.NULL:
        return
    reply_commit(stack, write(stack, buffer, ARP_REPLY, request.sender_ip, request.sender_mac))
    count(stack, Counter.ARP_REPLIES_OUT)


def conflict(stack, arp):
    """Somebody else uses our address: defend it, but not in a duel (RFC 5227 §2.4 (c)). Our echo is none."""
    if memcmp(arp.sender_mac, stack.config.mac, 6) == 0:
        return
    count(stack, Counter.ARP_CONFLICT)
    if stack.ip.defended_at == 0 or stack.now - stack.ip.defended_at >= DEFEND_INTERVAL:
        stack.ip.defended_at = stack.now
        stack.ip.announce = True


def arp_request(stack, buffer, address, mac):
    count(stack, Counter.ARP_REQUESTS_OUT)
    return write(stack, buffer, ARP_REQUEST, address, mac)


def arp_announce(stack, buffer):
    return write(stack, buffer, ARP_REQUEST, stack.config.address, cython.NULL)


def write(stack, buffer, operation, target, mac):
    memset(buffer, 0, ARP_RECORD)
    eth = cython.cast("EthernetHeader*", buffer + VNET_BYTES)
    if mac == cython.NULL:
        memset(eth.destination, 0xFF, 6)
    else:
        memcpy(eth.destination, mac, 6)
    memcpy(eth.source, stack.config.mac, 6)
    eth.ethertype = htons(ETHERTYPE_ARP)
    arp = cython.cast("ArpPacket*", buffer + VNET_BYTES + cython.sizeof(EthernetHeader))
    arp.hardware = htons(ARP_HARDWARE_ETHERNET)
    arp.protocol = htons(ETHERTYPE_IPV4)
    arp.hardware_length = 6
    arp.protocol_length = 4
    arp.operation = htons(operation)
    memcpy(arp.sender_mac, stack.config.mac, 6)
    memcpy(arp.sender_ip, stack.config.address, 4)
    if mac != cython.NULL:
        memcpy(arp.target_mac, mac, 6)
    memcpy(arp.target_ip, target, 4)
    return ARP_RECORD
