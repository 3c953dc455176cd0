"""One drill: a stack, the checking server on it, the load at the other end of the wire, and the faults."""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neat.tools.bench import load as programs
from neat.tools.bench.cpu import stolen_s
from neat.tools.bench.servers import SERVERS, Server
from neat.tools.bench.servers import Plan as ServerPlan
from neat.tools.bench.sides import NeatSide, NeatWorld, prepare_client
from neat.tools.drill import records, report, ssh
from neat.tools.drill.faults import Schedule, Striker
from neat.tools.drill.plan import Plan
from neat.tools.drill.programs import make_site
from neat.tools.drill.steps import Steps, by_load
from neat.tools.driven import Client, ClientError
from neat.tools.stack import Stack, StackError

PORT = 7
START_S = 120.0  # for the load to open all its connections
SPARE_S = 60.0
PREPARE_S = 0.1  # before a fault: whom it will hit is asked so early that the answers are no part of it


@dataclass
class Settings:
    kill: Sequence[str] = ("replica",)
    hang: bool = False
    every: float = 1.0  # seconds between two faults
    duration: float = 60.0  # seconds from the first fault
    count: int | None = None  # faults
    quiet: float = 2.0  # seconds before the first fault and after the last interval
    bucket: float = report.BUCKET_S  # seconds of a point of the throughput over time
    seed: int | None = None
    overlap: bool = False  # strike although somebody is still missing
    replicas: int = 3
    scale: Sequence[int] = ()  # how many replicas there are to be, one number after another
    scale_every: float = 3.0  # seconds from one to the next
    stack: Mapping[str, Any] = field(default_factory=dict)  # its settings
    name: str | None = None  # of a stack that runs
    load: Plan = field(default_factory=Plan)


def drill(settings: Settings, progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """The whole of it, as the JSON that `-j` prints. StackError, SideError, ClientError."""
    with tempfile.TemporaryDirectory(prefix="neat-drill-") as name, contextlib.ExitStack() as ends:
        folder = Path(name)
        progress("starting the stack")
        stack = ends.enter_context(the_stack(settings))
        world = NeatWorld(stack)
        prepare_client(world)
        seen = folder / "server.json"
        server = the_server(settings, seen)
        programs.need(server.program, "nsenter")
        site = folder / "site"
        if server.http:
            make_site(site)
        elif server is ssh.SERVER:
            programs.need("ssh", "ssh-keygen")
            ssh.make_keys(site)
            ends.enter_context(ssh.run_directory())
        began, stolen = time.monotonic(), stolen_s()
        plan = ServerPlan(site, "", connections=settings.load.connections + settings.load.bulk)
        with world.serve(server, plan) as side:
            progress("opening the connections")
            with starting_load(stack, settings, server.port, folder / "records") as load:
                watch = Drill(settings, stack, side, server.port, load, progress)
                watch.run()
            watch.steps.finish()
            watch.striker.look()
        share = (stolen_s() - stolen) / (time.monotonic() - began) / (os.cpu_count() or 1)
        seen_by_load = records.read(folder / "records")
        return report.make(
            settings=described(settings),
            records=seen_by_load,
            faults=watch.striker.faults,
            owners=watch.owners,
            stopped=watch.stopped,
            server=json.loads(seen.read_text()) if seen.exists() else None,
            replicas=stack.config.replicas,
            steal=share,
            steps=watch.steps.rows(seen_by_load.began),
            by_load=by_load(watch.striker.events.values()),
        )


def described(settings: Settings) -> dict[str, Any]:
    shown = asdict(settings)
    shown["load"].pop("records")
    return shown


@contextlib.contextmanager
def the_stack(settings: Settings) -> Iterator[Stack]:
    """One of its own, or the one that runs under that name."""
    if settings.name is not None:
        yield Stack.that_runs(settings.name)
        return
    with Stack.up(f"drill-{os.getpid()}", settings.replicas, settings.stack) as stack:
        yield stack


def the_server(settings: Settings, seen: Path) -> Server:
    """The checking server, which writes what it has seen there; or a program."""
    if settings.load.program == "ssh":
        return ssh.SERVER
    if settings.load.program:
        return SERVERS[settings.load.program]

    def command(plan: ServerPlan, _: Path) -> list[str]:
        return [sys.executable, "-m", "neat.tools.drill.server", plan.address, str(PORT), str(seen)]

    return Server("drill", sys.executable, "python3", PORT, command, http=False)


def starting_load(stack: Stack, settings: Settings, port: int, path: Path) -> Client:
    """Its process, from when every connection has had an answer."""
    plan = asdict(settings.load)
    if settings.load.program == "ssh":
        plan["command"] = ssh.client(stack.address, path.parent / "site")
    plan["records"] = str(path)
    plan["most_s"] = settings.duration * 2 + 2 * settings.quiet + START_S + SPARE_S
    return Client(
        stack.inside,
        stack.environment(),
        stack.address,
        str(port),
        json.dumps(plan),
        patience=START_S,
        module="neat.tools.drill.load",
    )


class Drill:
    """The faults, and whose connections they hit."""

    def __init__(
        self,
        settings: Settings,
        stack: Stack,
        side: NeatSide,
        port: int,
        load: Client,
        progress: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.stack = stack
        self.side = side
        self.port = port
        self.load = load
        self.progress = progress
        self.striker = Striker(stack, "SIGSTOP" if settings.hang else "SIGKILL")
        self.steps = Steps(stack, settings.scale, settings.scale_every, StackError)
        self.owners: dict[int, str] = {}  # connection's number → replica
        self.open: list[int] = []  # numbers of those that are open
        self.changes = -1
        self.stopped = 0.0

    def run(self) -> None:
        settings = self.settings
        schedule = Schedule(settings.kill, settings.every, settings.seed)
        self._learn_owners()
        due = time.monotonic() + settings.quiet
        end = due + settings.duration
        self.striker.watch(due - PREPARE_S, self._alive)
        self.steps.start()
        while not self._enough() and due < end:
            self.striker.watch(due - PREPARE_S, self._alive)
            if settings.kill != ("none",):
                due = self._strike(schedule, due)
            due += schedule.interval()
        self.striker.watch(min(due, end), self._alive)
        self.striker.wait_all()
        self.striker.watch(time.monotonic() + settings.quiet, self._alive)
        self.striker.look()
        self.progress("closing the connections")
        self.stopped = time.monotonic()
        self.load.ask("stop")

    def _enough(self) -> bool:
        return self.settings.count is not None and len(self.striker.faults) >= self.settings.count

    def _alive(self) -> None:
        if (status := self.load.process.poll()) is not None:
            raise ClientError(f"the load ended by itself, with status {status}")
        if (status := self.side.server.poll()) is not None:
            raise StackError(f"the server ended by itself, with status {status}")

    def _strike(self, schedule: Schedule, due: float) -> float:
        """One fault; when it came: later than planned when somebody was still missing."""
        striker = self.striker
        if not self.settings.overlap and not striker.wait_all():
            raise StackError("a component did not come back; see neat status")
        self._learn_owners()
        status = striker.look()
        if status is None:
            return due
        pids = {part["name"]: part["pid"] for part in status["components"] if part["pid"]}
        names = [name for name in schedule.victims(sorted(pids)) if name in pids]
        if not names:
            return due
        time.sleep(max(due - time.monotonic(), 0.0))
        try:
            fault = striker.strike(names, pids)
        except StackError:
            if not self.settings.scale:
                raise
            return due  # it has left just now
        fault.waited_s = max(0.0, round(fault.at - due, 3))
        fault.held = len(self.open)
        fault.hit = [n for n in self.open if fault.concerns(self.owners.get(n))]
        self.progress(f"fault {len(striker.faults)}: {', '.join(names)}")
        return max(due, fault.at)

    def _learn_owners(self) -> None:
        """Which replica has which connection, if connections came or went. As far as the replicas answer."""
        reply = self.load.ask(f"ports {self.changes}")
        if reply["changes"] == self.changes:
            return
        ports = {port: int(number) for number, port in reply["ports"].items()}
        self.open = list(ports.values())
        try:
            rows = self.stack.ask("ss")["rows"]
        except StackError:
            return
        self.changes = reply["changes"]
        for row in rows:
            port = row["remote"].rpartition(":")[2]
            number = ports.get(int(port)) if port.isdecimal() else None
            if number is not None and row["protocol"] == "tcp" and row["local"].endswith(f":{self.port}"):
                self.owners[number] = f"replica{row['replica']}"
