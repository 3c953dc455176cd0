"""ICMP: echo, errors sent and errors received (RFC 792, RFC 1122 §3.2.2)."""

import struct

import pytest

from neat.abi.layout import NEAT_OPT_PEER as OPT_PEER

from .harness.frames import BROADCAST_MAC, ICMP, PEER_IP, STACK_IP, TCP, UDP, ethernet, icmp, ipv4, udp

SOCK, PORT = 3, 7000
UNREACHABLE, TIME_EXCEEDED = 3, 11


@pytest.mark.parametrize("size", [0, 1, 56, 1471, 1472])
def test_echo_is_answered_with_the_same_data(host, size):
    data = bytes(i & 255 for i in range(size))
    host.arrive(ethernet(ipv4(icmp(8, 0, 0x12340007, data), ICMP)))
    (sent,) = host.take_sent()
    assert sent.packet.payload[:2] == b"\0\0"
    assert sent.packet.payload[4:] == b"\x12\x34\x00\x07" + data
    assert sent.packet.destination == PEER_IP


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (icmp(8, 0, 1, b"data", checksum=1), "ICMP_BAD"),
        (icmp(8, 0, 1)[:7], "ICMP_BAD"),
        (icmp(0, 0, 1, b"an answer to nothing"), "ICMP_IGNORED"),
        (icmp(13, 0, 1, bytes(12)), "ICMP_IGNORED"),
        (icmp(5, 0, 1, bytes(28)), "ICMP_IGNORED"),
        (icmp(3, 3, 0, bytes(27)), "ICMP_BAD"),
        (icmp(3, 3, 0, bytes(28)), "ICMP_BAD"),
    ],
)
def test_what_is_not_answered(host, message, counter):
    host.arrive(ethernet(ipv4(message, ICMP)))
    assert host.take_sent() == []
    assert host.lab.counters()[counter] == 1


def test_echo_to_broadcast_is_not_answered(host):
    """RFC 1122 §3.2.2.6."""
    packet = ipv4(icmp(8, 0, 1), ICMP, destination="10.77.0.255")
    host.arrive(ethernet(packet, destination=BROADCAST_MAC))
    assert host.take_sent() == []


def test_closed_port_draws_an_error_that_quotes(host):
    packet = ipv4(udp(9, PORT, bytes(600)), UDP)
    host.arrive(ethernet(packet))
    (sent,) = host.take_sent()
    assert sent.packet.payload[:2] == bytes([UNREACHABLE, 3])
    assert sent.packet.payload[8:] == packet[: 576 - 28]


def test_no_error_about_a_broadcast(host):
    packet = ipv4(udp(9, PORT, b"", destination="10.77.0.255"), UDP, destination="10.77.0.255")
    host.arrive(ethernet(packet, destination=BROADCAST_MAC))
    assert host.take_sent() == []


def test_errors_are_limited(host):
    """RFC 1812 §4.3.2.8: a burst, then a rate."""
    for _ in range(200):
        host.arrive(ethernet(ipv4(udp(9, PORT, b""), UDP)))
    assert len(host.take_sent()) == 50
    assert host.lab.counters()["ICMP_LIMITED"] == 150
    host.run_for(1)
    for _ in range(200):
        host.arrive(ethernet(ipv4(udp(9, PORT, b""), UDP)))
    assert len(host.take_sent()) == 50


def test_answers_cannot_fill_memory(host):
    """Without anyone polling, the queue of answers is bounded."""
    for _ in range(1000):
        host.lab.arrive(ethernet(ipv4(icmp(8, 0, 1), ICMP)))
    assert host.lab.counters()["REPLY_QUEUE_FULL"] == 1000 - 128
    assert len(host.lab.transmit()) == 128


def quote(protocol: int = UDP, **fields) -> bytes:
    """The start of a packet that we may have sent: from PORT to port 9 of the peer."""
    fields = {"source": STACK_IP, "destination": PEER_IP} | fields
    return ipv4(struct.pack("!HHI", PORT, 9, 0), protocol, **fields)


class TestErrorsReceived:
    @pytest.fixture
    def host(self, host):
        host.lab.udp_bind(SOCK, PORT)
        host.lab.set_peer(SOCK, PEER_IP, 9)
        host.lab.poke(SOCK, "options", OPT_PEER)
        host.turn()
        return host

    def arrives(self, host, code: int, quoted: bytes, kind: int = UNREACHABLE) -> tuple[int, int]:
        host.arrive(ethernet(ipv4(icmp(kind, code, 0, quoted), ICMP)))
        assert host.take_sent() == []
        return host.lab.peek(SOCK, "error"), host.lab.peek(SOCK, "error_count")

    def test_a_connected_socket_hears_of_a_closed_port(self, host):
        assert self.arrives(host, 3, quote()) == (111, 1)
        assert self.arrives(host, 3, quote()) == (111, 2)

    def test_protocol_unreachable(self, host):
        assert self.arrives(host, 2, quote()) == (92, 1)

    def test_what_may_heal_is_not_reported(self, host):
        assert self.arrives(host, 1, quote()) == (0, 0)
        assert self.arrives(host, 0, quote(), TIME_EXCEEDED) == (0, 0)

    def test_an_unconnected_socket_does_not(self, host):
        host.lab.poke(SOCK, "options", 0)
        host.turn()
        assert self.arrives(host, 3, quote()) == (0, 0)

    @pytest.mark.parametrize(
        "quoted",
        [
            quote(source="10.77.0.9"),
            quote(destination="10.77.0.9"),
            quote(fragment=1),
            quote(99),
            quote(version=6),
            quote(ihl=4),
            quote(ihl=15),
            quote()[:27],
            quote()[:20] + b"\1" + quote()[21:],
        ],
    )
    def test_what_we_did_not_send_is_ignored(self, host, quoted):
        assert self.arrives(host, 3, quoted) == (0, 0)

    def test_any_quote_of_tcp_is_survived(self, host):
        for code in range(16):
            assert self.arrives(host, code, quote(TCP)) == (0, 0)
