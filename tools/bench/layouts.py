"""`neat bench layouts`: in how many different address-space layouts the connections of one client are handled
(NEaT §3.8), beside a server whose workers were forked.

What an attack learns of one process is worth nothing for another whose layout is different. A connection is
handled by one replica, each replica is exec'd by itself, and a rolling restart execs each of them anew,
with its connections. A process that forks hands its layout on, and one kernel has one.

`python -m neat.tools.bench.layouts serve ADDRESS PORT WORKERS` is the forking server,
`ask ADDRESS PORT COUNT` its client.
"""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from neat.tools import site as sample
from neat.tools.bench.processes import running
from neat.tools.bench.servers import SERVERS, Plan
from neat.tools.bench.sides import LinuxWorld, NeatWorld, in_namespace, linux_world, neat_world
from neat.tools.driven import Client, ClientError
from neat.tools.stack import Stack, StackError, environment

ASLR = Path("/proc/sys/kernel/randomize_va_space")
WORKERS = 8  # of the server that forks
PORT = 80
PATIENCE_S = 60.0
REGIONS = ("program", "heap", "libraries", "engine", "stack", "vdso")


class LayoutSettings(NamedTuple):
    replicas: tuple[int, ...] = (1, 2, 4, 8)
    connections: int = 200


Layout = tuple[int, ...]  # where each of REGIONS begins; 0: there is none


def layouts(settings: LayoutSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The JSON that `-j` prints. StackError, SideError, ClientError."""
    points, seen = [], set()
    with tempfile.TemporaryDirectory(prefix="neat-layouts-") as name:
        site = Path(name) / "site"
        sample.make(site, 1)
        for replicas in settings.replicas:
            progress(f"{replicas} replicas")
            with neat_world(replicas) as world:
                point, found = of_stack(world, Plan(site, ""), replicas, settings.connections)
            points.append(point)
            seen |= found
    progress("a server that forks")
    with linux_world() as linux:
        forked = of_forked(linux, settings.connections)
    return {
        "bench": "layouts",
        "settings": settings._asdict(),
        "aslr": int(ASLR.read_text()),
        "points": points,
        "forked": forked,
        "regions": {region: spread(layout[i] for layout in seen) for i, region in enumerate(REGIONS)},
    }


def of_stack(world: NeatWorld, plan: Plan, replicas: int, count: int) -> tuple[dict[str, Any], set[Layout]]:
    """Of `count` connections that one client opens one after another and keeps; then, after each replica was
    restarted, of the same ones. And all layouts that there were."""
    stack = world.stack
    with world.serve(SERVERS["demo"], plan) as side:
        options = ("hold", side.address, f"--count={count}", "--path=/hello.txt", "--seconds=3600")
        with Client(side.inside, environment(), *options) as client:
            answered(client, count)
            before = layouts_of(stack)
            course = [before[owner] for owner in owners(stack, client.first["ports"])]
            for replica in sorted(before):
                stack.ask("restart", component=replica)
            lost = count - client.ask("round")["ok"]
            after = layouts_of(stack)
            later = [after[owner] for owner in owners(stack, client.first["ports"])]
    point = {
        "replicas": replicas,
        **described(course),
        "restarted": {
            "lost": lost,
            "moved": sum(old != new for old, new in zip(course, later, strict=True)),
            "seen_before": len(set(before.values()) & set(after.values())),
        },
    }
    return point, {*before.values(), *after.values()}


def of_forked(world: LinuxWorld, count: int) -> dict[str, Any]:
    """Of `count` connections, one after another, to workers that a server has forked."""
    with tempfile.TemporaryDirectory(prefix="neat-server-") as name:
        address = (world.address, str(PORT))
        command = in_namespace(world.server_pid, [*module("serve"), *address, str(WORKERS)])
        target = (world.address, PORT)
        with running(command, environment(), Path(name) / "log", world.client_pid, target):
            done = subprocess.run(
                world.inside([*module("ask"), *address, str(count)]),
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
            )
            if done.returncode:
                raise ClientError(f"the client of the forked server: {done.stderr.strip()}")
            pids = json.loads(done.stdout)
            of_pid = {pid: layout_of(pid) for pid in set(pids)}
    return {"workers": WORKERS, "processes": len(of_pid), **described([of_pid[pid] for pid in pids])}


def described(course: Sequence[Layout]) -> dict[str, Any]:
    """A client's connections, in their order: how many layouts handle them, for how many one is another than
    for the one before, and how many in a row have the same at most."""
    pairs = list(itertools.pairwise(course))
    return {
        "connections": len(course),
        "layouts": len(set(course)),
        "changes": round(sum(a != b for a, b in pairs) / len(pairs), 3) if pairs else 0.0,
        "longest_run": max((len(list(run)) for _, run in itertools.groupby(course)), default=0),
    }


def spread(bases: Any) -> dict[str, int]:
    """How often a region began elsewhere, of how many layouts; and in how many bits any two differ."""
    places = list(bases)
    differ = 0
    for place in places:
        differ |= place ^ places[0]
    return {"places": len(set(places)), "of": len(places), "bits": differ.bit_count()}


# Which process has what, and where


def answered(client: Client, count: int) -> None:
    if (report := client.ask("round"))["ok"] != count:
        raise ClientError(f"{report['ok']} of {count} connections were answered")


def layouts_of(stack: Stack) -> dict[str, Layout]:
    return {name: layout_of(pid) for name, pid in stack.pids().items() if name.startswith("replica")}


def owners(stack: Stack, ports: Sequence[int]) -> list[str]:
    """The replica of each connection, by the client's port."""
    found: dict[int, str] = {}

    def all_there(stack: Stack) -> bool:
        for row in stack.sockets():
            if row["state"] == "ESTAB":
                found[int(row["remote"].rpartition(":")[2])] = f"replica{row['replica']}"
        return all(port in found for port in ports)

    stack.wait(all_there, PATIENCE_S, f"{len(ports)} established connections")
    return [found[port] for port in ports]


def layout_of(pid: int) -> Layout:
    """StackError when there is no such process."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError as error:
        raise StackError(f"process {pid}: {error.strerror}") from None
    return bases(maps, program)


def bases(maps: str, program: str) -> Layout:
    """Of /proc/PID/maps (proc(5)): the lowest address of each region."""
    found: dict[str, int] = {}
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        path = fields[5] if len(fields) == 6 else ""
        region = region_of(path, program)
        start = int(fields[0].partition("-")[0], 16)
        if region:
            found[region] = min(start, found.get(region, start))
    return tuple(found.get(region, 0) for region in REGIONS)


def region_of(path: str, program: str) -> str:
    special: Mapping[str, str] = {"[heap]": "heap", "[stack]": "stack", "[vdso]": "vdso", program: "program"}
    if re.search(r"/neat/stack/tcp/input[^/]*\.so$", path):
        return "engine"
    return special.get(path, "libraries" if re.search(r"/libc[.-][^/]*$", path) else "")


# The server that forks, and its client


def module(what: str) -> list[str]:
    return [sys.executable, "-m", "neat.tools.bench.layouts", what]


def serve(address: str, port: int, workers: int) -> None:
    """Each worker tells who connects its pid."""
    listener = socket.create_server((address, port), backlog=128)
    children = []
    for _ in range(workers):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            while True:
                with listener.accept()[0] as sock:
                    sock.sendall(b"%d" % os.getpid())
        children.append(pid)
    signal.sigwait({signal.SIGTERM})
    for pid in children:
        os.kill(pid, signal.SIGTERM)


def ask(address: str, port: int, count: int) -> list[int]:
    found = []
    for _ in range(count):
        with socket.create_connection((address, port), timeout=10) as sock:
            found.append(int(sock.recv(20)))
    return found


def main() -> None:
    what, address, port, count = sys.argv[1:]
    if what == "serve":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        serve(address, int(port), int(count))
    else:
        print(json.dumps(ask(address, int(port), int(count))))


# For people


def show(console: Console, result: dict[str, Any]) -> None:
    table = Table(box=None, header_style="bold")
    for at, name in enumerate(("", "layouts", "changes", "longest run", "after a restart", "lost")):
        table.add_column(name, justify="right" if at else "left")
    for point in result["points"]:
        restarted = point["restarted"]
        table.add_row(
            f"NEaT, {point['replicas']} replica{'' if point['replicas'] == 1 else 's'}",
            str(point["layouts"]),
            f"{point['changes']:.0%}",
            str(point["longest_run"]),
            f"{restarted['moved']} in another",
            str(restarted["lost"]),
        )
    forked = result["forked"]
    row = (f"{forked['processes']} forked workers", str(forked["layouts"]), f"{forked['changes']:.0%}")
    table.add_row(*row, str(forked["longest_run"]), "–", "–")
    console.print(f"{result['settings']['connections']} connections of one client, one after another")
    console.print(table)
    for region, found in result["regions"].items():
        console.print(f"{region}: {found['places']} places in {found['of']}, {found['bits']} bits differ")
    if result["aslr"] != 2:
        console.print(f"{ASLR} is {result['aslr']}, not 2: this machine does not place all at random")
    console.print("Linux's own stack has one layout, the kernel's, from boot to boot")


if __name__ == "__main__":
    main()
