"""The published verification suite: Microsoft, "Verifying the RSS hash calculation"."""

import pytest

from neat.drivers.pysteer import toeplitz

KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")

# Source, destination, their ports; the hash with ports, and of the addresses alone.
IPV4 = [
    ("66.9.149.187", "161.142.100.80", 2794, 1766, 0x51CCC178, 0x323E8FC2),
    ("199.92.111.2", "65.69.140.83", 14230, 4739, 0xC626B0EA, 0xD718262A),
    ("24.19.198.95", "12.22.207.184", 12898, 38024, 0x5C2B394A, 0xD2D0A5DE),
    ("38.27.205.30", "209.142.163.6", 48228, 2217, 0xAFC7327F, 0x82989176),
    ("153.39.163.191", "202.188.127.2", 44251, 1303, 0x10E828A2, 0x5D1809C5),
]
IPV6 = [
    ("3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x40207D3D, 0x2CC18CD5),
    ("3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0xDDE51BBF, 0x0F0C461C),
    (
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
        "fe80::200:f8ff:fe21:67cf",
        44251,
        38024,
        0x02D1FEEF,
        0x4B61E985,
    ),
]


@pytest.mark.parametrize(
    ("source", "destination", "from_port", "to_port", "with_ports", "hosts"), IPV4 + IPV6
)
def test_published_vectors(source, destination, from_port, to_port, with_ports, hosts):
    assert toeplitz(KEY, source, destination, (from_port, to_port)) == with_ports
    assert toeplitz(KEY, source, destination) == hosts


def test_every_bit_of_key_and_input_counts():
    """A reference that works bit by bit agrees, on keys that are not the published one."""
    import random

    chance = random.Random(7)
    for _ in range(50):
        key = chance.randbytes(40)
        source, destination = chance.randbytes(4), chance.randbytes(4)
        ports = (chance.randrange(65536), chance.randrange(65536))
        data = source + destination + ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big")
        bits, window = int.from_bytes(data, "big"), int.from_bytes(key, "big")
        expected = 0
        for i in range(96):
            if bits >> (95 - i) & 1:
                expected ^= window >> (320 - 32 - i) & 0xFFFFFFFF
        text = [".".join(map(str, address)) for address in (source, destination)]
        assert toeplitz(key, *text, ports) == expected


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="40 bytes"):
        toeplitz(b"short", "10.0.0.1", "10.0.0.2")
    with pytest.raises(ValueError, match="families"):
        toeplitz(KEY, "10.0.0.1", "::1")
