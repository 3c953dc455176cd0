"""The checking server: `neat run -- python -m neat.tools.drill.server ADDRESS PORT REPORT`. With no arguments
it serves its standard input and output, for who has logged in.

One process, one thread, one epoll instance. It checks every byte that comes, answers as talk.py says, and at
SIGTERM writes what it has seen to the file REPORT, as JSON: `connections`, `closed` (by their clients, with
everything answered), `lost` (reason → how many), `wrong` (texts, the first few), `wrong_total`, `bytes_up`,
`bytes_down`.
"""

import json
import os
import select
import signal
import socket
import sys
from collections import Counter
from pathlib import Path

from neat.tools.bench.processes import raise_limits
from neat.tools.drill.talk import CHUNK, DOWN, ENDLESS, HELLO, MAGIC, UP, Stream, WrongByte

BACKLOG = 4096
WRONG_KEPT = 20


class Session:
    """What was said on one connection, and what is owed."""

    __slots__ = ("answer", "down", "ended", "greeting", "number", "owed", "request", "requests", "up")

    def __init__(self) -> None:
        self.greeting = b""
        self.number = -1  # not known before the hello
        self.request = self.answer = 1
        self.requests = 0
        self.owed = 0  # bytes of answers that are not sent
        self.ended = False  # nothing more comes
        self.up = self.down = Stream(0, UP)

    def hear(self, data: memoryview) -> None:
        """What came; WrongByte."""
        if self.number < 0:
            data = self._greet(data)
        self.up.check(data)
        complete = self.up.offset // self.request - self.requests
        self.requests += complete
        self.owed += complete * self.answer

    def _greet(self, data: memoryview) -> memoryview:
        """Take the hello; what is left of the data."""
        missing = HELLO.size - len(self.greeting)
        self.greeting += data[:missing]
        if len(self.greeting) == HELLO.size:
            magic, number, request, answer = HELLO.unpack(self.greeting)
            if magic != MAGIC or not request or not answer:
                raise WrongByte(f"the hello is {self.greeting!r}")
            self.number, self.request, self.answer = number, request, answer
            self.up, self.down = Stream(number, UP), Stream(number, DOWN)
        return data[missing:]

    def sent(self, size: int) -> None:
        """So much of what is owed is on its way."""
        self.down.take(size)
        self.owed -= size

    def in_the_middle(self) -> bool:
        """The client has ended its stream within a request."""
        return self.up.offset % self.request != 0


class Guest(Session):
    """A session, and its connection."""

    __slots__ = ("awaits", "sock")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock
        self.awaits = select.EPOLLIN


class Server:
    def __init__(self, address: str, port: int) -> None:
        self.listener = socket.create_server((address, port), backlog=BACKLOG)
        self.listener.setblocking(False)
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)
        self.guests: dict[int, Guest] = {}
        self.buffer = bytearray(CHUNK)
        self.view = memoryview(self.buffer)
        self.opened = self.closed = self.bytes_up = self.bytes_down = 0
        self.lost: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.wrong_total = 0

    def run(self) -> None:
        listening = self.listener.fileno()
        while True:
            for fd, mask in self.poll.poll():
                if fd == listening:
                    self._accept()
                else:
                    self._serve(self.guests[fd], mask)

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return  # whoever it was has gone
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.guests[sock.fileno()] = Guest(sock)
        self.poll.register(sock, self.guests[sock.fileno()].awaits)

    def _serve(self, guest: Guest, mask: int) -> None:
        """What can be done with one connection now, so that the others have their turn."""
        try:
            if mask & ~select.EPOLLOUT and not guest.ended:
                self._receive(guest)
            self._send(guest)
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(guest, type(error).__name__)
            return
        except WrongByte as error:
            self._note(f"connection {guest.number}: {error}")
            self._forget(guest)
            return
        if guest.ended and (not guest.owed or guest.answer >= ENDLESS):
            if guest.in_the_middle():
                self._lose(guest, "ended within a request")
            else:
                self.closed += guest.number >= 0
                self._forget(guest)
            return
        wanted = (select.EPOLLOUT if guest.owed else 0) | (0 if guest.ended else select.EPOLLIN)
        if wanted != guest.awaits:
            self.poll.modify(guest.sock, wanted)
            guest.awaits = wanted

    def _receive(self, guest: Guest) -> None:
        size = guest.sock.recv_into(self.buffer)
        guest.ended = size == 0
        self.bytes_up += size
        before = guest.number
        guest.hear(self.view[:size])
        self.opened += guest.number != before

    def _send(self, guest: Guest) -> None:
        if guest.owed:
            size = guest.sock.send(guest.down.next(guest.owed))
            guest.sent(size)
            self.bytes_down += size

    def _lose(self, guest: Guest, reason: str) -> None:
        """The connection ended, and not as its client ends one. One that never said hello is nobody's."""
        if guest.number >= 0:
            self.lost[reason] += 1
        self._forget(guest)

    def _note(self, text: str) -> None:
        self.wrong_total += 1
        if len(self.wrong) < WRONG_KEPT:
            self.wrong.append(text)
            print(text, flush=True)

    def _forget(self, guest: Guest) -> None:
        del self.guests[guest.sock.fileno()]
        guest.sock.close()

    def report(self) -> dict[str, object]:
        return {
            "connections": self.opened,
            "closed": self.closed,
            "lost": dict(self.lost),
            "wrong": self.wrong,
            "wrong_total": self.wrong_total,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
        }


def pipe() -> None:
    """One session, over standard input and output; WrongByte."""
    session = Session()
    while data := os.read(0, CHUNK):
        session.hear(memoryview(data))
        while session.owed:
            if session.answer >= ENDLESS and select.select([0], [], [], 0)[0]:
                return  # the client has had enough
            session.sent(os.write(1, session.down.next(session.owed)))


def end(number: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
    if len(sys.argv) == 1:
        pipe()
        return
    address, port, path = sys.argv[1:]
    signal.signal(signal.SIGTERM, end)
    raise_limits()
    server = Server(address, int(port))
    print("ready", flush=True)
    try:
        server.run()
    finally:
        Path(path).write_text(json.dumps(server.report()))


if __name__ == "__main__":
    main()
