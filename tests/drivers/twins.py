"""A steering program in the kernel and a driver, and another driver that does without a program: the same
frames, the same flow tables."""

import struct
import time

from neat.drivers import program
from neat.drivers.pysteer import Steering, classify, flow_key
from neat.shm import bpf, steering

CAPACITY = 64
PAGE, ENTRY = 4096, 64
STATE, REPLICA = 40, 56
FREE, FADING, NEW, LIVE = range(4)
ABSENT, STARTING, ACTIVE, RECOVERING, TERMINATING = range(5)
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
PROTO_TCP, PROTO_UDP = 6, 17
CLOCK_MONOTONIC_COARSE = 6  # linux/time.h
STACK, PEER = 0x0A4D0002, 0x0A4D0001


def coarse():
    return time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE)


def ethernet(payload, ethertype=0x0800, destination=b"\x02\0\0\0\0\2"):
    return destination + b"\x02\0\0\0\0\1" + struct.pack("!H", ethertype) + payload


def ip(payload, protocol, source=PEER, total=None, ihl=5, fragment=0x4000, destination=STACK):
    total = 4 * ihl + len(payload) if total is None else total
    header = struct.pack(
        "!BBHHHBBHII", 0x40 | ihl, 0, total & 0xFFFF, 1, fragment, 64, protocol, 0, source, destination
    )
    return header + bytes(4 * max(ihl - 5, 0)) + payload


def tcp(port, flags, local_port=80, data=b"", **fields):
    segment = struct.pack("!HHIIBBHHH", port, local_port, 1, 2, 0x50, flags, 100, 0, 0) + data
    return ethernet(ip(segment, PROTO_TCP, **fields))


def udp(port, local_port=53, data=b"", **fields):
    return ethernet(ip(struct.pack("!HHHH", port, local_port, 8 + len(data), 0) + data, PROTO_UDP, **fields))


def text(address):
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def flow(port, source=PEER, local_port=80):
    return (PROTO_TCP, text(STACK), local_port, text(source), port)


def is_plain(frame):
    """What the program decides itself, by the contract."""
    if len(frame) < 42 or frame[0] & 1 or frame[12:15] != b"\x08\x00\x45":
        return False
    (total, _, fragment) = struct.unpack_from("!HHH", frame, 16)
    least = {PROTO_TCP: 34, PROTO_UDP: 28}.get(frame[23])
    return least is not None and not fragment & 0x3FFF and least <= total <= len(frame) - 14


class Twins:
    """A segment that the program steers by, with a driver behind it that gets what it does not; and one where
    the driver does all. Their flow tables are the same, byte by byte, after each frame."""

    def __init__(self, capacity=CAPACITY, slots=4):
        self.capacity = capacity
        self.fd = steering.create(capacity, kernel=True)
        self.supervisor = steering.Steering(self.fd, capacity, writable=True)
        for slot in range(slots):
            self.supervisor.set_state(slot, ACTIVE)
        self.memory = self.supervisor.segment.view
        self.twin = bytearray(self.memory)
        self.behind = Steering(self.memory, capacity)
        self.alone = Steering(self.twin, capacity)
        self.program = program.load(self.fd, capacity)
        self.queues = []

    def changed(self, epochs=False):
        """Page 0 has changed, as the supervisor's Steering object does it."""
        self.twin[:PAGE] = self.memory[:PAGE]
        for driver in (self.behind, self.alone):
            driver.follow()
            if epochs:
                driver.check()

    def flow(self, frame):
        """Of a plain frame of TCP."""
        found = classify(bytes(10) + frame)
        if not is_plain(frame) or found["protocol"] != PROTO_TCP:
            return None
        return tuple(found[name] for name in ("protocol", "local", "local_port", "remote", "remote_port"))

    def entry(self, driver, frame):
        """Where the entry of a plain frame's flow lies in a table; None where there is none."""
        key = self.flow(frame)
        place = driver.place(key) if key else None
        return None if place is None else PAGE + place * ENTRY

    def state(self, table, at):
        return struct.unpack_from("=I", table, at + STATE)[0]

    def pass_frame(self, frame, check=True):
        """The queue that it goes to; both tables have it."""
        now = coarse()
        for driver in (self.behind, self.alone):
            driver.clock(now)
        queue, _ = bpf.test_run(self.program, frame)
        assert 0 <= queue <= steering.SLOTS
        for table in (self.memory, self.twin):
            self.forget_void(table, frame)
        at = self.entry(self.alone, frame)
        got = self.alone.arrive(bytes(10) + frame)
        if queue:
            assert is_plain(frame) and got == queue - 1
            if at is not None:
                self.turn(at, frame[47])
        else:
            assert got == self.behind.arrive(bytes(10) + frame)
        if coarse() != now:
            # A tick in between: what was seen when is not comparable, and with it who made room.
            self.twin[PAGE:] = self.memory[PAGE:]
        elif check:
            assert self.twin[PAGE:] == self.memory[PAGE:], frame.hex()
        self.queues.append(queue)
        return queue, got

    def turn(self, at, flags):
        """What the program says of a flow that a driver learns from what leaves the stack."""
        state = self.state(self.twin, at)
        if flags & (FIN | RST):
            state = FADING
        elif flags & SYN:
            state = NEW if state == FADING else state
        elif state == NEW:
            state = LIVE
        struct.pack_into("=I", self.twin, at + STATE, state)

    def forget_void(self, table, frame):
        """A driver looks for void entries only while their peers are told."""
        key = self.flow(frame)
        for at in range(PAGE, PAGE + self.capacity * ENTRY, ENTRY):
            if key and bytes(table[at : at + 40]) == flow_key(*key):
                state, epoch, _, slot = struct.unpack_from("=IIQB", table, at + STATE)
                if FREE < state <= LIVE and (slot >= 16 or epoch != self.supervisor.slot(slot).epoch):
                    struct.pack_into("=I", table, at + STATE, FREE)

    def find(self, port, **where):
        return self.behind.find(flow(port, **where))


def some_frame(chance):
    """Mostly plain ones of few flows, so that they meet again."""
    port, source = 1000 + chance.randrange(30), PEER + 256 * chance.randrange(3)
    what = chance.randrange(12)
    if what < 7:
        flags = chance.choice([SYN, SYN, ACK, ACK, ACK | PSH, FIN | ACK, RST, SYN | ACK, SYN | 0xC0, 0, 0xFF])
        return tcp(port, flags, source=source, data=chance.randbytes(chance.choice([0, 0, 6, 60])))
    if what == 7:
        return udp(port, source=source, data=chance.randbytes(chance.randrange(60)))
    lie = {
        "total": chance.choice([None, 0, 19, 20, 27, 28, 33, 34, 39, 40, 41, 99, 65535]),
        "ihl": chance.choice([4, 5, 5, 6, 15]),
        "fragment": chance.choice([0, 0x4000, 0x2000, 0x8000, 1, 0x1FFF, 0x6000]),
    }
    if what == 8:
        return tcp(port, chance.choice([SYN, ACK]), source=source, **lie)
    if what == 9:
        return udp(port, source=source, **lie)
    frame = bytearray(chance.choice([tcp(port, SYN), tcp(port, ACK), udp(port), udp(port, data=bytes(9))]))
    if what == 10:
        kinds = (0x0800, 0x0806, 0x86DD, 0x8100, 0x88CC, chance.randrange(65536))
        return ethernet(bytes(frame[14:]), chance.choice(kinds), chance.randbytes(6))
    for _ in range(chance.randrange(4)):
        frame[chance.randrange(len(frame))] = chance.randrange(256)
    return bytes(frame[: chance.randrange(14, len(frame) + 1)])
