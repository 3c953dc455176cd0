"""`neat drill`: its options. A table for people, `-j` for programs; exit status 1 when anything was lost."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from neat.cli.client import check_name
from neat.cli.options import Seconds
from neat.cli.up import parse_setting
from neat.tools.bench.commands import finish, json_option
from neat.tools.bench.options import Numbers
from neat.tools.drill import tables
from neat.tools.drill.faults import CHOICES


class Components(click.ParamType):
    """Components, with commas between them."""

    name = "WHO[,WHO…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(value.split(","))
        for name in names:
            if name not in CHOICES and not re.fullmatch(r"replica((\d|1[0-5])|[0-7]\.(ip|udp))", name):
                self.fail(f"{name!r}: must be replica0 … or one of {', '.join(CHOICES)}", param, ctx)
        if "none" in names and len(names) > 1:
            self.fail("none goes alone", param, ctx)
        return names


class Faults(click.ParamType):
    """Kinds of faults, separated by commas."""

    name = "types"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        from neat.tools.drill.inject.faults import IN_TEXT, KINDS

        if not isinstance(value, str):
            return tuple(value)
        names = IN_TEXT if value == "all" else tuple(part.strip() for part in value.split(","))
        wrong = [name for name in names if name not in KINDS]
        if wrong:
            self.fail(f"{wrong[0]!r}: there are {', '.join(KINDS)}, and all: those in instructions")
        return names


def run_campaign(
    count: int,
    seed: int,
    components: tuple[str, ...],
    types: tuple[str, ...],
    stack: dict[str, Any],
    results: Path | None,
    jobs: int,
    as_json: bool,
) -> None:
    import tempfile

    from neat.tools.drill.inject import campaign, faults
    from neat.tools.drill.inject import tables as shown
    from neat.tools.drill.inject.process import ROOMS, InjectError
    from neat.tools.drill.inject.run import GONE, WRONG

    wrong = [name for name in components if name not in ROOMS]
    if wrong:
        raise click.UsageError(f"--component {wrong[0]}: faults can be put into {' and '.join(ROOMS)}")
    try:
        faults.decoder()
    except InjectError as error:
        raise click.ClickException(str(error)) from None

    def measure(progress: Callable[[str], None]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = results or Path(folder) / "results"
            chosen = campaign.Campaign(components, types, seed, stack)
            try:
                rows = campaign.run_all(chosen, count, path, jobs, progress)
            except campaign.CampaignError as error:
                raise click.ClickException(str(error)) from None
        bad = [row for row in rows if row["class"] in (GONE, WRONG)]
        return {"table": campaign.table(rows), "bad": bad, "runs": rows}

    def good(result: dict[str, Any]) -> bool:
        return not any(row["class"] == GONE and not row["came_back"] for row in result["bad"])

    finish(measure, shown.show, as_json, good)


@click.command()
@click.option("--kill", type=Components(), help="In turn; default: replica, and with --scale none.")
@click.option(
    "--scale",
    type=Numbers(1, 16),
    default=(),
    metavar="N[,N…]",
    help="Meanwhile: so many replicas, one number after another.",
)
@click.option("--scale-every", type=Seconds(3600), default="3s", show_default=True, help="To the next step.")
@click.option("--hang", is_flag=True, help="SIGSTOP instead of SIGKILL.")
@click.option(
    "--every", type=Seconds(3600), default="1s", show_default=True, help="From one fault to the next."
)
@click.option(
    "--for",
    "duration",
    type=Seconds(86_400),
    help="Faults for so long; default: 60s, and with --scale until the last step is done.",
)
@click.option("--count", type=click.IntRange(1, 100_000), help="Faults at most.")
@click.option("--random", "seed", type=int, metavar="SEED", help="Random moments, random victims.")
@click.option("--quiet", type=Seconds(600), default="2s", show_default=True, help="Before, and afterwards.")
@click.option("--overlap", is_flag=True, help="Do not wait until everybody is back before the next fault.")
@click.option("--connections", type=click.IntRange(0, 20_000), default=200, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(1.0, 1e5), default=2000.0, show_default=True, help="Requests/s."
)
@click.option(
    "--churn", type=click.FloatRange(0.0, 1e4), default=0.0, help="Short connections a second besides."
)
@click.option(
    "--bulk", type=click.IntRange(0, 64), default=4, show_default=True, help="Half of them uploads."
)
@click.option(
    "--bulk-rate",
    type=click.FloatRange(0.0, 1e4),
    default=16.0,
    show_default=True,
    help="MB/s of each; 0: as fast as it goes.",
)
@click.option(
    "--program", type=click.Choice(["nginx", "redis", "ssh"]), help="The server, instead of our own."
)
@click.option(
    "--hung-after", type=Seconds(600), default="10s", show_default=True, help="Without any progress."
)
@click.option("--replicas", type=click.IntRange(1, 16), default=3, show_default=True)
@click.option("--recovery", type=click.Choice(["stateful", "stateless"]), help="Default: the stack's.")
@click.option("--datapath", type=click.Choice(["queues", "driver"]), help="Default: the stack's.")
@click.option("--standby", type=click.IntRange(0, 16), help="Default: the stack's.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting of the stack.")
@click.option("--name", callback=lambda c, p, v: v and check_name(c, p, v), help="Of a stack that runs.")
@click.option("--allow-lost", is_flag=True, help="Lost, refused and hung connections are no failure.")
@click.option(
    "--inject",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Instead of kills: N runs, each with five faults in the instructions or memory of one component.",
)
@click.option("--component", default="replica", show_default=True, help="That gets faults: replica, driver.")
@click.option("--types", type=Faults(), default="all", show_default=True, help="Of faults, in turn.")
@click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Of --inject: a JSON object a line; runs that are there are not made again.",
)
@click.option("--jobs", type=click.IntRange(1, 16), default=1, show_default=True, help="Runs at a time.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Throughput over time: FILE.svg."
)
@click.option("--bucket", type=Seconds(10), default="50ms", show_default=True, help="Of a point over time.")
@json_option
def drill(
    kill: tuple[str, ...] | None,
    scale: tuple[int, ...],
    scale_every: float,
    hang: bool,
    every: float,
    duration: float | None,
    count: int | None,
    seed: int | None,
    quiet: float,
    overlap: bool,
    connections: int,
    rate: float,
    churn: float,
    bulk: int,
    bulk_rate: float,
    program: str | None,
    hung_after: float,
    replicas: int,
    recovery: str | None,
    datapath: str | None,
    standby: int | None,
    settings: tuple[str, ...],
    name: str | None,
    allow_lost: bool,
    plot: Path | None,
    bucket: float,
    as_json: bool,
    inject: int | None,
    component: str,
    types: tuple[str, ...],
    results: Path | None,
    jobs: int,
) -> None:
    """Kill components under a checked load, and say what its clients saw.

    A server of ours runs on the stack, its clients at the other end of the wire: request-response at a
    constant rate, and transfers in both directions. Both ends know every byte beforehand. With --scale the
    number of replicas changes meanwhile. Fails when a connection was lost, hung or refused, or a byte was
    wrong.

    With --inject a stack of its own comes up for each run, some instructions of a running --component are
    changed to wrong ones, and it is told what became of it: nothing, a recovery that nobody noticed,
    connections lost, service lost, wrong bytes. Fails when the service did not come back."""
    if inject is not None:
        of_stack = dict(map(parse_setting, settings)) | ({"recovery": recovery} if recovery else {})
        of_stack |= {"datapath": datapath} if datapath else {}
        names = tuple(name.strip() for name in component.split(","))
        run_campaign(inject, seed or 0, names, types, of_stack, results, jobs, as_json)
        return
    from neat.tools.drill import picture
    from neat.tools.drill.plan import Plan
    from neat.tools.drill.run import Settings
    from neat.tools.drill.run import drill as run

    if plot is not None:
        picture.check(plot)
    of_stack = dict(map(parse_setting, settings))
    named = {"recovery": recovery, "datapath": datapath, "standby": standby}
    of_stack |= {key: value for key, value in named.items() if value is not None}
    if name is not None and of_stack:
        raise click.UsageError("a stack that runs has its settings: --name goes without them")
    if connections + bulk == 0:
        raise click.UsageError("there must be a connection")
    chosen = Settings(
        kill=kill or (("none",) if scale else ("replica",)),
        hang=hang,
        every=every,
        duration=duration or (len(scale) * scale_every if scale else 60.0),
        scale=scale,
        scale_every=scale_every,
        count=count,
        quiet=quiet,
        bucket=bucket,
        seed=seed,
        overlap=overlap,
        replicas=replicas,
        stack=of_stack,
        name=name,
        load=Plan(
            connections=connections,
            rate=rate,
            churn=churn,
            bulk=bulk,
            bulk_rate=bulk_rate * 1e6,
            program=program or "",
            hang_s=hung_after,
        ),
    )

    def measure(progress: Callable[[str], None]) -> dict[str, Any]:
        result = run(chosen, progress)
        if plot is not None:
            picture.draw(plot, result)
        return result

    def good(result: dict[str, Any]) -> bool:
        return not any("byte" in text or not allow_lost for text in result["failures"])

    finish(measure, tables.show, as_json, good)
