"""The results of benchmarks as tables for people."""

from typing import Any

from rich.console import Console
from rich.table import Table


def grid(*columns: str) -> Table:
    table = Table(box=None, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def ratio_text(result: dict[str, Any]) -> str:
    return "–" if result["ratio"] is None else f"{result['ratio']:.2f}"


def http(console: Console, result: dict[str, Any]) -> None:
    settings, ours, theirs = result["settings"], result["neat"], result["linux"]
    how = "keep-alive" if settings["keep_alive"] else "one request each"
    console.print(
        f"{settings['size']} B over {settings['connections']} connections ({how}), {settings['client']}, "
        f"{plural(settings['replicas'], 'replica')}; medians of {plural(settings['rounds'], 'round')}"
    )
    table = grid("", "NEaT", "Linux", "ratio")
    table.add_row(
        "requests/s", f"{ours['requests_per_s']:,.0f}", f"{theirs['requests_per_s']:,.0f}", ratio_text(result)
    )
    table.add_row("median latency", f"{ours['latency_p50_us']:.0f} µs", f"{theirs['latency_p50_us']:.0f} µs")
    table.add_row("99 % latency", f"{ours['latency_p99_us']:.0f} µs", f"{theirs['latency_p99_us']:.0f} µs")
    table.add_row("errors", str(ours["errors"]), str(theirs["errors"]))
    console.print(table)
    cpu_table(console, "CPU per request, µs", ours, theirs, "cpu_us_per_request", 2)


def bulk(console: Console, result: dict[str, Any]) -> None:
    settings, ours, theirs = result["settings"], result["neat"], result["linux"]
    console.print(
        f"One download of {settings['megabytes']} MiB, {plural(settings['replicas'], 'replica')}; "
        f"medians of {plural(settings['rounds'], 'round')}"
    )
    table = grid("", "NEaT", "Linux", "ratio")
    table.add_row("Gbit/s", f"{ours['gbit_per_s']:.2f}", f"{theirs['gbit_per_s']:.2f}", ratio_text(result))
    console.print(table)
    cpu_table(console, "CPU per byte, ns", ours, theirs, "cpu_ns_per_byte", 3)


def cpu_table(
    console: Console, title: str, ours: dict[str, Any], theirs: dict[str, Any], key: str, digits: int
) -> None:
    """What each component used, and which part of the machine's CPU time that was."""
    table = grid(title, "NEaT", "share", "Linux", "share")
    for name in dict.fromkeys([*ours[key], *theirs[key], "rest"]):
        row = [name]
        for side in (ours, theirs):
            used, share = side[key].get(name), side["cpu_share"].get(name)
            row.append("" if used is None else f"{used:.{digits}f}")
            row.append("" if share is None else f"{share:.0%}")
        table.add_row(*row)
    console.print(table)


def churn(console: Console, result: dict[str, Any]) -> None:
    settings = result["settings"]
    console.print(
        f"{settings['connections']} connections, {settings['parallel']} at a time: {result['ok']} answered, "
        f"{result['connections_per_s']:,.0f} a second"
    )
    for what, count in result["failed"].items():
        console.print(f"failed: {count} × {what}")
    before, after = result["before"], result["after"]
    table = grid("", "descriptors", "afterwards", "MiB", "afterwards")
    for name in after["descriptors"]:
        table.add_row(
            name,
            str(before["descriptors"].get(name, "")),
            str(after["descriptors"][name]),
            f"{before['private'].get(name, 0) / (1 << 20):.1f}",
            f"{after['private'][name] / (1 << 20):.1f}",
        )
    console.print(table)
    console.print(f"sockets: {before['sockets']}, then {after['sockets']}")
    console.print("[green]no leak[/green]" if not result["leaks"] else "[red]" + "; ".join(result["leaks"]))


def limit(console: Console, result: dict[str, Any]) -> None:
    console.print("The TAP device by itself, a responder without a stack:")
    table = grid("frames", "bytes", "read", "write")
    for size in ("small", "large"):
        part = result[size]
        row = (f"{part['frame_bytes']:,}", f"{part['read_ns']:.0f} ns", f"{part['write_ns']:.0f} ns")
        table.add_row(size, *row)
    console.print(table)
    table = grid("echo", "round trips/s", "lost")
    for name, part in result["echo"].items():
        window = f"{name}, {part['window']} on the way"
        table.add_row(window, f"{part['per_second']:,.0f}", str(part["lost"]))
    console.print(table)
