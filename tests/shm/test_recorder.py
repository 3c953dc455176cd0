"""The flight recorder: what a replica writes, and any bytes in its place."""

import random
import struct

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from neat.shm.recorder import RECORDER_BYTES, recorded, time_notes

ENTRIES, ENTRY = 256, 64
IN, OUT, EVENT = 1, 2, 3


def memory(*entries, total=None):
    """A recorder with these (kind, whole record) or (EVENT, kinds, conn, error)."""
    out = bytearray(RECORDER_BYTES)
    for number, (kind, *rest) in enumerate(entries):
        held = struct.pack("<Iii", *rest) if kind == EVENT else rest[0][24:72]
        length = 0 if kind == EVENT else len(rest[0])
        at = 64 + number % ENTRIES * ENTRY
        out[at : at + 16] = struct.pack("<QIHH", 1000 + number, length, kind, len(held))
        out[at + 16 : at + 16 + len(held)] = held
    out[:8] = (len(entries) if total is None else total).to_bytes(8, "little")
    return bytes(out)


def record(packet):
    return bytes(10) + bytes(Ether() / packet)


def test_packets_and_events_in_words():
    ip = IP(src="10.77.0.1", dst="10.77.0.2")
    entries = recorded(
        memory(
            (IN, record(ip / TCP(sport=4000, dport=80, flags="PA", seq=7, ack=9, window=512) / bytes(100))),
            (OUT, record(ip / UDP(sport=1, dport=2) / bytes(10))),
            (IN, record(ip / ICMP())),
            (IN, record(ARP())),
            (EVENT, 64 | 4, 3, 104),
            (EVENT, 2, 5, 0),
        )
    )
    assert [at for at, _ in entries] == [1000, 1001, 1002, 1003, 1004, 1005]
    assert [words for _, words in entries] == [
        "in 10.77.0.1:4000 > 10.77.0.2:80 tcp P. seq 7 ack 9 win 512, 164 bytes",
        "out 10.77.0.1:1 > 10.77.0.2:2 udp, 62 bytes",
        "in 10.77.0.1 > 10.77.0.2 protocol 1, 52 bytes",
        "in 52 bytes, no IPv4",
        "event readable,reset of 3, error 104",
        "event connected of 5",
    ]


def test_the_last_ones_oldest_first():
    entries = recorded(memory(*[(EVENT, 2, number, 0) for number in range(300)]))
    assert [words for _, words in entries] == [f"event connected of {n}" for n in range(44, 300)]


def test_any_bytes():
    chance = random.Random(7)
    for _ in range(50):
        noise = bytearray(chance.randbytes(RECORDER_BYTES))
        for at in range(64, RECORDER_BYTES, ENTRY):
            noise[at + 12 : at + 14] = chance.choice((IN, OUT, EVENT, 9)).to_bytes(2, "little")
        recorded(bytes(noise))
    assert recorded(b"") == [] and recorded(bytes(RECORDER_BYTES)) == []


def test_a_note_takes_next_to_nothing():
    """How little depends on the machine: 1 ns where this was written."""
    taken = time_notes(bytes(1514), 1_000_000)
    print(f"{taken:.1f} ns a packet")
    assert taken > 0
