"""What client and server say on one connection, with every byte known to both ends beforehand.

The pattern: after the hello, a connection has a stream of bytes in each direction, which its number, the
direction and the offset determine. For every request's worth of the client's bytes the server sends an
answer's worth of its own. Small ones make request and response; a large answer is a download, a large request
an upload.
"""

import random
import struct
from typing import Protocol

MAGIC = b"NEATDRL1"
HELLO = struct.Struct("<8sIIQ")  # MAGIC, connection's number, bytes of a request, of an answer
ENDLESS = 1 << 62  # bytes of an answer that goes on until the client ends its stream

# The streams repeat after a prime number of bytes, so that whatever repeats with a ring's size is found.
PERIOD = 1_048_573
CHUNK = 1 << 18  # bytes that are checked or sent at once, at most
STRIDE = 7919  # between the beginnings of two streams
UP, DOWN = "up", "down"

_once = random.Random(2016).randbytes(PERIOD)
_pattern = _once + _once[:CHUNK]
_view = memoryview(_pattern)


def pattern(place: int, size: int) -> bytes:
    """`size` bytes, at most CHUNK, from `place` (below PERIOD)."""
    return _pattern[place : place + size]


class WrongByte(Exception):
    """What came is not what was sent; the text says where."""


class Stream:
    """One direction of a connection: how much of it there was, and what comes next."""

    __slots__ = ("direction", "offset", "place")

    def __init__(self, number: int, direction: str) -> None:
        self.direction = direction
        self.place = (2 * number + (direction == DOWN)) * STRIDE % PERIOD
        self.offset = 0

    def next(self, size: int) -> memoryview:
        """The next `size` bytes, at most CHUNK, which are not taken by that."""
        return _view[self.place : self.place + min(size, CHUNK)]

    def take(self, size: int) -> None:
        self.place = (self.place + size) % PERIOD
        self.offset += size

    def check(self, data: memoryview) -> None:
        """Take `data`, at most CHUNK bytes, if that is what comes next; WrongByte."""
        if not _pattern.startswith(data, self.place):
            pairs = enumerate(zip(data, self.next(len(data)), strict=True))
            at, found, right = next((at, a, b) for at, (a, b) in pairs if a != b)
            where = f"byte {self.offset + at} of the stream {self.direction}"
            raise WrongByte(f"{where} is {found:#04x} instead of {right:#04x}")
        self.take(len(data))


class Talk(Protocol):
    """The client's side of one connection."""

    endless: bool  # what comes ends when the client's stream does, and not before

    def ask(self) -> None:
        """One more request is to be sent."""
        ...

    def next(self) -> memoryview:
        """What to send now; empty: nothing."""
        ...

    def sent(self, size: int) -> None:
        """So much of `next()` is on its way."""
        ...

    def hear(self, data: memoryview) -> int:
        """Check what came, at most CHUNK bytes: how many answers it completes. WrongByte."""
        ...


class PatternTalk:
    """With a server of ours (server.py)."""

    endless = False

    def __init__(self, number: int, request: int, answer: int) -> None:
        """`request`, `answer`: bytes of each."""
        self.hello = memoryview(HELLO.pack(MAGIC, number, request, answer))
        self.request = request
        self.answer = answer
        self.unsent = 0  # of the stream up
        self.answered = 0
        self.up = Stream(number, UP)
        self.down = Stream(number, DOWN)

    def ask(self) -> None:
        self.unsent += self.request

    def next(self) -> memoryview:
        return self.hello or self.up.next(self.unsent)

    def sent(self, size: int) -> None:
        if self.hello:
            self.hello = self.hello[size:]
        else:
            self.up.take(size)
            self.unsent -= size

    def hear(self, data: memoryview) -> int:
        self.down.check(data)
        complete = self.down.offset // self.answer - self.answered
        self.answered += complete
        return complete


class EndlessTalk(PatternTalk):
    """One request, and a client that has only to receive, for ever; each `part` bytes count as an answer."""

    endless = True

    def __init__(self, number: int, request: int, part: int) -> None:
        super().__init__(number, request, part)
        self.hello = memoryview(HELLO.pack(MAGIC, number, request, ENDLESS))

    def ask(self) -> None:
        if not self.up.offset:
            self.unsent = self.request
