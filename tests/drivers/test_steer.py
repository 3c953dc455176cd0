"""Who gets a packet: the order of choice, what is learnt, and what a replica may say about flows."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from neat.drivers.pysteer import Steering, toeplitz
from neat.shm import segment, steering
from neat.shm.counters import DriverCounter

PEER, STACK = "10.77.0.1", "10.77.0.2"
FADING, NEW, LIVE = 1, 2, 3
ABSENT, STARTING, ACTIVE, RECOVERING, TERMINATING = range(5)
SLOTS = 4


class Network:
    """A steering segment as the supervisor sees it, the driver's view of it, and frames."""

    def __init__(self, capacity=1024):
        fd = segment.create("steering", steering.steering_bytes(capacity))
        steering.initialise(fd, capacity)
        self.supervisor = steering.Steering(fd, capacity, writable=True)
        for slot in range(SLOTS):
            self.supervisor.set_state(slot, ACTIVE)
        self.driver = Steering(self.supervisor.segment.view, capacity)
        self.driver.clock(1)

    def arrive(self, packet):
        return self.driver.arrive(
            bytes(10) + bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)
        )

    def depart(self, packet, replica):
        frame = bytes(Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / packet)
        self.driver.depart(bytes(10) + frame, replica)

    def by_table(self, port=None, local_port=80, peer=PEER):
        """Where the indirection table sends a packet."""
        ports = None if port is None else (port, local_port)
        hash = toeplitz(self.supervisor.rss_key, peer, STACK, ports)
        return self.supervisor.indirection[hash % 128]

    def port_of(self, replica, start=2000):
        """A peer's port that the indirection table gives to a replica."""
        return next(port for port in range(start, start + 1000) if self.by_table(port) == replica)

    def count(self, name):
        return self.driver.count(DriverCounter[name])


@pytest.fixture
def net():
    return Network()


def tcp(port, flags="A", local_port=80):
    return IP(src=PEER, dst=STACK) / TCP(sport=port, dport=local_port, flags=flags)


def reply(port, flags="A", local_port=80):
    return IP(src=STACK, dst=PEER) / TCP(sport=local_port, dport=port, flags=flags)


def flow(port, local_port=80):
    return (6, STACK, local_port, PEER, port)


def test_unknown_flows_go_by_the_toeplitz_hash(net):
    for port in range(3000, 3100):
        assert net.arrive(tcp(port)) == net.by_table(port)
        assert net.arrive(IP(src=PEER, dst=STACK) / UDP(sport=port, dport=80)) == net.by_table(port)
        assert net.driver.find(flow(port)) is None
    assert net.arrive(IP(src=PEER, dst=STACK) / ICMP()) == net.by_table()


def test_a_flow_stays_when_the_table_changes(net):
    """The point of the flow table: a connection stays with its replica while replicas come and go."""
    port = net.port_of(3)
    assert net.arrive(tcp(port, "S")) == 3
    net.supervisor.set_state(3, TERMINATING)
    assert net.by_table(port) != 3
    assert net.arrive(tcp(port)) == 3
    assert net.arrive(tcp(port, "S")) == 3
    assert net.arrive(tcp(port + 1000, "S")) != 3


@pytest.mark.parametrize("flags", ["A", "R", "RA", "SA", "SR", "F", ""])
def test_only_a_syn_opens_a_flow(net, flags):
    net.arrive(tcp(2000, flags))
    assert net.driver.find(flow(2000)) is None


def test_ecn_syn_opens_a_flow(net):
    net.arrive(tcp(2000, "SEC"))
    assert net.driver.find(flow(2000))


def test_flow_is_live_when_the_stack_confirms_it(net):
    port = net.port_of(2)
    net.arrive(tcp(port, "S"))
    net.depart(reply(port, "SA"), 2)
    net.arrive(tcp(port, "A"))
    assert net.driver.find(flow(port)) == (2, NEW)
    net.depart(reply(port, "A"), 2)
    assert net.driver.find(flow(port)) == (2, LIVE)


def test_fading_flow_is_still_its_replicas(net):
    """What leaves in TIME-WAIT does not make it live; only a new handshake does (RFC 6191), with its ACK."""
    port = net.port_of(2)
    assert net.driver.add(flow(port), 1)
    assert net.driver.fade(flow(port), 1)
    net.depart(reply(port, "A"), 1)
    assert net.driver.find(flow(port)) == (1, FADING)
    assert net.arrive(tcp(port, "S")) == 1
    net.depart(reply(port, "SA"), 1)
    assert net.driver.find(flow(port)) == (1, NEW)
    net.depart(reply(port, "A"), 1)
    assert net.driver.find(flow(port)) == (1, LIVE)


def test_another_replicas_fading_flow_is_not_taken(net):
    port = net.port_of(2)
    assert net.driver.add(flow(port), 1)
    assert net.driver.fade(flow(port), 1)
    assert not net.driver.add(flow(port), 2)
    assert net.driver.find(flow(port)) == (1, FADING)


def test_refused_connection_leaves_no_flow(net):
    port = net.port_of(2)
    net.arrive(tcp(port, "S"))
    net.depart(reply(port, "RA"), 2)
    assert net.driver.find(flow(port)) is None


def test_outgoing_connection(net):
    """The answer comes to the replica that asked, whatever the hash says."""
    port = net.port_of(1)
    net.depart(reply(port, "S"), 3)
    assert net.arrive(tcp(port, "SA")) == 3
    net.depart(reply(port, "A"), 3)
    assert net.driver.find(flow(port)) == (3, LIVE)


@pytest.mark.slow
def test_syn_flood_spares_live_flows(net):
    live = [port for port in range(2000, 2100) if net.driver.add(flow(port), 1)]
    for port in range(10_000, 13_000):
        net.arrive(tcp(port, "S"))
        net.depart(reply(port, "SA"), net.by_table(port))
    assert all(net.driver.find(flow(port)) == (1, LIVE) for port in live)
    assert net.count("DRV_FLOWS_EVICTED") > 0


def test_replica_speaks_for_its_own_flows_only(net):
    port = net.port_of(1)
    assert net.driver.add(flow(port), 1)
    assert not net.driver.add(flow(port), 2)
    assert not net.driver.delete(flow(port), 2)
    net.depart(reply(port, "S"), 2)
    net.depart(reply(port, "R"), 2)
    assert net.driver.find(flow(port)) == (1, LIVE)
    assert net.count("DRV_FLOW_FOREIGN") == 4
    assert net.driver.delete(flow(port), 1)
    assert net.driver.find(flow(port)) is None
    assert net.driver.delete(flow(port), 1)


def test_a_strangers_syn_does_not_block_an_outgoing_connection(net):
    port = net.port_of(1)
    assert net.arrive(tcp(port, "S", local_port=80)) == 1
    net.depart(reply(port, "S"), 2)
    assert net.arrive(tcp(port, "SA")) == 2


def test_arp_requests_to_one_and_news_to_all(net):
    assert net.arrive(ARP(op=1, psrc=PEER, pdst=STACK)) == net.by_table()
    assert net.arrive(ARP(op=2, psrc=PEER, pdst=STACK)) == "all"
    assert net.arrive(ARP(op=1, psrc=PEER, pdst=PEER)) == "all"


def test_icmp_errors_follow_the_flow_that_they_quote(net):
    port = net.port_of(1)
    net.driver.add(flow(port), 3)
    for quoted_port, expected in ((port, 3), (port + 500, net.by_table(port + 500))):
        error = IP(src="192.0.2.9", dst=STACK) / ICMP(type=3, code=4) / Raw(bytes(reply(quoted_port))[:28])
        assert net.arrive(error) == expected


def test_fragments_follow_the_first_one(net):
    """Four datagrams under way at a time: so many find room in the table wherever they hash to."""
    replicas = set()
    for group in range(10):
        datagrams = []
        for number in range(4 * group, 4 * group + 4):
            ip = {"src": PEER, "dst": STACK, "id": number}
            first = IP(**ip, flags="MF") / UDP(sport=4000 + 997 * number, dport=53) / bytes(24)
            datagrams.append((net.arrive(first), IP(**ip, frag=4, proto=17) / Raw(bytes(8))))
        for replica, later in datagrams:
            assert net.arrive(later) == replica
        replicas |= {replica for replica, _ in datagrams}
    assert len(replicas) > 1  # the key is random
    assert net.count("DRV_FRAGMENTS_UNMATCHED") == 0


def test_fragments_without_a_first_one_go_by_addresses(net):
    later = IP(src=PEER, dst=STACK, id=9, frag=4, proto=17) / Raw(bytes(8))
    assert net.arrive(later) == net.by_table()
    port = net.port_of((net.by_table() + 1) % SLOTS)
    first = IP(src=PEER, dst=STACK, id=9, flags="MF") / UDP(sport=port, dport=80)
    replica = net.arrive(first / bytes(24))
    assert net.arrive(later) == replica != net.by_table()
    net.driver.clock(40_000_000_000)
    assert net.arrive(later) == net.by_table()
    assert net.count("DRV_FRAGMENTS_UNMATCHED") == 2


@pytest.mark.parametrize("state", [ABSENT, STARTING])
def test_no_packet_before_the_replica_announced_itself(net, state):
    port = net.port_of(1)
    net.driver.add(flow(port), 1)
    net.supervisor.set_state(1, state)
    assert net.arrive(tcp(port)) == "drop"
    assert net.count("DRV_DROP_SLOT_INACTIVE") == 1
    assert all(net.arrive(tcp(p, "S")) != 1 for p in range(3000, 3100))


def test_frames_of_a_recovering_replica_wait_for_it(net):
    port = net.port_of(1)
    net.driver.add(flow(port), 1)
    net.supervisor.set_state(1, RECOVERING)
    assert net.arrive(tcp(port)) == 1


def test_stateless_recovery_sends_old_flows_elsewhere(net):
    port = net.port_of(1)
    net.driver.add(flow(port), 1)
    net.supervisor.set_state(1, RECOVERING)
    net.supervisor.bump_epoch(1)
    assert net.arrive(tcp(port)) == net.by_table(port) != 1


def test_without_replicas_everything_is_dropped_and_counted(net):
    for slot in range(SLOTS):
        net.supervisor.set_state(slot, ABSENT)
    assert net.arrive(tcp(2000, "S")) == "drop"
    assert net.arrive(ARP(op=1, psrc=PEER, pdst=STACK)) == "drop"
    assert net.count("DRV_DROP_NO_REPLICA") == 2
    assert net.driver.find(flow(2000)) is None


def test_unusable_frames_are_dropped_by_reason(net):
    assert net.driver.arrive(bytes(10) + bytes(12) + b"\x88\xcc" + bytes(46)) == "drop"
    assert net.driver.arrive(bytes(10) + bytes(12) + b"\x08\x00" + bytes(46)) == "drop"
    assert net.driver.arrive(bytes(3)) == "drop"
    assert (net.count("DRV_DROP_NOT_IP"), net.count("DRV_DROP_MALFORMED")) == (1, 2)


def test_a_nonsensical_steering_page_harms_nobody(net):
    """Slots and indirection of any bytes: a drop or a slot that exists, and nothing else."""
    import random

    chance = random.Random(5)
    memory = net.supervisor.segment.view
    for _ in range(200):
        memory[16:512] = chance.randbytes(496)
        got = net.arrive(tcp(chance.randrange(65536), chance.choice(["S", "A"])))
        assert got == "drop" or 0 <= got < 16
