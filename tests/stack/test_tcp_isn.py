"""Numbers that nobody can predict: RFC 6528 with SipHash-2-4, against an implementation of its own."""

import random
import socket

import pytest

from .harness.conn import PEER_PORT, STACK_PORT, Conn
from .harness.frames import PEER_IP, STACK_IP

MASK = 2**64 - 1


def siphash(key: bytes, data: bytes) -> int:
    """Aumasson and Bernstein, 2012."""
    k0, k1 = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotate(x, by):
        return (x << by | x >> 64 - by) & MASK

    def rounds(n):
        for _ in range(n):
            v[0] = (v[0] + v[1]) & MASK
            v[2] = (v[2] + v[3]) & MASK
            v[1] = rotate(v[1], 13) ^ v[0]
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[1]) & MASK
            v[0] = (v[0] + v[3]) & MASK
            v[1] = rotate(v[1], 17) ^ v[2]
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] = rotate(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 255
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_reference_itself():
    """The vector of the SipHash paper, appendix A."""
    assert siphash(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


@pytest.mark.parametrize("seed", range(5))
def test_isn(seed):
    """ISN = M + F(localip, localport, remoteip, remoteport, secretkey), M ticking every 4 microseconds."""
    rng = random.Random(seed)
    secret, now = rng.randbytes(32), rng.randrange(10**15)
    conn = Conn(1000, secret=secret, now=now)
    conn.listen()
    conn.run("+0 < S 0:0(0) win 1000\n+0 > S. 0:0(0) ack 1")
    key = b"\4\6" + b"".join(port.to_bytes(2, "little") for port in (STACK_PORT, PEER_PORT, 0))
    key += b"".join(socket.inet_aton(host) + bytes(12) for host in (STACK_IP, PEER_IP))
    assert conn.iss == (siphash(secret[:16], key) + now // 4000) % 2**32


def test_timestamps_of_two_peers_have_different_offsets():
    """RFC 7323 §7.1: nobody learns our uptime or another connection's clock."""
    conn = Conn(1000, secret=bytes(range(32)))
    conn.listen()
    stamps = []
    for port in (40000, 40001):
        peer = Conn(1000, host=conn.host, port=port)
        peer.run("+0 < S 0:0(0) win 1000 <TS val 1 ecr 0>\n+0 > S. 0:0(0) ack 1 <mss 1460,TS val * ecr 1>")
        stamps.append(peer.last_tsval)
    assert abs(stamps[0] - stamps[1]) > 1000
