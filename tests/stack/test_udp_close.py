"""What becomes of datagrams whose socket is closed before they left (RFC 768; as on Linux: they leave)."""

import errno

import pytest

from tests.support import whole

from .harness.frames import PEER_IP, PEER_MAC
from .harness.host import Host

SOCK, OTHER, PORT = 3, 4, 7000
CSUM = 1
ASIDE = 32  # datagrams that wait for anything at one time


def leave(host: Host) -> list[bytes]:
    """The text of the datagrams that leave now."""
    host.turn()
    return [s.packet.payload[8:] for s in host.take_sent() if s.packet]


@pytest.mark.parametrize(("mtu", "offloads"), [(1500, 0), (1500, CSUM), (9000, 0), (576, 0)])
def test_written_then_closed(mtu, offloads):
    """close() straight after sendto(): the replica may hear of both in any order."""
    host = Host(mtu=mtu, offloads=offloads)
    host.lab.udp_bind(SOCK, PORT)
    texts = [b"", b"one", bytes(mtu - 28), b"last"]
    for text in texts:
        assert host.lab.send_datagram(SOCK, text, PEER_IP, 9)
    host.lab.udp_unbind(SOCK)
    assert sorted(leave(host), key=len) == sorted(texts, key=len)
    host.lab.udp_bind(SOCK, PORT)


def test_all_of_them_in_order(host):
    host.lab.udp_bind(OTHER, PORT + 1)
    host.lab.send_datagram(OTHER, b"", PEER_IP, 9)
    leave(host)  # the neighbour is known now
    host.lab.udp_bind(SOCK, PORT)
    texts = [b"%d" % i * 100 for i in range(ASIDE)]
    for text in texts:
        host.lab.send_datagram(SOCK, text, PEER_IP, 9)
    host.lab.udp_unbind(SOCK)
    assert leave(host) == texts
    assert host.lab.counters()["UDP_OUT"] == 1 + ASIDE


def test_more_than_there_is_room_for(host):
    host.lab.udp_bind(SOCK, PORT)
    for _ in range(100):
        host.lab.send_datagram(SOCK, b"many", PEER_IP, 9)
    host.lab.udp_unbind(SOCK)
    assert leave(host) == [b"many"] * ASIDE
    assert host.lab.counters()["UDP_UNSENDABLE"] == 100 - ASIDE


def test_nonsense_in_the_ring_of_a_closed_socket(host):
    host.lab.udp_bind(SOCK, PORT)
    host.lab.send_datagram(SOCK, b"good", PEER_IP, 9)
    host.lab.poke(SOCK, "tx_tail", 4096)
    host.lab.udp_unbind(SOCK)
    assert b"good" in leave(host)
    host.lab.udp_bind(SOCK, PORT)


@pytest.mark.parametrize("closed_first", [False, True])
def test_closed_while_the_neighbour_is_asked_for(host, closed_first):
    host.neighbours = {}
    host.lab.udp_bind(SOCK, PORT)
    host.lab.send_datagram(SOCK, b"late", PEER_IP, 9)
    if not closed_first:
        host.turn()
    host.lab.udp_unbind(SOCK)
    host.turn()
    host.take_sent()
    host.neighbours = {PEER_IP: PEER_MAC}
    host.run_for(1.5)
    assert leave(host) == [b"late"]


@whole("an ICMP error names a port, as on Linux, and no socket")
def test_failure_is_not_told_to_the_next_socket(host):
    """It has the same place in the table, and as many have been there before."""
    host.neighbours = {}
    host.lab.udp_bind(SOCK, PORT)
    host.lab.send_datagram(SOCK, b"lost", PEER_IP, 9)
    host.turn()
    host.lab.udp_unbind(SOCK)
    host.lab.udp_bind(OTHER, PORT)
    host.take_events()
    host.run_for(10)
    assert host.lab.peek(OTHER, "error") != errno.EHOSTUNREACH
    assert not host.take_events()
    assert host.lab.counters()["UDP_UNSENDABLE"] == 1
