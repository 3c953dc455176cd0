"""Table 2: a component's time, by load: in the kernel, looking for work, at work."""

from typing import Any

from neat.tools.paper import published
from neat.tools.paper.chart import Axis, Series, lines
from neat.tools.paper.figure import Ask, Cell, Data, Key, Shown, Table, krps

RATES, RATES_QUICK = (1000, 3000, 10000, 20000, 0), (1000, 0)
REPLICAS = 3


def measure(ask: Ask) -> Data:
    rates, seconds = (RATES_QUICK, 1) if ask.quick else (RATES, 4)
    rows = []
    for datapath in ("driver", "queues"):
        arguments = [
            "bench", "spent", "--replicas", str(REPLICAS), "--rates", ",".join(map(str, rates)),
            "--seconds", str(seconds), "--datapaths", datapath, "-j",
        ]  # fmt: skip
        run, result = ask(f"datapath = {datapath}", arguments, 30 + 3.0 * len(rates) * (seconds + 1))
        for point in [] if result is None else result["points"]:
            parts = point["components"]
            if datapath == "driver":
                rows.append(row_of("driver", [parts["driver"]], point, run))
            replicas = [part for name, part in parts.items() if name.startswith("replica")]
            rows.append(row_of(f"replica (mean of {len(replicas)})", replicas, point, run))
    return {"rows": rows}


def row_of(name: str, parts: list[dict[str, Any]], point: dict[str, Any], run: int) -> dict[str, Any]:
    """Means over components of a kind; parts of their time are weighed by it."""
    cpu = sum(part["cpu"] for part in parts)

    def mean(key: str) -> float | None:
        if cpu <= 0 or any(part[key] is None for part in parts):
            return None
        return sum(part[key] * part["cpu"] for part in parts) / cpu

    return {
        "component": name,
        "datapath": point["datapath"],
        "rate": point["requests_per_s"],
        "cpu": cpu / len(parts),
        "kernel": mean("kernel"),
        "looking": mean("looking"),
        "working": mean("working"),
        "errors": point["errors"],
        "steal": point["steal"],
        "run": run,
    }


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def show(data: Data) -> Shown:
    rows = data["rows"]
    if not rows:
        return Shown()
    kinds = list(dict.fromkeys((row["component"], row["datapath"]) for row in rows))
    series = []
    for at, (component, datapath) in enumerate(kinds):
        mine = [row for row in rows if (row["component"], row["datapath"]) == (component, datapath)]
        points = sorted(
            (row["cpu"] * 100, row["looking"] * 100) for row in mine if row["looking"] is not None
        )
        series.append(Series(f"{component}, {datapath}", points, "ours", at))
    told = [(row.cpu, row.kernel + row.polling) for row in published.TABLE_2]
    series.append(Series("driver, published: kernel and polling", told, "published"))
    picture = lines(
        "Time that is not work, by load",
        Axis("load of the component's core, %", log=True, ticks=(1, 3, 10, 30, 100)),
        Axis("not at work, % of its time", ticks=(0, 20, 40, 60, 80, 100)),
        series,
    )
    ours = Table(
        ("component", "datapath", "1,000 requests/s", "of a core", "in the kernel", "not at work", "at work")
        + ("steal",),
        [
            [
                row["component"],
                row["datapath"],
                Cell(krps(row["rate"]), row["run"]),
                Cell(percent(row["cpu"]), row["run"]),
                percent(row["kernel"]),
                percent(row["looking"]),
                percent(row["working"]),
                percent(row["steal"]),
            ]
            for row in rows
        ],
        "Here",
    )  # fmt: skip
    theirs = Table(
        ("CPU load", "active in kernel", "polling", "1,000 requests/s"),
        [
            [
                Cell(f"{row.cpu:g}%", kind="published"),
                Cell(f"{row.kernel:g}%", kind="published"),
                Cell(f"{row.polling:g}%", kind="published"),
                Cell(f"{row.krps:g}", kind="published"),
            ]
            for row in published.TABLE_2
        ],
        "Published: the 10G driver on the Xeon",
    )
    return Shown((picture,), (ours, theirs), (NOTE,), keys_of(rows))


def keys_of(rows: list[dict[str, Any]]) -> list[Key]:
    """The driver's time that is not work, where it has least and where it has most to do."""
    mine = sorted(
        (row for row in rows if row["component"] == "driver" and row["looking"] is not None),
        key=lambda row: row["rate"],
    )
    if not mine:
        return []
    keys = []
    for what, told, here in (
        ("least", published.TABLE_2[0], mine[0]),
        ("most", published.TABLE_2[-1], mine[-1]),
    ):
        keys.append(
            Key(
                f"a driver's time that is not work, at the {what} load",
                f"{told.kernel + told.polling:.0f} % at {told.krps:g},000 requests/s",
                f"{here['looking']:.0%} at {here['rate']:,.0f} requests/s",
            )
        )
    return keys


NOTE = (
    "Ours is in the kernel for its work too, as the TAP device is read and written by system calls, which "
    "the paper's driver has not: “in the kernel” overlaps with “at work”. To be compared with the paper's "
    "kernel and polling together is what is not work: looking for it, going to sleep, waking up. Work is "
    "counted by the component itself, in turns that found something to do; the kernel's part is of "
    "/proc/PID/stat. With queues the driver is out of most frames' way, and is left out."
)
