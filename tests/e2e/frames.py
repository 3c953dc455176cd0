"""Random and mutated frames, sent into the TAP device from the kernel's side.

`python -m tests.e2e.frames DEVICE COUNT SEED MAC [--large]`, in the stack's namespace; prints how many were
sent. --large: up to 65,535 bytes, which the device's MTU must allow, and with any wish to segment them and to
fill in their checksum that the kernel takes (packet(7), PACKET_VNET_HDR; linux/virtio_net.h).
"""

import random
import socket
import struct
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_VNET_HDR = 263, 15
MTU_FRAME, LARGEST = 1514, 65_535
KERNEL = "10.77.0.1"
# A frame every 10 µs on average: the device's queue must not drop them before the driver sees them.
BATCH, PAUSE_S = 100, 0.001


def templates(stack_mac: bytes) -> list[bytes]:
    """Sound frames of each kind, from addresses that nobody has, to the stack."""
    from scapy.all import ARP, ICMP, IP, TCP, UDP, Ether, Raw

    ether = Ether(dst=":".join(f"{byte:02x}" for byte in stack_mac), src="02:00:00:00:00:99")
    ip = IP(src="10.77.0.99", dst="10.77.0.2")
    ports = {"sport": 4000, "dport": 81}
    stamps = [("MSS", 1460), ("NOP", None), ("WScale", 7), ("Timestamp", (1, 0)), ("SAckOK", b"")]
    frames = [
        ether / ip / TCP(**ports, flags="S", options=stamps),
        ether / ip / TCP(**ports, flags="A", seq=1, ack=1) / Raw(b"x" * 100),
        ether / ip / TCP(**ports, flags="SFRPAU"),
        ether / ip / TCP(sport=4000, dport=80, flags="A", seq=1, ack=1) / Raw(b"GET / HTTP/1.1\r\n\r\n"),
        ether / ip / TCP(sport=4000, dport=80, flags="R", seq=1),
        ether / ip / UDP(sport=4000, dport=53) / Raw(b"y" * 200),
        ether / ip / ICMP() / Raw(b"z" * 56),
        ether / ip / ICMP(type=3, code=4) / IP(src="10.77.0.2", dst="10.77.0.99") / TCP(sport=80, dport=4000),
        ether
        / IP(src="10.77.0.99", dst="10.77.0.2", flags="MF", id=7)
        / UDP(sport=1, dport=2)
        / Raw(b"f" * 64),
        ether / IP(src="10.77.0.99", dst="10.77.0.2", frag=100, id=7) / Raw(b"g" * 64),
        ether / ARP(op=1, psrc="10.77.0.99", pdst="10.77.0.2", hwsrc="02:00:00:00:00:99"),
        ether / ARP(op=2, psrc="10.77.0.99", pdst="10.77.0.2", hwsrc="02:00:00:00:00:99"),
        Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:99") / ARP(psrc="10.77.0.98", pdst="10.77.0.2"),
    ]
    return [bytes(frame) for frame in frames]


def mutate(chance: random.Random, frame: bytes, most: int) -> bytes:
    """Some bytes changed, and sometimes shorter or longer, up to `most`."""
    changed = bytearray(frame)
    for _ in range(chance.choice((0, 1, 1, 2, 4, 16))):
        changed[chance.randrange(len(changed))] = chance.choice(
            (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
        )
    kind = chance.randrange(8)
    if kind == 0:
        del changed[chance.randrange(len(changed)) :]
    elif kind == 1:
        changed += chance.randbytes(chance.randrange(1, most - 100))
    return bytes(changed[:most])


def wish(chance: random.Random, frame: bytes) -> bytes:
    """A struct virtio_net_hdr: mostly none, else one that fits the frame or almost does."""
    if chance.randrange(4):
        return bytes(10)
    gso = chance.choice((0, 0, 1, 1, 3, 4, 5, chance.randrange(256)))
    size = chance.choice((1, 536, 1448, chance.randrange(65536)))
    start = chance.choice((34, 34, 34, chance.randrange(80)))
    offset = chance.choice((6, 16, chance.randrange(40)))
    return struct.pack("<BBHHHH", chance.choice((0, 1, 1)), gso, chance.randrange(100), size, start, offset)


def claims(frame: bytes, address: str) -> bool:
    """An ARP frame that says where `address` is: anybody on a wire may lie so, and be believed."""
    return frame[12:14] == b"\x08\x06" and frame[28:32] == socket.inet_aton(address)


def main() -> None:
    device, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    stack_mac = bytes.fromhex(sys.argv[4])
    large = sys.argv[5:] == ["--large"]
    most = LARGEST if large else MTU_FRAME
    chance = random.Random(seed)
    sound = templates(stack_mac)
    sent = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as sock:
        sock.bind((device, 0))
        if large:
            sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        for number in range(count):
            if chance.randrange(4) == 0:
                frame = stack_mac + chance.randbytes(chance.randrange(8, most - 6))
            else:
                frame = mutate(chance, chance.choice(sound), most)
            if claims(frame, KERNEL):
                continue
            before = wish(chance, frame) if large else b""
            try:
                sock.send(before + frame.ljust(14, b"\0"))
                sent += 1
            except OSError:
                time.sleep(PAUSE_S)
            if number % BATCH == 0:
                time.sleep(PAUSE_S)
    print(sent)


if __name__ == "__main__":
    main()
