"""Frames to the stack's own MAC address: turned round by the driver, into the right replica's ring."""

import itertools

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from neat.drivers.pysteer import toeplitz
from neat.shm.pyring import OWN_FRAME
from tests.drivers.rig import KERNEL, RING, SLOT_RECOVERING, STACK, Rig, eventually, in_netns

pytestmark = pytest.mark.netns
SERVER, CLIENT = 80, 40_000


def own(rig, packet):
    """A frame from the stack to itself."""
    mac = ":".join(f"{byte:02x}" for byte in rig.config.mac_bytes())
    return bytes(Ether(src=mac, dst=mac) / IP(src=STACK, dst=STACK) / packet)


def taken(replica):
    """(type, frame) of every record that waits for a replica."""
    records = []
    while (record := replica.rx.pop()) is not None:
        records.append((record[0], bytes(record[2][10:])))
    replica.rx.release()
    return records


def received(replicas):
    """The frames that come next, as soon as there is one: by replica."""
    return eventually(lambda: {r.k: found for r in replicas if (found := taken(r))})


def ports_of(rig, server, count):
    """Client ports whose SYN the key, which is random, and the indirection table give to this replica."""
    key, table = rig.steering.rss_key, rig.steering.indirection
    hashes = ((port, toeplitz(key, STACK, STACK, (port, SERVER))) for port in range(CLIENT, 1 << 16))
    return list(itertools.islice((port for port, hash in hashes if table[hash % 128] == server), count))


@in_netns
def test_each_direction_is_a_flow_of_its_own():
    """Connections from replica 0: a SYN goes where the table says, and answers from there come back to 0."""
    rig = Rig(3)
    rig.start()
    replicas = [rig.replica(k) for k in range(3)]
    for server, port in ((k, port) for k in range(3) for port in ports_of(rig, k, 12)):
        syn = own(rig, TCP(sport=port, dport=SERVER, flags="S"))
        replicas[0].send(syn)
        assert received(replicas) == {server: [(OWN_FRAME, syn)]}
        for flags in ("SA", "A", "PA"):
            answer = own(rig, TCP(sport=SERVER, dport=port, flags=flags))
            replicas[server].send(answer)
            assert received(replicas) == {0: [(OWN_FRAME, answer)]}
            more = own(rig, TCP(sport=port, dport=SERVER, flags="A"))
            replicas[0].send(more)
            assert received(replicas) == {server: [(OWN_FRAME, more)]}
    found = rig.counters()
    assert found["looped_frames"] == 3 * 12 * 7 and found["tx_frames"] == 0
    assert found["looped_frames"] == sum(found[f"replica{k}.rx_frames"] for k in range(3))
    assert found["looped_frames"] == sum(found[f"replica{k}.tx_frames"] for k in range(3))


@in_netns
def test_errors_follow_what_they_quote():
    """The ICMP error for a datagram or segment goes to who has sent that."""
    rig = Rig(3)
    rig.start()
    replicas = [rig.replica(k) for k in range(3)]
    replicas[1].send(own(rig, TCP(sport=CLIENT, dport=SERVER, flags="S")))
    received(replicas)
    quoted = IP(src=STACK, dst=STACK) / TCP(sport=CLIENT, dport=SERVER)
    error = own(rig, ICMP(type=3, code=3) / quoted)
    replicas[2].send(error)
    assert received(replicas) == {1: [(OWN_FRAME, error)]}


@in_netns
def test_what_a_replica_may_not_tell_the_others():
    """Neighbour news and what is no packet go nowhere; broadcasts go to the wire only."""
    rig = Rig(2)
    rig.start()
    replicas = [rig.replica(k) for k in range(2)]
    mac = rig.config.mac_bytes()
    news = Ether(src=mac, dst=mac) / ARP(op=2, psrc=KERNEL, pdst=STACK)
    replicas[0].send(bytes(news))
    replicas[0].send(mac + mac + b"\x12\x34" + bytes(46))
    replicas[0].send(b"\xff" * 6 + mac + b"\x08\x06" + bytes(28))
    found = eventually(lambda: (c := rig.counters())["tx_frames"] >= 1 and c)
    assert found["looped_frames"] == 0 and found["replica0.tx_drops"] == 2
    assert not taken(replicas[0]) and not taken(replicas[1])


@in_netns
def test_a_full_ring_loses_frames_and_stops_nobody():
    """A replica that does not read loses what comes for it; the driver goes on for the others."""
    rig = Rig(1)
    rig.start()
    replica = rig.replica(0)
    frame = own(rig, UDP(sport=9, dport=7) / bytes(1400))
    count = 2 * RING // len(frame)
    for _ in range(count):
        replica.send(frame)
    found = eventually(
        lambda: (c := rig.counters())["looped_frames"] + c["drop_ring_full"] == count and c, timeout=20
    )
    assert found["drop_ring_full"] == found["replica0.rx_drops"] > 0
    assert len(taken(replica)) == found["looped_frames"] > 0
    replica.send(frame)
    assert len(received([replica])[0]) == 1


@in_netns
def test_frames_for_a_slot_that_is_not_there_are_dropped():
    rig = Rig(2)
    rig.start()
    replicas = [rig.replica(k) for k in range(2)]
    syn = own(rig, TCP(sport=CLIENT, dport=SERVER, flags="S"))
    replicas[0].send(syn)
    ((server, _),) = received(replicas).items()
    rig.steering.set_state(server, 0)
    replicas[1 - server].send(syn)
    found = eventually(lambda: (c := rig.counters())["drop_slot_inactive"] and c)
    assert found[f"replica{1 - server}.tx_drops"] == 1
    rig.steering.set_state(server, SLOT_RECOVERING)
    replicas[1 - server].send(syn)
    assert received(replicas) == {server: [(OWN_FRAME, syn)]}, "those of a recovering replica wait"
