"""`scripts/demo --check`: the tour without a person. Each promise is checked; what happened is a table."""

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from neat import rundir
from neat.config import Config
from neat.tools import site as sample
from neat.tools.bench.processes import SideError, end, running, start_server
from neat.tools.bench.servers import httpd
from neat.tools.drill.plan import Plan
from neat.tools.drill.run import Settings, drill
from neat.tools.driven import Client, ClientError, Download
from neat.tools.stack import Stack, StackError

REPLICAS = 3
CONNECTIONS = 300
BIG_MEGABYTES = 96
DOWNLOAD_MIB_S = 32
PORT = 8000  # of the program that knows nothing of NEaT
PROBES_PER_S = 100
DRILL_CONNECTIONS = 60
DRILL_REQUESTS_S = 500
DRILL_BYTES_S = 4e6  # of each transfer
END_S = 20.0  # after which a connection of the drill hangs
LOG_WIDTH = 150  # of the table, when nobody's terminal says how wide it is

# What must hold, in milliseconds.
FOUND_MS = 500.0  # a replica that hangs
REPLACED_MS = 1000.0  # from the signal to a successor that runs
GAP_MS = 1000.0  # between two answers to new connections, at a constant rate


class Row(NamedTuple):
    at: float  # seconds since the beginning
    what: str
    outcome: str
    ok: bool


class Tour:
    """One walk. Every claim goes through `note`; `failed` says whether one of them was wrong. `recovery`: the
    stack's setting, which decides what must come through a crash."""

    def __init__(self, console: Console, recovery: str = Config().recovery) -> None:
        self.console = console
        self.recovery = recovery
        self.rows: list[Row] = []
        self.began = time.monotonic()

    @property
    def failed(self) -> bool:
        return not self.rows or not all(row.ok for row in self.rows)

    def note(self, what: str, outcome: str, ok: bool = True) -> None:
        row = Row(time.monotonic() - self.began, what, outcome, ok)
        self.rows.append(row)
        mark = "[green]ok[/green]" if ok else "[red]NOT OK[/red]"
        self.console.print(f"{row.at:6.2f} s  {what}: {outcome}  {mark}", soft_wrap=True)

    def walk(self) -> None:
        """All of it. What cannot go on is noted, and ends the walk."""
        with tempfile.TemporaryDirectory(prefix="neat-demo-") as name:
            scratch = Path(name)
            hashes = sample.make(scratch / "site", BIG_MEGABYTES)
            pids: dict[str, int] = {}
            run_dir: Path | None = None
            try:
                with Stack.up(f"tour-{os.getpid()}", REPLICAS, {"recovery": self.recovery}) as stack:
                    pids, run_dir = stack.pids() | {"guardian": stack.guardian}, stack.run_dir
                    self.note("neat up", f"{REPLICAS} replicas at {stack.address}")
                    with server(stack, scratch / "site") as process:
                        pids["server"] = process.pid
                        Visit(self, stack, scratch, hashes).everything()
                        pids |= stack.pids()
            except (StackError, SideError, ClientError, OSError, subprocess.SubprocessError) as error:
                self.note("the tour ended early", str(error), ok=False)
            left = [what for what, pid in pids.items() if rundir.start_ticks(pid)]
            if run_dir is not None and run_dir.exists():
                left.append(str(run_dir))
        self.note("neat down", f"left behind: {', '.join(left) or 'nothing'}", ok=not left)

    def table(self) -> Table:
        table = Table(title="What happened", title_justify="left", header_style="bold")
        table.add_column("time", justify="right")
        table.add_column("what")
        table.add_column("outcome", overflow="fold")
        table.add_column("")
        for row in self.rows:
            mark = "[green]ok[/green]" if row.ok else "[red]NOT OK[/red]"
            table.add_row(f"{row.at:.2f} s", row.what, row.outcome, mark)
        return table


@contextlib.contextmanager
def server(stack: Stack, site: Path) -> Iterator[subprocess.Popen[str]]:
    process = start_server(httpd(site, "--name", stack.name), stack.environment())
    try:
        yield process
    finally:
        end(process)


class Visit:
    """The steps, on a stack that runs with its server."""

    def __init__(self, tour: Tour, stack: Stack, scratch: Path, hashes: dict[str, str]) -> None:
        self.note = tour.note
        self.survives = tour.recovery == "stateful"
        self.stack = stack
        self.scratch = scratch
        self.site = scratch / "site"
        self.hashes = hashes
        self.env = stack.environment()
        self.url = f"http://{stack.address}"

    def everything(self) -> None:
        self.fetch("download", f"{self.url}/big.bin")
        self.run_unmodified()
        with self.client("probe", f"--rate={PROBES_PER_S}") as probe:
            self.lose_replica(probe, "SIGKILL", victim=1)
            self.lose_replica(probe, "SIGSTOP", victim=2)
            for component in ("driver", "syscall", "supervisor"):
                self.lose_other(probe, component)
        if self.survives:
            self.drill()

    def client(self, what: str, *arguments: str, path: str = "/hello.txt") -> Client:
        options = [what, self.stack.address, "--path", path, "--sha256", self.hashes[path], *arguments]
        return Client(self.stack.peer, self.env, *options)

    def run_unmodified(self) -> None:
        """`neat run`: a program that knows nothing of NEaT serves through it, too."""
        server = ["-m", "http.server", "--bind", self.stack.address, "--directory", str(self.site), str(PORT)]
        target = (self.stack.address, PORT)
        command = self.stack.run([sys.executable, *server])
        with running(command, self.env, self.scratch / "log", self.stack.guardian, target):
            self.fetch("neat run -- python3 -m http.server", f"{self.url}:{PORT}/big.bin")

    def fetch(self, what: str, url: str) -> None:
        """A file comes through as it is."""
        download = Download(self.stack.peer, self.env, url, self.scratch / "download")
        try:
            found, seconds = download.finish()
        finally:
            download.close()
        same = found == self.hashes["/big.bin"]
        gbit = BIG_MEGABYTES * (1 << 20) * 8 / seconds / 1e9
        self.note(
            what,
            f"{BIG_MEGABYTES} MiB in {seconds:.2f} s ({gbit:.1f} Gbit/s), SHA-256 {found[:12]}…",
            same,
        )

    def by_replica(self) -> dict[int, set[int]]:
        """The client ports of established connections to the server, by the replica that has them."""
        owners: dict[int, set[int]] = {slot: set() for slot in range(REPLICAS)}
        for row in self.stack.sockets():
            if row["protocol"] == "tcp" and row["state"] == "ESTAB" and row["local"].endswith(":80"):
                owners[row["replica"]].add(int(row["remote"].rpartition(":")[2]))
        return owners

    def lose_replica(self, probe: Client, signal: str, victim: int) -> None:
        """Only the victim's connections are lost, and none if its state survives; new ones work."""
        name = f"replica{victim}"
        with self.client("hold", f"--count={CONNECTIONS}") as held:
            ports = set(held.first["ports"])
            first = held.ask("round")
            owners = {slot: found & ports for slot, found in self.by_replica().items()}
            spread = ", ".join(f"replica{slot} {len(found)}" for slot, found in owners.items())
            complete = first["ok"] == CONNECTIONS == sum(map(len, owners.values())) and all(owners.values())
            self.note(
                f"{CONNECTIONS} connections", f"{spread}; {first['ok']} answers as they should be", complete
            )
            probe.ask("report")
            found_ms, replaced_ms = self.strike(name, signal)
            in_time = found_ms <= FOUND_MS and replaced_ms <= REPLACED_MS
            self.note(
                f"{signal} to {name}",
                f"found after {found_ms:.0f} ms, replaced after {replaced_ms:.0f} ms",
                in_time,
            )
            after = held.ask("round")
        lost = {int(port) for port in after["lost"]}
        owned = owners[victim]
        expected = set() if self.survives else owned
        self.note(
            "connections lost",
            f"{len(lost & owned)} of {name}'s {len(owned)}, {len(lost - owned)} of the others'; "
            f"{after['ok']} answer{how(after['failed'])}",
            lost == expected and not after["failed"] and after["ok"] == CONNECTIONS - len(expected),
        )
        self.new_connections(probe)

    def drill(self) -> None:
        """Each component twice under a load of which every byte is checked: no client loses anything."""
        kinds = ("replica", "driver", "syscall", "supervisor")
        load = Plan(DRILL_CONNECTIONS, rate=DRILL_REQUESTS_S, bulk_rate=DRILL_BYTES_S, hang_s=END_S)
        result = drill(Settings(kill=kinds, count=2 * len(kinds), name=self.stack.name, load=load))
        gap, checked = result["gap_ms"]["faults"], result["connections"]["opened"]
        self.note(
            f"neat drill: {len(result['faults'])} kills",
            f"{'; '.join(result['failures']) or f'{checked} checked connections, none lost, no byte wrong'}; "
            f"longest gap {gap['max']:.0f} ms, half of them at most {gap['p50']:.0f} ms",
            not result["failures"],
        )

    def strike(self, name: str, signal: str) -> tuple[float, float]:
        """Send the signal: milliseconds until the old process was gone, and until a new one ran."""
        old = self.stack.component(name)["pid"]
        pidfd = os.pidfd_open(old)
        try:
            struck = time.monotonic()
            self.stack.kill(name, signal)
            if not select.select([pidfd], [], [], 5.0)[0]:
                raise StackError(f"{name} (pid {old}) is still there 5 s after {signal}")
            found = time.monotonic()
        finally:
            os.close(pidfd)
        self.stack.wait_replaced(name, old)
        return (found - struck) * 1e3, (time.monotonic() - struck) * 1e3

    def new_connections(self, probe: Client) -> None:
        """What the constant rate saw since the last report, and that now all is well."""
        seen = probe.ask("report")
        count = 30
        with self.client("churn", f"--count={count}", "--parallel=3") as fresh:
            well = fresh.first["ok"] == count
        self.note(
            "new connections",
            f"{seen['ok']} of {seen['probes']} meanwhile at {PROBES_PER_S}/s{how(seen['failed'])}, "
            f"longest gap {seen['longest_gap_ms']:.0f} ms, slowest {seen['slowest_ms']:.0f} ms; "
            f"then {fresh.first['ok']} of {count}",
            well and seen["longest_gap_ms"] <= GAP_MS,
        )

    def lose_other(self, probe: Client, component: str) -> None:
        """A download goes on while this component is replaced, and no connection is lost."""
        with self.client("hold", f"--count={CONNECTIONS}") as held:
            held.ask("round")
            probe.ask("report")
            download = Download(
                self.stack.peer, self.env, f"{self.url}/big.bin", self.scratch / "download", DOWNLOAD_MIB_S
            )
            try:
                download.wait_until(BIG_MEGABYTES * (1 << 20) // 4)
                _, replaced_ms = self.strike(component, "SIGKILL")
                in_the_middle = download.running
                found, seconds = download.finish()
            finally:
                download.close()
            after = held.ask("round")
        self.note(
            f"SIGKILL to {component}", f"replaced after {replaced_ms:.0f} ms", replaced_ms <= REPLACED_MS
        )
        self.note(
            "the download meanwhile",
            f"complete after {seconds:.2f} s, SHA-256 {found[:12]}…; "
            f"{after['ok']} of {CONNECTIONS} connections answer{how(after['lost'] | after['failed'])}",
            in_the_middle and found == self.hashes["/big.bin"] and after["ok"] == CONNECTIONS,
        )
        self.new_connections(probe)


def how(outcomes: dict[str, Any]) -> str:
    """What went wrong how often, in brackets; empty when nothing did. By port, or already counted."""
    counted = all(isinstance(value, int) for value in outcomes.values())
    counts = Counter(outcomes) if counted else Counter(str(value) for value in outcomes.values())
    return f" ({', '.join(f'{count} × {what}' for what, count in counts.items())})" if counts else ""


def main(recovery: str = Config().recovery) -> int:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    tour = Tour(console, recovery)
    tour.walk()
    console.print()
    console.print(tour.table())
    if tour.failed:
        console.print("[red]Not everything was as it should be.[/red]")
        return 1
    console.print("[green]Everything was as it should be.[/green]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
