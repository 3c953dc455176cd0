"""`scripts/demo`: three replicas, a web server on them, a live view until Ctrl-C. `--check`: the tour."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from neat.cli.status import components_table, replicas_table
from neat.config import Config
from neat.supervisor.events import describe
from neat.tools import site as sample
from neat.tools import tour
from neat.tools.bench.processes import SideError
from neat.tools.stack import Stack, StackError, end_tidily

BIG_MEGABYTES = 100
REFRESH_S = 0.5
EVENTS_SHOWN = 8
ENDS = {"stateful": "its connections go on", "stateless": "its connections end; all others go on"}
RATES = {"packets_in": "packets in", "packets_out": "packets out"}


def main() -> int:
    parser = argparse.ArgumentParser("scripts/demo", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="take the tour by itself, and fail if anything is wrong"
    )
    parser.add_argument("--recovery", choices=("stateful", "stateless"), default=Config().recovery)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--name", default="default", help="of the stack")
    args = parser.parse_args()
    end_tidily()
    if args.check:
        return tour.main(args.recovery)
    console = Console(highlight=False)
    try:
        return show(console, args.name, args.replicas, args.recovery)
    except (StackError, SideError, OSError) as error:
        console.print(f"[red]{error}[/red]", markup=True)
        return 1


def show(console: Console, name: str, replicas: int, recovery: str) -> int:
    """Everything up, the view until Ctrl-C, everything down."""
    with tempfile.TemporaryDirectory(prefix="neat-demo-") as directory:
        site = Path(directory) / "site"
        sample.make(site, BIG_MEGABYTES)
        settings = {"recovery": recovery}
        with (
            Stack.up(name, replicas, settings, private=False) as stack,
            tour.server(stack, site) as server,
        ):
            console.print(instructions(stack, recovery))
            try:
                with Live(console=console, auto_refresh=False, transient=True) as live:
                    follow(live, stack, server)
            except KeyboardInterrupt:
                pass
            if server.poll() is not None:
                raise SideError(f"the server ended by itself, with status {server.returncode}")
        console.print("Everything is down, and nothing is left behind.")
    return 0


def instructions(stack: Stack, recovery: str) -> str:
    """What to type in another terminal."""
    neat = Path(sys.executable).with_name("neat")
    command = os.path.relpath(neat) if neat.exists() else "neat"
    name = "" if stack.name == "default" else f" --name {stack.name}"
    url = f"http://{stack.address}"
    lines = (
        (f"{command} peer{name} -- curl {url}/", "a page, from the other end of the wire"),
        (f"{command} peer{name} -- curl -o /dev/null {url}/big.bin", f"{BIG_MEGABYTES} MB"),
        (f"{command} peer{name} -- curl {url}/-/status.json", "the status page of the stack"),
        (f"{command} run{name} -- python3 -m http.server 8000", "any program, with its sockets on the stack"),
        (f"{command} kill{name} replica1", ENDS[recovery]),
        (f"{command} kill{name} driver", "nobody notices"),
        (f"{command} drill{name} --count 10", "kills under a load of which every byte is checked"),
        (f"{command} ss{name} -tn", "connections, and which replica has them"),
    )
    width = max(len(line) for line, _ in lines)
    text = "\n".join(f"  [bold]{line:<{width}}[/bold]  # {what}" for line, what in lines)
    return (
        f"A web server runs on {stack.config.replicas} replicas at {url}/. In another terminal:\n\n{text}\n"
    )


def follow(live: Live, stack: Stack, server: subprocess.Popen[str]) -> None:
    """Refresh the view until the server ends, or somebody presses Ctrl-C."""
    before: dict[str, Any] | None = None
    taken = time.monotonic()
    while server.poll() is None:
        try:
            status = stack.status()
        except StackError as error:
            live.update(Text(str(error), style="yellow"), refresh=True)
        else:
            now = time.monotonic()
            live.update(view(status, before, now - taken), refresh=True)
            before, taken = status, now
        time.sleep(REFRESH_S)


def view(status: dict[str, Any], before: dict[str, Any] | None, seconds: float) -> RenderableType:
    """One picture: components, replicas, rates, and what happened last."""
    events = "\n".join(describe(event) for event in status["events"][-EVENTS_SHOWN:])
    return Group(
        components_table(status),
        Text(),
        replicas_table(status),
        Text(),
        Text(rates(status, before, seconds)),
        Text(),
        Text("Lately", style="bold"),
        Text(events),
        Text("\nCtrl-C ends it.", style="dim"),
    )


def rates(status: dict[str, Any], before: dict[str, Any] | None, seconds: float) -> str:
    """Packets a second since the last picture; a replica that was replaced meanwhile counts from zero."""
    totals = {key: sum(replica[key] for replica in status["replicas"]) for key in RATES}
    if before is None or seconds <= 0:
        return "Rates: –"
    earlier = {key: sum(replica[key] for replica in before["replicas"]) for key in RATES}
    shown = (
        f"{max(0.0, (totals[key] - earlier[key]) / seconds):,.0f} {what}/s" for key, what in RATES.items()
    )
    connections = sum(replica["connections"] for replica in status["replicas"])
    return f"Rates: {', '.join(shown)}; {connections} connections"


if __name__ == "__main__":
    sys.exit(main())
