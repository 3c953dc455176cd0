"""`neat paper`: its options."""

import datetime
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from neat.tools.bench.processes import raise_limits
from neat.tools.stack import end_tidily


class FigureNames(click.ParamType):
    """Some figures, with commas between them."""

    name = "NAME[,NAME…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        from neat.tools.paper.plan import FIGURES

        known = [figure.name for figure in FIGURES]
        names = tuple(dict.fromkeys(value.lower().split(","))) if isinstance(value, str) else tuple(value)
        for name in names:
            if name not in known:
                self.fail(f"{name!r} is none of {', '.join(known)}", param, ctx)
        return names


@click.command()
@click.option("--only", type=FigureNames(), default=(), help="fig7, table2, knw, …; default: all.")
@click.option("--quick", is_flag=True, help="Few points, one round each: some minutes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("neat-paper"),
    show_default=True,
    help="Folder of the report.",
)
@click.option("--resume", is_flag=True, help="Go on: what was measured here before is not measured again.")
@click.option(
    "--minutes",
    type=click.FloatRange(0.1, 600),
    default=40.0,
    show_default=True,
    help="At most; what does not fit is left out, and the report says so.",
)
@click.option(
    "--results",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Of neat drill --inject --results: Table 3 is made of them, not measured; may be repeated.",
)
def paper(
    only: tuple[str, ...],
    quick: bool,
    out: Path,
    resume: bool,
    minutes: float,
    results: tuple[Path, ...],
) -> None:
    """Measure what the papers measured, and write one report with their numbers beside ours.

    OUT/report.html has everything; OUT/data what each command printed, OUT/NAME.json the numbers of a figure.
    Everything runs in network namespaces that are made for it. Exit status 1: a figure is missing or lacks
    something."""
    from neat.tools.paper.plan import REPORT, Settings, run

    end_tidily()
    raise_limits()
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "version": version(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    command = shlex.join(["neat", "paper", *sys.argv[2:]])
    console = Console(stderr=True, highlight=False)
    settings = Settings(out, only, quick, resume, minutes, command, results)
    with console.status("starting") as status:
        entries = run(
            settings, about, lambda text: status.update(text), lambda text: click.echo(text, err=True)
        )
    click.echo(str(out / REPORT))
    if any(entry.state == "missing" for entry in entries):
        raise SystemExit(1)


def version() -> str:
    try:
        return metadata.version("neat-stack")
    except metadata.PackageNotFoundError:
        return "unknown"
