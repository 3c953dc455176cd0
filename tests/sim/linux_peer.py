"""An engine against Linux's own TCP: `python -m tests.sim.linux_peer SEED LOSS OFFLOADS`.

Linux's sockets, in threads, send random streams and read them back; the engine echoes. Frames go through a
TAP device in a network namespace of this process, and some get lost on the way. Exits with 0 when every byte
came back, in both roles: the engine accepts, the engine connects.
"""

import ctypes
import fcntl
import os
import random
import select
import socket
import struct
import sys
import threading
import time

from pyroute2 import IPRoute

from neat.abi.layout import NEAT_ST_RDHUP
from neat.stack.lab import Lab
from tests.stack.harness.host import (
    EV_ACCEPT,
    EV_CONNECTED,
    EV_RESET,
    RECORD_FRAME,
    REQ_ACCEPTED,
    REQ_SHUT_WR,
)

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 1, 2
LINUX, ENGINE, PORT, LINUX_PORT, SOCK = "10.77.0.1", "10.77.0.2", 8080, 9090, 5
SIZES = (1, 1000, 100_000, 1_000_000)
CONNECTIONS = 4
PATIENCE = 60  # seconds for everything


def make_tap(offloads: int) -> int:
    """A TAP device in a fresh namespace, with Linux's address on it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tap, TUNSETVNETHDRSZ, struct.pack("i", 10))
    fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 if offloads else 0)
    with IPRoute() as ip:
        index = ip.link_lookup(ifname="tap0")[0]
        ip.addr("add", index=index, address=LINUX, prefixlen=24)
        ip.link("set", index=index, state="up")
    return tap


def talk(sock: socket.socket, data: bytes, problems: list[str]) -> None:
    """Send it all, shut down, and read it all back."""
    received = bytearray()

    def read() -> None:
        while chunk := sock.recv(1 << 16):
            received.extend(chunk)

    try:
        reader = threading.Thread(target=read)
        reader.start()
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        reader.join()
        if bytes(received) != data:
            problems.append(f"{len(data)} bytes sent, {len(received)} came back")
    except OSError as error:
        problems.append(f"{len(data)} bytes: {error}")
    finally:
        sock.close()


class Echo:
    """The engine's applications: each sends back what it reads, and closes after the peer."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.open: dict[int, tuple[int, bytes]] = {}  # connection: socket, bytes that did not fit yet
        self.problems: list[str] = []
        self.ended = 0

    def turn(self) -> None:
        for event in self.lab.events():
            if event.kinds & EV_ACCEPT:
                self.lab.request(event.sock, REQ_ACCEPTED)
            if event.kinds & (EV_ACCEPT | EV_CONNECTED):
                self.open[event.conn] = event.sock, b""
            if event.kinds & EV_RESET and event.conn in self.open:
                self.problems.append(f"reset, error {event.error}")
                del self.open[event.conn]
        for conn, (sock, left) in list(self.open.items()):
            left = left or self.lab.recv(sock)
            left = left[self.lab.send(sock, left) :]
            self.open[conn] = sock, left
            unread = self.lab.peek(sock, "rx_tail") != self.lab.peek(sock, "rx_head")
            if self.lab.peek(sock, "status") & NEAT_ST_RDHUP and not left and not unread:
                self.lab.request(sock, REQ_SHUT_WR)
                self.lab.close(conn)
                self.ended += 1
                del self.open[conn]


def pump(lab: Lab, echo: Echo, tap: int, rng: random.Random, loss: float, done) -> None:
    """Move frames and time until done() or PATIENCE is over."""
    end = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < end:
        lab.now = time.monotonic_ns()
        lab.advance(0)
        echo.turn()
        lab.scan()
        for kind, record in lab.transmit():
            if kind == RECORD_FRAME and rng.random() >= loss:
                os.write(tap, record)
        wait = 0.05 if lab.deadline is None else max(0.0, min(0.05, (lab.deadline - lab.now) / 1e9))
        if not lab.pending and select.select([tap], [], [], wait)[0]:
            for _ in range(64):
                try:
                    record = os.read(tap, 65_600)
                except BlockingIOError:
                    break
                lab.now = time.monotonic_ns()
                if rng.random() >= loss:
                    lab.arrive_record(record)


def main() -> None:
    seed, loss, offloads = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    tap = make_tap(offloads)
    lab = Lab(offloads=offloads, secret=rng.randbytes(32), now=time.monotonic_ns())
    lab.listen(SOCK, PORT)
    echo = Echo(lab)
    problems: list[str] = []
    server = socket.create_server((LINUX, LINUX_PORT))
    data = [rng.randbytes(rng.choice(SIZES)) for _ in range(2 * CONNECTIONS)]
    ways = [lambda: socket.create_connection((ENGINE, PORT))] * CONNECTIONS
    ways += [lambda: server.accept()[0]] * CONNECTIONS
    threads = [
        threading.Thread(target=lambda way, d: talk(way(), d, problems), args=pair, daemon=True)
        for pair in zip(ways, data, strict=True)
    ]
    for thread in threads:
        thread.start()
    for _ in range(CONNECTIONS):
        lab.connect(LINUX, LINUX_PORT)
    pump(lab, echo, tap, rng, loss, lambda: not any(thread.is_alive() for thread in threads))
    hung = sum(thread.is_alive() for thread in threads)
    if problems or echo.problems or hung or echo.ended != 2 * CONNECTIONS:
        sys.exit(
            f"seed {seed}: {problems} {echo.problems}, {hung} hung, {echo.ended} ended, {lab.counters()}"
        )


if __name__ == "__main__":
    main()
