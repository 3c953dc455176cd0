"""While a replica is replaced by one that goes on with its state, its frames wait: in order, for it alone."""

import socket

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from neat.drivers.pysteer import flow_key
from neat.shm.pyring import FLOW_ADD
from tests.drivers.rig import KERNEL, MAC, RING, STACK, Rig, eventually, in_netns

pytestmark = pytest.mark.netns
PORT = 2000


class Wire:
    """A rig whose replica 1 has a flow and does nothing, and the kernel's end of the wire."""

    def __init__(self):
        self.rig = Rig(2)
        self.rig.start()
        self.ends = [self.rig.replica(k) for k in range(2)]
        self.ends[1].record(flow_key(6, STACK, 80, KERNEL, PORT), FLOW_ADD)
        eventually(lambda: self.rig.counters()["replica1.flows"] == 1)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((self.rig.config.tap, 0))
        self.sent = 0

    def send(self, count=1, size=0):
        """Segments of the flow, each with its number."""
        for _ in range(count):
            tcp = TCP(sport=PORT, dport=80, flags="A", seq=self.sent) / bytes(size)
            self.socket.send(bytes(Ether(dst=MAC) / IP(src=KERNEL, dst=STACK) / tcp))
            self.sent += 1

    def counted(self, *names):
        return sum(self.rig.counters()[name] for name in names)


def numbers(end):
    """Of the segments that wait in a ring."""
    found = [Ether(frame) for _vnet, frame in end.take()]
    return [frame[TCP].seq for frame in found if TCP in frame and frame[TCP].sport == PORT]


@in_netns
def test_frames_wait_for_the_successor_and_for_nobody_else():
    wire = Wire()
    wire.send(50)
    eventually(lambda: wire.counted("replica1.rx_frames") >= 50)
    successor = wire.rig.replica(1)
    assert numbers(successor) == list(range(50))
    assert numbers(wire.ends[0]) == []
    wire.send()
    eventually(lambda: numbers(successor) == [50])
    assert wire.counted("replica1.broken", "ring_broken", "flows_evicted") == 0


@in_netns
def test_what_the_ring_cannot_hold_is_dropped_and_counted():
    """As a wire would; and what comes when there is room again arrives."""
    wire = Wire()
    count = 3 * RING // 1024
    wire.send(count, size=1000)
    eventually(lambda: wire.counted("replica1.rx_frames", "replica1.rx_drops") >= count)
    dropped = wire.counted("replica1.rx_drops")
    assert dropped > 0
    successor = wire.rig.replica(1)
    waited = numbers(successor)
    assert waited == list(range(count - dropped))
    wire.send()
    eventually(lambda: numbers(successor) == [count])
    assert wire.counted("replica1.broken") == 0


@in_netns
def test_the_driver_may_die_meanwhile():
    wire = Wire()
    wire.send(10)
    eventually(lambda: wire.counted("replica1.rx_frames") >= 10)
    for _ in range(3):
        wire.rig.driver.kill()
        wire.rig.driver.wait()
        wire.send(5)  # the device holds them
        wire.rig.start()
        eventually(lambda: wire.counted("replica1.rx_frames") >= 5)
    assert wire.counted("replica1.flows") == 1
    assert numbers(wire.rig.replica(1)) == list(range(25))
    assert numbers(wire.ends[0]) == []


@in_netns
def test_a_head_behind_what_was_taken_is_no_broken_ring():
    """A replica is killed in the middle of a turn: it took records, and gave no room back. Its successor sees
    them again; the head that it stores is never behind one that the driver has seen."""
    wire = Wire()
    wire.send(20)
    eventually(lambda: wire.counted("replica1.rx_frames") >= 20)
    for _ in range(8):
        assert wire.ends[1].rx.pop() is not None
    wire.ends[1].rx.release()
    for _ in range(5):
        assert wire.ends[1].rx.pop() is not None
    successor = wire.rig.replica(1)
    assert numbers(successor) == list(range(8, 20))
    for _ in range(4):
        first = wire.sent
        wire.send(RING // 2048, size=1000)
        got = []
        eventually(lambda first=first, got=got: got.extend(numbers(successor)) or got[-1:] == [wire.sent - 1])
        assert got == list(range(first, wire.sent))
    assert wire.counted("replica1.broken") == 0
