"""What a stack and its peer say, made by hand."""

import os
import socket
import struct
import time

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP, Ether

from tests.drivers.rig import KERNEL, MAC, STACK


def answer_arp_and_ping(_vnet, frame):
    """Frames (with virtio-net header) that a stack at STACK answers with."""
    if frame[12:14] == b"\x08\x00" and frame[23] != socket.IPPROTO_ICMP:
        return []
    packet = Ether(frame)
    if ARP in packet and packet[ARP].op == 1 and packet[ARP].pdst == STACK:
        arp = packet[ARP]
        reply = ARP(op=2, hwsrc=MAC, psrc=STACK, hwdst=arp.hwsrc, pdst=arp.psrc)
        return [(bytes(Ether(src=MAC, dst=packet.src) / reply),)]
    if ICMP in packet and packet[ICMP].type == 8:
        ip, echo = packet[IP], packet[ICMP]
        header = IP(src=ip.dst, dst=ip.src, id=ip.id)
        reply = header / ICMP(type=0, id=echo.id, seq=echo.seq) / bytes(echo.payload)
        return [(bytes(Ether(src=MAC, dst=packet.src) / reply),)]
    return []


class Pinger:
    """Sends echo requests from the kernel's end of the wire. One Pinger a process."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sequence = 0

    def ping(self, payload=b"x" * 56, timeout=5.0):
        """Whether the answer to one request came in time."""
        self.sequence += 1
        self.socket.sendto(bytes(ICMP(id=os.getpid() & 0xFFFF, seq=self.sequence) / payload), (STACK, 0))
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                return False
            header = (data[0] & 15) * 4
            kind, sequence = data[header], struct.unpack_from("!H", data, header + 6)[0]
            if kind == 0 and sequence == self.sequence:
                assert data[header + 8 :] == payload
                return True
        return False


class Conversation:
    """The stack's end of one TCP connection that the kernel opened, driven by hand."""

    def __init__(self, syn):
        self.peer, self.mac = Ether(syn), Ether(syn).src
        tcp = self.peer[TCP]
        self.ports = {"sport": tcp.dport, "dport": tcp.sport}
        self.seq, self.ack = 1000, tcp.seq + 1

    def segment(self, flags, payload=b"", **fields):
        tcp = TCP(**self.ports, flags=flags, seq=self.seq, ack=self.ack, window=65535, **fields)
        ip = IP(src=STACK, dst=KERNEL) / tcp
        frame = bytes(Ether(src=MAC, dst=self.mac) / ip / payload)
        self.seq += len(payload) + ("S" in flags) + ("F" in flags)
        return frame

    def large_segment(self, payload, mss=1460):
        """(frame, virtio-net header) of one segment that the device splits, with a partial checksum."""
        frame = bytearray(self.segment("PA", payload))
        start = 14 + 20
        pseudo = (
            socket.inet_aton(STACK) + socket.inet_aton(KERNEL) + struct.pack("!BBH", 0, 6, len(frame) - start)
        )
        total = sum(struct.unpack("!6H", pseudo))
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", frame, start + 16, total)
        return bytes(frame), struct.pack("<BBHHHH", 1, 1, start + 20, mss, start, 16)
