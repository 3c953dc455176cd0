"""The figures, in the order of the report, and the whole run of them."""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import load
from neat.tools.paper import crash, faults, linux, preserved, published, scaling, setups, spent
from neat.tools.paper.figure import Ask, Data, Figure, Shown
from neat.tools.paper.page import Entry, page
from neat.tools.paper.runs import Runs, write

HTTP = ("lighttpd", "wrk", "curl", "nsenter", "unshare", "ip")
REPORT = "report.html"

FIGURES = (
    Figure(
        "table1",
        "Table 1: Linux, tuned step by step",
        "NEaT §6.1; AMD Opteron 6168",
        "Pinning server processes where their packets arrive is what makes Linux faster, by 22 % in all; the "
        "other options give 1 %.",
        linux.measure_tuning,
        linux.show_tuning,
        (*HTTP, "mount"),
    ),
    Figure(
        "fig4",
        "Figure 4: latency and requests, by file size",
        "NEaT §6.1; Linux on the AMD",
        "As files grow there are fewer requests, and each takes longer; from 100 KB to 1 MB latency rises "
        "steeply, where the link is the bottleneck.",
        linux.measure_sizes,
        linux.show_latency,
        HTTP,
    ),
    Figure(
        "fig5",
        "Figure 5: throughput, by file size",
        "NEaT §6.1; Linux on the AMD",
        "From 7 KB on the 10 Gbit/s of the link are full.",
        linux.measure_sizes,
        linux.show_throughput,
        HTTP,
    ),
    Figure(
        "fig7",
        "Figure 7: servers and replicas on 12 cores",
        "NEaT §6.3; AMD Opteron 6168",
        "One multi-component replica feeds four servers; a second one makes room for a fifth. "
        "Single-component replicas scale further: three of them serve 302,000 requests/s with six servers, "
        "34.8 % more than Linux with all twelve cores.",
        scaling.measure_7,
        partial(scaling.show, marks=published.FIGURE_7, cores=12, most=12),
        HTTP,
    ),
    Figure(
        "fig9",
        "Figure 9: servers and multi-component replicas on 8 cores",
        "NEaT §6.4; Xeon E5520, 16 threads",
        "The stack peaks with four servers; a second replica, on threads of the same cores, takes it to "
        "322,000 requests/s with eight.",
        scaling.measure_9,
        partial(scaling.show, marks=published.FIGURE_9, cores=16, most=16),
        HTTP,
    ),
    Figure(
        "fig11",
        "Figure 11: servers and single-component replicas on 8 cores",
        "NEaT §6.4; Xeon E5520, 16 threads",
        "Once NEaT is overloaded another replica takes the growing load: four sustain 372,000 requests/s, "
        "13.4 % more than Linux with 16 servers (328,000).",
        scaling.measure_11,
        partial(scaling.show, marks=published.FIGURE_11, cores=16, most=16),
        HTTP,
    ),
    Figure(
        "fig12",
        "Figure 12: five configurations, one request a connection",
        "NEaT §6.5; AMD Opteron 6168",
        "With few connections one multi-component replica is better than two, as components that have little "
        "to do often sleep. At higher loads more replicas are better.",
        setups.measure,
        setups.show,
        HTTP,
    ),
    Figure(
        "table2",
        "Table 2: where a component's time goes, by load",
        "NEaT §6.5; the 10G driver on the Xeon, three replicas",
        "A driver with little to do spends most of its time suspending, resuming and polling. The wasted "
        "time shrinks with the load: at 97 % of its core more than 90 % is work. Here a component looks "
        "again for a while, gives way, and sleeps in the kernel only then, where the paper's halts by MWAIT.",
        spent.measure,
        spent.show,
        (*HTTP, "httperf"),
    ),
    Figure(
        "knw",
        "Keep Net Working: one connection's bitrate through a crash",
        "NewtOS (DSN 2012) §VI",
        "A component is killed while one TCP connection transfers data as fast as it can.",
        crash.measure,
        crash.show,
        ("nsenter", "unshare", "ip"),
    ),
    Figure(
        "table3",
        "Table 3: injected faults",
        "NEaT §6.6; 100 runs that crashed",
        "53.8 % of the runs recover so that neither applications nor users notice. In all others TCP "
        "crashed, and its connections were lost; afterwards it was always reachable.",
        faults.measure,
        faults.show,
    ),
    Figure(
        "fig13",
        "Figure 13: state that a failure leaves, against throughput",
        "NEaT §6.6; Xeon E5520",
        "Both grow with the number of replicas. Multi-component replicas preserve more, and single-component "
        "ones are faster.",
        preserved.measure,
        preserved.show,
        HTTP,
    ),
)


class Settings(NamedTuple):
    folder: Path
    only: Sequence[str] = ()  # names of figures; none: all
    quick: bool = False
    resume: bool = False
    minutes: float = 40.0
    command: str = "neat paper"
    results: Sequence[Path] = ()  # of fault injection, instead of measuring it
    figures: Sequence[Figure] = FIGURES
    start: Sequence[str] | None = None  # what runs a command, instead of `neat`


def run(
    settings: Settings, about: dict[str, Any], progress: Callable[[str], None], say: Callable[[str], None]
) -> list[Entry]:
    """Measures one figure after the other; after each the report is written, and whole."""
    began = time.monotonic()
    runs = Runs(
        settings.folder / "data",
        resume=settings.resume,
        ends=began + settings.minutes * 60,
        progress=progress,
        start=settings.start,
    )
    entries: list[Entry] = []
    for figure in settings.figures:
        if settings.only and figure.name not in settings.only:
            continue
        entry = one(figure, runs, settings)
        entries.append(entry)
        known = {"machine": runs.machine, "quick": settings.quick, "command": settings.command}
        known |= {"seconds": time.monotonic() - began}
        write(settings.folder / REPORT, page(about | known, entries))
        say(f"{figure.name}: {entry.state}" + "".join(f"\n  {text}" for text in entry.missing))
    return entries


def one(figure: Figure, runs: Runs, settings: Settings) -> Entry:
    """Measured and drawn; what it has is written down beside the report."""
    if lacking := load.missing(*figure.programs):
        return Entry(figure, "missing", Shown(), [], [lacking])
    ask = Ask(runs, settings.quick, settings.results)
    data: Data = {}
    try:
        data = figure.measure(ask)
        shown = figure.show(data)
    except Exception as error:  # whatever is wrong with one figure: the others are wanted all the same
        shown = Shown()
        ask.lacks(f"it could not be made of what was measured: {error!r}")
    used = [{k: v for k, v in kept._asdict().items() if k != "result"} for kept in ask.used]
    state = "missing" if shown == Shown() else "in part" if ask.missing else "whole"
    write(
        settings.folder / f"{figure.name}.json",
        json.dumps({"figure": figure.name, "data": data, "commands": used, "missing": ask.missing}, indent=1),
    )
    for number, picture in enumerate(shown.pictures, 1):
        write(settings.folder / f"{figure.name}-{number}.svg", alone(picture))
    return Entry(figure, state, shown, used, ask.missing)


def alone(picture: str) -> str:
    """A picture that is a file has its colours with it."""
    from neat.tools.paper.chart import STYLE

    return picture.replace("<title>", f"<style>{STYLE}</style><title>", 1) + "\n"
