"""The driver process end to end: a TAP device in a namespace of its own, replicas played by the test."""

import errno
import json
import os
import random
import socket
import struct
import threading
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from neat.drivers.pysteer import flow_key
from neat.shm.pyring import FLOW_ADD, FLOW_DELETE, FRAME
from tests.drivers.peers import Conversation, Pinger, answer_arp_and_ping
from tests.drivers.rig import (
    KERNEL,
    MAC,
    RING,
    SLOT_RECOVERING,
    SLOT_TERMINATING,
    STACK,
    Rig,
    eventually,
    in_netns,
)

pytestmark = pytest.mark.netns
NEEDS_CSUM, GSO_TCPV4 = 1, 1


def served(replicas=2, **settings):
    """A rig whose driver runs and whose replicas answer ARP and ping."""
    rig = Rig(replicas, **settings)
    rig.start()
    return rig, [rig.replica(k).serve(answer_arp_and_ping) for k in range(replicas)]


@in_netns
def test_ping_and_counters():
    rig, _ = served()
    pinger = Pinger()
    assert all(pinger.ping() for _ in range(20))
    assert pinger.ping(bytes(1400))
    found = eventually(lambda: (c := rig.counters())["tx_frames"] >= 22 and c)
    assert found["rx_frames"] == found["replica0.rx_frames"] + found["replica1.rx_frames"] >= 22
    assert found["tx_frames"] == found["replica0.tx_frames"] + found["replica1.tx_frames"] >= 22
    assert not any(value for name, value in found.items() if name.startswith("drop"))


@in_netns
def test_messages_signals_and_lifeline():
    rig, _ = served()
    for noise in (b"", b"\xff", b"[]", b'{"op": "dance"}'):
        rig.ctl.send(noise or b" ")
    assert Pinger().ping()
    assert rig.board.read("driver").state_name == "running"
    rig.ctl.send(json.dumps({"op": "stop"}).encode())
    assert rig.driver.wait(5) == 0
    assert rig.board.read("driver").state_name == "stopping"
    rig.start().terminate()
    assert rig.driver.wait(5) == 0
    rig.start()
    os.close(rig.lifeline_end)
    assert rig.driver.wait(5) == 0


@in_netns
def test_idle_driver_sleeps_and_beats():
    """The heartbeat goes on; and a driver that has nothing to do is awake for next to nothing of the time."""
    rig = Rig()
    rig.start()
    first = eventually(lambda: rig.board.read("driver"))
    later = eventually(lambda: (page := rig.board.read("driver")).loops > first.loops + 5 and page)
    assert later.heartbeat > first.heartbeat
    assert later.heartbeat - first.heartbeat > 5 * (rig.config.heartbeat_ms // 2) * 900_000
    assert later.busy_ns - first.busy_ns < (later.heartbeat - first.heartbeat) // 10


@in_netns
def test_large_frames_both_ways():
    """A segment larger than the MTU arrives as one frame, and leaves as one write."""
    rig, replicas = served(replicas=1)
    listener = socket.create_server((KERNEL, 0))
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((STACK, 80))
    syn = eventually(lambda: next((f for _, f in replicas[0].frames if TCP in Ether(f)), None))
    talk = Conversation(syn)
    replicas[0].send(talk.segment("SA", options=[("MSS", 1460), ("WScale", 7)]))
    client.setblocking(True)
    client.sendall(random.Random(1).randbytes(12_000))

    def large():
        # Two segments at least: a kernel that paces may not join more when the round trip was slow.
        return next(((v, f) for v, f in replicas[0].frames if len(f) > 2000), None)

    vnet, frame = eventually(large)
    flags, gso_type, _, gso_size, _, _ = struct.unpack("<BBHHHH", vnet)
    assert (flags & NEEDS_CSUM, gso_type & 0x7F, gso_size) == (NEEDS_CSUM, GSO_TCPV4, 1460)
    assert Ether(frame)[TCP].dport == 80
    data = random.Random(2).randbytes(40_000)
    frame, vnet = talk.large_segment(data)
    written = rig.counters()["tx_frames"]
    replicas[0].send(frame, vnet)
    received = b""
    while len(received) < len(data):
        received += client.recv(1 << 16)
    assert received == data
    eventually(lambda: rig.counters()["tx_frames"] > written)
    assert rig.counters()["tx_frames"] == written + 1
    listener.close()


@in_netns
def test_without_offload_frames_have_the_size_of_the_wire():
    rig, replicas = served(replicas=1, offload=False)
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((STACK, 80))
    syn = eventually(lambda: next((f for _, f in replicas[0].frames if TCP in Ether(f)), None))
    replicas[0].send(Conversation(syn).segment("SA", options=[("MSS", 1460)]))
    client.setblocking(True)
    client.sendall(bytes(12_000))
    data = eventually(lambda: (f := [f for _, f in replicas[0].frames if len(f) > 1000])[4:] and f)
    assert all(len(frame) <= 1514 for frame in data)
    assert all(vnet == bytes(10) for vnet, _ in replicas[0].frames)


@in_netns
def test_driver_killed_under_traffic():
    """A successor with the same descriptors goes on where it was killed, time and again."""
    rig, replicas = served(replicas=2)
    pinger, stop = Pinger(), threading.Event()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def flood():
        while not stop.wait(0.002):
            for port in range(5):
                sock.sendto(bytes(600), (STACK, 1000 + port))

    assert pinger.ping()
    flooder = threading.Thread(target=flood, daemon=True)
    flooder.start()
    for _ in range(5):
        before = rig.counters()["rx_frames"]
        eventually(lambda before=before: rig.counters()["rx_frames"] > before + 50)
        rig.driver.kill()
        rig.driver.wait()
        rig.start()
        assert eventually(lambda: pinger.ping(timeout=1), timeout=30)
    stop.set()
    flooder.join()
    assert rig.counters()["ring_broken"] == 0
    assert not any(replica.rx.broken for replica in replicas)
    assert rig.board.read("driver").incarnation == 6


@in_netns
def test_flows_outlive_the_driver():
    rig = Rig(replicas=2)
    rig.start()
    replicas = [rig.replica(k) for k in range(2)]
    keys = [flow_key(6, STACK, 80, KERNEL, port) for port in range(2000, 2040)]
    for key in keys:
        replicas[1].record(key, FLOW_ADD)
    eventually(lambda: rig.counters()["flows_learnt"] == 40)
    rig.driver.kill()
    rig.driver.wait()
    rig.start()
    eventually(lambda: rig.counters()["replica1.flows"] == 40)
    assert rig.counters()["flows_invalid"] == 0
    for key in keys:
        replicas[1].record(key, FLOW_DELETE)
    eventually(lambda: rig.counters()["flows_deleted"] == 40 and rig.counters()["replica1.flows"] == 0)


@in_netns
def test_full_ring_stalls_nobody_else():
    """A replica that does not read loses its own frames; the others do not notice."""
    rig = Rig(replicas=2)
    rig.start()
    stuck, alive = rig.replica(0), rig.replica(1).serve(answer_arp_and_ping)
    rig.steering.set_state(0, SLOT_TERMINATING)
    pinger = Pinger()
    assert pinger.ping()
    for port in range(3000, 3100):
        stuck.record(flow_key(17, STACK, port, KERNEL, 5000), FLOW_ADD)
    eventually(lambda: rig.counters()["flows_learnt"] == 100)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((KERNEL, 5000))
    for i in range(600):
        sock.sendto(bytes(1400), (STACK, 3000 + i % 100))
        if i % 50 == 0:
            assert pinger.ping()
    found = eventually(
        lambda: (c := rig.counters())["replica0.rx_frames"] + c["replica0.rx_drops"] >= 600 and c
    )
    assert found["drop_ring_full"] == found["replica0.rx_drops"] > 0
    assert found["replica0.rx_frames"] * 1472 > RING // 2, "the room that there is gets used"
    assert found["replica1.rx_drops"] == 0
    assert len(stuck.take()) == found["replica0.rx_frames"]
    sock.sendto(bytes(1400), (STACK, 3000))
    eventually(lambda: rig.counters()["replica0.rx_frames"] == found["replica0.rx_frames"] + 1)
    assert alive.frames


@in_netns
def test_garbage_from_a_replica():
    """Records of any type and bytes: each is sent, or refused and counted; the rest lives on."""
    rig, replicas = served(replicas=2)
    assert Pinger().ping()
    rig.steering.set_state(0, SLOT_TERMINATING)
    chance = random.Random(4)
    kernel_mac = Ether(replicas[0].frames[0][1] if replicas[0].frames else replicas[1].frames[0][1]).src
    good = bytes(
        Ether(src=MAC, dst=kernel_mac) / IP(src=STACK, dst=KERNEL) / UDP(sport=9, dport=9) / bytes(50)
    )
    sent = 0
    for _ in range(1500):
        choice = chance.randrange(5)
        if choice == 0:
            replicas[0].record(chance.randbytes(chance.randrange(200)), chance.randrange(1, 65536))
        elif choice == 1:
            replicas[0].record(chance.randbytes(chance.randrange(120)), FRAME)
        elif choice == 2:
            replicas[0].record(chance.randbytes(10) + good, FRAME)
        elif choice == 3:
            replicas[0].record(
                chance.randbytes(chance.choice([40, 40, 39, 0])), chance.choice([FLOW_ADD, FLOW_DELETE])
            )
        else:
            replicas[0].record(bytes(10) + good, FRAME)
        sent += 1
    replicas[0].record(bytes(65792), FRAME)
    replicas[0].record(bytes(10) + chance.randbytes(65000), FRAME)

    def accounted():
        found = rig.counters()
        flows = found["flows_learnt"] + found["flows_deleted"]
        return found["replica0.tx_frames"] + found["replica0.tx_drops"] + flows >= sent and found

    found = eventually(accounted)
    assert found["drop_bad_record"] > 100
    assert found["drop_tap_write"] > 10
    assert found["replica0.tx_frames"] > 200
    assert rig.driver.poll() is None
    assert Pinger().ping()


@in_netns
def test_broken_ring_ends_one_link_until_its_replica_is_replaced():
    rig = Rig(replicas=2)
    rig.start()
    rig.replica(1).serve(answer_arp_and_ping)
    liar = rig.replica(0)
    memory = rig.link_memory(0)
    tail = 4096 + 256 + RING  # of the transmit ring
    struct.pack_into("<Q", memory, tail, 1 << 40)
    os.eventfd_write(rig.bell, 1)
    eventually(lambda: rig.counters()["replica0.broken"] == 1)
    assert rig.counters()["ring_broken"] == 1
    rig.steering.set_state(0, SLOT_RECOVERING)
    assert Pinger().ping(), "the other replica does not notice"
    rig.steering.bump_epoch(0)
    os.eventfd_write(rig.bell, 1)
    eventually(lambda: rig.counters()["replica0.broken"] == 0)
    successor = rig.replica(0)
    successor.record(bytes(10) + bytes(Ether(src=MAC) / ARP(op=2, psrc=STACK)), FRAME)
    eventually(lambda: rig.counters()["replica0.tx_frames"] == 1)
    assert rig.counters()["rings_mended"] == 1
    del liar


@in_netns
def test_crowded_transmit_ring_wakes_its_replica():
    """A replica that found no room may sleep: its doorbell rings when there is room again."""
    rig = Rig(replicas=1)
    rig.start()
    replica = rig.replica(0)
    eventually(lambda: rig.counters()["doorbells"] >= 1)
    os.eventfd_read(replica.bell)
    frame = (
        bytes(10)
        + bytes(Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=STACK, pdst=STACK))
        + bytes(900)
    )
    while replica.tx.push(frame):
        pass
    if replica.tx.publish():
        os.eventfd_write(rig.bell, 1)
    eventually(lambda: rig.counters()["doorbells"] >= 2)
    assert os.eventfd_read(replica.bell) >= 1


@in_netns
def test_frames_to_the_device_that_is_down():
    """What the device refuses is counted, and is no reason to end."""
    rig, replicas = served(replicas=1)
    assert Pinger().ping()
    from pyroute2.iproute import IPRoute

    with IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname=rig.config.tap)
        netlink.link("set", index=index, state="down")
        replicas[0].send(bytes(Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=STACK, pdst=STACK)))
        eventually(lambda: rig.counters()["drop_device_down"] == 1)
        netlink.link("set", index=index, state="up")
    assert Pinger().ping()


@in_netns
def test_device_that_is_deleted_ends_the_driver():
    rig, _ = served(replicas=1)
    from pyroute2.iproute import IPRoute

    with IPRoute() as netlink:
        netlink.link("del", index=netlink.link_lookup(ifname=rig.config.tap)[0])
    assert rig.driver.wait(5) == 1


def send_in_time(raw, frame):
    """The device's queue is full (ENOBUFS) when the driver had no processor for a while."""
    while True:
        try:
            return raw.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        time.sleep(0.001)


@in_netns
def test_random_frames_from_the_wire():
    """20,000 random and mutated frames into the device: the driver passes on or counts each, and lives."""
    rig, replicas = served(replicas=2)
    assert Pinger().ping()
    chance = random.Random(6)
    mac = Ether(dst=MAC, src="02:00:00:00:00:09")
    samples = [
        bytes(mac / IP(src=KERNEL, dst=STACK) / layer / bytes(30)) for layer in (TCP(flags="S"), UDP())
    ]
    samples.append(bytes(mac / ARP(op=1, psrc=KERNEL, pdst=STACK)) + bytes(18))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((rig.config.tap, 0))
        raw.setblocking(True)
        for i in range(20_000):
            if i % 2:
                frame = bytearray(chance.choice(samples))
                for _ in range(4):
                    frame[chance.randrange(12, len(frame))] = chance.randrange(256)
            else:
                frame = chance.randbytes(chance.randrange(14, 300))
            send_in_time(raw, frame)
    assert rig.driver.poll() is None
    pinger = Pinger()
    assert eventually(lambda: pinger.ping(timeout=1), timeout=30), "once the replicas are through with it"
    assert eventually(lambda: rig.counters()["rx_frames"] > 15_000)
    assert rig.counters()["ring_broken"] == 0
    assert not any(replica.stopped for replica in replicas)
