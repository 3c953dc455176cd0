"""Classification: what scapy makes, each truncation of it, and bytes that nobody made."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from neat.drivers.classify import FragmentPart, PacketKind
from neat.drivers.pysteer import classify

PEER, STACK = "10.77.0.1", "10.77.0.2"
PEER6, STACK6 = "fd00::1", "fd00::2"
IN = {"src": PEER, "dst": STACK}
IN6 = {"src": PEER6, "dst": STACK6}
QUOTED = IP(src=STACK, dst=PEER) / TCP(sport=80, dport=5000)


def record(packet, vnet=bytes(10)):
    return vnet + bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


def kind(packet, **fields):
    return classify(record(packet), **fields)["kind"]


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize(("ip", "local", "remote"), [(IP(**IN), STACK, PEER), (IPv6(**IN6), STACK6, PEER6)])
def test_both_directions_have_one_key(protocol, ip, local, remote):
    arriving = classify(record(ip / protocol(sport=5000, dport=80)))
    back = type(ip)(src=local, dst=remote)
    leaving = classify(record(back / protocol(sport=80, dport=5000)), outgoing=True)
    assert arriving["kind"] == leaving["kind"] == PacketKind.PACKET_TUPLE
    for field in ("protocol", "local", "remote", "local_port", "remote_port"):
        assert arriving[field] == leaving[field]
    assert (arriving["local"], arriving["local_port"]) == (local, 80)
    assert (arriving["remote"], arriving["remote_port"]) == (remote, 5000)


def test_tcp_flags_and_options():
    """The ports lie behind IP options, wherever these end."""
    ip = IP(**IN, options=[IPOption(b"\x94\x04\x00\x00")] * 5)
    found = classify(record(ip / TCP(sport=1, dport=2, flags="SEC")))
    assert (found["local_port"], found["remote_port"], found["tcp_flags"]) == (2, 1, 0xC2)


def test_arp():
    ask = ARP(op=1, psrc=PEER, pdst=STACK)
    found = classify(record(ask))
    assert found["kind"] == PacketKind.PACKET_NEIGHBOUR_QUERY
    assert (found["local"], found["remote"]) == (STACK, PEER)
    assert kind(ARP(op=2, psrc=PEER, pdst=STACK)) == PacketKind.PACKET_NEIGHBOUR_NEWS
    assert kind(ARP(op=1, psrc=PEER, pdst=PEER)) == PacketKind.PACKET_NEIGHBOUR_NEWS  # RFC 5227 §2.3
    for wrong in (ARP(op=9), ARP(hwtype=6), ARP(hwlen=8), ARP(plen=16, psrc="::", pdst="::")):
        assert kind(wrong) == PacketKind.PACKET_MALFORMED


def test_neighbour_discovery():
    assert kind(IPv6(**IN6) / ICMPv6ND_NS(tgt=STACK6)) == PacketKind.PACKET_NEIGHBOUR_QUERY
    assert kind(IPv6(**IN6) / ICMPv6ND_NA(tgt=PEER6)) == PacketKind.PACKET_NEIGHBOUR_NEWS


@pytest.mark.parametrize(("icmp_type", "code"), [(3, 4), (3, 1), (4, 0), (5, 1), (11, 0), (12, 0)])
def test_icmp_error_has_the_key_that_it_quotes(icmp_type, code):
    """What is quoted left the stack, so its source is the local end. RFC 792: 8 bytes of its payload are
    enough."""
    router = {"src": "192.0.2.1", "dst": STACK}
    error = IP(**router) / ICMP(type=icmp_type, code=code) / Raw(bytes(QUOTED)[:28])
    found = classify(record(error))
    assert found["kind"] == PacketKind.PACKET_ICMP_ERROR
    assert (found["protocol"], found["local"], found["remote"]) == (6, STACK, PEER)
    assert (found["local_port"], found["remote_port"], found["tcp_flags"]) == (80, 5000, 0)


def test_icmp6_error_has_the_key_that_it_quotes():
    quoted = IPv6(src=STACK6, dst=PEER6) / UDP(sport=53, dport=4000)
    found = classify(record(IPv6(**IN6) / ICMPv6DestUnreach() / Raw(bytes(quoted))))
    assert found["kind"] == PacketKind.PACKET_ICMP_ERROR
    assert (found["local"], found["local_port"], found["remote_port"]) == (STACK6, 53, 4000)


def test_icmp_without_a_usable_quote_goes_by_addresses():
    fragment = bytes(IP(src=STACK, dst=PEER, frag=9) / b"12345678")
    for quote in (b"", bytes(QUOTED)[:19], bytes(QUOTED)[:22], fragment, b"\x60" * 60):
        found = classify(record(IP(**IN) / ICMP(type=3) / Raw(quote)))
        assert found["kind"] == PacketKind.PACKET_HOSTS, quote
        assert (found["local"], found["remote"]) == (STACK, PEER)
        assert (found["local_port"], found["remote_port"]) == (0, 0)


def test_what_has_no_ports_goes_by_addresses():
    for packet in (ICMP(), Raw(b"x")):
        found = classify(record(IP(**IN, proto=1 if packet.name == "ICMP" else 47) / packet / b"12345678"))
        assert (found["kind"], found["local"], found["remote"]) == (PacketKind.PACKET_HOSTS, STACK, PEER)


def test_fragments():
    first = classify(record(IP(**IN, id=7, flags="MF") / UDP(sport=1, dport=2) / bytes(24)))
    later = classify(record(IP(**IN, id=7, frag=4, proto=17) / Raw(bytes(64))))
    assert (first["kind"], first["fragment"]) == (PacketKind.PACKET_TUPLE, FragmentPart.FRAGMENT_FIRST)
    assert (later["kind"], later["fragment"]) == (PacketKind.PACKET_HOSTS, FragmentPart.FRAGMENT_LATER)
    assert first["fragment_id"] == later["fragment_id"] == 7
    assert later["local_port"] == 0


def test_tiny_first_fragment_is_refused():
    """RFC 1858 §3: flags that come in the second fragment would slip past."""
    assert kind(IP(**IN, flags="MF", proto=6) / Raw(bytes(8))) == PacketKind.PACKET_MALFORMED


def test_ipv6_extension_headers():
    hop = IPv6(**IN6) / IPv6ExtHdrHopByHop() / TCP(sport=9, dport=10)
    assert classify(record(hop))["remote_port"] == 9
    first = IPv6(**IN6) / IPv6ExtHdrFragment(id=99, m=1) / UDP(sport=9, dport=10) / bytes(16)
    found = classify(record(first))
    assert found["fragment"] == FragmentPart.FRAGMENT_FIRST
    assert (found["fragment_id"], found["local_port"]) == (99, 10)
    later = IPv6(**IN6) / IPv6ExtHdrFragment(id=99, offset=3, nh=17) / Raw(bytes(16))
    found = classify(record(later))
    assert (found["kind"], found["fragment"]) == (PacketKind.PACKET_HOSTS, FragmentPart.FRAGMENT_LATER)
    assert found["protocol"] == 17
    atomic = IPv6(**IN6) / IPv6ExtHdrFragment(id=99) / UDP(sport=9, dport=10)
    assert classify(record(atomic))["fragment"] == FragmentPart.FRAGMENT_NONE
    assert kind(IPv6(**IN6, nh=0) / Raw(bytes(8 * 20))) == PacketKind.PACKET_MALFORMED


def test_not_ip():
    assert kind(Dot1Q(vlan=3) / IP(**IN)) == PacketKind.PACKET_NOT_IP
    assert classify(bytes(10) + bytes(12) + b"\x88\xcc" + bytes(46))["kind"] == PacketKind.PACKET_NOT_IP


def test_version_must_agree_with_ethertype():
    frame = bytearray(record(IP(**IN) / TCP()))
    frame[10 + 12 : 10 + 14] = b"\x86\xdd"
    assert classify(frame)["kind"] == PacketKind.PACKET_MALFORMED


def test_padding_behind_the_datagram_is_not_its_transport_header():
    """Ethernet pads to 60 bytes: what lies behind total length is no TCP header."""
    assert kind(IP(**IN, proto=6, len=20) / Raw(bytes(40))) == PacketKind.PACKET_MALFORMED


SAMPLES = [
    record(IP(**IN) / TCP(sport=5000, dport=80, flags="S", options=[("MSS", 1460)])),
    record(IP(**IN, options=[IPOption(b"\x94\x04\x00\x00")]) / UDP(sport=5000, dport=80)),
    record(IP(**IN) / ICMP(type=3) / Raw(bytes(QUOTED))),
    record(IPv6(**IN6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(m=1) / TCP()),
    record(IPv6(**IN6) / ICMPv6DestUnreach() / Raw(bytes(IPv6(src=STACK6, dst=PEER6) / UDP(sport=53)))),
    record(ARP(op=1, psrc=PEER, pdst=STACK)),
]


@pytest.mark.parametrize("whole", SAMPLES)
def test_truncations(whole):
    """A truncated frame never gets another 5-tuple than the whole one."""
    expected = classify(whole)
    for length in range(len(whole)):
        found = classify(whole[:length])
        if found["kind"] == expected["kind"]:
            assert {k: v for k, v in found.items() if k != "tcp_flags"} == {
                k: v for k, v in expected.items() if k != "tcp_flags"
            }
        else:
            assert found["kind"] in (PacketKind.PACKET_MALFORMED, PacketKind.PACKET_HOSTS)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes(data, outgoing):
    found = classify(data, outgoing)
    assert found["kind"] in list(PacketKind)
    assert found["local_port"] < 65536


def test_mutated_frames():
    """Frames that are nearly right, with bytes changed where headers are: no crash, and always a verdict."""
    chance = random.Random(3)
    kinds = set()
    for _ in range(20_000):
        frame = bytearray(chance.choice(SAMPLES))
        for _ in range(chance.randrange(1, 6)):
            frame[chance.randrange(10, len(frame))] = chance.randrange(256)
        kinds.add(classify(frame[: chance.randrange(len(frame) + 1)], chance.random() < 0.5)["kind"])
    assert len(kinds) >= 6


def test_long_header_chains_end():
    """Extension headers that point far beyond the frame."""
    for length in range(0, 256, 5):
        extension = struct.pack("!BB6x", 60, length)
        found = classify(record(IPv6(**IN6, nh=60) / Raw(extension * 6 + bytes(100))))
        assert found["kind"] in (PacketKind.PACKET_MALFORMED, PacketKind.PACKET_HOSTS)
