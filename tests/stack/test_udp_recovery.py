"""UDP sockets after a crash: their binds, their queues in both directions, and what is not believed."""

import errno
import struct

import pytest

from neat.abi import layout

from .harness.frames import PEER_IP, UDP, ethernet, icmp, ipv4, udp
from .harness.host import EV_READABLE, EV_WRITABLE, OPT_PEER, Host

SOCK, PORT = 3, 7000
# neat/stack/state.pxd: the first UdpSlot, behind 64 connections and 16 listeners
SLOT = 4096 + 64 * 320 + 16 * 64
FIELDS = {
    "app": (4, "I"),
    "sock": (8, "I"),
    "generation": (12, "I"),
    "port": (20, "H"),
    "family": (22, "B"),
    "address": (24, "B"),
    "rx_tail": (40, "Q"),
}


@pytest.fixture
def host(host):
    host.lab.udp_bind(SOCK, PORT)
    return host


def frame(data: bytes) -> bytes:
    return ethernet(ipv4(udp(9, PORT, data), UDP))


def crash(host: Host) -> list[bytes]:
    """What leaves after it."""
    host.lab.crash()
    host.turn()
    return [sent.packet.payload[8:] for sent in host.take_sent() if sent.packet]


def test_what_was_received_stays_and_more_comes(host):
    for n in range(3):
        host.arrive(frame(b"%d" % n))
    host.take_events()
    assert crash(host) == []
    (event,) = host.take_events()
    assert event.sock == SOCK and event.kinds == EV_READABLE | EV_WRITABLE
    host.arrive(frame(b"3"))
    assert [host.lab.recv_datagram(SOCK)[0] for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    assert host.lab.recv_datagram(SOCK) is None


def test_what_was_written_leaves(host):
    host.lab.send_datagram(SOCK, b"before", PEER_IP, 9)
    host.turn()
    host.take_sent()
    for n in range(3):
        host.lab.send_datagram(SOCK, b"%d" % n, PEER_IP, 9)
    host.lab.channel[layout.NEAT_DIRTY_OFFSET : layout.NEAT_DIRTY_OFFSET + 4096] = bytes(4096)
    assert crash(host) == [b"0", b"1", b"2"]


def test_errors_go_on_being_counted(host):
    host.lab.set_peer(SOCK, PEER_IP, 9)
    host.lab.poke(SOCK, "options", OPT_PEER)
    quoted = ipv4(udp(PORT, 9, b"x", "10.77.0.2", PEER_IP), UDP, "10.77.0.2", PEER_IP)
    host.arrive(ethernet(ipv4(icmp(3, 3, 0, quoted[:28]), 1)))
    assert host.lab.peek(SOCK, "error_count") == 1
    crash(host)
    host.arrive(ethernet(ipv4(icmp(3, 3, 0, quoted[:28]), 1)))
    assert host.lab.peek(SOCK, "error_count") == 2
    assert host.lab.peek(SOCK, "error") == errno.ECONNREFUSED


def test_port_is_still_taken_and_can_be_given_back(host):
    crash(host)
    with pytest.raises(OSError) as refused:
        host.lab.udp_bind(SOCK + 1, PORT)
    assert refused.value.errno == errno.EADDRINUSE
    generation = host.lab.peek(SOCK, "generation")
    host.lab.udp_unbind(SOCK)
    crash(host)
    host.lab.udp_bind(SOCK, PORT)
    assert host.lab.peek(SOCK, "generation") == generation + 2
    assert host.lab.users == 1


def test_neighbours_are_known(host):
    host.lab.send_datagram(SOCK, b"x", PEER_IP, 9)
    host.turn()
    host.take_sent()
    host.neighbours.clear()
    crash(host)
    host.lab.send_datagram(SOCK, b"y", PEER_IP, 9)
    host.turn()
    assert [sent.packet.payload[8:] for sent in host.take_sent()] == [b"y"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("app", 9),
        ("sock", 5000),
        ("sock", 300),
        ("generation", 2),
        ("port", 0),
        ("family", 6),
        ("address", 9),
        ("rx_tail", 3),
    ],
)
def test_nonsense_is_not_believed(host, name, value):
    offset, kind = FIELDS[name]
    struct.pack_into("<" + kind, host.lab.state, SLOT + offset, value)
    crash(host)
    assert host.lab.counters()["RECOVER_BAD_UDP"] == 1
    assert host.lab.users == 0
    host.lab.udp_bind(SOCK, PORT)
    host.arrive(frame(b"again"))
    assert host.lab.recv_datagram(SOCK)[0] == b"again"
