"""Figure 12: five configurations, one request a connection, under the same few loads."""

from typing import Any

from neat.tools.paper import published
from neat.tools.paper.chart import Axis, Series, bars
from neat.tools.paper.figure import Ask, Cell, Data, Shown, Table, http_s, krps
from neat.tools.paper.scaling import NOT_BUILT, multi_is_built


def loads(quick: bool) -> list[tuple[int, int]]:
    """(connections, servers)"""
    return [(8, 1), (32, 1), (32, 2)] if quick else list(published.FIGURE_12_LOADS)


def measure(ask: Ask) -> Data:
    quick = ask.quick
    rows = single(ask, [count for _, count in published.FIGURE_12_SETUPS[: 2 if quick else 3]], "NEaT")
    if multi_is_built():
        counts = [count for _, count in published.FIGURE_12_MULTI[: 1 if quick else 2]]
        rows += [row for row in single(ask, counts, "Multi", "--set", "components=multi") if row["replicas"]]
    else:
        ask.lacks(NOT_BUILT)
    return {"rows": rows, "loads": loads(quick)}


def single(ask: Ask, replicas: list[int], label: str, *more: str) -> list[dict[str, Any]]:
    rounds = 1 if ask.quick else 3
    rows = []
    for servers in dict.fromkeys(servers for _, servers in loads(ask.quick)):
        connections = [count for count, them in loads(ask.quick) if them == servers]
        arguments = [
            "bench", "http", "--server", "lighttpd", "--requests-per-connection", "1",
            "--connections", ",".join(map(str, connections)), "--workers", str(servers),
            "--replicas", ",".join(map(str, replicas)), "--rounds", str(rounds), "--duration", "1",
            *more, "-j",
        ]  # fmt: skip
        most_s = http_s(len(connections) * len(replicas), 2, rounds, 1, len(replicas))
        run, result = ask(f"{label}, {servers} servers", arguments, most_s)
        for point in [] if result is None else result["points"]:
            sides = [("neat", f"{label} {point['replicas']}x", point["replicas"])]
            if point["replicas"] == replicas[0]:
                sides.append(("linux", "Linux", 0))
            for side, setup, count in sides:
                rows.append(
                    {
                        "setup": setup,
                        "replicas": count,
                        "servers": servers,
                        "connections": point["connections"],
                        "rate": point[side]["requests_per_s"],
                        "around": point["spread"][side],
                        "latency_p50_us": point[side]["latency_p50_us"],
                        "errors": point[side]["errors"],
                        "steal": point[side]["steal"],
                        "run": run,
                    }
                )
    return rows


def show(data: Data) -> Shown:
    rows, groups = data["rows"], [tuple(load) for load in data["loads"]]
    if not rows:
        return Shown()
    words = [f"{count}/{servers}" for count, servers in groups]
    series = []
    setups = sorted({row["setup"] for row in rows}, key=lambda name: (name == "Linux", name))
    for at, setup in enumerate(setups):
        mine = [row for row in rows if row["setup"] == setup]
        places = [groups.index((row["connections"], row["servers"])) for row in mine]
        points = [(place, row["rate"] / 1e3) for place, row in zip(places, mine, strict=True)]
        around = [(row["around"][0] / 1e3, row["around"][1] / 1e3) for row in mine]
        kind = "linux" if setup == "Linux" else "ours"
        series.append(Series(setup, points, kind, 6 if setup == "Linux" else at, around))
    x = Axis("simultaneous connections / servers", words=words)
    picture = bars("One request a connection", x, Axis("1,000 connections/s"), series)
    table = Table(
        ("connections", "servers", "setup", "1,000 connections/s", "rounds", "median latency µs", "errors",
         "steal"),
        [
            [
                str(row["connections"]),
                str(row["servers"]),
                row["setup"],
                Cell(krps(row["rate"]), row["run"]),
                f"{krps(row['around'][0])} … {krps(row['around'][1])}",
                f"{row['latency_p50_us']:,.0f}",
                Cell(str(row["errors"]), kind="bad" if row["errors"] else ""),
                f"{row['steal']:.1%}",
            ]
            for row in rows
        ],
    )  # fmt: skip
    return Shown((picture,), (table,), ("The paper gives this figure's values in its picture only.",))
