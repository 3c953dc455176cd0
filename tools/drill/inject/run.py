"""One run: a stack under a checked load, faults put into one of its components, and what became of it."""

import contextlib
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neat.tools.bench.servers import Plan as ServerPlan
from neat.tools.bench.sides import NeatWorld, prepare_client
from neat.tools.drill import records
from neat.tools.drill.inject import faults
from neat.tools.drill.inject.process import InjectError
from neat.tools.drill.plan import Plan
from neat.tools.drill.records import Connection
from neat.tools.drill.run import Drill, the_server
from neat.tools.drill.run import Settings as DrillSettings
from neat.tools.driven import Client, ClientError
from neat.tools.stack import Stack, StackError

LOOK_S = 0.05
QUIET_S = 0.3  # before the faults
AFTER_S = 1.0  # after everybody is back: late effects
BACK_S = 15.0  # until everybody is back, at most
PROBES = 24  # new connections; one of three replicas gets none with a probability of 6e-5
PROBE_S = 8.0  # until all of them have had a right answer
AGAIN_S = 20.0  # for a service that is lost to come back by itself
STOP_S = 30.0
HANG_S = 10.0  # without progress a connection is lost

# What became of it, the worst that applies.
IGNORED = "ignored"  # nothing was seen
TRANSPARENT = "transparent"  # a component was replaced, and no client has noticed
LOST = "lost"  # connections, all of them the victim's
OTHERS = "lost others"  # and some of others
GONE = "gone"  # the service: new connections get no right answers, at once or (`came_back` false) at all
WRONG = "corrupt"  # somebody got a wrong byte
OUTCOMES = (TRANSPARENT, LOST, OTHERS, GONE, WRONG)  # of runs that had an effect
FAILED = "failed"  # the run itself
DIED = ("died", "hung", "killed")


@dataclass(frozen=True)
class Settings:
    component: str = "replica"  # or "driver"
    kind: str = "nop"  # of faults.KINDS
    faults: int = 5
    watch_s: float = 4.0  # without an effect, a run is over after that
    replicas: int = 3
    stack: Mapping[str, Any] = field(default_factory=dict)
    load: Plan = field(
        default_factory=lambda: Plan(
            connections=40, rate=400.0, bulk=2, bulk_rate=4e6, churn=40.0, hang_s=HANG_S
        )
    )


@dataclass
class Seen:
    """What was seen of one run."""

    victim: str = ""
    changes: list[dict[str, Any]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)  # of components: "replica0 died: …"
    back: bool = True  # every component runs
    serves: bool = True  # new connections get right answers, at once
    serves_later: bool = True  # or without help after a while
    connections: int = 0  # that there were in all
    ended: list[Connection] = field(default_factory=list)  # those that did not end as they should
    owners: dict[int, str] = field(default_factory=dict)
    error: str = ""  # the run itself failed


def outcome(seen: Seen) -> str:
    """The class of a run: the worst of what was seen."""
    if any(connection.outcome == "wrong" for connection in seen.ended):
        return WRONG
    if not seen.serves or not seen.back:
        return GONE
    if seen.ended:
        return OTHERS if any(not is_victims(seen, connection) for connection in seen.ended) else LOST
    return TRANSPARENT if seen.ends else IGNORED


def is_victims(seen: Seen, connection: Connection) -> bool:
    """Whose it was is not known of one that never was open."""
    return seen.owners.get(connection.number, seen.victim) == seen.victim


def run(settings: Settings, chance: random.Random) -> dict[str, Any]:
    """One row of a campaign's results."""
    began = time.monotonic()
    seen = Seen()
    try:
        _run(settings, chance, seen)
    except (StackError, ClientError, InjectError, OSError, json.JSONDecodeError) as error:
        seen.error = f"{type(error).__name__}: {error}"
    how = Counter(connection.outcome or "hung" for connection in seen.ended)
    return {
        "component": settings.component,
        "kind": settings.kind,
        "victim": seen.victim,
        "class": FAILED if seen.error else outcome(seen),
        "crashed": bool(seen.ends),
        "came_back": seen.serves_later and seen.back,
        "connections": seen.connections,
        **{name: how[name] for name in ("lost", "hung", "refused", "wrong")},
        "why": sorted({f"{c.outcome}: {c.detail}" for c in seen.ended})[:5],
        "ends": seen.ends[:10],
        "changes": seen.changes,
        "error": seen.error,
        "seconds": round(time.monotonic() - began, 1),
    }


def _run(settings: Settings, chance: random.Random, seen: Seen) -> None:
    drill = DrillSettings(kill=("none",), duration=settings.watch_s, load=settings.load, stack=settings.stack)
    with tempfile.TemporaryDirectory(prefix="neat-inject-") as name, contextlib.ExitStack() as ends:
        folder = Path(name)
        stack = ends.enter_context(Stack.up(f"inject-{os.getpid()}", settings.replicas, settings.stack))
        world = NeatWorld(stack)
        prepare_client(world)
        server = the_server(drill, folder / "server.json")
        plan = ServerPlan(folder, "", connections=settings.load.connections + settings.load.bulk + PROBES)
        with world.serve(server, plan) as side, load(stack, server.port, settings.load, folder) as client:
            watch = Drill(drill, stack, side, server.port, client, lambda text: None)
            time.sleep(QUIET_S)
            watch._learn_owners()
            seen.owners = watch.owners
            pids = stack.pids()
            seen.victim = chance.choice([name for name in pids if name.startswith(settings.component)])
            pid = pids[seen.victim]
            made = faults.inject(pid, settings.component, settings.kind, settings.faults, chance)
            seen.changes = [change.row() for change in made]
            follow(stack, settings.watch_s, seen)
            seen.serves = serves(stack, server.port, folder / "probe", PROBE_S)
            if not seen.serves:
                seen.serves_later = serves(stack, server.port, folder / "probe", AGAIN_S)
            look(stack, seen)
            watch._learn_owners()
            client.patience = STOP_S
            with contextlib.suppress(ClientError):  # who is served too slowly for that is told to end, then
                client.ask("stop")
        connections = records.read(folder / "records").connections
        seen.connections = len(connections)
        seen.ended = [connection for connection in connections if is_bad(connection)]


def is_bad(connection: Connection) -> bool:
    return connection.outcome not in ("", "closed") or (connection.outcome == "" and connection.owed > 0)


@contextlib.contextmanager
def load(stack: Stack, port: int, plan: Plan, folder: Path) -> Iterator[Client]:
    client = client_of(stack, port, plan, folder / "records", 60.0)
    try:
        yield client
    finally:
        client.close()


def client_of(stack: Stack, port: int, plan: Plan, path: Path, patience: float) -> Client:
    """Ready when each of its connections has had a right answer; ClientError when that takes too long."""
    text = json.dumps(asdict(plan) | {"records": str(path), "most_s": 120.0})
    return Client(
        stack.inside, stack.environment(), stack.address, str(port), text,
        patience=patience, module="neat.tools.drill.load",
    )  # fmt: skip


def follow(stack: Stack, watch_s: float, seen: Seen) -> None:
    """Until the time is over, or a component has died and everybody is back, and a while more."""
    end = time.monotonic() + watch_s
    while time.monotonic() < end and not seen.ends:
        look(stack, seen)
        time.sleep(LOOK_S)
    if not seen.ends:
        return
    end = time.monotonic() + BACK_S
    while not look(stack, seen) and time.monotonic() < end:
        time.sleep(LOOK_S)
    time.sleep(AFTER_S)


def look(stack: Stack, seen: Seen) -> bool:
    """Note who has died; whether everybody runs."""
    try:
        status = stack.status()
    except StackError:
        seen.back = False
        return False
    seen.ends = ends_in(status["events"])
    seen.back = bool(status["ready"])
    return seen.back


def ends_in(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{event['component']} {event['what']}: {event['detail']}"
        for event in events
        if event["what"].startswith(DIED)
    ]


def serves(stack: Stack, port: int, path: Path, patience: float) -> bool:
    """Whether new connections, of every replica, get right answers within so many seconds, each at once."""
    plan = Plan(connections=PROBES, rate=0.0, bulk=0, hang_s=patience)
    try:
        with client_of(stack, port, plan, path, patience) as probe:
            probe.ask("stop")
    except ClientError:
        return False
    return not any(map(is_bad, records.read(path).connections))
