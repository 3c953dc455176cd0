"""The load: `neat peer -- python -m neat.tools.drill.load HOST PORT PLAN`, PLAN a JSON object (`Plan`).

An open loop: requests are sent when the plan says so, whatever became of those before, and latency counts
from then. A connection that ends is opened again, so that the load stays what it is. Obeys lines on its
input:

ports N  reports the connections that are open (number → local port) if there were changes since change N
stop     sends no more, waits for what is owed, closes everything, writes the records, reports `done`

Reports are JSON objects, a line each; the first, `open`, says that every connection has had an answer.
Ends by itself after `most_s`, and at the end of its input.
"""

import errno
import gc
import json
import os
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from neat.tools.bench.processes import raise_limits
from neat.tools.drill.link import Link, SshLink
from neat.tools.drill.plan import Beat, Kind, Plan, kinds_of, short_kind
from neat.tools.drill.records import Connection, Records
from neat.tools.drill.talk import CHUNK, WrongByte

TICK_S = 0.05  # the longest sleep
LOOK_S = 0.25  # between two looks for connections that hang
OPENING, LOGINS = 64, 4  # connections, or those of ssh, that have had no answer yet, at a time
NOWHERE = -1  # the place of short connections
REOPEN_S = 0.02  # after a connection that never had an answer
MOST_OWED = 1 << 14  # requests that a connection owes answers for: beyond it no more are sent


class Load:
    def __init__(self, target: tuple[str, int], plan: Plan) -> None:
        self.target = target
        self.plan = plan
        self.kinds = kinds_of(plan, target[0])
        self.short = short_kind(self.kinds[0])
        self.places: list[Link | None] = [None] * len(self.kinds)
        self.to_open: deque[tuple[float, int]] = deque((0.0, place) for place in range(len(self.kinds)))
        self.served = 0  # links that have had an answer
        self.links: dict[int, Link] = {}  # by descriptor
        self.beats: list[Beat] = []
        self.records = Records(sizes={kind.name: kind.size for kind in [*self.kinds, self.short]})
        self.changes = 0
        self.stopping = False
        self.over = False
        self.buffer = bytearray(CHUNK)
        self.view = memoryview(self.buffer)
        self.poll = select.epoll()
        self.commands = Commands(self)
        self.poll.register(self.commands.fd, select.EPOLLIN)

    def run(self) -> None:
        """Open everything, then keep the beat until `stop`, the end of the input or of the time."""
        end = time.monotonic() + self.plan.most_s
        look = 0.0
        greeted = False
        while not self.over and (now := time.monotonic()) < end:
            if now >= look:
                look = now + LOOK_S
                self._find_hung(now)
            self._open(now)
            if not greeted and self.served == len(self.places):
                greeted = True
                self._begin(now)
            self._send_due(now)
            if self.stopping and not self.links:
                break
            for fd, mask in self.poll.poll(self._pause()):
                if fd == self.commands.fd:
                    self.commands.read()
                elif (link := self.links.get(fd)) is not None:
                    self._attend(link, mask)

    # Opening

    def _open(self, now: float) -> None:
        most = LOGINS if self.plan.command else OPENING
        while self.to_open and self.to_open[0][0] <= now and not self.stopping:
            if len(self.links) - self.served >= most:
                return
            _, place = self.to_open.popleft()
            self.places[place] = self._start(self.kinds[place], place)

    def _start(self, kind: Kind, place: int, planned: float | None = None) -> Link:
        """A new connection, whose first request was planned then; None: for as soon as it is open."""
        number = len(self.records.connections)
        connection = Connection(number, place, kind.name)
        self.records.connections.append(connection)
        link = (SshLink if kind.command else Link)(kind, connection, kind.talk(number))
        link.planned = planned
        self.links[link.sock.fileno()] = link
        self.poll.register(link.sock, link.awaits)
        code = link.connect(self.target)
        if code not in (0, errno.EINPROGRESS):
            self._end(link, "refused", os.strerror(code))
        return link

    def _opened(self, link: Link, now: float) -> None:
        """Its handshake is over, well or not. A first request at once shows that it is served."""
        code = link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._end(link, "refused", os.strerror(code))
            return
        link.opening = False
        link.connection.opened = link.progress = now
        for _ in range(max(link.kind.window, 1)):
            self._ask(link, now if link.planned is None else link.planned)
        self._flush(link)

    def _begin(self, now: float) -> None:
        plan = self.plan
        self.records.began = now
        report("open", connections=len(self.links))
        if plan.connections and plan.rate:
            self.beats.append(Beat(range(plan.connections), plan.rate, now))
        if plan.churn:
            self.beats.append(Beat(range(NOWHERE, NOWHERE + 1), plan.churn, now))
        if plan.bulk and plan.bulk_rate:
            places = range(plan.connections, plan.connections + plan.bulk)
            self.beats.append(Beat(places, plan.bulk * plan.bulk_rate / self.kinds[-1].size, now))

    # Talking

    def _pause(self) -> float:
        """Seconds until something is planned."""
        if self.stopping or not self.beats:
            return TICK_S
        return min(max(min(beat.next() for beat in self.beats) - time.monotonic(), 0.0), TICK_S)

    def _send_due(self, now: float) -> None:
        late = 0.0
        for beat in () if self.stopping else self.beats:
            for place, planned in beat.due(now):
                late = max(late, now - planned)
                if place == NOWHERE:
                    self._start(self.short, NOWHERE, planned)
                    continue
                link = self.places[place]
                if link is None or link.opening or len(link.owed) >= MOST_OWED:
                    self.records.unsent.append(planned)
                    continue
                self._ask(link, planned)
                if not link.awaits & select.EPOLLOUT:
                    self._flush(link)
        if late:
            self.records.lag.append(late)

    def _ask(self, link: Link, planned: float) -> None:
        link.owed.append(planned)
        link.talk.ask()

    def _flush(self, link: Link) -> None:
        """Send what there is, as far as it goes."""
        try:
            while data := link.talk.next():
                size = link.sock.send(data)
                link.talk.sent(size)
        except BlockingIOError:
            self._await(link, select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError as error:
            self._end(link, "lost", type(error).__name__)
            return
        self._await(link, select.EPOLLIN)

    def _await(self, link: Link, mask: int) -> None:
        if mask != link.awaits:
            self.poll.modify(link.sock, mask)
            link.awaits = mask

    def _attend(self, link: Link, mask: int) -> None:
        now = time.monotonic()
        if link.opening:
            self._opened(link, now)
            return
        if mask & ~select.EPOLLOUT:
            self._receive(link, now)
        if mask & select.EPOLLOUT and not link.connection.outcome:
            self._flush(link)

    def _receive(self, link: Link, now: float) -> None:
        try:
            size = link.sock.recv_into(self.buffer)
            if not size:
                self._at_end(link)
                return
            answers = link.talk.hear(self.view[:size])
        except BlockingIOError:
            return
        except OSError as error:
            self._end(link, "lost", type(error).__name__)
            return
        except WrongByte as error:
            self._end(link, "wrong", str(error))
            return
        since = link.waits_since()
        if since is not None:
            self.records.silent(since, now, link.connection.number)
        link.progress = now
        if answers > len(link.owed) and not link.talk.endless:
            self._end(link, "wrong", "an answer that nobody asked for")
            return
        for _ in range(min(answers, len(link.owed))):
            self.records.answered(link.owed.popleft(), now, link.connection.number)
        if answers and not link.served:
            link.served = True
            self.served += 1
            link.connection.port = link.port()
            self.changes += not link.kind.short
        if self.stopping or link.kind.short:
            self._shut(link)
        elif answers and link.kind.window:
            for _ in range(answers):
                self._ask(link, now)
            self._flush(link)

    # Ending

    def _shut(self, link: Link) -> None:
        """End our stream when everything is answered; the server then ends its own."""
        if link.talk.endless:
            link.owed.clear()
        if not link.owed and not link.shut:
            link.shut = True
            link.progress = time.monotonic()
            try:
                link.sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._end(link, "lost", type(error).__name__)

    def _at_end(self, link: Link) -> None:
        """The server's stream has ended."""
        if link.shut:
            self._end(link, "closed")
        else:
            self._end(link, "lost", "closed by the server")

    def _end(self, link: Link, outcome: str, detail: str = "") -> None:
        """The connection is over; its place gets another."""
        now = time.monotonic()
        connection, served = link.connection, link.served
        connection.outcome, connection.detail, connection.ended = outcome, detail, now
        connection.owed = len(link.owed)
        since = link.waits_since()
        if since is not None and outcome != "closed" and connection.opened:
            self.records.silent(since, now, connection.number)
        self.served -= served
        del self.links[link.sock.fileno()]
        link.close()
        if not link.kind.short:
            self.places[connection.place] = None
            self.changes += 1
            self.to_open.append((now if served else now + REOPEN_S, connection.place))

    def _find_hung(self, now: float) -> None:
        for link in list(self.links.values()):
            since = link.waits_since()
            if since is not None and now - since > self.plan.hang_s:
                self._end(link, "hung", self._what(link))

    def _what(self, link: Link) -> str:
        if link.opening:
            return "while it was opened"
        return "while it was closed" if link.shut else f"{len(link.owed)} answers owed"

    def stop(self) -> None:
        self.stopping = True
        for link in list(self.links.values()):
            if link.opening:
                self._end(link, "closed", "never open")
            else:
                self._shut(link)

    def finish(self) -> None:
        """Write down what was seen. What is still there was not closed in time."""
        for link in list(self.links.values()):
            self._end(link, "hung", "at the end")
        if self.plan.records:
            self.records.write(Path(self.plan.records))
        report("done")


class Commands:
    """Lines on standard input."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.fd = sys.stdin.fileno()
        self.rest = b""

    def read(self) -> None:
        data = os.read(self.fd, 4096)
        if not data:
            self.load.over = True
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.obey(line.decode().split())

    def obey(self, words: list[str]) -> None:
        match words:
            case ["ports", since]:
                changed = int(since) != self.load.changes
                ports = {
                    link.connection.number: link.connection.port
                    for link in (self.load.links.values() if changed else ())
                    if link.served and not link.kind.short
                }
                report("ports", changes=self.load.changes, ports=ports)
            case ["stop"]:
                self.load.stop()
            case _:
                report("error", error=f"no command {' '.join(words)!r}")


def report(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def main() -> None:
    host, port, plan = sys.argv[1:]
    socket.inet_aton(host)
    raise_limits()
    load = Load((host, int(port)), Plan(**json.loads(plan)))
    gc.freeze()
    gc.disable()
    load.run()
    load.finish()


if __name__ == "__main__":
    main()
