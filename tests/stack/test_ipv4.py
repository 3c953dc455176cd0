"""Ethernet and IPv4: what is dropped, and under which name (RFC 791, RFC 1122 §3)."""

import pytest

from .harness.frames import BROADCAST_MAC, ICMP, PEER_IP, STACK_IP, UDP, ethernet, icmp, ipv4, udp

SOCK, PORT = 3, 7000
NEEDS_CSUM, DATA_VALID = 1, 2
CSUM = 1
PAYLOAD = b"payload"


def datagram(**fields) -> bytes:
    return ipv4(udp(9, PORT, PAYLOAD), UDP, **fields)


@pytest.fixture
def host(host):
    host.lab.udp_bind(SOCK, PORT)
    return host


def arrives(host, frame: bytes, **vnet) -> bool:
    """Whether the datagram in the frame reached the socket."""
    host.arrive(frame, **vnet)
    return host.lab.recv_datagram(SOCK) is not None


def test_a_good_one(host):
    host.arrive(ethernet(datagram()))
    assert host.lab.recv_datagram(SOCK) == (PAYLOAD, (PEER_IP, 9))


def test_padding_is_not_payload(host):
    host.arrive(ethernet(datagram() + bytes(11)))
    assert host.lab.recv_datagram(SOCK) == (PAYLOAD, (PEER_IP, 9))


def test_options_are_skipped(host):
    assert arrives(host, ethernet(datagram(options=b"\x07\x07\x04" + bytes(5))))
    assert host.lab.counters()["IP_OPTIONS"] == 1


def test_ttl_does_not_matter_at_the_destination(host):
    """RFC 1122 §3.2.1.7: "MUST NOT discard a datagram just because it was received with TTL less than 2"."""
    assert arrives(host, ethernet(datagram(ttl=1))) and arrives(host, ethernet(datagram(ttl=0)))


def test_broadcast_reaches_udp(host):
    for address in ("255.255.255.255", "10.77.0.255"):
        packet = ipv4(udp(9, PORT, PAYLOAD, destination=address), UDP, destination=address)
        assert arrives(host, ethernet(packet, destination=BROADCAST_MAC))


@pytest.mark.parametrize(
    ("frame", "counter"),
    [
        (ethernet(datagram(), destination=b"\x02" * 6), "RX_NOT_FOR_US"),
        (ethernet(datagram(), destination=b"\x01\0\x5e\0\0\1"), "RX_NOT_FOR_US"),
        (ethernet(datagram(), destination=BROADCAST_MAC), "RX_NOT_FOR_US"),
        (ethernet(datagram(destination="10.77.0.3")), "RX_NOT_FOR_US"),
        (ethernet(datagram(destination="224.0.0.1")), "RX_NOT_FOR_US"),
        (ethernet(datagram(), source=BROADCAST_MAC), "IP_BAD_ADDRESS"),
        (ethernet(datagram(), source=b"\x01\0\x5e\0\0\1"), "IP_BAD_ADDRESS"),
        (ethernet(datagram(), 0x86DD), "RX_IPV6"),
        (ethernet(datagram(), 0x8100), "RX_VLAN"),
        (ethernet(datagram(), 0x1234), "RX_UNKNOWN_ETHERTYPE"),
        (ethernet(b""), "RX_RUNT"),
        (ethernet(datagram()[:19]), "RX_RUNT"),
        (ethernet(datagram()[:-1]), "IP_BAD_HEADER"),
        (ethernet(datagram(version=6)), "IP_BAD_HEADER"),
        (ethernet(datagram(ihl=4)), "IP_BAD_HEADER"),
        (ethernet(datagram(ihl=15)), "IP_BAD_HEADER"),
        (ethernet(datagram(total_length=19)), "IP_BAD_HEADER"),
        (ethernet(datagram(total_length=65535)), "IP_BAD_HEADER"),
        (ethernet(datagram(checksum=0x1234)), "IP_BAD_CHECKSUM"),
        (ethernet(datagram(fragment=0x2000)), "IP_FRAGMENT"),
        (ethernet(datagram(fragment=0x0001)), "IP_FRAGMENT"),
        (ethernet(datagram(source=STACK_IP)), "IP_BAD_ADDRESS"),
        (ethernet(datagram(source="127.0.0.1")), "IP_BAD_ADDRESS"),
        (ethernet(datagram(source="0.0.0.0")), "IP_BAD_ADDRESS"),
        (ethernet(datagram(source="224.0.0.1")), "IP_BAD_ADDRESS"),
        (ethernet(datagram(source="255.255.255.255")), "IP_BAD_ADDRESS"),
        (ethernet(datagram(source="10.77.0.255")), "IP_BAD_ADDRESS"),
        (ethernet(datagram(source="10.77.0.0")), "IP_BAD_ADDRESS"),
        (ethernet(datagram(source="240.0.0.1")), "IP_BAD_ADDRESS"),
    ],
)
def test_drops_say_why(host, frame, counter):
    before = host.lab.counters()
    assert not arrives(host, frame)
    after = host.lab.counters()
    changed = {name for name in after if after[name] != before.get(name, 0)}
    assert changed - {"RX_FRAMES", "RX_BYTES"} == {counter}
    assert after[counter] == 1
    assert host.take_sent() == []


def test_unknown_protocol_draws_an_error(host):
    host.arrive(ethernet(ipv4(b"whatever", 99)))
    (sent,) = host.take_sent()
    assert sent.packet.protocol == ICMP and sent.packet.payload[:2] == b"\x03\x02"
    assert host.lab.counters()["IP_UNKNOWN_PROTOCOL"] == 1


class TestDevice:
    """What the virtio-net header says about checksums."""

    @pytest.fixture
    def host(self):
        from .harness.host import Host

        host = Host(offloads=CSUM)
        host.lab.udp_bind(SOCK, PORT)
        return host

    wrong = ethernet(ipv4(udp(9, PORT, PAYLOAD, checksum=0x1111), UDP))

    def test_a_wrong_checksum_is_dropped(self, host):
        assert not arrives(host, self.wrong)
        assert host.lab.counters()["UDP_BAD_CHECKSUM"] == 1

    def test_what_the_device_verified_is_not_verified_again(self, host):
        assert arrives(host, self.wrong, flags=DATA_VALID)

    def test_a_partial_checksum_is_fine(self, host):
        assert arrives(host, self.wrong, flags=NEEDS_CSUM, csum_start=34, csum_offset=6)

    @pytest.mark.parametrize("start, offset", [(0, 0), (34, 16), (33, 6), (65535, 65535)])
    def test_a_partial_checksum_elsewhere_is_dropped(self, host, start, offset):
        assert not arrives(host, self.wrong, flags=NEEDS_CSUM, csum_start=start, csum_offset=offset)
        assert host.lab.counters()["RX_BAD_VNET"] == 1

    @pytest.mark.parametrize("gso_type, size", [(1, 0), (1, 1448), (3, 1448), (4, 1448), (77, 1)])
    def test_a_size_that_makes_no_sense_is_dropped(self, host, gso_type, size):
        assert not arrives(host, ethernet(datagram()), gso_type=gso_type, gso_size=size)
        assert host.lab.counters()["RX_BAD_VNET"] == 1


def test_without_offload_the_device_is_not_believed(host):
    assert not arrives(host, TestDevice.wrong, flags=DATA_VALID)
    assert host.lab.counters()["UDP_BAD_CHECKSUM"] == 1


def test_every_truncation_is_survived(host):
    frame = ethernet(datagram())
    for length in range(len(frame)):
        assert not arrives(host, frame[:length])
    for length in range(10 + len(frame)):
        host.lab.arrive_record((bytes(10) + frame)[:length])
    assert arrives(host, frame)


def test_header_of_what_is_sent(host):
    host.arrive(ethernet(ipv4(icmp(8, 0, 1), ICMP, tos=0x48)))
    (sent,) = host.take_sent()
    assert (sent.packet.ttl, sent.packet.tos, sent.packet.source) == (64, 0x48, STACK_IP)
