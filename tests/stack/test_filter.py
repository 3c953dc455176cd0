"""The packet filter before the engine (docs/contracts/filter.md)."""

import errno
import os
import random
import struct

import pytest

from neat.config import Config
from neat.parts import FIRST_UDP
from neat.shm import filter as filters
from neat.supervisor.filtering import LOG_KEEPS, Filtering, describe
from tests.support import COMPONENTS

from .harness.conn import PEER_PORT, STACK_PORT
from .harness.frames import ICMP, PEER_IP, STACK_IP, TCP, UDP, ethernet, icmp, ipv4, tcp, udp
from .harness.host import Host

PORT = 7000
UNREACHABLE = 3
SYN, RST, ACK = 2, 4, 16


class Filter:
    """The segments of a stack, and hosts (replicas) that go by them."""

    def __init__(self):
        self.fds = filters.create(), filters.create_track()
        self.rules = Filtering(Config(), *self.fds, None)

    def set(self, *lines):
        self.rules.change({"do": "replace", "lines": list(lines)})

    def host(self, **settings):
        host = Host(**settings)
        host.lab.use_filter(*self.fds)
        return host

    def packets(self):
        return [row["packets"] for row in self.rules.show()["rules"]]


@pytest.fixture
def net():
    made = Filter()
    yield made
    for fd in made.fds:
        os.close(fd)


@pytest.fixture
def host(net):
    return net.host()


def echo(host):
    """Whether the stack answers to a ping."""
    host.arrive(ethernet(ipv4(icmp(8, 0, 0x12340007, b"data"), ICMP)))
    return [sent.packet.payload[:2] for sent in host.take_sent()] == [b"\0\0"]


def closed_port(host, source_port=9, port=PORT, **fields):
    """What a datagram to a port that nobody has draws: (type, code), or None."""
    host.arrive(ethernet(ipv4(udp(source_port, port, b"x"), UDP, **fields)))
    sent = host.take_sent()
    return tuple(sent[0].packet.payload[:2]) if sent else None


def test_rules_count_from_the_next_packet_on(net, host):
    assert echo(host)
    net.set("input icmp type echo-request drop")
    assert not echo(host)
    assert host.lab.counters()["FILTER_IN_DROPPED"] == 1
    net.set("input icmp type { echo-reply, time-exceeded } drop")
    assert echo(host)
    net.set("input policy drop")
    assert not echo(host)
    net.set()
    assert echo(host)


def test_the_first_verdict_decides(net, host):
    net.set(
        "input icmp type echo-request", "input ip protocol icmp accept", "input drop", "input policy drop"
    )
    assert echo(host) and closed_port(host) is None
    assert net.packets() == [1, 1, 1]
    assert [row["bytes"] for row in net.rules.show()["rules"]] == [32, 32, 29]


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("udp dport 7000", True),
        ("udp dport 6999", False),
        ("udp dport { 1, 6990-7010 }", True),
        ("udp dport != 7000", False),
        ("udp sport 9", True),
        ("tcp dport 7000", False),
        ("tcp dport != 1", False),
        ("icmp type != 3", False),
        ("ip protocol udp", True),
        ("ip protocol != { tcp, icmp }", True),
        (f"ip saddr {PEER_IP}", True),
        ("ip saddr 10.77.0.0/24", True),
        ("ip saddr != 10.77.0.0/24", False),
        (f"ip daddr {STACK_IP}", True),
        ("ip daddr 10.77.0.3-10.77.0.255", False),
        ("ip daddr { 10.1.0.0/16, 10.77.0.0/30 }", True),
        ("iif tap", True),
        ("iif lo", False),
        ("ct state new", True),
        ("ct state established,related,invalid", False),
        ("udp dport 7000 ip saddr 1.2.3.4", False),
    ],
)
def test_matches(net, host, rule, matches):
    net.set(f"input {rule} drop")
    assert closed_port(host) == (None if matches else (UNREACHABLE, 3))
    assert net.packets() == [int(matches)]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("", 3),
        (" with icmp type admin-prohibited", 13),
        (" with icmp host-unreachable", 1),
        (" with icmp type net-prohibited", 9),
    ],
)
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_rejected_with_an_icmp_error_that_quotes(net, host, how, code, protocol):
    net.set(f"input {protocol} dport {PORT} reject{how}")
    segment = udp(9, PORT, b"x") if protocol == "udp" else tcp(9, PORT, 1, 0, SYN)
    packet = ipv4(segment, UDP if protocol == "udp" else TCP)
    host.arrive(ethernet(packet))
    (sent,) = host.take_sent()
    assert sent.packet.payload[:2] == bytes([UNREACHABLE, code])
    assert sent.packet.payload[8:] == packet
    assert host.lab.counters()["FILTER_IN_REJECTED"] == 1


def test_rejected_with_a_reset(net, conn):
    """RFC 9293 §3.10.7.1: as if nobody listened."""
    conn.host.lab.use_filter(*net.fds)
    conn.listen()
    net.set(f"input tcp dport {STACK_PORT} reject with tcp reset")
    conn.run("""
      +0 < S 0:0(0) win 65535
      +0 > R. 0:0(0) ack 1
      +0 < R 0:0(0) win 0
    """)


def test_established_connections_pass(net, conn):
    conn.host.lab.use_filter(*net.fds)
    conn.established()
    net.set("input ct state established accept", "input policy drop")
    conn.run("+0 < P. 1:101(100) ack 1 win 65535")
    assert len(conn.recv()) == 100
    conn.host.run_for(1)
    conn.host.take_sent()
    assert not echo(conn.host)
    conn.host.arrive(ethernet(ipv4(tcp(50_999, STACK_PORT, 1, 0, SYN), TCP)))
    conn.host.arrive(ethernet(ipv4(tcp(50_999, STACK_PORT, 1, 1, ACK), TCP)))
    assert conn.host.take_sent() == []
    assert net.packets() == [1]


def test_who_opens_gets_answers(net, conn):
    conn.host.lab.use_filter(*net.fds)
    net.set(
        "input ct state established,related accept",
        "input policy drop",
        "output ct state new,established accept",
        "output policy drop",
    )
    conn.connected()
    conn.send(10)
    conn.run("+0 > P. 1:11(10) ack 1")


def test_state_outlives_the_replica(net, conn):
    """A connection is its own memory; the rules are in their segment."""
    net.set("input ct state established accept", f"input tcp dport {STACK_PORT} ct state new accept",
            "input policy drop")  # fmt: skip
    conn.host.lab.use_filter(*net.fds)
    conn.established()
    conn.crash()
    conn.host.take_sent()
    conn.run("""
      +0 < P. 1:101(100) ack 1 win 65535
      +0 > . 1:1(0) ack 101
    """)
    assert len(conn.recv()) == 100
    conn.host.run_for(1)
    conn.host.take_sent()
    assert not echo(conn.host)
    assert net.packets() == [2, 1]


@pytest.mark.parametrize(
    ("flags", "state"), [(SYN, "new"), (ACK, "invalid"), (SYN | ACK, "invalid"), (RST, "invalid")]
)
def test_what_is_for_no_connection(net, host, flags, state):
    net.set(*[f"input ct state {name} drop" for name in ("new", "established", "related", "invalid")])
    host.arrive(ethernet(ipv4(tcp(9, PORT, 1, 1, flags), TCP)))
    assert net.packets() == [int(name == state) for name in ("new", "established", "related", "invalid")]


STATES = ["input ct state established accept", "input ct state new accept"]


def test_datagrams_both_ways(net, host):
    net.set(*STATES)
    for _ in range(2):
        assert closed_port(host) == (UNREACHABLE, 3)
    assert net.packets() == [0, 2]  # as long as nobody answers


def serve_udp(host, sock=3, port=PORT):
    host.lab.udp_bind(sock, port=port)
    host.turn()


def send_udp(host, sock=3, port=9):
    host.lab.send_datagram(sock, b"answer", PEER_IP, port)
    host.turn()
    return len(host.take_sent())


def test_an_answer_makes_it_established(net, host):
    serve_udp(host)
    net.set(*STATES, "output ct state established", "output ct state new drop")
    assert closed_port(host) is None  # it has a socket now
    assert send_udp(host) == 1
    assert closed_port(host) is None
    assert net.packets() == [1, 1, 1, 0]
    assert send_udp(host, port=10) == 0  # opens a flow
    assert net.packets() == [1, 1, 1, 1]


def test_an_answer_may_come_to_another_replica(net):
    one, other = net.host(replica=0, replicas=6), net.host(replica=5, replicas=6)
    for host in (one, other):
        serve_udp(host)
    net.set("input ct state established accept", "input policy drop")
    assert closed_port(other) is None and net.packets() == [0]
    assert send_udp(one) == 1
    other.arrive(ethernet(ipv4(udp(9, PORT, b"x"), UDP)))
    assert net.packets() == [1]
    other.run_for(119)
    other.arrive(ethernet(ipv4(udp(9, PORT, b"x"), UDP)))
    assert net.packets() == [2]
    other.run_for(121)
    other.arrive(ethernet(ipv4(udp(9, PORT, b"x"), UDP)))
    assert net.packets() == [2]  # forgotten


def test_more_flows_than_there_is_room_for(net, host):
    """The newest are remembered; nothing is written beyond the table."""
    serve_udp(host)
    net.set("input ct state established accept", "output ct state new accept", "input policy drop")
    for port in range(1, 9001):
        host.lab.send_datagram(3, b"x", PEER_IP, port)
        host.turn()
    host.take_sent()
    host.arrive(ethernet(ipv4(udp(9000, PORT, b"x"), UDP)))
    assert net.packets()[0] == 1


def test_errors_about_our_packets_are_related(net, conn):
    conn.host.lab.use_filter(*net.fds)
    conn.established()
    conn.send(10)
    conn.run("+0 > P. 1:11(10) ack 1")
    ours = ipv4(tcp(STACK_PORT, PEER_PORT, 1, 1, ACK), TCP, source=STACK_IP, destination=PEER_IP)
    stranger = ipv4(tcp(STACK_PORT, 1, 1, 1, ACK), TCP, source=STACK_IP, destination=PEER_IP)
    net.set("input ct state related accept", "input ct state invalid drop")
    for quote in (ours, stranger, ours[:27], b"", ipv4(udp(1, 2, b""), UDP, source=STACK_IP)):
        conn.host.arrive(ethernet(ipv4(icmp(3, 1, 0, quote[:28]), ICMP)))
    # An IP part drops by itself what quotes nothing of a part above.
    assert net.packets() == [1, 4 if COMPONENTS == "single" else 2]


def test_rate(net, host):
    net.set("input icmp type echo-request limit rate 10/second burst 3 packets accept", "input policy drop")
    assert [echo(host) for _ in range(5)] == [True, True, True, False, False]
    host.run_for(0.1)
    assert [echo(host) for _ in range(2)] == [True, False]
    host.run_for(100)
    assert [echo(host) for _ in range(4)] == [True, True, True, False]


def test_rate_over(net, host):
    net.set("input icmp type echo-request limit rate over 10/second burst 3 packets drop")
    assert [echo(host) for _ in range(5)] == [True, True, True, False, False]


def test_replicas_share_a_rate(net):
    hosts = [net.host(replica=number, replicas=4) for number in range(4)]
    net.set("input limit rate 1/second burst 6 packets accept", "input policy drop")
    assert sum(echo(host) for _ in range(4) for host in hosts) == 6


def test_output_drops_and_replies_are_output_too(net, host):
    net.set("output ip protocol icmp drop")
    assert not echo(host)
    assert host.lab.counters()["FILTER_OUT_DROPPED"] == 1
    net.set("output ip daddr 10.77.0.1 udp sport 7000 drop")
    assert echo(host)


def test_connect_is_told_of_a_rejection(net, make_conn):
    conn = make_conn()
    conn.host.lab.use_filter(*net.fds)
    net.set(f"output tcp dport {PEER_PORT} reject")
    conn.connect()
    conn.host.turn()
    assert [sent for sent in conn.host.take_sent() if sent.packet] == []
    assert conn.host.lab.counters()["TCP_ICMP_HARD"] == 1
    assert conn.lab.peek(conn.sock, "error") == errno.ECONNREFUSED


def test_own_address_is_lo(net, host):
    net.set("input iif lo drop", "output oif lo")
    record = bytes(10) + ethernet(ipv4(icmp(8, 0, 1, b""), ICMP, source=STACK_IP))
    host.lab.arrive_own_record(record)
    host.turn()
    assert host.take_sent() == [] and net.packets() == [1, 0]
    assert echo(host)


def test_log(net, host):
    net.set('input udp dport 7000 log prefix "seen: " accept')
    for _ in range(LOG_KEEPS + 10):
        closed_port(host)
    track = net.rules.track
    slot = 0 if COMPONENTS == "single" else FIRST_UDP
    assert track.logged(slot) == LOG_KEEPS + 10
    line = describe(track.entry(slot, LOG_KEEPS + 9), "replica0", {1: "seen: "})
    assert "seen: input" in line and f"SRC={PEER_IP} DST={STACK_IP}" in line
    assert "PROTO=udp SPT=9 DPT=7000" in line


def test_a_set_that_is_nonsense_is_not_taken_up(net, host):
    """Whatever bytes are in the segment: the rules of before stay, and it is counted."""
    net.set("input icmp type echo-request drop")
    assert not echo(host)
    size = os.fstat(net.fds[0]).st_size
    chance = random.Random(3)
    for _ in range(300):
        generation = struct.unpack("=Q", os.pread(net.fds[0], 8, 8))[0] + 1
        start = 4096 + (generation & 1) * filters.SET_BYTES
        kind = chance.randrange(3)
        if kind == 0:
            os.pwrite(net.fds[0], chance.randbytes(4096), start)
        elif kind == 1:
            os.pwrite(net.fds[0], struct.pack("=IIIIBB", 5, 5, 9, 0, 1, 1), start + 8)
            os.pwrite(net.fds[0], chance.randbytes(64 * 10), start + 64)
        else:
            at = start + chance.randrange(0, min(filters.SET_BYTES, size - start) - 8)
            os.pwrite(net.fds[0], chance.randbytes(8), at)
        os.pwrite(net.fds[0], struct.pack("=Q", generation), start)
        os.pwrite(net.fds[0], struct.pack("=Q", generation), 8)
        echo(host)
        closed_port(host)
    assert host.lab.counters()["FILTER_BAD_RULES"] > 100
    net.set("input policy drop")
    assert not echo(host)


def test_what_others_wrote_into_their_areas_is_no_danger(net):
    host = net.host()
    net.set(*STATES, "input limit rate 1/second accept")
    for seed in range(50):
        noise = random.Random(seed).randbytes(os.fstat(net.fds[1]).st_size)
        os.pwrite(net.fds[1], noise, 0)
        assert closed_port(host) == (UNREACHABLE, 3) or host.lab.counters()["ICMP_LIMITED"]


def test_any_packet_meets_any_rule(net, host):
    """Truncated, unknown, with options: each is judged, and none crashes."""
    chance = random.Random(5)
    net.set(
        "input tcp dport 1-60000 ct state invalid,new", "input udp sport != 3 ct state established",
        "input icmp type != 8 ct state related", "input ip protocol { 2, tcp } log", "output ct state new",
        "input ct state invalid drop",
    )  # fmt: skip
    for _ in range(3000):
        protocol = chance.choice([ICMP, TCP, UDP, 2, 255])
        payload = chance.randbytes(chance.randrange(0, 60))
        host.arrive(ethernet(ipv4(payload, protocol)))
    assert sum(net.packets()) > 1000
