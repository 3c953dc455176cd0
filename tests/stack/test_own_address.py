"""The stack talks to its own address: what the driver turns round comes in again, and is taken for good."""

import pytest

from .harness.frames import PEER_IP, STACK_IP, UDP, ethernet, ipv4, udp
from .harness.host import EV_ACCEPT, EV_CONNECTED, EV_RESET, OPT_PEER, RECORD_FRAME, Host

LISTENER, SOCK, PORT = 1, 3, 7000
STACK_MAC = b"\x02\x4e\x00\x00\x00\x02"
CSUM, TSO4 = 1, 2


class Turned(Host):
    """A host whose driver gives frames to the stack's own MAC address back."""

    def _take(self, kind, payload):
        if kind == RECORD_FRAME and payload[10:16] == STACK_MAC:
            self.lab.arrive_own_record(payload)
        else:
            super()._take(kind, payload)


@pytest.fixture(params=[0, CSUM, CSUM | TSO4], ids=["plain", "checksums", "segments"])
def host(request):
    return Turned(offloads=request.param)


def connected(host):
    """(client, server): events of the two ends of a connection to port 80."""
    host.lab.listen(LISTENER, 80)
    host.lab.connect(STACK_IP, 80)
    host.turn()
    events = host.take_events()
    (client,) = [event for event in events if event.kinds & EV_CONNECTED]
    (server,) = [event for event in events if event.kinds & EV_ACCEPT]
    return client, server


def test_a_connection_to_itself(host):
    """No ARP: nothing at all goes to the wire."""
    client, server = connected(host)
    data = bytes(range(256)) * 200
    host.lab.send(client.sock, data)
    host.run_for(1)
    assert host.lab.recv(server.sock) == data
    host.lab.send(server.sock, data[:1000])
    host.run_for(1)
    assert host.lab.recv(client.sock) == data[:1000]
    for end in (client, server):
        host.lab.close(end.conn)
        host.turn()
    host.run_for(120)
    left = {"TCP_RETRANSMITS", "TCP_CONNECTIONS", "TCP_TIME_WAITING"} & set(host.lab.counters())
    assert not left, "counters that are not zero"
    assert not host.take_sent()


def test_nobody_listens(host):
    host.lab.connect(STACK_IP, 80)
    host.turn()
    (event,) = [event for event in host.take_events() if event.kinds & EV_RESET]
    assert event.error == 111
    assert not host.take_sent()


def test_simultaneous_open_with_itself(host):
    """One socket that connects to its own port (RFC 9293 §3.5, figure 7); Linux lets it, too."""
    host.lab.connect(STACK_IP, 5000, local_port=5000)
    host.turn()
    (event,) = [event for event in host.take_events() if event.kinds & EV_CONNECTED]
    host.lab.send(event.sock, b"to myself")
    host.run_for(1)
    assert host.lab.recv(event.sock) == b"to myself"


def test_datagrams(host):
    host.lab.udp_bind(SOCK, PORT)
    host.lab.send_datagram(SOCK, b"hello", STACK_IP, PORT)
    host.turn()
    assert host.lab.recv_datagram(SOCK) == (b"hello", (STACK_IP, PORT))
    host.lab.set_peer(SOCK, STACK_IP, 9)
    host.lab.poke(SOCK, "options", OPT_PEER)
    host.lab.send_datagram(SOCK, b"anybody?", STACK_IP, 9)
    host.turn()
    assert host.lab.peek(SOCK, "error") == 111, "the port's ICMP error came back"


@pytest.mark.parametrize(
    ("own", "source", "counter"),
    [(False, STACK_IP, "IP_BAD_ADDRESS"), (True, PEER_IP, "IP_BAD_ADDRESS"), (True, STACK_IP, None)],
)
def test_only_the_driver_says_what_is_our_own(host, own, source, counter):
    """Our address on the wire is a lie, and a replica that pretends to be a peer lies too."""
    host.lab.udp_bind(SOCK, PORT)
    record = bytes(10) + ethernet(ipv4(udp(9, PORT, b"x", source=source), UDP, source=source))
    (host.lab.arrive_own_record if own else host.lab.arrive_record)(record)
    host.turn()
    assert (host.lab.recv_datagram(SOCK) is None) == (counter is not None)
    assert counter is None or host.lab.counters()[counter] == 1


def test_only_ip_is_our_own(host):
    """ARP from a replica to a replica would be news of a neighbour."""
    for ethertype in (0x0806, 0x86DD, 0x1234):
        host.lab.arrive_own_record(bytes(10) + ethernet(bytes(46), ethertype))
    assert host.lab.counters()["RX_NOT_FOR_US"] == 3
