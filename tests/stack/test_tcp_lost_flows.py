"""A replica has lost a connection. Another one makes its peer speak, and the answer draws the right RST (RFC
9293 §3.10.7.4; §3.5.1, "Half-Open Connections and Other Anomalies")."""

import struct
from socket import inet_aton

import pytest

from neat.stack.tcp.state import TcpState
from tests.support import whole

from .harness.frames import ACK, PEER_IP, PEER_MAC, RST, STACK_IP, TCP, ethernet, ipv4, tcp
from .harness.host import EV_CONNECTED, EV_RESET, SECOND, Host

pytestmark = whole("it looks for a neighbour itself")

PORT = 80
LISTENER = 7


def flow_key(local=STACK_IP, local_port=PORT, remote=PEER_IP, remote_port=40000, protocol=6, family=4):
    addresses = inet_aton(local) + bytes(12) + inet_aton(remote) + bytes(12)
    return struct.pack("<BBHHH", family, protocol, local_port, remote_port, 0) + addresses


@pytest.fixture
def host():
    """A replica that knows its neighbours."""
    return acquainted(Host())


def acquainted(host):
    host.lab.flow_lost(flow_key())  # nobody knows the way yet: ARP
    host.turn()
    assert not host.take_sent() and "TCP_LOST_FLOWS" not in host.lab.counters()
    return host


def only_segment(host):
    (sent,) = host.take_sent()
    return sent.packet.segment


def test_the_answer_to_the_question_draws_a_rst_that_is_right(host):
    host.lab.flow_lost(flow_key())
    host.turn()
    asked = only_segment(host)
    assert (asked.sport, asked.dport, asked.flags, asked.payload) == (PORT, 40000, ACK, b"")
    assert host.lab.counters()["TCP_LOST_FLOWS"] == 1
    host.arrive(ethernet(ipv4(tcp(40000, PORT, 777, 0xFFFFFFF0, ACK), TCP)))
    answer = only_segment(host)
    assert (answer.flags, answer.seq) == (RST, 0xFFFFFFF0)


def test_its_numbers_are_others_each_time(host):
    seen = set()
    for _ in range(5):
        host.lab.flow_lost(flow_key())
        host.run_for(1)
        seen.add(only_segment(host).seq >> 24)
    assert len(seen) > 2


class Wire:
    """Two engines: `peer` has a connection to `stack`."""

    def __init__(self, **settings):
        self.stack = Host()
        self.peer = Host(address=PEER_IP, mac=PEER_MAC, gateway=STACK_IP, **settings)
        self.peer.neighbours = {STACK_IP: b"\x02\x4e\x00\x00\x00\x02"}
        self.stack.lab.listen(LISTENER, PORT)
        self.conn = self.peer.lab.connect(STACK_IP, PORT)
        self.settle()
        assert any(event.kinds & EV_CONNECTED for event in self.peer.take_events())
        (_, self.remote_port) = self.peer.lab.conn_info(self.conn)["local"]

    def settle(self):
        while True:
            self.peer.turn()
            self.stack.turn()
            out, back = self.peer.take_sent(), self.stack.take_sent()
            if not out and not back:
                return
            for sent in out:
                self.stack.arrive(sent.frame)
            for sent in back:
                self.peer.arrive(sent.frame)


@pytest.mark.parametrize("seed", range(8))
def test_a_peer_that_only_waits_hears_of_it(seed):
    wire = Wire(now=(1 + seed) * SECOND)
    # another replica: it knows nothing
    wire.stack = acquainted(Host(now=(7 + 3 * seed) * SECOND + seed * 12345))
    wire.stack.lab.flow_lost(flow_key(remote_port=wire.remote_port))
    wire.settle()
    (event,) = [event for event in wire.peer.take_events() if event.kinds & EV_RESET]
    assert event.conn == wire.conn


def test_a_peer_that_has_ended_answers_by_a_rst_and_nothing_comes_of_it(host):
    host.lab.flow_lost(flow_key())
    host.turn()
    asked = only_segment(host)
    host.arrive(ethernet(ipv4(tcp(40000, PORT, asked.ack, 0, RST), TCP)))
    assert not host.take_sent()


def test_a_connection_that_is_there_is_left_alone(conn):
    """The tuple is in use again, or the driver is mistaken."""
    conn.established()
    conn.host.lab.flow_lost(flow_key(remote_port=conn.port))
    conn.settle()
    assert not conn.host.take_sent()
    assert conn.state == TcpState.ESTABLISHED


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(40),
        flow_key()[:39],
        flow_key() + b"\0",
        flow_key(local="10.77.0.9"),
        flow_key(remote="255.255.255.255"),
        flow_key(remote="10.77.0.255"),
        flow_key(protocol=17),
        flow_key(family=6),
    ],
)
def test_what_is_no_connection_of_ours_is_counted(host, payload):
    host.lab.flow_lost(payload)
    host.turn()
    assert not host.take_sent()
    assert host.lab.counters()["TCP_BAD_ADDRESS"] == 1


@pytest.mark.parametrize("remote", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "10.77.0.0"])
def test_nothing_goes_where_no_host_is(host, remote):
    host.lab.flow_lost(flow_key(remote=remote))
    host.turn()
    assert not host.take_sent()


def test_a_neighbour_that_is_not_known_yet_is_looked_for():
    """What was to be said is lost; the driver has it said again."""
    host = Host()
    host.neighbours = {}
    host.lab.flow_lost(flow_key())
    host.turn()
    (request,) = host.take_sent()
    assert request.packet is None, "ARP"
    assert "TCP_LOST_FLOWS" not in host.lab.counters()
