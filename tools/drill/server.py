"""The checking server: `neat run -- python -m neat.tools.drill.server ADDRESS PORT REPORT`.

One process, one thread, one epoll instance. It checks every byte that comes, answers as talk.py says, and at
SIGTERM writes what it has seen to the file REPORT, as JSON: `connections`, `closed` (by their clients, with
everything answered), `lost` (reason → how many), `wrong` (texts, the first few), `wrong_total`, `bytes_up`,
`bytes_down`.
"""

import json
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
    """One connection of a client."""

    __slots__ = (
        "answer",
        "awaits",
        "down",
        "ended",
        "greeting",
        "number",
        "owed",
        "request",
        "requests",
        "sock",
        "up",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.awaits = select.EPOLLIN
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

    def in_the_middle(self) -> bool:
        """The client has ended its stream within a request."""
        return self.up.offset % self.request != 0


class Server:
    def __init__(self, address: str, port: int) -> None:
        self.listener = socket.create_server((address, port), backlog=BACKLOG)
        self.listener.setblocking(False)
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)
        self.sessions: dict[int, Session] = {}
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
                    self._serve(self.sessions[fd], mask)

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return  # whoever it was has gone
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sessions[sock.fileno()] = Session(sock)
        self.poll.register(sock, self.sessions[sock.fileno()].awaits)

    def _serve(self, session: Session, mask: int) -> None:
        """What can be done with one connection now, so that the others have their turn."""
        try:
            if mask & ~select.EPOLLOUT and not session.ended:
                self._receive(session)
            self._send(session)
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(session, type(error).__name__)
            return
        except WrongByte as error:
            self._note(f"connection {session.number}: {error}")
            self._forget(session)
            return
        if session.ended and (not session.owed or session.answer >= ENDLESS):
            if session.in_the_middle():
                self._lose(session, "ended within a request")
            else:
                self.closed += session.number >= 0
                self._forget(session)
            return
        wanted = (select.EPOLLOUT if session.owed else 0) | (0 if session.ended else select.EPOLLIN)
        if wanted != session.awaits:
            self.poll.modify(session.sock, wanted)
            session.awaits = wanted

    def _receive(self, session: Session) -> None:
        size = session.sock.recv_into(self.buffer)
        session.ended = size == 0
        self.bytes_up += size
        before = session.number
        session.hear(self.view[:size])
        self.opened += session.number != before

    def _send(self, session: Session) -> None:
        if session.owed:
            size = session.sock.send(session.down.next(session.owed))
            session.down.take(size)
            session.owed -= size
            self.bytes_down += size

    def _lose(self, session: Session, reason: str) -> None:
        """The connection ended, and not as its client ends one. One that never said hello is nobody's."""
        if session.number >= 0:
            self.lost[reason] += 1
        self._forget(session)

    def _note(self, text: str) -> None:
        self.wrong_total += 1
        if len(self.wrong) < WRONG_KEPT:
            self.wrong.append(text)
            print(text, flush=True)

    def _forget(self, session: Session) -> None:
        del self.sessions[session.sock.fileno()]
        session.sock.close()

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


def end(number: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
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
