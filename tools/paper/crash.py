"""Keep Net Working's figures: the bitrate of one connection over time, while a component is killed."""

from neat.tools.paper.chart import Axis, Series, lines
from neat.tools.paper.figure import Ask, Cell, Data, Key, Shown, Table

# What is killed, how its connections recover, the datapath.
CASES = (
    ("replica", "stateful", "queues"),
    ("driver", "stateful", "driver"),
    ("replica", "stateful", "driver"),
    ("all", "stateful", "queues"),
    ("replica", "stateless", "queues"),
)
CASES_QUICK = CASES[:2]
BEFORE_S, AFTER_S = 1.0, 1.5  # of a crash, that are drawn
MEAN_S = 0.1


def measure(ask: Ask) -> Data:
    cases = []
    count, quiet = (1, "1s") if ask.quick else (3, "2s")
    for whom, recovery, datapath in CASES_QUICK if ask.quick else CASES:
        arguments = [
            "drill", "--kill", whom, "--count", str(count), "--every", "2s", "--quiet", quiet,
            "--connections", "0", "--bulk", "1", "--bulk-rate", "0", "--replicas", "1",
            "--recovery", recovery, "--datapath", datapath, "--bucket", "10ms", "--allow-lost", "-j",
        ]  # fmt: skip
        what = f"{whom} killed, {recovery}, {datapath}"
        run, result = ask(what, arguments, 90.0)
        if result is None:
            continue
        line = result["timeline"]
        cases.append(
            {
                "what": what,
                "run": run,
                "bucket_s": line["bucket_s"],
                "mb_per_s": line["download"],
                "faults": [
                    {"at_s": fault["at_s"], "gap_ms": fault["gap_ms"], "back_ms": slowest(fault)}
                    for fault in result["faults"]
                ],
                "lost": result["connections"]["lost"] + result["connections"]["hung"],
                "wrong": result["connections"]["wrong"],
                "before": result["phases"]["before"]["download_mb_per_s"],
                "steal": result["steal"],
            }
        )
    return {"cases": cases}


def slowest(fault: Data) -> float | None:
    times = [part["back_ms"] for part in fault["components"]]
    return None if None in times else max(times)


def show(data: Data) -> Shown:
    if not data["cases"]:
        return Shown()
    pictures: list[str] = []
    rows: list[list[Cell | str]] = []
    for case in data["cases"]:
        for number, fault in enumerate(case["faults"], 1):
            back = "not" if fault["back_ms"] is None else f"{fault['back_ms']:.1f}"
            rows.append(
                [
                    f"{case['what']}, crash {number}",
                    Cell(f"{fault['gap_ms']:.1f}", case["run"]),
                    Cell(back, case["run"]),
                    f"{case['before'] * 8 / 1e3:.1f}",
                    Cell(str(case["lost"]), case["run"], "bad" if case["lost"] else ""),
                    Cell(str(case["wrong"]), case["run"], "bad" if case["wrong"] else ""),
                    f"{case['steal']:.1%}",
                ]
            )
        pictures.append(picture(case))
    table = Table(
        ("killed", "longest gap, ms", "component back, ms", "Gbit/s before", "connections lost",
         "wrong bytes", "steal"),
        rows,
    )  # fmt: skip
    gaps = [fault["gap_ms"] for case in data["cases"] for fault in case["faults"]]
    bucket_ms = data["cases"][0]["bucket_s"] * 1e3
    notes = (
        f"One download, every byte compared with what it should be; a point is {bucket_ms:g} "
        f"ms. The longest gap of all crashes was {max(gaps, default=0.0):.1f} ms.",
        "The papers' curves stand in their pictures only. NewtOS recovers “seamlessly from crashes and hangs "
        "in drivers, network filters, and most protocol handlers” (§I), and loses TCP's connections.",
    )
    return Shown(pictures, (table,), notes, keys_of(data["cases"]))


def keys_of(cases: list[Data]) -> list[Key]:
    keys = []
    for recovery, told in (("stateful", "others than TCP: none"), ("stateless", "TCP: all of its")):
        mine = [case for case in cases if recovery in case["what"]]
        if mine:
            crashes = sum(len(case["faults"]) for case in mine)
            gap = max((fault["gap_ms"] for case in mine for fault in case["faults"]), default=0.0)
            lost = sum(case["lost"] for case in mine)
            text = f"{lost} in {crashes} crashes; longest gap {gap:.0f} ms"
            keys.append(Key(f"connections lost in a crash, {recovery}", told, text))
    return keys


def picture(case: Data) -> str:
    """The first crash, with what was before and after it."""
    bucket = case["bucket_s"]
    first = case["faults"][0]["at_s"] if case["faults"] else BEFORE_S
    since = max(first - BEFORE_S, 0.0)
    points = [
        ((at + 0.5) * bucket - since, value * 8 / 1e3)
        for at, value in enumerate(case["mb_per_s"][:-1])  # the last bucket is not full
        if since <= at * bucket < first + AFTER_S
    ]
    faults = [(fault["at_s"] - since, "killed") for fault in case["faults"][:1]]
    series = [
        Series(f"each {bucket * 1e3:g} ms", points, colour=5, marks=False),
        Series(f"mean of {MEAN_S * 1e3:g} ms: {case['what']}", means(points, round(MEAN_S / bucket))),
    ]
    ticks = [n * 0.5 for n in range(round((BEFORE_S + AFTER_S) / 0.5) + 1)]
    return lines(case["what"], Axis("seconds", ticks=ticks), Axis("Gbit/s"), series, faults)


def means(points: list[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """Of each so many, in the middle of their time; what is left over is not shown."""
    groups = [points[at : at + count] for at in range(0, len(points) - count + 1, count)]
    return [(sum(x for x, _ in some) / count, sum(y for _, y in some) / count) for some in groups]
