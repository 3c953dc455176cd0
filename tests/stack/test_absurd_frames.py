"""Frames that no honest machine sends: truncated, absurd, mutated. Nothing crashes, and the engine serves on.

The valid ones are made by scapy, so that they do not come from the same pen as the code or the other tests.
"""

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from .harness.conn import Conn, serves
from .harness.frames import PEER_IP, PEER_MAC, STACK_IP, STACK_MAC, VNET, checksum, fold

MUTANTS, ROUNDS = 100_000, 20
CSUM, TSO = 1, 2
UDP_SOCK, LISTENER_SOCK = 3, 7


def mac(raw: bytes) -> str:
    return raw.hex(":")


def frame(*layers) -> bytes:
    packet = Ether(src=mac(PEER_MAC), dst=mac(STACK_MAC)) / IP(src=PEER_IP, dst=STACK_IP, flags="DF")
    for layer in layers:
        packet = packet / layer
    return bytes(packet)


QUOTED = bytes(IP(src=STACK_IP, dst=PEER_IP) / TCP(sport=80, dport=40000, seq=1))
TCP_OPTIONS = [("MSS", 1460), ("NOP", None), ("WScale", 7), ("SAckOK", b""), ("Timestamp", (5, 0))]
FRAMES = {
    "syn": frame(TCP(sport=40001, dport=80, seq=7, flags="S", window=65535, options=TCP_OPTIONS)),
    "ack": frame(TCP(sport=40000, dport=80, seq=1001, ack=1, flags="A")),
    "data": frame(TCP(sport=40000, dport=80, seq=1001, ack=1, flags="PA"), Raw(b"x" * 100)),
    "fin": frame(TCP(sport=40000, dport=80, seq=1001, ack=1, flags="FA")),
    "rst": frame(TCP(sport=40000, dport=80, seq=999, flags="R")),
    "sack": frame(
        TCP(sport=40000, dport=80, seq=1001, ack=1, flags="A", options=[("SAck", (1, 100, 200, 300))])
    ),
    "urgent": frame(TCP(sport=40000, dport=80, seq=1001, ack=1, flags="AU", urgptr=7), Raw(b"y" * 10)),
    "udp": frame(UDP(sport=9, dport=7000), Raw(b"datagram")),
    "echo": frame(ICMP(id=1, seq=2), Raw(b"ping")),
    "unreachable": frame(ICMP(type=3, code=4, nexthopmtu=600), Raw(QUOTED)),
    "exceeded": frame(ICMP(type=11, code=0), Raw(QUOTED)),
    "arp": bytes(
        Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=mac(PEER_MAC), psrc=PEER_IP, pdst=STACK_IP)
    ),
    "arp-reply": bytes(
        Ether(dst=mac(STACK_MAC)) / ARP(op=2, hwsrc=mac(PEER_MAC), psrc=PEER_IP, pdst=STACK_IP)
    ),
}


def repair(raw: bytearray) -> bytes:
    """Make the checksums right again where the frame allows, so that damage gets past them."""
    if len(raw) < 34 or raw[12:14] != b"\x08\x00" or not 20 <= (raw[14] & 15) * 4 <= len(raw) - 14:
        return bytes(raw)
    l4 = 14 + (raw[14] & 15) * 4
    raw[24:26] = b"\0\0"
    raw[24:26] = checksum(bytes(raw[14:l4])).to_bytes(2, "big")
    at = {6: 16, 17: 6, 1: 2}.get(raw[23])
    end = 14 + int.from_bytes(raw[16:18], "big")
    if at is None or not l4 + at + 2 <= end <= len(raw):
        return bytes(raw)
    raw[l4 + at : l4 + at + 2] = b"\0\0"
    start = b"" if raw[23] == 1 else bytes(raw[26:34]) + bytes([0, raw[23]]) + (end - l4).to_bytes(2, "big")
    raw[l4 + at : l4 + at + 2] = (fold(start + bytes(raw[l4:end])) ^ 0xFFFF).to_bytes(2, "big")
    return bytes(raw)


def serving() -> Conn:
    """An engine with a listener, a UDP socket and an established connection with data in both directions."""
    conn = Conn(max_connections=256)
    conn.lab.udp_bind(UDP_SOCK, 7000)
    conn.established()
    conn.lab.set_backlog(LISTENER_SOCK, 250)
    return conn


@pytest.mark.parametrize("name", FRAMES)
def test_every_truncation(name):
    """Each length of a valid frame: as it is, and with lengths and checksums that fit what is left."""
    conn = serving()
    whole = FRAMES[name]
    for length in range(len(whole)):
        conn.lab.arrive(whole[:length])
        cut = bytearray(whole[:length])
        if length >= 18:
            cut[16:18] = max(length - 14, 0).to_bytes(2, "big")
        conn.lab.arrive(repair(cut))
        conn.lab.transmit()
    serves(conn.host)


@pytest.mark.parametrize("name", [n for n in FRAMES if not n.startswith("arp")])
def test_every_length_field(name):
    """Each IHL and version, absurd total lengths, for TCP each data offset; right checksums if possible."""
    conn = serving()
    whole = FRAMES[name]
    for value in range(256):
        conn.lab.arrive(repair(bytearray(whole[:14] + bytes([value]) + whole[15:])))
        if whole[23] == 6:
            conn.lab.arrive(repair(bytearray(whole[:46] + bytes([value]) + whole[47:])))
            conn.lab.arrive(repair(bytearray(whole[:47] + bytes([value]) + whole[48:])))
        if whole[23] == 17:
            conn.lab.arrive(repair(bytearray(whole[:38] + value.to_bytes(2, "big") + whole[40:])))
    for total in (*range(80), 1500, 32768, 65535):
        conn.lab.arrive(repair(bytearray(whole[:16] + total.to_bytes(2, "big") + whole[18:])))
    conn.lab.transmit()
    serves(conn.host)


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["S", "A", "SA"])
def test_tcp_options_of_every_kind_and_length(flags):
    conn = serving()
    for kind in range(256):
        for length in (*range(12), 39, 40, 41, 255):
            options = (bytes([kind, length]) + bytes(range(38)))[:40]
            raw = frame(TCP(sport=40000 + kind, dport=80, seq=1001, ack=1, flags=flags))
            grown = bytearray(raw + options)
            grown[16:18] = (80).to_bytes(2, "big")
            grown[46] = 15 << 4
            conn.lab.arrive(repair(grown))
        conn.lab.transmit()
        conn.lab.events()
    conn.host.run_for(600)  # half-open ones are given up
    serves(conn.host)


def aim(raw: bytearray, conn: Conn, rng: random.Random) -> None:
    """Put sequence numbers at, or just beside, those that the connection expects."""
    info = conn.lab.conn_info(conn.index) or {"rcv_nxt": rng.getrandbits(32), "snd_nxt": rng.getrandbits(32)}
    for at, name in ((38, "rcv_nxt"), (42, "snd_nxt")):
        number = info[name] + rng.choice((0, 0, 1, -1, 1000, 2**31)) & 0xFFFFFFFF
        raw[at : at + 4] = number.to_bytes(4, "big")


def mutant(conn: Conn, rng: random.Random) -> bytes:
    """A record: a frame with bytes changed, cut or added, mostly with right checksums and well aimed."""
    raw = bytearray(rng.choice(list(FRAMES.values())))
    if raw[23:24] == b"\6" and rng.random() < 0.7:
        aim(raw, conn, rng)
    for _ in range(rng.choice((0, 1, 1, 2, 8))):
        raw[rng.randrange(len(raw))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8)))
    if rng.random() < 0.1:
        raw += rng.randbytes(rng.randrange(1500))
    if rng.random() < 0.1:
        del raw[rng.randrange(len(raw)) :]
    frame = repair(raw) if rng.random() < 0.8 else bytes(raw)
    odd_vnet = bytes([rng.randrange(4), rng.randrange(6)]) + rng.randbytes(8)
    return (bytes(VNET.size) if rng.random() < 0.7 else odd_vnet) + frame


@pytest.mark.parametrize("offloads", [0, CSUM | TSO])
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_mutants(seed, offloads):
    """At a connection with data under way both ways, while time passes and its application goes on."""
    rng = random.Random(seed)
    conn = Conn(irs=rng.getrandbits(32), max_connections=256, offloads=offloads)
    conn.lab.udp_bind(UDP_SOCK, 7000)
    conn.established(options=rng.choice(("mss 1460", "mss 536,sackOK,TS val 1 ecr 0,nop,wscale 7")))
    conn.lab.set_backlog(LISTENER_SOCK, 250)
    for i in range(MUTANTS // ROUNDS // 2):
        conn.lab.arrive_record(mutant(conn, rng))
        if i % 32 == 0:
            conn.lab.send(conn.sock, rng.randbytes(rng.randrange(5000)))
            conn.lab.recv(conn.sock)
            conn.lab.scan()
            conn.lab.transmit(limit=rng.choice((1, 1000)))
            conn.lab.events()
            conn.lab.advance(rng.choice((0, 1_000_000, 300_000_000)))
    conn.host.neighbours = {PEER_IP: PEER_MAC}
    conn.host.run_for(600)
    serves(conn.host)


def test_random_bytes():
    """No structure at all."""
    rng = random.Random(3)
    conn = serving()
    for _ in range(20_000):
        conn.lab.arrive_record(rng.randbytes(rng.randrange(200)))
    serves(conn.host)
