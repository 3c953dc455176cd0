"""`neat status`: the supervisor's view of the stack, as tables or as JSON."""

import sys
from typing import Any

import click

from neat.cli.client import name_option, print_json, request
from neat.placement import text_of

EVENTS_SHOWN = 10
FILE_WIDTH = 200  # columns, where there is no terminal to ask


@click.command()
@name_option
@click.option("-j", "--json", "as_json", is_flag=True)
def status(name: str, as_json: bool) -> None:
    """Show components, replicas, and recent events."""
    state = request(name, {"op": "status"})["status"]
    if as_json:
        print_json(state)
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
    ready = "ready" if state["ready"] else "not ready"
    wire = f"{state['address']} behind {state['tap']} ({state['gateway']})"
    console.print(f"[bold]{state['name']}[/bold]: {ready}, {wire}")
    why = f" ({state['no_queues']})" if state["no_queues"] else ""
    console.print(f"datapath: {state['datapath']}{why}", markup=False)
    if state["cpu_latency_us"] is not None:
        asked = "asked for now" if state["cpu_latency_asked"] else "asked for while there is traffic"
        console.print(f"idle processors: awake within {state['cpu_latency_us']} µs ({asked})", markup=False)
    if state.get("placement"):
        console.print(placement(state), markup=False)
    if state.get("restart_every_s"):
        console.print(restarts(state), markup=False)
    console.print(components_table(state))
    console.print(replicas_table(state))
    if state["applications"]:
        console.print(applications_table(state))
    if state["refused"]:
        console.print("[bold]refused by the preload library[/bold]")
        console.print(refused_table(state))
    click.echo(f"device: {summary(state['device'])}")
    click.echo(f"driver: {summary(state['driver']['counters'])}")
    for event in state["events"][-EVENTS_SHOWN:]:
        click.echo(describe(event))


def placement(state: dict[str, Any]) -> str:
    how = state["placement"]
    cores = state["programs_cores"]
    programs = f"programs on {text_of(cores)}" if cores else "programs anywhere"
    return f"placement: {how if isinstance(how, str) else ', '.join(how)}; {programs}"


def restarts(state: dict[str, Any]) -> str:
    left = ", ".join(state["restart_left"])
    now = f"now, {left} to go" if left else f"next in {duration(state['restart_next_s'])}"
    return f"restarts: everything every {duration(state['restart_every_s'])}, {now}"


def components_table(state: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in ("component", "state"):
        table.add_column(column)
    for column in ("pid", "uptime", "restarts", "load"):
        table.add_column(column, justify="right")
    placed = bool(state.get("placement"))
    if placed:
        table.add_column("cores", justify="right")
    for part in state["components"]:
        table.add_row(
            part["name"],
            part["state"],
            str(part["pid"] or "-"),
            duration(part["uptime_s"]),
            str(part["restarts"]),
            f"{part['load']:.1%}",
            *([text_of(part["cores"]) if part["cores"] else "any"] if placed else []),
        )
    return table


def replicas_table(state: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in ("replica", "slot"):
        table.add_column(column)
    for column in ("share", "connections", "packets in", "packets out"):
        table.add_column(column, justify="right")
    table.add_column("drops")
    if any(replica.get("leaving") for replica in state["replicas"]):
        table.add_column("leaves after")
    for replica in state["replicas"]:
        table.add_row(
            replica["name"],
            replica["slot_state"],
            f"{replica['share'] / 128:.0%}",
            str(replica["connections"]),
            str(replica["packets_in"]),
            str(replica["packets_out"]),
            summary(replica["drops"]),
            *([what_is_left(replica["waits_for"])] if replica.get("leaving") else []),
        )
    return table


def what_is_left(counts: dict[str, int]) -> str:
    from neat.supervisor.scaling import LEFT

    return ", ".join(f"{n} {LEFT[name]}" for name, n in counts.items() if n) or "its last packets"


def applications_table(state: dict[str, Any]) -> Any:
    """The pid is that of the first process; what follows the sockets' number is where they are bound."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    table.add_column("application", justify="right")
    table.add_column("program")
    for column in ("pid", "processes", "memory", "bound"):
        table.add_column(column, justify="right")
    table.add_column("")
    for app in state["applications"]:
        table.add_row(
            str(app["app"]),
            Text(app["program"] or "-"),
            str(app["pids"][0] if app["pids"] else "-"),
            str(app["processes"]),
            f"{app['memory'] / (1 << 20):.1f} MiB",
            str(app["sockets"]),
            ", ".join(app["bound"]),
        )
    return table


def refused_table(state: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for column in ("program", "call", "what"):
        table.add_column(column)
    table.add_column("count", justify="right")
    for entry in sorted(state["refused"], key=lambda e: (e["program"], e["call"], e["what"])):
        table.add_row(Text(entry["program"]), entry["call"], entry["what"], str(entry["count"]))
    return table


def summary(counters: dict[str, int]) -> str:
    """Those that are not zero, in one line."""
    return ", ".join(f"{key} {n}" for key, n in counters.items() if n and "." not in key) or "-"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{seconds:.1f}s"


def describe(event: dict[str, Any]) -> str:
    from neat.supervisor.events import describe as in_words

    return in_words(event)
