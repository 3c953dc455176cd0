"""Connections whose replica has lost them: their peers are told, when there is somebody to do it."""

import os

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from neat.drivers.pysteer import flow_key
from neat.shm.pyring import FLOW_ADD, FLOW_FADES, FLOW_LOST, FRAME
from tests.drivers.rig import (
    KERNEL,
    MAC,
    SLOT_ACTIVE,
    SLOT_RECOVERING,
    STACK,
    Rig,
    eventually,
    in_netns,
)

pytestmark = pytest.mark.netns


def key(port):
    return flow_key(6, STACK, 80, KERNEL, port)


def with_flows(ports, replicas=2, **settings):
    """A rig whose driver runs, the replicas' ends, and live flows of replica 1 from these ports."""
    rig = Rig(replicas, **settings)
    rig.start()
    ends = [rig.replica(k) for k in range(replicas)]
    for port in ports:
        ends[1].record(key(port), FLOW_ADD)
    eventually(lambda: rig.counters()["replica1.flows"] == len(ports))
    return rig, ends


def lose(rig, k=1):
    """What the supervisor does when the connections of a slot are gone."""
    rig.steering.set_state(k, SLOT_RECOVERING)
    rig.steering.bump_epoch(k)


def lost(end):
    """The keys of all RECORD_FLOW_LOST that wait."""
    found = []
    while (record := end.rx.pop()) is not None:
        if record[0] == FLOW_LOST:
            found.append(record[2])
    end.rx.release()
    return found


def collect(end, into):
    into.extend(lost(end))
    return into


@in_netns
def test_each_lost_flow_is_handed_to_a_replica_that_lives():
    ports = range(2000, 2300)
    rig, ends = with_flows(ports)
    other = key(5000)
    ends[0].record(other, FLOW_ADD)
    eventually(lambda: rig.counters()["replica0.flows"] == 1)
    lose(rig)
    told = []
    eventually(lambda: len(set(collect(ends[0], told))) == len(ports))
    assert set(told) == {key(port) for port in ports}
    assert not lost(ends[1])
    assert rig.counters()["flows_lost"] == len(ports)
    eventually(lambda: rig.counters()["replica1.flows"] == 0)


@in_netns
def test_who_says_nothing_is_told_again_and_at_last_forgotten():
    rig, ends = with_flows([2000])
    lose(rig)
    told = []
    eventually(lambda: len(collect(ends[0], told)) == 4, timeout=60)
    memory = rig.steering.segment.view
    assert eventually(lambda: not any(memory[4096 + 64 * i + 40] for i in range(1024)))
    assert rig.counters()["flows_lost"] == 1


@in_netns
def test_who_has_answered_is_told_no_more():
    rig, ends = with_flows([2000, 2001])
    lose(rig)
    told = []
    eventually(lambda: len(collect(ends[0], told)) == 2)
    import socket

    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((rig.config.tap, 0))
        frame = Ether(dst=MAC) / IP(src=KERNEL, dst=STACK) / TCP(sport=2000, dport=80, flags="A")
        wire.send(bytes(frame))
        eventually(lambda: len(collect(ends[0], told)) >= 5, timeout=60)
    assert told.count(key(2000)) < told.count(key(2001)) == 4


@in_netns
def test_fading_flows_and_those_of_others_are_not_told():
    rig, ends = with_flows([2000, 2001])
    ends[1].record(key(2000), FLOW_FADES)
    ends[1].record(key(2002), FLOW_ADD)
    eventually(lambda: rig.counters()["replica1.flows"] == 3)
    lose(rig)
    told = []
    eventually(lambda: len(set(collect(ends[0], told))) == 2)
    assert set(told) == {key(2001), key(2002)}


@in_netns
def test_nobody_is_left_and_then_there_is_somebody():
    """A stack of one replica: its successor tells them."""
    rig = Rig(1)
    rig.start()
    replica = rig.replica(0)
    ports = range(2000, 2050)
    for port in ports:
        replica.record(key(port), FLOW_ADD)
    eventually(lambda: rig.counters()["replica0.flows"] == len(ports))
    lose(rig, 0)
    loops = rig.board.read("driver").loops
    eventually(lambda: rig.board.read("driver").loops > loops + 3)
    assert not lost(replica)
    rig.steering.set_state(0, SLOT_ACTIVE)
    told = []
    eventually(lambda: len(set(collect(replica, told))) == len(ports))


@in_netns
def test_a_ring_without_room_is_waited_for():
    rig, ends = with_flows(range(2000, 2900), flow_entries=4096)
    filler = bytes(10) + bytes(12) + b"\x08\x00" + bytes(60)
    fill = rig.driver
    fill.kill()
    fill.wait()
    from neat.shm import link

    rx = link.Link(rig.link_fds[0], 1 << 18, 1 << 18).rx_ring(producer=True)
    while rx.push(filler, FRAME):
        pass
    rx.publish()
    lose(rig)
    rig.start()
    loops = rig.board.read("driver").loops
    eventually(lambda: rig.board.read("driver").loops > loops + 3)
    told = []
    eventually(lambda: len(set(collect(ends[0], told))) == 900)


@in_netns
def test_a_successor_of_the_driver_goes_on_with_it():
    """Whenever it is killed: who was not told is told by the next."""
    ports = range(2000, 2600)
    rig, ends = with_flows(ports, flow_entries=4096)
    told = []
    lose(rig)
    for pause in range(12):
        eventually(lambda: rig.board.read("driver") is not None)
        for _ in range(pause):
            os.sched_yield()
        collect(ends[0], told)
        rig.driver.kill()
        rig.driver.wait()
        rig.start()
    eventually(lambda: len(set(collect(ends[0], told))) == len(ports))
    assert set(told) == {key(port) for port in ports}


@in_netns
def test_nothing_from_the_wire_makes_a_flow_lost():
    """Forged segments of any kind, for flows that are and are not."""
    import random
    import socket

    rig, ends = with_flows([2000])
    chance = random.Random(3)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((rig.config.tap, 0))
        for _ in range(2000):
            flags = chance.choice(["S", "A", "R", "F", "RA", "SA", "FA", "PA"])
            tcp = TCP(sport=2000 + chance.randrange(50), dport=80, flags=flags, seq=chance.getrandbits(32))
            wire.send(bytes(Ether(dst=MAC) / IP(src=KERNEL, dst=STACK) / tcp))
    eventually(lambda: rig.counters()["rx_frames"] >= 2000)
    assert rig.counters()["flows_lost"] == 0
    assert not lost(ends[0]) and not lost(ends[1])
