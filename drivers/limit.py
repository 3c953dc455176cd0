"""What a TAP device can do by itself: the figures that every other measurement is read against.

A responder without a stack, and a peer at the kernel's end of the wire, both in this process.
"""

import fcntl
import os
import socket
import statistics
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any

from neat.drivers.echo import Meter

SIOCGIFHWADDR = 0x8927
SOL_PACKET, PACKET_VNET_HDR, PACKET_QDISC_BYPASS = 263, 15, 20
STACK_MAC = bytes.fromhex("024e0000fffe")
NOBODY_MAC = bytes.fromhex("024e0000ffff")
VNET_BYTES = 10
SMALL_BURST, LARGE_BURST = 256, 32  # what the device's queue holds easily
SMALL_DATAGRAM = 22  # a frame of 64 bytes
LARGE_PAYLOAD, MSS = 65_160, 1448
MAX_FRAMES = 4_000_000
WRITES = 2000  # at a time, between two looks at the clock
PORT = 9


def measure(tap: int, device: str, kernel: str, stack: str, seconds: float = 1.0) -> dict[str, Any]:
    """Costs and rates of `device`, whose descriptor `tap` nobody else reads. Caller is in its namespace.

    kernel, stack: the addresses of the two ends. Takes about `seconds` for each of four parts; the number of
    frames is bounded too. `small` are frames of 64 bytes, to a UDP socket; `large` are segments of 64 KiB,
    which the receiving kernel drops as not its own, so their write is the device's cost alone. `echo` are
    round trips of datagrams through the responder.
    """
    meter = Meter()
    mac = _mac_address(device)
    small, large = _small_record(mac, kernel, stack), _large_record(mac, kernel, stack)
    return {
        "small": _bursts(meter, tap, device, small, SMALL_BURST, seconds, kernel),
        "large": _bursts(meter, tap, device, large, LARGE_BURST, seconds, kernel),
        "echo": {
            "one": _echo(tap, kernel, stack, 1, seconds),
            "pipelined": _echo(tap, kernel, stack, 64, seconds),
        },
    }


def contention(queues: Sequence[int], others: Sequence[int], seconds: float = 0.3) -> dict[str, float]:
    """What two processors that write to one device cost each other: nanoseconds of a write of 64 bytes for
    nobody, `alone_ns`, to two `devices_ns` and to two queues of one, `queues_ns`, at the same time.

    queues: of one device; others: one of each of two devices. What two devices cost each other is the
    machine's; what two queues do beyond that is the device's, its locks and what its processors share.
    """
    return {
        "alone_ns": _write_ns(queues[:1], seconds),
        "devices_ns": _write_ns(others, seconds),
        "queues_ns": _write_ns(queues, seconds),
    }


def _write_ns(fds: Sequence[int], seconds: float) -> float:
    """Of a write to each of them, all at the same time, each on a processor and of a flow of its own."""
    processors = sorted(os.sched_getaffinity(0))
    together = threading.Barrier(len(fds))
    costs: list[list[float]] = [[] for _ in fds]

    def write(number: int) -> None:
        os.sched_setaffinity(0, {processors[number % len(processors)]})  # of this thread
        meter = Meter()
        record = _for_nobody(_small_record(STACK_MAC, f"192.0.2.{number + 1}", "192.0.2.100"))
        together.wait()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and len(costs[number]) < MAX_FRAMES // WRITES:
            done = meter.write(fds[number], record, WRITES)
            costs[number].append(done["ns"] / done["frames"])

    threads = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(len(fds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.fmean(map(statistics.median, costs))  # others may have interrupted some


def _bursts(
    meter: Meter, tap: int, device: str, record: bytes, burst: int, seconds: float, kernel: str
) -> dict[str, Any]:
    """Send bursts through the device, read them, write their answers; each direction timed by itself."""
    reads, writes = {"frames": 0, "bytes": 0, "ns": 0}, {"frames": 0, "bytes": 0, "ns": 0}
    answer = _turned_around(record)
    with _packet_socket(device) as sender, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind((kernel, PORT))
        sink.setblocking(False)
        meter.read(tap, 1 << 16)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and writes["frames"] < MAX_FRAMES:
            for _ in range(burst):
                sender.send(record)
            done = meter.read(tap, burst), meter.write(tap, answer, burst)
            for total, part in zip((reads, writes), done, strict=True):
                for key in total:
                    total[key] += part[key]
            if not done[0]["frames"]:
                raise OSError(f"nothing arrives on {device}")
            _drain(sink)
    return {
        "frame_bytes": len(record) - VNET_BYTES,
        "frames": writes["frames"],
        "read_ns": reads["ns"] / reads["frames"],
        "write_ns": writes["ns"] / writes["frames"],
    }


def _echo(tap: int, kernel: str, stack: str, window: int, seconds: float) -> dict[str, Any]:
    """Datagrams to the stack's address and back; `window` of them on their way at a time."""
    stop, ring = os.pipe2(os.O_CLOEXEC)
    responder = threading.Thread(target=Meter().answer, args=(tap, stop, STACK_MAC, seconds + 1), daemon=True)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((kernel, 0))
            peer.connect((stack, PORT))
            peer.setblocking(False)
            responder.start()
            done = Meter().exchange(peer.fileno(), SMALL_DATAGRAM, window, MAX_FRAMES, seconds)
    finally:
        os.close(ring)
        if responder.ident:
            responder.join()
        os.close(stop)
    rate = done["frames"] * 1e9 / done["ns"]
    return {"window": window, "round_trips": done["frames"], "lost": done["lost"], "per_second": rate}


def _mac_address(device: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14s", device.encode(), socket.AF_INET, b"")
        return fcntl.ioctl(sock, SIOCGIFHWADDR, request + bytes(8))[18:24]


def _packet_socket(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    try:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        sock.bind((device, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _drain(sink: socket.socket) -> None:
    try:
        while True:
            sink.recv(2048)
    except BlockingIOError:
        return


def _ipv4(protocol: int, source: str, destination: str, payload: bytes) -> bytes:
    header = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, 64, protocol, 0))
    header += socket.inet_aton(source) + socket.inet_aton(destination)
    header[10:12] = (~_sum(header) & 0xFFFF).to_bytes(2, "big")
    return bytes(header) + payload


def _sum(data: bytes | bytearray) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _small_record(mac: bytes, kernel: str, stack: str) -> bytes:
    udp = struct.pack("!HHHH", PORT, PORT, 8 + SMALL_DATAGRAM, 0) + bytes(SMALL_DATAGRAM)
    return bytes(VNET_BYTES) + STACK_MAC + mac + b"\x08\x00" + _ipv4(socket.IPPROTO_UDP, kernel, stack, udp)


def _for_nobody(record: bytes) -> bytes:
    return record[:VNET_BYTES] + NOBODY_MAC + record[VNET_BYTES + 6 :]


def _large_record(mac: bytes, kernel: str, stack: str) -> bytes:
    """From an address that is nobody's, so that its answer is for nobody."""
    pseudo = socket.inet_aton(kernel) + socket.inet_aton(stack) + struct.pack("!HH", 6, 20 + LARGE_PAYLOAD)
    tcp = struct.pack("!HHIIBBHHH", PORT, PORT, 1, 1, 0x50, 0x10, 65535, _sum(pseudo), 0) + bytes(
        LARGE_PAYLOAD
    )
    vnet = struct.pack("<BBHHHH", 1, 1, 54, MSS, 34, 16)
    return vnet + STACK_MAC + NOBODY_MAC + b"\x08\x00" + _ipv4(socket.IPPROTO_TCP, kernel, stack, tcp)


def _turned_around(record: bytes) -> bytes:
    """The answer to a record: all that has a direction the other way round."""
    at = VNET_BYTES
    head, ip = record[:at], record[at + 14 :]
    ends = ip[:12] + ip[16:20] + ip[12:16] + ip[22:24] + ip[20:22] + ip[24:]
    return head + record[at + 6 : at + 12] + record[at : at + 6] + b"\x08\x00" + ends
