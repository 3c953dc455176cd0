"""The Internet checksum against a plain reference and against scapy."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.utils import checksum as scapy_checksum

from neat.wire.testing import internet_checksum, partial_sum, pseudo_sum_v4


def reference(data: bytes) -> bytes:
    """RFC 1071 §1, literally."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


@given(st.binary(max_size=300), st.integers(0, 15))
def test_any_bytes_at_any_address(data, skew):
    shifted = memoryview(b"\xa5" * skew + data)[skew:]
    assert internet_checksum(shifted) == reference(data)


@given(st.binary(min_size=1, max_size=2000))
def test_agrees_with_scapy(data):
    assert internet_checksum(data) == struct.pack("!H", scapy_checksum(data))


def test_long_data_full_of_carries():
    for length in (1499, 1500, 65535, 65549, 1 << 20):
        assert internet_checksum(b"\xff" * length) == reference(b"\xff" * length)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_pieces_of_any_length(data, cuts):
    """RFC 1071 §2 (B): a piece at an odd offset counts with its bytes swapped."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    total = 0
    for start, end in zip(edges, edges[1:], strict=False):
        total = partial_sum(data[start:end], start, total)
    assert internet_checksum(b"", total) == reference(data)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=100))
def test_any_partial_sum_folds_to_its_residue(total, data):
    word = int.from_bytes(internet_checksum(data, total), "little") ^ 0xFFFF
    padded = data + b"\0" * (len(data) % 2)
    expected = total + sum(struct.unpack(f"<{len(padded) // 2}H", padded))
    assert word % 0xFFFF == expected % 0xFFFF
    assert (word == 0) == (expected == 0)


@given(st.binary(max_size=1460))
def test_tcp_checksum_with_pseudo_header(payload):
    source, destination = "10.77.0.1", "10.77.0.2"
    packet = IP(src=source, dst=destination) / TCP(sport=1, dport=2, seq=7) / payload
    segment = bytes(packet)[20:]
    zeroed = segment[:16] + b"\0\0" + segment[18:]
    addresses = (bytes(map(int, a.split("."))) for a in (source, destination))
    total = pseudo_sum_v4(*addresses, 6, len(segment))
    assert internet_checksum(zeroed, total) == segment[16:18]
