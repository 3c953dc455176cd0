"""Who is kept out: a flow that kills again and again, a source that does so from one flow after another."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP, Ether

from neat.shm import segment, steering
from neat.supervisor.quarantine import KEPT_OUT_NS, STRIKES, WINDOW_NS, Quarantine

PEER, OTHER, STACK = "10.77.0.1", "10.77.0.9", "10.77.0.2"
SECOND = 10**9


@pytest.fixture
def table():
    fd = segment.create("steering", steering.steering_bytes(64))
    steering.initialise(fd, 64)
    return steering.Steering(fd, 64, writable=True)


@pytest.fixture
def judge(table):
    return Quarantine(table, STACK)


def record(port, source=PEER):
    return bytes(10) + bytes(Ether() / IP(src=source, dst=STACK) / TCP(sport=port, dport=80))


def test_the_third_time_is_one_too_many(judge, table):
    for time in range(STRIKES - 1):
        assert judge.killed(record(4000), SECOND + time) == ""
    assert judge.killed(record(4000), 2 * SECOND) == f"tcp from {PEER}:4000, for 60 s"
    assert table.quarantined(3 * SECOND) == [(PEER, 6, 4000, 2 * SECOND + KEPT_OUT_NS)]


def test_from_one_flow_after_another(judge, table):
    for port in range(STRIKES - 1):
        assert judge.killed(record(port), SECOND) == ""
    assert judge.killed(record(9), SECOND) == f"{PEER} but for its live connections, for 60 s"
    assert table.quarantined(SECOND) == [(PEER, 0, 0, SECOND + KEPT_OUT_NS)]
    assert "4711" in judge.killed(record(4711), 2 * SECOND), "one of its live ones: at once"


def test_different_hosts_are_different(judge, table):
    for source in (PEER, OTHER, "10.77.0.5"):
        assert judge.killed(record(4000, source), SECOND) == ""
    assert table.quarantined(SECOND) == []


def test_what_is_long_ago_is_forgotten(judge):
    for time in range(10):
        assert judge.killed(record(4000), SECOND + time * WINDOW_NS) == ""


def test_the_stack_itself_is_not_kept_out_of_itself(judge, table):
    """One flow of it is."""
    for port in range(10):
        assert judge.killed(record(port, STACK), SECOND) == ""
    for _ in range(STRIKES):
        judge.killed(record(4000, STACK), SECOND)
    assert [found[:3] for found in table.quarantined(SECOND)] == [(STACK, 6, 4000)]


def test_a_protocol_without_ports(judge, table):
    ping = bytes(10) + bytes(Ether() / IP(src=PEER, dst=STACK) / ICMP())
    for _ in range(STRIKES):
        verdict = judge.killed(ping, SECOND)
    assert verdict.startswith(f"icmp from {PEER},")


@pytest.mark.parametrize("noise", [b"", bytes(5), bytes(200), bytes(10) + bytes(Ether() / ARP(psrc=PEER))])
def test_what_has_no_source_is_nobodys(judge, table, noise):
    for _ in range(10):
        assert judge.killed(noise, SECOND) == ""
    assert table.quarantined(SECOND) == []
