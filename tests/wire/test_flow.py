"""Flow keys: their layout, equality, and that the hash spreads."""

import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neat.wire.testing import flow_equal, flow_hash, flow_key

keys = st.binary(min_size=40, max_size=40)


def test_layout():
    key = flow_key(4, 6, b"\x0a\x4d\x00\x02", 80, b"\x0a\x4d\x00\x01", 40000)
    assert key == struct.pack("=BBHHH16s16s", 4, 6, 80, 40000, 0, b"\x0a\x4d\x00\x02", b"\x0a\x4d\x00\x01")


@given(keys, st.integers(0, 39), st.integers(1, 255), st.integers(0, 2**32 - 1))
def test_every_byte_counts(key, place, flip, seed):
    other = bytearray(key)
    other[place] ^= flip
    assert flow_equal(key, bytes(key)) and not flow_equal(key, other)
    assert flow_hash(key, seed) == flow_hash(bytes(key), seed)


@pytest.mark.parametrize("vary", ["remote_port", "local_port", "remote", "remote_v6"])
@pytest.mark.parametrize("shift", [0, 20])
def test_hash_spreads_neighbouring_flows(vary, shift):
    """4096 flows that differ in one field, into 1024 buckets by low or high bits: about 4 each."""
    buckets = Counter()
    for i in range(4096):
        fields = {
            "remote_port": (4, b"\x0a\0\0\2", 80, b"\x0a\0\0\1", i),
            "local_port": (4, b"\x0a\0\0\2", i, b"\x0a\0\0\1", 40000),
            "remote": (4, b"\x0a\0\0\2", 80, (0x0A000000 + i).to_bytes(4, "big"), 40000),
            "remote_v6": (6, b"\xfd" + b"\0" * 15, 80, b"\xfd" + i.to_bytes(15, "big"), 40000),
        }[vary]
        family, local, local_port, remote, remote_port = fields
        key = flow_key(family, 6, local, local_port, remote, remote_port)
        buckets[(flow_hash(key, 12345) >> shift) & 1023] += 1
    assert max(buckets.values()) <= 18
    assert len(buckets) > 950


def test_collisions_do_not_survive_another_seed():
    """Whoever finds colliding flows for one seed has found nothing for another."""
    found = {}
    pairs = []
    for i in range(60000):
        key = flow_key(4, 6, b"\x0a\0\0\2", 80, (0x0A000000 + i // 60000).to_bytes(4, "big"), i)
        bucket = flow_hash(key, 1) & 0xFFFF
        if bucket in found:
            pairs.append((found[bucket], key))
        found[bucket] = key
    still = sum(flow_hash(a, 2) & 0xFFFF == flow_hash(b, 2) & 0xFFFF for a, b in pairs)
    assert len(pairs) > 1000 and still < 10
