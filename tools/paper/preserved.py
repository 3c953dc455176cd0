"""Figure 13: the expected fraction of state that a failure leaves, against the highest throughput."""

from collections.abc import Mapping
from typing import Any

from neat.tools.paper import code, faults, scaling
from neat.tools.paper.chart import Axis, Series, lines, nice
from neat.tools.paper.figure import Ask, Cell, Data, Shown, Table, krps

STATELESS, STATEFUL, CODE = "stateless, injected", "stateful, injected", "stateless, by code size"


def measure(ask: Ask) -> Data:
    """The throughputs are those of figures 7, 9 and 11; faults those of Table 3."""
    rows = scaling.measure_single(ask, 4)["rows"]
    if scaling.multi_is_built():
        rows += scaling.measure_multi(ask)
    else:
        ask.lacks(scaling.NOT_BUILT)
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["replicas"] and row["rate"] > best.get(row["setup"], {"rate": 0.0})["rate"]:
            best[row["setup"]] = row
    campaigns = faults.measure(ask)["campaigns"]
    return {
        "best": [best[name] for name in sorted(best)],
        "sizes": code.sizes(),
        "injected": [found for one in campaigns if (found := injected(one)) is not None],
    }


def lost_share(sizes: Mapping[str, int], multi: bool) -> float:
    """How likely a fault that is anywhere in the stack's code, equally likely in each byte, is in a process
    that has connections. `shared` code and the replica's loop are in each process of a replica once."""
    own = {name: sizes.get(name, 0) for name in ("driver", "ip", "udp", "tcp", "filter")}
    common = sizes.get("shared", 0) + sizes.get("replica", 0)
    driver = own["driver"] + sizes.get("shared", 0)
    if not multi:
        whole = own["ip"] + own["udp"] + own["tcp"] + own["filter"] + common
        return whole / (whole + driver)
    parts = {name: own[name] + common for name in ("ip", "udp", "tcp")}
    parts["ip"] += own["filter"]  # which it runs
    return parts["tcp"] / (sum(parts.values()) + driver)


def kept(share: float, replicas: int) -> float:
    """Of all state: a failure that costs it costs one replica's."""
    return 1 - share / replicas


def injected(one: dict[str, Any]) -> dict[str, Any] | None:
    """Of a campaign with faults in the process that has TCP's state: what part of that a fault cost, in the
    mean of the runs that had an effect."""
    campaign, left = one["campaign"], faults.preserved(one["rows"])
    if left is None or campaign.get("component") != "replica":
        return None
    stack = campaign.get("stack") or {}
    return {
        "way": STATELESS if stack.get("recovery") == "stateless" else STATEFUL,
        "multi": stack.get("components") == "multi",
        # Each replica has its part of the connections.
        "loss": min((1 - left) * campaign.get("replicas", 3), 1.0),
        "runs": len(faults.effective(one["rows"])),
        "run": one["run"],
    }


def lines_of(data: Data) -> list[dict[str, Any]]:
    """A row for each setup and each way to say how likely its state is lost."""
    rows = []
    for best in data["best"]:
        multi = best["setup"].startswith("Multi")
        likely = lost_share(data["sizes"], multi)
        ways = {CODE: (likely, 0)}
        for one in data["injected"]:
            if one["multi"] == multi:
                ways[one["way"]] = (likely * one["loss"], one["run"])
        for way, (share, run) in ways.items():
            rows.append(
                {
                    "setup": best["setup"],
                    "way": way,
                    "rate": best["rate"],
                    "rate_run": best["run"],
                    "share": share,
                    "kept": kept(share, best["replicas"]),
                    "run": run,
                }
            )
    return rows


def show(data: Data) -> Shown:
    rows = lines_of(data)
    if not rows:
        return Shown()
    series = []
    groups = dict.fromkeys((row["setup"].split()[0], row["way"]) for row in rows)
    for at, (family, way) in enumerate(groups):
        mine = [row for row in rows if (row["setup"].split()[0], row["way"]) == (family, way)]
        points = [(row["rate"] / 1e3, row["kept"] * 100) for row in mine]
        series.append(Series(f"{family}, {way}", points, "ours", at))
    most = nice(max(row["rate"] for row in rows) / 1e3)
    picture = lines(
        "State that is left",
        Axis("highest throughput, 1,000 requests/s", ticks=most),
        Axis("% of state expected to be left", ticks=(0, 20, 40, 60, 80, 100)),
        series,
    )
    table = Table(
        ("setup", "1,000 requests/s", "a fault costs a replica's state", "expected to be left", "how"),
        [
            [
                row["setup"],
                Cell(krps(row["rate"]), row["rate_run"]),
                Cell(f"{row['share']:.1%}", row["run"], "" if row["run"] else "model"),
                Cell(f"{row['kept']:.1%}", 0, "model"),
                row["way"],
            ]
            for row in rows
        ],
    )
    total = sum(data["sizes"].values()) or 1
    bytes_of = Table(
        ("part", "bytes of code", "share"),
        [
            [name, f"{size:,}", f"{size / total:.1%}"]
            for name, size in sorted(data["sizes"].items(), key=lambda item: -item[1])
        ],
        "Compiled functions of this build, by what they work for",
    )
    return Shown((picture,), (table, bytes_of), NOTES)


NOTES = (
    "As in the paper: a fault is equally likely in every byte of the stack's code; it costs a connection "
    "only where it is in a process that has TCP's state, and then one replica's share of it. Here a "
    "single-component replica is one process with everything, so nearly every fault is in one that has "
    "state; more replicas are what helps. “Injected” counts of it only what part of that replica's "
    "connections an injected fault cost in fact (Table 3). Recovery is stateful by default, which the paper "
    "names as an option.",
    "The paper gives this figure's values in its picture only. The order of setups along the horizontal axis "
    "is this machine's: with more replicas than processors more of them are not faster.",
)
