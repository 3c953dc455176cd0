"""ARP and the neighbour cache (RFC 826, RFC 5227, RFC 1122 §2.3.2)."""

import errno
from socket import inet_ntoa

import pytest

from neat.stack.lab import Lab
from neat.stack.tcp.state import TcpState
from tests.support import whole

from .harness.conn import Conn
from .harness.frames import (
    BROADCAST_MAC,
    ETH_ARP,
    PEER_IP,
    PEER_MAC,
    STACK_IP,
    STACK_MAC,
    SYN,
    TCP,
    UDP,
    VNET,
    arp,
    ethernet,
    ipv4,
    tcp,
    udp,
)
from .harness.host import EV_RESET, SECOND, Host

SOCK, PORT = 3, 7000
OTHER_MAC = b"\x02\x4e\x00\x00\x00\x77"
REQUEST, REPLY = 1, 2


@pytest.fixture
def host():
    """Nobody answers ARP unless the test does; a UDP socket is there to send with."""
    host = Host()
    host.neighbours = {}
    host.lab.udp_bind(SOCK, PORT)
    return host


def send(host: Host, address: str = PEER_IP) -> None:
    assert host.lab.send_datagram(SOCK, b"hello", address, 9)
    host.turn()


def reply(host: Host, mac: bytes = PEER_MAC, address: str = PEER_IP) -> None:
    host.arrive(ethernet(arp(REPLY, mac, address, STACK_MAC, STACK_IP), ETH_ARP, mac, STACK_MAC))


def requests(host: Host) -> list[tuple[int, str, bytes]]:
    """ARP requests that were sent: (time, wanted address, destination MAC)."""
    sent = [s for s in host.take_sent() if s.packet is None]
    for s in sent:
        assert s.frame[12:14] == b"\x08\x06" and s.frame[20:22] == b"\0\1" and s.frame[6:12] == STACK_MAC
    return [(s.time, inet_ntoa(s.frame[38:42]), s.frame[:6]) for s in sent]


def test_announces_itself_once():
    """RFC 5227 §2.3: sender and target are both our address."""
    lab = Lab()
    ((_, record),) = lab.transmit()
    frame = record[VNET.size :]
    assert frame[:6] == BROADCAST_MAC and inet_ntoa(frame[28:32]) == inet_ntoa(frame[38:42]) == STACK_IP
    assert lab.transmit() == []


def test_request_is_answered(host):
    host.arrive(
        ethernet(arp(REQUEST, PEER_MAC, PEER_IP, bytes(6), STACK_IP), ETH_ARP, destination=BROADCAST_MAC)
    )
    (sent,) = host.take_sent()
    assert sent.frame == ethernet(
        arp(REPLY, STACK_MAC, STACK_IP, PEER_MAC, PEER_IP), ETH_ARP, STACK_MAC, PEER_MAC
    )


def test_probe_is_answered_and_not_learnt(host):
    """RFC 5227 §2.1.1: a probe has no sender address."""
    host.arrive(
        ethernet(arp(REQUEST, PEER_MAC, "0.0.0.0", bytes(6), STACK_IP), ETH_ARP, destination=BROADCAST_MAC)
    )
    (sent,) = host.take_sent()
    assert sent.frame[:6] == PEER_MAC


def test_request_for_another_is_not_answered(host):
    host.arrive(
        ethernet(arp(REQUEST, PEER_MAC, PEER_IP, bytes(6), "10.77.0.9"), ETH_ARP, destination=BROADCAST_MAC)
    )
    assert host.take_sent() == []


def test_datagrams_wait_for_the_answer(host):
    send(host)
    send(host)
    assert requests(host) == [(host.now, PEER_IP, BROADCAST_MAC)]
    reply(host)
    sent = host.take_sent()
    assert [s.packet.payload[8:] for s in sent] == [b"hello", b"hello"]
    assert sent[0].frame[:6] == PEER_MAC


def test_asks_three_times_then_gives_up(host):
    """One second apart; then the datagrams are lost and the socket hears EHOSTUNREACH."""
    start = host.now
    send(host)
    host.run_for(2.9)
    assert [(time - start) // SECOND for time, _, _ in requests(host)] == [0, 1, 2]
    assert host.lab.peek(SOCK, "error_count") == 0
    host.run_for(0.2)
    assert (host.lab.peek(SOCK, "error"), host.lab.peek(SOCK, "error_count")) == (113, 1)
    assert host.lab.counters()["ARP_UNRESOLVED"] == 1
    send(host)
    assert requests(host) == []  # not again at once ...
    host.run_for(1.1)
    send(host)
    assert len(requests(host)) == 1  # ... but after a while


@whole("held by the IP part, not by UDP: test_apart.py")
def test_a_waiting_queue_is_bounded(host):
    for _ in range(100):
        send(host)
    assert host.lab.counters()["UDP_UNSENDABLE"] == 100 - 32
    reply(host)
    assert len(host.take_sent()) == 1 + 32


def test_unasked_reply_is_not_learnt(host):
    reply(host)
    send(host)
    assert len(requests(host)) == 1


def test_gratuitous_arp_changes_a_known_entry(host):
    send(host)
    reply(host)
    host.take_sent()
    host.arrive(
        ethernet(arp(REQUEST, OTHER_MAC, PEER_IP, bytes(6), PEER_IP), ETH_ARP, OTHER_MAC, BROADCAST_MAC)
    )
    send(host)
    (sent,) = host.take_sent()
    assert sent.frame[:6] == OTHER_MAC


def test_stale_entry_is_asked_again_but_used_meanwhile(host):
    """RFC 1122 §2.3.2.1: first to the host itself, then to everybody."""
    send(host)
    reply(host)
    host.run_for(61)
    host.take_sent()
    send(host)
    sent = host.take_sent()
    assert [s.packet is None for s in sent] in ([True, False], [False, True])
    asked = next(s for s in sent if s.packet is None)
    assert asked.frame[:6] == PEER_MAC
    host.run_for(1.1)
    assert [to for _, _, to in requests(host)] == [BROADCAST_MAC]
    reply(host)
    host.run_for(10)
    assert requests(host) == []


def test_traffic_confirms(host):
    """Whoever talks to us need not be asked."""
    send(host)
    reply(host)
    for _ in range(4):
        host.run_for(30)
        host.arrive(ethernet(ipv4(udp(9, PORT, b"back"), UDP)))
    host.take_sent()
    send(host)
    assert requests(host) == []


def test_beyond_the_link_goes_to_the_gateway(host):
    send(host, "192.0.2.1")
    assert requests(host) == [(host.now, PEER_IP, BROADCAST_MAC)]
    reply(host)
    (sent,) = host.take_sent()
    assert (sent.frame[:6], sent.packet.destination) == (PEER_MAC, "192.0.2.1")


def test_flood_cannot_push_out_a_neighbour_in_use(host):
    send(host)
    reply(host)
    host.take_sent()
    for i in range(3000):
        ip, mac = f"10.77.0.{i % 250 + 3}", b"\x02" + i.to_bytes(5, "big")
        host.arrive(ethernet(arp(REPLY, mac, ip, STACK_MAC, STACK_IP), ETH_ARP, mac, STACK_MAC))
    send(host)
    (sent,) = host.take_sent()
    assert sent.frame[:6] == PEER_MAC


def test_own_sending_cannot_grow_the_table(host):
    """A /8 full of strangers: the table is full, the neighbour in use stays."""
    host = Host(prefix=8)
    host.lab.udp_bind(SOCK, PORT)
    send(host)
    host.neighbours = {}
    host.take_sent()
    for i in range(400):
        host.lab.send_datagram(SOCK, b"?", f"10.1.{i // 200}.{i % 200 + 1}", 9)
    host.turn()
    assert host.lab.counters()["NEIGHBOUR_TABLE_FULL"] == 400 - 255
    host.take_sent()
    send(host)
    (sent,) = host.take_sent()
    assert sent.frame[:6] == PEER_MAC
    host.run_for(5)
    host.take_sent()
    send(host, "10.9.9.9")  # the failed ones made room
    assert [wanted for _, wanted, _ in requests(host)] == ["10.9.9.9"]


def test_address_conflict_is_defended_now_and_then(host):
    """RFC 5227 §2.4 (c): at most once in ten seconds."""
    claim = ethernet(arp(REQUEST, OTHER_MAC, STACK_IP, bytes(6), STACK_IP), ETH_ARP, OTHER_MAC, BROADCAST_MAC)
    for _ in range(5):
        host.arrive(claim)
    assert len(requests(host)) == 1
    assert host.lab.counters()["ARP_CONFLICT"] == 5
    host.run_for(11)
    host.arrive(claim)
    assert len(requests(host)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: a[:27],
        lambda a: b"\0\2" + a[2:],
        lambda a: a[:2] + b"\x86\xdd" + a[4:],
        lambda a: a[:4] + b"\x08" + a[5:],
        lambda a: a[:5] + b"\x10" + a[6:],
        lambda a: a[:7] + b"\x09" + a[8:],
        lambda a: a[:8] + b"\xff" * 6 + a[14:],
    ],
)
def test_malformed_arp_is_counted(host, damage):
    packet = arp(REQUEST, PEER_MAC, PEER_IP, bytes(6), STACK_IP)
    host.arrive(ethernet(damage(packet), ETH_ARP, destination=BROADCAST_MAC))
    assert host.take_sent() == []
    assert host.lab.counters()["ARP_BAD"] == 1


def test_reset_to_a_stranger_goes_back_where_it_came_from(host):
    """No resolution, and no entry, for an answer to the packet in hand."""
    host.arrive(ethernet(ipv4(tcp(1234, 81, 1, 0, 2), TCP), source=OTHER_MAC))
    (sent,) = host.take_sent()
    assert sent.frame[:6] == OTHER_MAC and sent.packet.segment.flags & 4


class TestConnections:
    def test_connect_waits_for_the_answer(self, host):
        conn = host.lab.connect(PEER_IP, 80)
        host.turn()
        assert len(requests(host)) == 1
        host.run_for(0.5)
        reply(host)
        (sent,) = host.take_sent()
        assert sent.packet.segment.flags == SYN and host.lab.conn_info(conn)["state"] == TcpState.SYN_SENT

    def test_connect_to_nobody_fails(self, host):
        """As on Linux: EHOSTUNREACH after three requests, not ETIMEDOUT after minutes."""
        host.lab.connect(PEER_IP, 80)
        host.run_for(5)
        (event,) = host.take_events()
        assert event.kinds & EV_RESET and event.error == errno.EHOSTUNREACH

    def test_a_connection_outlives_its_neighbours_absence(self):
        """RFC 1122 §4.2.3.9: what may heal does not end a connection."""
        conn = Conn()
        conn.established()
        conn.host.neighbours = {}
        conn.host.run_for(100)
        conn.send(100)
        conn.host.run_for(20)
        conn.host.take_sent()
        assert conn.state == TcpState.ESTABLISHED
        conn.host.neighbours = {PEER_IP: PEER_MAC}
        conn.run("* > P. 1:101(100) ack 1")
