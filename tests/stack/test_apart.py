"""The IP part of a multi-component replica: what it hands up, what it lets leave, what it holds, and what it
does with nonsense. That the parts together are an engine: test_apart_reruns.py."""

import random

import pytest

from neat.stack.lab import Lab

from .harness.apart import IP, TRANSPORT, UDP
from .harness.apart import TCP as TCP_PART
from .harness.frames import (
    ICMP,
    PEER_IP,
    PEER_MAC,
    STACK_IP,
    TCP,
    VNET,
    arp_reply_to,
    ethernet,
    icmp,
    ipv4,
    read_packet,
    tcp,
    udp,
)

SECOND = 1_000_000_000
HOST_UNREACHABLE, NET_UNREACHABLE = 1, 0
HELD = 64
NOBODY = "10.77.0.99"


@pytest.fixture
def ip():
    lab = Lab(part=IP)
    lab.transmit()  # the announcement
    return lab


def outgoing(payload=b"data", destination=PEER_IP, mac=bytes(6), protocol=UDP, source=STACK_IP):
    packet = ipv4(udp(7, 9, payload), protocol, source=source, destination=destination)
    return bytes(VNET.size) + ethernet(packet, destination=mac, source=bytes(6))


def resolve(lab):
    ((_kind, request),) = lab.transmit()
    lab.arrive(arp_reply_to(request[VNET.size :]))


@pytest.mark.parametrize(
    ("packet", "goes_to"),
    [
        (ipv4(tcp(1, 80, 0, 0, 2), TCP), TCP_PART),
        (ipv4(udp(1, 7, b"x"), UDP), UDP),
        (ipv4(icmp(8, 0, 1, b"ping"), ICMP), 0),
        (ipv4(icmp(3, 3, 0, ipv4(udp(7, 9, b"x"), UDP, source=STACK_IP, destination=PEER_IP)), ICMP), UDP),
        (
            ipv4(icmp(3, 3, 0, ipv4(tcp(7, 9, 0, 0, 2), TCP, source=STACK_IP, destination=PEER_IP)), ICMP),
            TCP_PART,
        ),
        (ipv4(b"what", 200), 0),
        (ipv4(tcp(1, 80, 0, 0, 2), TCP, destination=NOBODY), 0),
    ],
)
def test_whose_a_packet_is(ip, packet, goes_to):
    ip.arrive(ethernet(packet))
    assert ip.handed_up == goes_to


def test_it_answers_for_the_replica(ip):
    """Echo and unknown protocols; no part above hears of them."""
    ip.arrive(ethernet(ipv4(icmp(8, 0, 1, b"ping"), ICMP)))
    ip.arrive(ethernet(ipv4(b"what", 200)))
    sent = [read_packet(record).payload[:2] for _kind, record in ip.transmit()]
    assert sent == [b"\0\0", b"\3\2"]


def test_what_waits_for_a_neighbour_leaves_in_order(ip):
    assert [ip.forward(outgoing(text), UDP) for text in (b"one", b"two")] == [None, None]
    resolve(ip)
    sent = [record[VNET.size :] for _kind, record in ip.transmit()]
    assert [frame[:6] for frame in sent] == [PEER_MAC, PEER_MAC]
    assert [frame[-3:] for frame in sent] == [b"one", b"two"]
    assert ip.forward(outgoing(), UDP)[VNET.size :][:6] == PEER_MAC
    assert ip.counters()["IP_FORWARDED"] == 3


def test_an_answer_goes_where_the_question_came_from(ip):
    """It needs no neighbour, so a flood of questions from made-up addresses fills no table."""
    stranger = b"\x02\0\0\0\0\x07"
    for host in range(3, 250):
        sent = ip.forward(outgoing(destination=f"10.77.0.{host}", mac=stranger), UDP)
        assert sent[VNET.size :][:6] == stranger
    assert ip.transmit() == []


def test_a_neighbour_that_is_known_counts_more_than_a_hint(ip):
    ip.forward(outgoing(), UDP)
    resolve(ip)
    ip.transmit()
    assert ip.forward(outgoing(mac=b"\x02\0\0\0\0\x07"), UDP)[VNET.size :][:6] == PEER_MAC


def test_who_cannot_be_reached_is_said(ip):
    record = outgoing(destination=NOBODY)
    ip.forward(record, UDP)
    for _ in range(4):
        ip.transmit()
        ip.advance(SECOND)
    ((protocol, error),) = ip.poll_up()
    packet = read_packet(error)
    assert protocol == UDP
    assert (packet.source, packet.destination) == (STACK_IP, STACK_IP)
    assert packet.payload[:2] == bytes([3, HOST_UNREACHABLE])
    assert packet.payload[8:] == record[VNET.size + 14 :]
    above = Lab(part=TRANSPORT)
    above.udp_bind(3, 7)
    above.arrive_own_record(error)
    assert above.peek(3, "error") == 113  # EHOSTUNREACH


def test_where_no_route_leads_is_said(ip):
    assert ip.forward(outgoing(destination="224.0.0.1"), UDP) is None
    ((_protocol, error),) = ip.poll_up()
    assert read_packet(error).payload[:2] == bytes([3, NET_UNREACHABLE])


def test_no_error_about_an_error(ip):
    packet = ipv4(icmp(3, 3, 0, bytes(28)), ICMP, source=STACK_IP, destination="224.0.0.1")
    assert ip.forward(bytes(VNET.size) + ethernet(packet, destination=bytes(6)), UDP) is None
    assert ip.poll_up() == []


def test_what_is_held_is_bounded(ip):
    for _ in range(HELD + 10):
        assert ip.forward(outgoing(destination=NOBODY), UDP) is None
    assert ip.counters()["IP_UNRESOLVED"] == 10
    for _ in range(4):
        ip.transmit()
        ip.advance(SECOND)
    assert len(ip.poll_up()) == HELD
    assert ip.poll_up() == []


def test_a_packet_that_is_cut_by_the_device_is_not_held(ip):
    assert ip.forward(outgoing(bytes(3000)), UDP) is None
    assert ip.counters()["IP_UNRESOLVED"] == 1


@pytest.mark.parametrize(
    "record",
    [
        b"",
        outgoing()[: VNET.size + 14 + 19],
        outgoing() + b"x",
        outgoing()[:-1],
        outgoing(source=NOBODY),
        outgoing(protocol=TCP),
        bytes(VNET.size) + ethernet(b"\x46" + outgoing()[VNET.size + 15 :], destination=bytes(6)),
        bytes(VNET.size + 14 + 20),
    ],
)
def test_nonsense_does_not_leave(ip, record):
    assert ip.forward(record, UDP) is None
    assert ip.counters()["IP_BAD_FORWARD"] == 1
    assert ip.poll_up() == []


def test_any_bytes_do_no_harm(ip):
    rng = random.Random(7)
    good = outgoing()
    for _ in range(5000):
        record = bytearray(good[: rng.randrange(len(good) + 1)])
        for _ in range(rng.randrange(6)):
            if record:
                record[rng.randrange(len(record))] = rng.randrange(256)
        ip.forward(bytes(record), rng.choice((TCP, UDP)))
        ip.arrive_record(bytes(record))
        ip.transmit()
        ip.poll_up()
        ip.advance(rng.randrange(SECOND))


def test_a_successor_knows_its_neighbours(ip):
    ip.forward(outgoing(), UDP)
    resolve(ip)
    ip.transmit()
    ip.crash()
    assert ip.transmit() == []  # nobody has forgotten us: no announcement
    assert ip.forward(outgoing(), UDP)[VNET.size :][:6] == PEER_MAC


def test_a_transport_part_leaves_the_neighbour_to_ip():
    above = Lab(part=TRANSPORT)
    above.udp_bind(3, 7)
    above.send_datagram(3, b"text", PEER_IP, 9)
    above.scan()
    ((_kind, record),) = above.transmit()  # no announcement, and nothing asked for
    assert record[VNET.size :][:6] == bytes(6)
    assert read_packet(record).payload[8:] == b"text"
