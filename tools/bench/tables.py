"""The results of benchmarks as tables for people."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from neat.tools.bench.model import DISTURBED, PUBLISHED_DRIVER_US
from neat.tools.bench.options import size_text


def grid(*columns: str) -> Table:
    table = Table(box=None, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def pair(values: list[float | None], digits: int) -> str:
    """Smallest and largest of some rounds."""
    return f"{number(values[0], digits)}–{number(values[1], digits)}"


def percent(share: float) -> str:
    return f"{share:.1%}"


def steal(rounds: dict[str, list[dict[str, Any]]]) -> str:
    """The smallest and largest part of the machine that was stolen in any of the rounds."""
    found = [run["steal"] for runs in rounds.values() for run in runs]
    return f"{100 * min(found):.1f}–{percent(max(found))}"


def each_steal(table: Table, row: dict[str, Any]) -> None:
    """A line with what was stolen in each round, in their order."""
    table.add_row(
        "stolen, of rounds",
        *(" ".join(percent(run["steal"]) for run in row["rounds"][side]) for side in ("neat", "linux")),
        "",
    )


# What rows may differ in, with the name of a column and a value's text.
DIFFERENT: dict[str, tuple[str, Callable[[Any], str]]] = {
    "size": ("file", size_text),
    "connections": ("connections", str),
    "requests_per_connection": ("calls", lambda count: str(count or "many")),
    "replicas": ("replicas", str),
    "datapath": ("datapath", str),
    "placement": ("placement", str),
}


def http(console: Console, result: dict[str, Any]) -> None:
    settings, points = result["settings"], result["points"]
    console.print(
        f"{settings['server']}, {settings['client']}, medians of {plural(settings['rounds'], 'round')}"
        + (f", {settings['stolen']} % of the processors stolen" if settings.get("stolen") else "")
    )
    if "switch_us" in result:
        costs = ", ".join(f"{SWITCH[name]} {number(cost)}" for name, cost in result["switch_us"].items())
        console.print(f"one switch here costs, µs: {costs}")
    if len(points) == 1:
        point(console, points[0])
        return
    across = [key for key in DIFFERENT if len({row.get(key) for row in points}) > 1]
    common = [key for key in DIFFERENT if key in points[0] and key not in across]
    console.print(", ".join(words(key, points[0][key]) for key in common))
    table = grid(
        *(DIFFERENT[key][0] for key in across),
        *("NEaT /s", "Linux /s", "ratio", "rounds", "per CPU-s", "p99", "steal", "errors"),
    )
    for row in points:
        ours, theirs = row["neat"], row["linux"]
        table.add_row(
            *(DIFFERENT[key][1](row[key]) for key in across),
            number(ours["requests_per_s"], 0),
            number(theirs["requests_per_s"], 0),
            number(row["ratio"]),
            pair(row["spread"]["ratio"], 2),
            number(row["cpu_ratio"]),
            number(row["latency_ratio"]["latency_p99_us"]),
            steal(row["rounds"]),
            str(ours["errors"] + theirs["errors"]),
        )
    console.print(table)
    console.print("ratio, per CPU-s, p99: NEaT to Linux; per CPU-s: of requests for a busy CPU second")
    for row in points:
        what = ", ".join(words(key, row[key]) for key in across)
        if "syscalls" in row:
            console.print(f"{what}:")
            calls_table(console, row["syscalls"])
        if "switches_per_request" in row["neat"]:
            console.print(f"{what}:")
            switches_table(console, row["neat"], row["linux"])


def words(key: str, value: Any) -> str:
    """A value of DIFFERENT with its unit."""
    if key == "requests_per_connection":
        return plural(value, "request") + " a connection" if value else "connections are kept"
    if key in ("connections", "replicas"):
        return plural(value, key.removesuffix("s"))
    if key == "placement":
        return f"placement: {value}"
    return DIFFERENT[key][1](value)


def point(console: Console, row: dict[str, Any]) -> None:
    """One point in full."""
    ours, theirs, around = row["neat"], row["linux"], row["spread"]
    console.print(", ".join(words(key, row[key]) for key in DIFFERENT if key in row))
    table = grid("", "NEaT", "Linux", "ratio")
    table.add_row(
        "requests/s",
        number(ours["requests_per_s"], 0),
        number(theirs["requests_per_s"], 0),
        number(row["ratio"]),
    )
    table.add_row("of rounds", pair(around["neat"], 0), pair(around["linux"], 0), pair(around["ratio"], 2))
    for text, key in (("median latency", "latency_p50_us"), ("99 % latency", "latency_p99_us")):
        value = number(row["latency_ratio"][key])
        table.add_row(text, f"{ours[key]:.0f} µs", f"{theirs[key]:.0f} µs", value)
    key = "requests_per_cpu_s"
    values = number(ours[key], 0), number(theirs[key], 0)
    table.add_row("requests per CPU-s", *values, number(row["cpu_ratio"]))
    each_steal(table, row)
    table.add_row("errors", str(ours["errors"]), str(theirs["errors"]))
    console.print(table)
    cpu_table(console, "CPU per request, µs", ours, theirs, "cpu_us_per_request", 2)
    if "syscalls" in row:
        calls_table(console, row["syscalls"])
    if "switches_per_request" in ours:
        switches_table(console, ours, theirs)


# What one switch is of which `switch_us` has the cost.
SWITCH = {"yield": "giving way", "wake": "waking", "wake_far": "waking on another processor"}
# Of a component: what `switches_per_request` calls it, and what a column does.
SWITCHED = {"slept": "slept", "gave_way": "gave way", "woken": "woken", "rang": "rang"}


def switches_table(console: Console, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Context switches of each component for each request; a stack's have counted more than the kernel."""
    mine, linux = (side["switches_per_request"] for side in (ours, theirs))
    table = grid(
        *("switches per request", *(f"NEaT {text}" for text in SWITCHED.values())),
        *(f"Linux {SWITCHED[what]}" for what in ("slept", "gave_way")),
    )
    for name in mine:
        row = [mine[name].get(what) for what in SWITCHED]
        row += [linux.get(name, {}).get(what) for what in ("slept", "gave_way")]
        if name != "machine" and any(value and value >= 0.0005 for value in row):
            table.add_row(name, *("" if value is None else number(value, 3) for value in row))
    console.print(table)
    totals = (number(side["machine"]["all"], 3) for side in (mine, linux))
    console.print("all switches of the machine: NEaT {}, Linux {}".format(*totals))


def calls_table(console: Console, calls: dict[str, Any]) -> None:
    """System calls of the server for each request; those of fewer than 1 in 1,000 are not shown."""
    ours, theirs = calls["neat"], calls["linux"]
    table = grid("system calls per request", "NEaT", "Linux", "share")
    for text, key, name in (
        ("all", "per_request", "share"),
        ("all but those for files", "without_files", "share_without_files"),
    ):
        share = "–" if calls[name] is None else f"{calls[name]:.1%}"
        table.add_row(text, number(ours[key], 3), number(theirs[key], 3), share)
    for name in dict.fromkeys([*theirs["by_name"], *ours["by_name"]]):
        row = [side["by_name"].get(name, 0.0) for side in (ours, theirs)]
        if max(row) >= 0.001:
            table.add_row(name, *(number(value, 3) if value else "" for value in row))
    console.print(table)


def bulk(console: Console, result: dict[str, Any]) -> None:
    settings = result["settings"]
    what = (
        "iperf3" if settings["server"] == "iperf3" else f"{settings['server']}, {settings['megabytes']} MiB"
    )
    console.print(
        f"{what}, {plural(settings['replicas'], 'replica')}; medians of {plural(settings['rounds'], 'round')}"
    )
    for row in result["points"]:
        ours, theirs = row["neat"], row["linux"]
        what = "the server sends" if row["direction"] == "send" else "the server receives"
        if row["datapath"]:
            what += f", {row['datapath']}"
        table = grid(what, "NEaT", "Linux", "ratio", "of rounds")
        around = pair(row["spread"]["ratio"], 2)
        for text, key, name in (
            ("Gbit/s", "gbit_per_s", "ratio"),
            ("GB per CPU-s", "gb_per_cpu_s", "cpu_ratio"),
        ):
            values = number(ours[key]), number(theirs[key]), number(row[name])
            table.add_row(text, *values, around if name == "ratio" else "")
        each_steal(table, row)
        console.print(table)
    for row in result["points"]:
        title = f"CPU per byte, ns ({row['direction']}, {row['datapath']})"
        cpu_table(console, title, row["neat"], row["linux"], "cpu_ns_per_byte", 3)


def table(console: Console, result: dict[str, Any]) -> None:
    settings, points = result["settings"], result["points"]
    console.print(
        f"medians of {plural(settings['rounds'], 'round')} of {settings['seconds']} s, in turns with Linux; "
        "requests/s, and Gbit/s of iperf3"
    )
    columns = ("work", "datapath", "NEaT", "Linux", "ratio", "rounds", "per CPU-s", "p50", "steal", "errors")
    rows = grid(*columns)
    for row in points:
        ours, theirs = row["neat"], row["linux"]
        requests = "direction" not in row
        key, digits = ("requests_per_s", 0) if requests else ("gbit_per_s", 2)
        rows.add_row(
            row["work"],
            row["datapath"],
            number(ours[key], digits),
            number(theirs[key], digits),
            number(row["ratio"]),
            pair(row["spread"]["ratio"], 2),
            number(row["cpu_ratio"]),
            number(row["latency_ratio"]["latency_p50_us"]) if requests else "",
            steal(row["rounds"]),
            str(ours["errors"] + theirs["errors"]) if requests else "",
        )
    console.print(rows)
    for row in result["left_out"]:
        console.print(f"left out: {row['work']}: {row['why']}")
    console.print(
        "ratio, per CPU-s, p50 (median latency): NEaT to Linux; per CPU-s: work for a busy CPU second"
    )


# Replicas whose row of the model's table is printed.
SHOWN = (1, 2, 3, 4, 6, 8, 12, 16)


def model(console: Console, result: dict[str, Any]) -> None:
    paths = result["datapaths"]
    table = grid("a request costs, µs", *paths, "Linux")
    costs = [*(path["costs_us"] for path in paths.values()), result["linux_us"]]
    for part in costs[0]:
        table.add_row(part, *(number(side[part]) for side in costs))
    console.print(table)
    if result["others"] > DISTURBED:
        text = f"others used up to {result['others']:.0%} of the busy time: measure again when it is quiet"
        console.print(f"[yellow]{text}[/yellow]")
    console.print(f"The paper's driver, in its Table 2: {number(PUBLISHED_DRIVER_US)} µs")
    table = grid(f"checked on {result['cores']} cores", "replicas", "model /s", "measured /s", "error")
    for name, path in paths.items():
        for row in path["check"]:
            values = number(row["model"], 0), number(row["measured"], 0), f"{row['error']:+.1%}"
            table.add_row(name, str(row["replicas"]), *values)
    console.print(table)
    for name, value in result["limits"].items():
        text = "nothing serial was found" if value is None else f"ends it at {number(value, 0)} requests/s"
        console.print(f"The {name}: {text}")
    console.print(f"A stream of bytes: memory ends it at {result['stream_gbit_per_s']} Gbit/s")
    table = grid("replicas, and cores to spare", *(f"{name} /s" for name in paths), *paths)
    for rows in zip(*(path["curve"] for path in paths.values()), strict=True):
        if rows[0]["replicas"] not in SHOWN:
            continue
        rates = [number(row["requests_per_s"], 0) for row in rows]
        table.add_row(str(rows[0]["replicas"]), *rates, *(row["limit"] for row in rows))
    console.print(table)
    table = grid(
        "the best on", *(f"{name} /s" for name in paths), "Linux /s", *(f"{name} ratio" for name in paths)
    )
    for cores, machine in result["machines"].items():
        best = [max(row["requests_per_s"] for row in machine[name]) for name in paths]
        rates = [number(rate, 0) for rate in (*best, machine["linux"])]
        table.add_row(f"{cores} cores", *rates, *(number(rate / machine["linux"]) for rate in best))
    console.print(table)
    for entry in result["published"]:
        rate = f"{entry['requests_per_s']:,.0f}"
        console.print(f"{entry['source']}: {entry['what']}, {rate} requests/s ({entry['machine']})")
    console.print("Assumed:")
    for text in result["assumptions"]:
        console.print(f"- {text}")


def idle(console: Console, result: dict[str, Any]) -> None:
    settings, ours, theirs = result["settings"], result["neat"], result["linux"]
    console.print(
        f"{settings['server']}, {settings['connections']:,} idle connections, "
        f"{plural(settings['replicas'], 'replica')}"
    )
    table = grid("one active connection", "NEaT", "Linux")
    for text, key in (("alone", "alone"), ("among the idle", "among")):
        for what, name, unit in (("requests/s", "requests_per_s", ""), ("99 %", "latency_p99_us", " µs")):
            values = [number(side[key][name], 0) + unit for side in (ours, theirs)]
            table.add_row(f"{text}, {what}", *values)
    table.add_row("among to alone", number(ours["among_to_alone"]), number(theirs["among_to_alone"]))
    table.add_row("idle connections lost", str(ours["lost"]), str(theirs["lost"]))
    console.print(table)
    table = grid("bytes a connection", "NEaT", "Linux")
    for name in dict.fromkeys([*ours["bytes_per_connection"], *theirs["bytes_per_connection"]]):
        costs = [side["bytes_per_connection"].get(name) for side in (ours, theirs)]
        table.add_row(name, *("" if cost is None else number(cost, 0) for cost in costs))
    console.print(table)
    console.print("kernel: slab memory of the whole machine, both ends' sockets in it; total: without it")


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
        f"{result['connections_per_s']:,.0f} a second, "
        f"{result['connections_per_cpu_s']:,.0f} for a CPU second; "
        f"{percent(result['steal'])} stolen"
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
    shared, memory = result["contention"], result["memory"]
    console.print(
        f"A write of 64 bytes: {shared['alone_ns']:.0f} ns alone; two at the same time, to two devices "
        f"{shared['devices_ns']:.0f} ns, to two queues of one {shared['queues_ns']:.0f} ns"
    )
    console.print(
        f"Memory: one processor copies {memory['one_gb_per_s']:.1f} GB/s, "
        f"{memory['processors']} together {memory['all_gb_per_s']:.1f}"
    )
    table = grid("echo", "round trips/s", "lost")
    for name, part in result["echo"].items():
        window = f"{name}, {part['window']} on the way"
        table.add_row(window, f"{part['per_second']:,.0f}", str(part["lost"]))
    console.print(table)


def spent(console: Console, result: dict[str, Any]) -> None:
    table = grid("requests/s", "datapath", "component", "of a core", "kernel", "looking", "working", "stolen")
    for point in result["points"]:
        for name, part in point["components"].items():
            shown = ["" if part[key] is None else percent(part[key]) for key in ("looking", "working")]
            table.add_row(
                f"{point['requests_per_s']:,.0f}",
                point["datapath"],
                name,
                percent(part["cpu"]),
                percent(part["kernel"]),
                *shown,
                percent(point["steal"]),
            )
    console.print(table)


def tuning(console: Console, result: dict[str, Any]) -> None:
    table = grid("options", "requests/s", "rounds", "to defaults", "errors")
    for point in result["points"]:
        low, high = point["spread"]
        linux = point["linux"]
        table.add_row(
            point["options"],
            f"{linux['requests_per_s']:,.0f}",
            f"{low:,.0f} … {high:,.0f}",
            f"{point['ratio']:.2f}",
            str(linux["errors"]),
        )
    console.print(table)
    for name, why in result["left_out"].items():
        console.print(f"{name}: left out: {why}", markup=False)
