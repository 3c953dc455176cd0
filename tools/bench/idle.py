"""`neat bench idle`: what a kept connection costs that nobody uses, in memory and in the others' speed.

Each connection has asked once before it is left alone, and asks once more at the end: none may be lost. They
come and leave between the rounds, so that the speed alone and the speed among them are measured in turns.
"""

import contextlib
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import cpu, load
from neat.tools.bench.compare import Round, interleaved, medians, ratio
from neat.tools.bench.http import HttpSettings, Load, Point, measure_once, write_random
from neat.tools.bench.servers import SERVERS, SPARE, Plan, Server
from neat.tools.bench.sides import Side, World, linux_world, neat_world
from neat.tools.driven import Client
from neat.tools.stack import environment

# Connections that the holding client is expected to open, or to ask, in a second at least.
SLOWEST_PER_S = 100
SIZE = 20
WHEN = ("alone", "among")
# Seconds that a server is given to close its ends of what was held.
SETTLE_S = 0.5
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
        point = Point(settings.replicas, 0, SIZE, connections=1)
        digest = write_random(site / point.file, SIZE)
        worlds: list[World] = [
            stack.enter_context(neat_world(settings.replicas, **capacity(settings.connections))),
            stack.enter_context(linux_world()),
        ]
        plan = Plan(site, "", connections=settings.connections)
        sides: list[Side] = [stack.enter_context(world.serve(server, plan)) for world in worlds]
        work = Load(HttpSettings(duration=settings.duration), point)
        for side in sides:
            load.verify(side.inside, f"http://{side.address}/{point.file}", digest)
        crowd = Crowd(sides, settings.connections, point.file, digest)
        stack.callback(crowd.close)
        runs: dict[str, dict[str, list[Round]]] = {when: {side.name: [] for side in sides} for when in WHEN}
        for number, when in interleaved(WHEN, settings.rounds):
            if when == "among" and not crowd.there:
                progress(f"round {number + 1} of {settings.rounds}: {settings.connections} connections")
                crowd.come()
            elif when == "alone" and crowd.there:
                crowd.leave()
            for side in sides if number % 2 == 0 else reversed(sides):
                progress(f"round {number + 1} of {settings.rounds}: {when}, {side.name}")
                runs[when][side.name].append(measure_once(side, work))
        crowd.leave()
    result: dict[str, Any] = {"bench": "idle", "settings": settings._asdict(), "rounds": runs}
    for side in sides:
        by_time = {when: medians(runs[when][side.name]) for when in WHEN}
        faster = [by_time[when]["requests_per_s"] for when in ("among", "alone")]
        result[side.name] = by_time | {
            "lost": crowd.lost[side.name].total(),
            "lost_by_reason": dict(crowd.lost[side.name]),
            "bytes_per_connection": crowd.per_connection[side.name],
            "among_to_alone": ratio(*faster),
        }
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


class Crowd:
    """The idle connections of all sides, which come and leave together. By side: `lost` counts why they were
    not answered at the end, `per_connection` is how much more memory each component has, in bytes."""

    def __init__(self, sides: Sequence[Side], count: int, file: str, digest: str) -> None:
        self.sides = sides
        self.count = count
        self.options = [f"--count={count}", f"--path=/{file}", f"--sha256={digest}", "--seconds=3600"]
        self.there: dict[str, Client] = {}
        self.lost: dict[str, Counter[str]] = {side.name: Counter() for side in sides}
        self.per_connection: dict[str, dict[str, float]] = {}

    def come(self) -> None:
        """Opens the connections, and asks once on each. LoadError when one fails."""
        for side in self.sides:
            before = memory(side)
            self.there[side.name] = self.client(side)
            report = self.there[side.name].ask("round")
            if report["ok"] != self.count:
                text = ", ".join(f"{number} × {what}" for what, number in missing(report).items())
                raise load.LoadError(
                    f"{side.name}: {report['ok']} of {self.count} idle connections were answered: {text}"
                )
            after = memory(side)
            if side.name not in self.per_connection:  # what was used once is not given back
                costs = {name: round((after[name] - before[name]) / self.count, 1) for name in after}
                self.per_connection[side.name] = costs

    def client(self, side: Side) -> Client:
        seconds = self.count / SLOWEST_PER_S + load.GRACE_S
        options = ["hold", side.address, *self.options, "--at-once=64"]
        return Client(side.inside, environment(), *options, patience=seconds)

    def leave(self) -> None:
        """Asks once more on each of them, and closes them."""
        for name, client in self.there.items():
            self.lost[name] += missing(client.ask("round"))
        self.close()
        time.sleep(SETTLE_S)

    def close(self) -> None:
        while self.there:
            self.there.popitem()[1].close()


def missing(report: Mapping[str, Any]) -> Counter[str]:
    """How many connections of a round were not answered, by the reason."""
    return Counter([*report["lost"].values(), *report["failed"].values()])


def memory(side: Side) -> dict[str, int]:
    """Bytes by component: Pss, which counts what is shared once; "kernel" is the whole machine's."""
    parts = {name: sum(map(cpu.shared_out_bytes, pids)) for name, pids in side.pids().items()}
    return parts | {"total": sum(parts.values()), "kernel": cpu.kernel_bytes()}
