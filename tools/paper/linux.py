"""Table 1 and figures 4 and 5: Linux's own stack, and file sizes."""

from typing import Any

from neat.tools.bench.options import ROW, size_text
from neat.tools.paper import published
from neat.tools.paper.chart import Axis, Series, bars, lines
from neat.tools.paper.figure import Ask, Cell, Data, Key, Shown, Table, http_s, krps
from neat.tools.paper.scaling import CALLS

SIZES_QUICK = (20, 1000, 100_000, 1_000_000)


def measure_tuning(ask: Ask) -> Data:
    rounds, seconds = (1, 1) if ask.quick else (5, 2)
    servers = ask.runs.machine["cpus"]
    arguments = [
        "bench", "tuning", "--workers", str(servers), "--rounds", str(rounds),
        "--duration", str(seconds), "-j",
    ]  # fmt: skip
    run, result = ask("tuning", arguments, http_s(5, 1, rounds, seconds, 3))
    if result is None:
        return {"rows": []}
    for name, why in result["left_out"].items():
        ask.lacks(f"{name} ({result['steps'][name]}): {why}")
    rows = [
        {
            "options": point["options"],
            "what": result["steps"][point["options"].rpartition("+")[2]],
            "rate": point["linux"]["requests_per_s"],
            "ratio": point["ratio"],
            "around": point["spread"],
            "errors": point["linux"]["errors"],
            "steal": point["linux"]["steal"],
            "run": run,
        }
        for point in result["points"]
    ]
    return {"rows": rows, "servers": servers}


def show_tuning(data: Data) -> Shown:
    rows = data["rows"]
    if not rows:
        return Shown()
    base = published.TABLE_1[0].krps
    names = [row["options"].rpartition("+")[2] for row in rows]
    words = [names[0], *(f"+ {name}" for name in names[1:])]
    points = [(at, row["ratio"]) for at, row in enumerate(rows)]
    around = [(row["around"][0] / rows[0]["rate"], row["around"][1] / rows[0]["rate"]) for row in rows]
    series = [Series("Linux, here", points, "linux", 6, around)]
    # The paper's steps end with the same names; "eth" of ours is in the middle of its second row.
    told = {row.what.rpartition("+")[2]: row.krps / base for row in published.TABLE_1}
    marks = [(at, told[name]) for at, name in enumerate(names) if name in told]
    series.append(Series("published", marks, "published"))
    picture = bars("Linux, tuned", Axis("options so far", words=words), Axis("to its defaults"), series)
    ours = Table(
        ("options", "the last of them", "1,000 requests/s", "rounds", "to defaults", "errors", "steal"),
        [
            [
                row["options"],
                row["what"],
                Cell(krps(row["rate"]), row["run"]),
                f"{krps(row['around'][0])} … {krps(row['around'][1])}",
                Cell(f"{row['ratio']:.2f}", row["run"]),
                Cell(str(row["errors"]), kind="bad" if row["errors"] else ""),
                f"{row['steal']:.1%}",
            ]
            for row in rows
        ],
        f"Here: {data['servers']} server processes, 1,000 requests a connection",
    )
    theirs = Table(
        ("options", "1,000 requests/s", "to defaults"),
        [
            [
                row.what,
                Cell(f"{row.krps:.1f}", kind="published"),
                Cell(f"{row.krps / base:.2f}", kind="published"),
            ]
            for row in published.TABLE_1
        ],
        "Published: 12 servers, AMD",
    )
    best = max(rows, key=lambda row: row["ratio"])
    top = published.TABLE_1[-1].krps / base
    key = Key(
        "Linux's best configuration, to its defaults",
        f"{top:.2f} ({published.TABLE_1[-1].what})",
        f"{best['ratio']:.2f} ({best['options']})",
    )
    return Shown((picture,), (ours, theirs), (TUNING_NOTE,), (key,))


TUNING_NOTE = (
    "A veth pair has no interrupts, link or hardware queues: of the paper's options “sched” is SCHED_BATCH "
    "instead of the deadline scheduler, “eth” receive offload (segmentation offload is on by default), "
    "“irqAff” is nothing, “rxAff” software packet steering, “serv” the same. All servers of the paper have a "
    "port and a client of their own; here they share a listening socket."
)


def measure_sizes(ask: Ask) -> Data:
    """Figures 4 and 5 have the same runs."""
    sizes, rounds = (SIZES_QUICK, 1) if ask.quick else (ROW, 2)
    servers = ask.runs.machine["cpus"]
    arguments = [
        "bench", "http", "--server", "lighttpd", "--requests-per-connection", str(CALLS),
        "--connections", "32", "--workers", str(servers), "--replicas", "1",
        "--size", ",".join(map(str, sizes)), "--rounds", str(rounds), "--duration", "1", "-j",
    ]  # fmt: skip
    run, result = ask("sizes", arguments, http_s(len(sizes), 2, rounds, 1))
    rows = []
    for point in [] if result is None else result["points"]:
        for side, setup in (("linux", "Linux"), ("neat", "NEaT 1x")):
            one = point[side]
            rows.append(
                {
                    "setup": setup,
                    "size": point["size"],
                    "rate": one["requests_per_s"],
                    "around": point["spread"][side],
                    "latency_us": one["latency_p50_us"],
                    "errors": one["errors"],
                    "steal": one["steal"],
                    "run": run,
                }
            )
    return {"rows": rows, "servers": servers}


def gbit(row: dict[str, Any]) -> float:
    return row["rate"] * row["size"] * 8 / 1e9


def line_of(data: Data, setup: str, value: Any) -> list[tuple[float, float]]:
    return sorted((row["size"], value(row)) for row in data["rows"] if row["setup"] == setup)


def of_both(data: Data, value: Any) -> list[Series]:
    return [
        Series("NEaT 1x, here", line_of(data, "NEaT 1x", value)),
        Series("Linux, here", line_of(data, "Linux", value), "linux", 6),
    ]


def sizes_axis(data: Data) -> Axis:
    sizes = sorted({row["size"] for row in data["rows"]})
    return Axis("file size", log=True, ticks=sizes, words=[size_text(size) for size in sizes])


def show_latency(data: Data) -> Shown:
    if not data["rows"]:
        return Shown()
    x = sizes_axis(data)
    latency = lines(
        "Latency", x, Axis("median latency, ms", log=True), of_both(data, lambda row: row["latency_us"] / 1e3)
    )
    rates = lines(
        "Requests", x, Axis("requests/s", log=True), of_both(data, lambda row: max(row["rate"], 1.0))
    )
    low, high = published.LATENCY_BYTES
    note = (
        f"Published: the curves rise and fall between {size_text(low)} and {size_text(high)}, where the link "
        "of 10 Gbit/s is full. There is no link here: bytes are copied as fast as processors and memory do "
        "it, and that is the limit."
    )
    return Shown((latency, rates), (table_of(data),), (note,))


def show_throughput(data: Data) -> Shown:
    if not data["rows"]:
        return Shown()
    picture = lines("Throughput", sizes_axis(data), Axis("Gbit/s"), of_both(data, gbit))
    note = (
        f"Published: beyond {size_text(published.LINK_BYTES)} the link of 10 Gbit/s is the bottleneck, and "
        "connection errors make the curve fluctuate; so all later experiments ask for 20 B."
    )
    most = {
        row["setup"]: max(gbit(r) for r in data["rows"] if r["setup"] == row["setup"]) for row in data["rows"]
    }
    here = ", ".join(f"{setup} {value:.1f}" for setup, value in most.items())
    key = Key("highest throughput, Gbit/s", "Linux 10 (its link)", here)
    return Shown((picture,), (table_of(data),), (note,), (key,))


def table_of(data: Data) -> Table:
    return Table(
        ("size", "setup", "requests/s", "rounds", "Gbit/s", "median latency, ms", "errors", "steal"),
        [
            [
                size_text(row["size"]),
                row["setup"],
                Cell(f"{row['rate']:,.0f}", row["run"]),
                f"{row['around'][0]:,.0f} … {row['around'][1]:,.0f}",
                Cell(f"{gbit(row):.2f}", row["run"]),
                Cell(f"{row['latency_us'] / 1e3:,.3f}", row["run"]),
                Cell(str(row["errors"]), kind="bad" if row["errors"] else ""),
                f"{row['steal']:.1%}",
            ]
            for row in data["rows"]
        ],
        f"{data['servers']} server processes, 32 connections",
    )
