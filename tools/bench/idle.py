"""`neat bench idle`: what a kept connection costs that nobody uses, in memory and in the others' speed.

Each connection has asked once before it is left alone, and asks once more at the end: none may be lost.
"""

import contextlib
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import cpu, load
from neat.tools.bench.compare import Round, medians, ratio, run_rounds
from neat.tools.bench.http import HttpSettings, Load, Point, measure_once, write_random
from neat.tools.bench.servers import SERVERS, SPARE, Plan, Server
from neat.tools.bench.sides import Side, World, linux_world, neat_world
from neat.tools.driven import Client
from neat.tools.stack import environment

# Connections that the holding client is expected to open, or to ask, in a second at least.
SLOWEST_PER_S = 100
SIZE = 20
# Limits of a stack (neat/config.py).
MOST_SOCKETS, MOST_CONNECTIONS, MULTIPLE = 16_384, 65_536, 64


class IdleSettings(NamedTuple):
    server: str = "nginx"
    connections: int = 10_000
    duration: int = 2
    rounds: int = 3
    replicas: int = 1


def idle(settings: IdleSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole comparison, as the JSON that `-j` prints."""
    server = SERVERS[settings.server]
    if not server.http:
        raise load.LoadError(f"{server.name} has no keep-alive connections of HTTP")
    load.need("wrk", "curl", server.program, "nsenter", "unshare", "ip")
    check_descriptors(server, settings.connections)
    with contextlib.ExitStack() as stack:
        site = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neat-site-")))
        point = Point(settings.replicas, 0, SIZE)
        digest = write_random(site / point.file, SIZE)
        worlds: list[World] = [
            stack.enter_context(neat_world(settings.replicas, **capacity(settings.connections))),
            stack.enter_context(linux_world()),
        ]
        plan = Plan(site, "", connections=settings.connections)
        sides: list[Side] = [stack.enter_context(world.serve(server, plan)) for world in worlds]
        work = Load(HttpSettings(connections=1, duration=settings.duration), point)
        for side in sides:
            load.verify(side.inside, f"http://{side.address}/{point.file}", digest)
        alone = one_active(sides, work, settings.rounds, lambda text: progress(f"alone: {text}"))
        held = []
        for side in sides:
            progress(f"{settings.connections} connections: {side.name}")
            held.append(stack.enter_context(holding(side, settings.connections, point.file, digest)))
        among = one_active(sides, work, settings.rounds, lambda text: progress(f"among the idle: {text}"))
        for connections in held:
            connections.ask()
    result: dict[str, Any] = {"bench": "idle", "settings": settings._asdict()}
    for number, side in enumerate(sides):
        result[side.name] = {
            "alone": medians(alone[side.name]),
            "among": medians(among[side.name]),
            "lost": settings.connections - held[number].answered,
            "lost_by_reason": dict(held[number].missing),
            "bytes_per_connection": held[number].per_connection,
        }
        faster = [medians(runs[side.name])["requests_per_s"] for runs in (among, alone)]
        result[side.name]["among_to_alone"] = ratio(*faster)
    result["rounds"] = {"alone": alone, "among": among}
    return result


def check_descriptors(server: Server, connections: int) -> None:
    """Each connection is a descriptor of the client, of the server, and of its replica. LoadError."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = server.descriptors * (connections + SPARE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise load.LoadError(
            f"{server.name} needs {needed} descriptors for {connections} connections; the limit is {hard} "
            "(ulimit -Hn)"
        )


def capacity(connections: int) -> dict[str, str]:
    """Settings of a stack any replica of which has room for them all."""
    room = -(-(connections + SPARE) // MULTIPLE) * MULTIPLE
    return {
        "sockets_per_app": str(min(room, MOST_SOCKETS)),
        "max_connections": str(min(room, MOST_CONNECTIONS)),
    }


def one_active(
    sides: Sequence[Side], work: Load, rounds: int, progress: Callable[[str], None]
) -> dict[str, list[Round]]:
    """The speed of one busy connection, on both sides in turns."""
    runs = {side.name: lambda side=side: measure_once(side, work) for side in sides}
    return run_rounds(runs, rounds, progress)


class Held:
    """Idle connections of one side. `per_connection`: bytes by component, how much more memory there is."""

    def __init__(self, client: Client, count: int) -> None:
        self.client = client
        self.count = count
        self.answered = 0
        self.missing: Counter[str] = Counter()
        self.per_connection: dict[str, float] = {}

    def ask(self) -> None:
        """One request on each of them."""
        report = self.client.ask("round")
        self.answered = report["ok"]
        self.missing = Counter([*report["lost"].values(), *report["failed"].values()])


@contextlib.contextmanager
def holding(side: Side, count: int, file: str, digest: str) -> Iterator[Held]:
    """Opens that many connections, asks once on each, and says what they cost. LoadError when one fails."""
    before = memory(side)
    seconds = count / SLOWEST_PER_S + load.GRACE_S
    options = [f"--count={count}", f"--path=/{file}", f"--sha256={digest}", "--seconds=3600", "--at-once=64"]
    with Client(side.inside, environment(), "hold", side.address, *options, patience=seconds) as client:
        held = Held(client, count)
        held.ask()
        if held.answered != count:
            text = ", ".join(f"{number} × {what}" for what, number in held.missing.items())
            raise load.LoadError(
                f"{side.name}: {held.answered} of {count} idle connections were answered: {text}"
            )
        after = memory(side)
        held.per_connection = {name: round((after[name] - before[name]) / count, 1) for name in after}
        yield held


def memory(side: Side) -> dict[str, int]:
    """Bytes by component: Pss, which counts what is shared once; "kernel" is the whole machine's."""
    parts = {name: sum(map(cpu.shared_out_bytes, pids)) for name, pids in side.pids().items()}
    return parts | {"total": sum(parts.values()), "kernel": cpu.kernel_bytes()}
