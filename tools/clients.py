"""Load from the kernel's side that knows what it expects: `neat peer -- python -m neat.tools.clients hold …`.

hold   keeps many connections open; at each line "round" on its input makes one request on every one of them,
       compares every byte of the answers, and reports which connections were lost meanwhile, and when.
probe  opens connections at a constant rate, whatever happens to the ones before, and reports the longest gap
       between answers: a client that waits for an answer before it asks again would hide an outage.
churn  makes many short connections, one request each.

Reports are JSON objects, one a line. All of them end at the end of their input, or after --seconds.
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import resource
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

# Seconds that one answer may take.
PATIENCE = 10.0


class Lost(Exception):
    """The connection ended before the answer was there; args[0] says how."""


class Connection(asyncio.Protocol):
    """A keep-alive connection with at most one request under way."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.port = 0
        self.lost: str | None = None
        self.lost_at = 0.0
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        body = complete_body(self._buffer)
        if body is not None and self._answer is not None and not self._answer.done():
            self._buffer.clear()
            self._answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = type(exc).__name__ if exc is not None else "closed"
        self.lost_at = time.monotonic()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost(self.lost))

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer. Lost, or TimeoutError after PATIENCE."""
        if self.lost is not None or self.transport is None:
            raise Lost(self.lost or "never open")
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await asyncio.wait_for(self._answer, PATIENCE)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


def complete_body(buffer: bytes | bytearray) -> bytes | None:
    """The body of the response in `buffer`, when all of it is there; of an error, the status line."""
    head, separator, rest = bytes(buffer).partition(b"\r\n\r\n")
    if not separator:
        return None
    if not head.startswith(b"HTTP/1.1 200 "):
        return head.partition(b"\r\n")[0]
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return rest if len(rest) >= int(value) else None
    return b"no Content-Length"


def request_for(args: argparse.Namespace, connection: str = "keep-alive") -> bytes:
    return f"GET {args.path} HTTP/1.1\r\nHost: {args.host}\r\nConnection: {connection}\r\n\r\n".encode()


def report(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, "t": time.monotonic(), **values}), flush=True)


async def lines() -> asyncio.StreamReader:
    """Standard input, line by line."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def hold(args: argparse.Namespace) -> int:
    """Open --count connections, then obey "round" and "quit"."""
    loop = asyncio.get_running_loop()
    request = request_for(args)
    connections: list[Connection] = []
    for _ in range(args.count):
        _, connection = await loop.create_connection(Connection, args.host, args.port)
        connections.append(connection)
    report("open", ports=[connection.port for connection in connections])
    commands = await lines()
    while (command := (await commands.readline()).strip()) == b"round":
        answers: list[bytes | BaseException] = []
        for start in range(0, len(connections), args.at_once):
            batch = connections[start : start + args.at_once]
            answers += await asyncio.gather(*(c.ask(request) for c in batch), return_exceptions=True)
        outcome = [(c, verdict(answer, args.sha256)) for c, answer in zip(connections, answers, strict=True)]
        report(
            "round",
            ok=sum(text == "ok" for _, text in outcome),
            lost={c.port: text for c, text in outcome if text != "ok" and c.lost is not None},
            failed={c.port: text for c, text in outcome if text != "ok" and c.lost is None},
            lost_at=max((c.lost_at for c in connections if c.lost is not None), default=None),
        )
    for connection in connections:
        connection.close()
    return 0 if command in (b"quit", b"") else 2


def verdict(answer: bytes | BaseException, sha256: str | None) -> str:
    """ "ok", or what is wrong with an answer."""
    if isinstance(answer, Lost):
        return str(answer.args[0])
    if isinstance(answer, BaseException):
        return type(answer).__name__
    if sha256 is not None and hashlib.sha256(answer).hexdigest() != sha256:
        return f"wrong bytes: {answer[:60]!r}"
    return "ok"


async def once(args: argparse.Namespace, request: bytes) -> str:
    """One connection, one request; "ok", or what went wrong."""
    try:
        reader, writer = await asyncio.open_connection(args.host, args.port)
    except OSError as error:
        return type(error).__name__
    try:
        writer.write(request)
        return verdict(complete_body(await reader.read(-1)) or b"", args.sha256)
    except OSError as error:
        return type(error).__name__
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def probe(args: argparse.Namespace) -> int:
    """--rate connections a second; at each line of input a report of what has happened since the last one."""
    request = request_for(args, "close")
    done: list[tuple[float, float, str]] = []  # started, ended, outcome
    under_way: set[asyncio.Task[None]] = set()

    async def one() -> None:
        started = time.monotonic()
        try:
            outcome = await asyncio.wait_for(once(args, request), PATIENCE)
        except TimeoutError:
            outcome = "timeout"
        done.append((started, time.monotonic(), outcome))

    async def clock() -> None:
        start = time.monotonic()
        for tick in itertools.count():
            await asyncio.sleep(max(0.0, start + tick / args.rate - time.monotonic()))
            task = asyncio.create_task(one())
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    ticking = asyncio.create_task(clock())
    commands = await lines()
    report("probing", rate=args.rate)
    since = time.monotonic()
    while await commands.readline():
        now = time.monotonic()
        report("probed", **summary(done, since, now))
        done.clear()
        since = now
    ticking.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    report("probed", **summary(done, since, time.monotonic()))
    return 0


def summary(done: list[tuple[float, float, str]], since: float, until: float) -> dict[str, Any]:
    """What a list of probes says about [since, until]; times in milliseconds."""
    good = sorted(ended for _, ended, outcome in done if outcome == "ok")
    edges = [since, *good, until]
    gaps = [after - before for before, after in itertools.pairwise(edges)]
    return {
        "probes": len(done),
        "ok": len(good),
        "failed": dict(Counter(outcome for _, _, outcome in done if outcome != "ok")),
        "longest_gap_ms": round(max(gaps) * 1e3, 1),
        "slowest_ms": round(
            max((end - start for start, end, outcome in done if outcome == "ok"), default=0) * 1e3, 1
        ),
    }


async def churn(args: argparse.Namespace) -> int:
    """--count connections, --parallel at a time, one request each. Exit status 1 if any of them failed."""
    if args.widen_ports:
        widen_ports()
    request = request_for(args, "keep-alive")
    left = iter(range(args.count))
    outcomes: Counter[str] = Counter()
    started = time.monotonic()

    async def worker() -> None:
        loop = asyncio.get_running_loop()
        for _ in left:
            try:
                _, connection = await loop.create_connection(Connection, args.host, args.port)
                outcome = verdict(await connection.ask(request), args.sha256)
                connection.close()
            except (OSError, TimeoutError, Lost) as error:
                outcome = verdict(error, None)
            outcomes[outcome] += 1

    await asyncio.gather(*(worker() for _ in range(args.parallel)))
    seconds = time.monotonic() - started
    ok = outcomes.pop("ok", 0)
    report("churned", ok=ok, failed=dict(outcomes), seconds=round(seconds, 3), rate=round(ok / seconds, 1))
    return 0 if ok == args.count else 1


def widen_ports() -> None:
    """More client ports, in this network namespace, and reuse of those in TIME_WAIT (RFC 6191)."""
    for name, value in (("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1")):
        with contextlib.suppress(OSError):
            Path("/proc/sys/net/ipv4", name).write_text(value)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m neat.tools.clients", description=__doc__)
    parser.add_argument("what", choices=("hold", "probe", "churn"))
    parser.add_argument("host")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--path", default="/")
    parser.add_argument("--sha256", help="of the body that is expected")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=1 << 20, help="requests under way, of hold")
    parser.add_argument("--parallel", type=int, default=32)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument(
        "--widen-ports", action="store_true", help="more client ports, in this network namespace"
    )
    parser.add_argument("--seconds", type=float, default=300.0)
    args = parser.parse_args()
    socket.inet_aton(args.host)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run = {"hold": hold, "probe": probe, "churn": churn}[args.what]
    try:
        sys.exit(asyncio.run(asyncio.wait_for(run(args), args.seconds)))
    except (OSError, TimeoutError, Lost) as error:
        report("error", error=str(error) or type(error).__name__)
        sys.exit(1)


if __name__ == "__main__":
    main()
