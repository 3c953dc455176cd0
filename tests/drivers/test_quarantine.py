"""Sources whose packets kill: the driver drops what they send, for as long as the supervisor said."""

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from neat.drivers.pysteer import Steering
from neat.shm import segment, steering
from neat.shm.counters import DriverCounter

CAPACITY = 1024
LIVE = 3
PEER, OTHER, STACK = "10.77.0.1", "10.77.0.9", "10.77.0.2"
ICMP_PROTOCOL, TCP_PROTOCOL, UDP_PROTOCOL = 1, 6, 17
SECOND = 10**9


class Net:
    def __init__(self):
        fd = segment.create("steering", steering.steering_bytes(CAPACITY))
        steering.initialise(fd, CAPACITY)
        self.supervisor = steering.Steering(fd, CAPACITY, writable=True)
        for slot in range(3):
            self.supervisor.set_state(slot, 2)
        self.driver = Steering(self.supervisor.segment.view, CAPACITY)
        self.driver.clock(SECOND)

    def keep_out(self, address, protocol, port, until=60 * SECOND):
        self.supervisor.quarantine(address, protocol, port, until)
        self.driver.follow()

    def passes(self, packet):
        return self.driver.arrive(bytes(10) + bytes(Ether() / packet)) != "drop"

    @property
    def dropped(self):
        return self.driver.count(DriverCounter.DRV_DROP_QUARANTINE)


@pytest.fixture
def net():
    return Net()


def tcp(port, flags="A", source=PEER):
    return IP(src=source, dst=STACK) / TCP(sport=port, dport=80, flags=flags)


def test_one_port_of_one_host(net):
    net.keep_out(PEER, TCP_PROTOCOL, 4000)
    assert not net.passes(tcp(4000)) and not net.passes(tcp(4000, "S"))
    assert net.dropped == 2
    assert net.passes(tcp(4001)) and net.passes(tcp(4000, source=OTHER))
    assert net.passes(IP(src=PEER, dst=STACK) / UDP(sport=4000, dport=80))
    assert net.dropped == 2


def test_its_live_connection_is_no_excuse(net):
    net.driver.learn((TCP_PROTOCOL, STACK, 80, PEER, 4000), 1, LIVE)
    net.keep_out(PEER, TCP_PROTOCOL, 4000)
    assert not net.passes(tcp(4000))


def test_a_host_keeps_its_live_connections(net):
    """Others may be behind the same address."""
    net.driver.learn((TCP_PROTOCOL, STACK, 80, PEER, 4000), 1, LIVE)
    assert net.passes(tcp(4001, "S"))
    net.keep_out(PEER, 0, 0)
    assert net.passes(tcp(4000))
    assert not net.passes(tcp(4001)) and not net.passes(tcp(4002, "S")) and not net.passes(tcp(4003))
    assert not net.passes(IP(src=PEER, dst=STACK) / UDP(sport=53, dport=53))
    assert not net.passes(IP(src=PEER, dst=STACK) / ICMP())
    assert net.passes(tcp(4002, "S", source=OTHER))


def test_a_protocol_without_ports(net):
    net.keep_out(PEER, ICMP_PROTOCOL, 0)
    assert not net.passes(IP(src=PEER, dst=STACK) / ICMP())
    assert net.passes(tcp(4000, "S"))


def test_a_neighbour_stays_one(net):
    """Without ARP all that is behind it would be lost."""
    net.keep_out(PEER, 0, 0)
    for operation in (1, 2):
        assert net.passes(ARP(op=operation, psrc=PEER, pdst=STACK))


def test_it_ends(net):
    net.keep_out(PEER, TCP_PROTOCOL, 4000, until=5 * SECOND)
    assert not net.passes(tcp(4000))
    net.driver.clock(5 * SECOND)
    assert net.passes(tcp(4000))
    assert net.supervisor.quarantined(5 * SECOND) == []


def test_a_successor_of_the_driver_knows(net):
    net.keep_out(PEER, TCP_PROTOCOL, 4000)
    net.driver = Steering(net.supervisor.segment.view, CAPACITY)
    net.driver.clock(2 * SECOND)
    assert not net.passes(tcp(4000))


def test_what_ends_first_makes_room(net):
    for port in range(20):
        net.keep_out(PEER, TCP_PROTOCOL, 4000 + port, until=(10 + port) * SECOND)
    assert [found[2] for found in sorted(net.supervisor.quarantined(SECOND))] == list(range(4004, 4020))
    net.keep_out(PEER, TCP_PROTOCOL, 4010, until=99 * SECOND)
    found = {found[2]: found[3] for found in net.supervisor.quarantined(SECOND)}
    assert len(found) == 16 and found[4010] == 99 * SECOND
    assert [net.passes(tcp(port)) for port in (4003, 4004, 4019)] == [True, False, False]


def test_any_bytes_in_the_table(net):
    chance = random.Random(4)
    memory = net.supervisor.segment.view
    for _ in range(100):
        memory[448:960] = chance.randbytes(512)
        net.driver.follow()
        net.passes(tcp(chance.randrange(65536)))
    memory[448:960] = bytes(512)
    net.driver.follow()
    assert net.passes(tcp(4000, "S"))
