"""Figures 7, 9 and 11: throughput against the number of server processes, for some numbers of replicas."""

import statistics
from collections.abc import Sequence
from typing import Any

from neat.config import Config
from neat.tools.paper import published
from neat.tools.paper.chart import Axis, Series, lines
from neat.tools.paper.figure import Ask, Cell, Data, Key, Shown, Table, http_s, krps
from neat.tools.paper.manycores import Costs, costs_of, expected, no_more_than

CALLS = 100  # requests of a connection, as in the paper
DATAPATHS = ("queues", "driver")
SERVERS, SERVERS_QUICK = (1, 2, 4, 6, 8), (1, 2)
REPLICAS, REPLICAS_QUICK = (1, 2, 3, 4), (1, 2)
NOT_BUILT = 'components = "multi" is not built yet: no line for it'
ASSUMED = (
    "Model: a replica, a server process and (where it moves all frames) the driver each have a core of their "
    "own, two more are for everything else as in the paper, the client is on another machine; each needs for "
    "a request the processor time that it needs here; throughput is what the scarcest of them allows. There "
    "is no such line for Linux: on a veth pair the client does much of the kernel's work for the server, so "
    "that its part cannot be told apart. Some of the client's is in a replica's part, too, as its writing to "
    "the device is the client's receiving, and that makes its line too low."
)


def multi_is_built() -> bool:
    return "components" in Config.__annotations__


def command(servers: int, replicas: Sequence[int], quick: bool, *more: str) -> tuple[list[str], float]:
    """The one that measures, and how long it may take."""
    rounds, seconds = (1, 1) if quick else (2, 1)
    datapaths = DATAPATHS[:1] if quick else DATAPATHS
    arguments = [
        "bench", "http", "--server", "lighttpd", "--requests-per-connection", str(CALLS),
        "--connections", "64", "--workers", str(servers), "--replicas", ",".join(map(str, replicas)),
        "--rounds", str(rounds), "--duration", str(seconds), "--datapaths", ",".join(datapaths), *more, "-j",
    ]  # fmt: skip
    sides = len(datapaths) + 1
    return arguments, http_s(len(replicas), sides, rounds, seconds, len(replicas) * len(datapaths))


def rows_of(
    ask: Ask, servers: Sequence[int], replicas: Sequence[int], *more: str, label: str = "NEaT"
) -> list[dict[str, Any]]:
    """A row for each stack, and one of Linux for each number of servers."""
    rows = []
    for count in servers:
        arguments, most_s = command(count, replicas, ask.quick, *more)
        run, result = ask(f"{label}, {count} servers", arguments, most_s)
        if result is None:
            continue
        for point in result["points"]:
            rows.append(
                {
                    "setup": f"{label} {point['replicas']}x",
                    "servers": count,
                    "replicas": point["replicas"],
                    "datapath": point["datapath"],
                    "rate": point["neat"]["requests_per_s"],
                    "around": point["spread"]["neat"],
                    "cpu_us": point["neat"]["cpu_us_per_request"],
                    "steal": point["neat"]["steal"],
                    "errors": point["neat"]["errors"],
                    "run": run,
                }
            )
        # Linux has no replicas: all its rounds of this command belong together.
        rates = [r["requests_per_s"] for p in result["points"] for r in p["rounds"]["linux"]]
        first = result["points"][0]["linux"]
        rows.append(
            {
                "setup": "Linux",
                "servers": count,
                "replicas": 0,
                "datapath": "",
                "rate": statistics.median(rates),
                "around": [min(rates), max(rates)],
                "cpu_us": first["cpu_us_per_request"],
                "steal": first["steal"],
                "errors": sum(p["linux"]["errors"] for p in result["points"]),
                "run": run,
            }
        )
    return rows


def measure_single(ask: Ask, most: int) -> Data:
    """Up to `most` replicas. All single-component figures share their commands."""
    replicas = REPLICAS_QUICK if ask.quick else REPLICAS
    rows = rows_of(ask, SERVERS_QUICK if ask.quick else SERVERS, replicas)
    return {"rows": [row for row in rows if row["replicas"] <= most], "cpus": ask.runs.machine["cpus"]}


def measure_7(ask: Ask) -> Data:
    data = measure_single(ask, 3)
    if multi_is_built():
        # Its rounds of Linux took turns with it, not with the others.
        data["rows"] += [row for row in measure_multi(ask) if row["replicas"]]
    else:
        ask.lacks(NOT_BUILT)
    return data


def measure_9(ask: Ask) -> Data:
    if not multi_is_built():
        ask.lacks(NOT_BUILT)
        return measure_single(ask, 0)
    return {"rows": measure_multi(ask), "cpus": ask.runs.machine["cpus"]}


def measure_11(ask: Ask) -> Data:
    return measure_single(ask, 4)


def measure_multi(ask: Ask) -> list[dict[str, Any]]:
    servers = SERVERS_QUICK if ask.quick else SERVERS
    return rows_of(ask, servers, (1,) if ask.quick else (1, 2), "--set", "components=multi", label="Multi")


def series_of(rows: Sequence[dict[str, Any]], datapath: str) -> list[Series]:
    setups = dict.fromkeys(row["setup"] for row in rows if row["datapath"] in (datapath, ""))
    found = []
    for at, setup in enumerate(setups):
        line = sorted(
            (row for row in rows if row["setup"] == setup and row["datapath"] in (datapath, "")),
            key=lambda row: row["servers"],
        )
        points = [(row["servers"], row["rate"] / 1e3) for row in line]
        around = [(row["around"][0] / 1e3, row["around"][1] / 1e3) for row in line]
        kind = "linux" if setup == "Linux" else "ours"
        found.append(Series(f"{setup}, here", points, kind, 6 if setup == "Linux" else at, around))
    return found


def models_of(rows: Sequence[dict[str, Any]], datapath: str, cores: int, most: int) -> list[Series]:
    """What the paper's number of cores would serve, by what a request costs here."""
    found = []
    setups = dict.fromkeys(row["setup"] for row in rows if row["datapath"] in (datapath, ""))
    for at, setup in enumerate(setups):
        if setup == "Linux":
            continue  # see ASSUMED
        costs = measured_costs(rows, setup, datapath)
        replicas = next(row["replicas"] for row in rows if row["setup"] == setup)
        room = no_more_than(replicas, datapath, cores, setup.startswith("Multi"))
        line = [
            (servers, expected(costs, replicas, servers, datapath) / 1e3)
            for servers in range(1, min(room, most) + 1)
        ]
        found.append(Series(f"{setup}, model", line, "model", at))
    return found


def measured_costs(rows: Sequence[dict[str, Any]], setup: str, datapath: str) -> Costs:
    """Of its row with the fewest servers: who has a core for himself is not interrupted."""
    mine = [row for row in rows if row["setup"] == setup and row["datapath"] in (datapath, "")]
    return costs_of(min(mine, key=lambda row: row["servers"])["cpu_us"])


def errors_of(data: Data) -> list[tuple[dict[str, Any], float]]:
    """The model of *this* machine beside each point that was measured, where all share its cores."""
    found = []
    for row in data["rows"]:
        costs = measured_costs(data["rows"], row["setup"], row["datapath"])
        here = expected(costs, row["replicas"], row["servers"], row["datapath"], shared=data["cpus"])
        found.append((row, here))
    return found


def show(data: Data, marks: Sequence[published.Rate], cores: int, most: int) -> Shown:
    rows = data["rows"]
    if not rows:
        return Shown()
    ticks = sorted({1, 2, 4, 6, 8, *(mark.servers for mark in marks if mark.servers <= most)})
    x = Axis("server processes (lighttpd)", ticks=ticks)
    pictures = []
    for datapath in dict.fromkeys(row["datapath"] for row in rows if row["datapath"]) or [""]:
        named = f"1,000 requests/s, datapath = {datapath}" if datapath else "1,000 requests/s"
        series = series_of(rows, datapath) + models_of(rows, datapath, cores, most)
        for mark in marks:
            label = f"{mark.what}, published ({mark.where})"
            series.append(Series(label, [(min(mark.servers, most), mark.krps)], "published", note=mark.what))
        pictures.append(lines(named, x, Axis(named), series))
    errors = errors_of(data)
    table = Table(
        ("setup", "datapath", "servers", "1,000 requests/s", "rounds", "model of this machine", "its error",
         "CPU µs a request", "errors", "steal"),
        [line_of(row, here) for row, here in errors],
    )  # fmt: skip
    told = Table(
        ("published", "servers", "1,000 requests/s", "where"),
        [(m.what, str(m.servers), Cell(f"{m.krps:g}", kind="published"), m.where) for m in marks],
    )
    notes = (seen(rows, errors, data["cpus"]), ASSUMED)
    return Shown(pictures, (table, told), notes, keys_of(rows, marks))


def keys_of(rows: Sequence[dict[str, Any]], marks: Sequence[published.Rate]) -> tuple[Key, ...]:
    """The best of the figure's kind beside Linux's best."""
    ours = [row for row in rows if row["replicas"]]
    theirs = max((row["rate"] for row in rows if not row["replicas"]), default=0.0)
    if not ours or not theirs:
        return ()
    mark, linux = marks
    best = max(ours, key=lambda row: row["rate"])
    return (
        Key(
            "the best of NEaT, to Linux's best",
            f"{mark.krps / linux.krps:.2f} ({mark.what})",
            f"{best['rate'] / theirs:.2f} ({best['setup']}, {best['servers']} servers, {best['datapath']})",
        ),
    )


def line_of(row: dict[str, Any], here: float) -> list[Cell | str]:
    low, high = row["around"]
    return [
        row["setup"].replace(" ", "\u00a0"),
        row["datapath"],
        str(row["servers"]),
        Cell(krps(row["rate"]), row["run"]),
        f"{krps(low)} … {krps(high)}",
        Cell(krps(here), kind="model"),
        Cell(f"{here / row['rate'] - 1:+.0%}", kind="model"),
        f"{row['cpu_us']['machine']:.1f}",
        Cell(str(row["errors"]), kind="bad" if row["errors"] else ""),
        f"{row['steal']:.1%}",
    ]


def seen(rows: Sequence[dict[str, Any]], errors: Sequence[tuple[dict[str, Any], float]], cpus: int) -> str:
    ours = [row for row in rows if row["replicas"]]
    theirs = max((row["rate"] for row in rows if not row["replicas"]), default=0.0)
    text = f"Measured on {cpus} processors that replicas, servers and the client share"
    if ours and theirs:
        best = max(ours, key=lambda row: row["rate"])
        text += (
            f": the best of NEaT is {best['setup']} with {best['servers']} servers "
            f"({best['datapath']}), {best['rate'] / theirs:.2f} of Linux's best"
        )
    off = [abs(here / row["rate"] - 1) for row, here in errors]
    middle = statistics.median(off)
    return f"{text}. The model of this machine is off by {middle:.0%} (median), {max(off):.0%} at most."
