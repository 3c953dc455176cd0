"""`neat bench`: http, latency, idle, bulk, table, model, spent, tuning, churn, layouts, limit. Tables for
people, `-j` for programs; failure is exit status 1."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console

from neat.cli.up import parse_setting
from neat.placement import PROFILES
from neat.tools.bench import tables
from neat.tools.bench.load import LoadError
from neat.tools.bench.options import ROW, Names, Numbers, Sizes
from neat.tools.bench.processes import SideError, raise_limits
from neat.tools.bench.thief import MOST_PERCENT
from neat.tools.driven import ClientError
from neat.tools.stack import StackError, end_tidily

# Of a table that is not printed to a terminal.
FILE_COLUMNS = 160

json_option = click.option("-j", "--json", "as_json", is_flag=True, help="JSON with stable names.")
replicas_option = click.option("--replicas", type=click.IntRange(1, 16), default=1, show_default=True)
rounds_option = click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True)


@click.group()
def bench() -> None:
    """Measure the stack against Linux's own, on this machine, in turns.

    Everything runs in network namespaces that are made for it."""


def finish(
    run: Callable[[Callable[[str], None]], dict[str, Any]],
    show: Callable[[Console, dict[str, Any]], None],
    as_json: bool,
    ok: Callable[[dict[str, Any]], bool],
) -> None:
    """Run a benchmark with progress on standard error, print it, and fail when its result is not good."""
    end_tidily()
    raise_limits()
    progress = Console(stderr=True, highlight=False)
    try:
        with progress.status("starting") as status:
            result = run(lambda text: status.update(text))
    except (LoadError, SideError, StackError, ClientError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        show(Console(highlight=False, width=width()), result)
    if not ok(result):
        raise SystemExit(1)


def width() -> int | None:
    """A file has room for a table; the width of a terminal is that of the terminal."""
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_COLUMNS


HTTP_SERVERS = ["demo", "lighttpd", "nginx", "redis"]
replica_counts_option = click.option(
    "--replicas", type=Numbers(1, 16), default="1", show_default=True, help="One number, or some to compare."
)
client_option = click.option(
    "--client",
    type=click.Choice(["wrk", "httperf", "redis-benchmark"]),
    help="Default: redis-benchmark for redis, wrk for the others.",
)
duration_option = click.option(
    "--duration",
    "--seconds",
    "duration",
    type=click.IntRange(1, 300),
    default=3,
    show_default=True,
    help="Seconds of each round.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes of lighttpd or nginx.",
)
syscalls_option = click.option(
    "--syscalls", is_flag=True, help="Count the server's system calls, in runs of their own."
)
datapaths_option = click.option(
    "--datapaths",
    type=Names("queues", "driver"),
    default=(),
    help="Of stacks that take turns in one run; default: one stack, as it is by default.",
)
placements_option = click.option(
    "--placements",
    type=Names("none", *PROFILES),
    default=(),
    help="Likewise: which components run on which processors.",
)
stack_option = click.option(
    "--set",
    "stack",
    multiple=True,
    metavar="KEY=VALUE",
    callback=lambda _context, _option, texts: tuple(map(check_setting, texts)),
    help="A setting of the stacks.",
)
stolen_option = click.option(
    "--stolen",
    type=click.IntRange(0, MOST_PERCENT),
    default=0,
    show_default=True,
    help="Percent of each processor that are taken away meanwhile, as by a hypervisor.",
)
switches_option = click.option(
    "--switches", is_flag=True, help="Context switches, wake-ups and doorbells for each request."
)


def check_setting(text: str) -> str:
    """The stack says which it does not know."""
    key, _value = parse_setting(text)
    if key in ("name", "replicas"):
        raise click.BadParameter(f"{key} is not set so: replicas by their option, the name by the benchmark")
    return text


def server_option(default: str, servers: list[str]) -> Callable[[Any], Any]:
    return click.option("--server", type=click.Choice(servers), default=default, show_default=True)


def no_errors(result: dict[str, Any]) -> bool:
    return all(point[side].get("errors", 0) == 0 for point in result["points"] for side in ("neat", "linux"))


@bench.command()
@server_option("demo", HTTP_SERVERS)
@client_option
@click.option(
    "--connections",
    type=Numbers(1, 10_000),
    default="32",
    show_default=True,
    help="One number, or some to compare.",
)
@click.option(
    "--requests-per-connection",
    type=Numbers(0, 60_000),
    default="0",
    show_default=True,
    help="0: as many as fit; or some numbers to compare.",
)
@click.option(
    "--size",
    "sizes",
    type=Sizes(),
    default="20",
    show_default=True,
    help="Of the file: 20, 1K, 10M; or some.",
)
@click.option("--sizes", "row", is_flag=True, help="All sizes from 20 B to 10 MB.")
@replica_counts_option
@duration_option
@rounds_option
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the client.")
@workers_option
@click.option(
    "--rate",
    type=click.FloatRange(0.0, 1e6),
    default=0.0,
    help="Of httperf, connections a second; default: search for the highest that is served.",
)
@syscalls_option
@switches_option
@datapaths_option
@placements_option
@stack_option
@stolen_option
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the rows: FILE.png or .svg."
)
@json_option
def http(as_json: bool, row: bool, plot: Path | None, client: str | None, **options: Any) -> None:
    """Requests a second of the same server, and the CPU time of each.

    wrk keeps --connections busy (a closed loop). With one request a connection it says "Connection: close";
    with more it is the server that closes.

    httperf is used as the paper does: --hog, --num-calls requests on each connection, and a --rate of new
    connections that does not wait for anyone (an open loop, in which --connections is not looked at). The
    result is the highest rate that was answered without an error. It has at most 1,024 connections at once.
    Without a number of requests a connection, all --connections start at once."""
    from neat.tools.bench import plot as picture
    from neat.tools.bench.http import HttpSettings
    from neat.tools.bench.http import http as run

    if plot is not None:
        picture.check(plot)
    if row:
        options["sizes"] = ROW
    settings = HttpSettings(client=client or default_client(options["server"]), **options)

    def measure(progress: Callable[[str], None]) -> dict[str, Any]:
        result = run(settings, progress)
        if plot is not None:
            picture.draw(plot, result)
        return result

    finish(measure, tables.http, as_json, no_errors)


def default_client(server: str) -> str:
    return "redis-benchmark" if server == "redis" else "wrk"


@bench.command()
@server_option("lighttpd", HTTP_SERVERS)
@click.option("--size", "sizes", type=Sizes(), default="20", show_default=True, help="Of the file.")
@replica_counts_option
@duration_option
@rounds_option
@syscalls_option
@switches_option
@datapaths_option
@stack_option
@json_option
def latency(as_json: bool, **options: Any) -> None:
    """How long one request takes when there is no other: one connection, one request at a time."""
    from neat.tools.bench.http import HttpSettings
    from neat.tools.bench.http import http as run

    settings = HttpSettings(client=default_client(options["server"]), connections=(1,), **options)
    finish(lambda progress: run(settings, progress) | {"bench": "latency"}, tables.http, as_json, no_errors)


@bench.command()
@server_option("nginx", ["demo", "lighttpd", "nginx"])
@click.option("--connections", type=click.IntRange(1, 16_000), default=10_000, show_default=True)
@duration_option
@rounds_option
@replicas_option
@json_option
def idle(as_json: bool, **options: Any) -> None:
    """Memory of connections that nobody uses, and the speed of one among them."""
    from neat.tools.bench.idle import IdleSettings
    from neat.tools.bench.idle import idle as run

    settings = IdleSettings(**options)
    finish(
        lambda progress: run(settings, progress),
        tables.idle,
        as_json,
        lambda result: result["neat"]["lost"] == result["linux"]["lost"] == 0,
    )


@bench.command()
@server_option("demo", ["demo", "lighttpd", "nginx", "iperf3"])
@click.option(
    "--megabytes", type=click.IntRange(1, 4096), default=512, show_default=True, help="Of the file."
)
@click.option(
    "--seconds", type=click.IntRange(1, 300), default=3, show_default=True, help="Of each run of iperf3."
)
@rounds_option
@replicas_option
@datapaths_option
@stack_option
@json_option
def bulk(as_json: bool, **options: Any) -> None:
    """One large download with curl; or a stream of iperf3 in each direction."""
    from neat.tools.bench.bulk import BulkSettings
    from neat.tools.bench.bulk import bulk as run

    settings = BulkSettings(**options)
    finish(lambda progress: run(settings, progress), tables.bulk, as_json, lambda result: True)


@bench.command()
@click.option("--rounds", type=click.IntRange(1, 50), default=8, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=2, show_default=True, help="Of each round.")
@datapaths_option
@stack_option
@click.option(
    "--only", multiple=True, metavar="TEXT", help="Only rows with this in their names; may be repeated."
)
@json_option
def table(as_json: bool, **options: Any) -> None:
    """All that says how a stack does, each in turns with Linux: lighttpd with few and many connections, one
    and two replicas, short connections, and 20 % of the processors stolen; nginx; redis; iperf3.

    Rows whose programs are not installed are left out. Some minutes; how many it says at the beginning."""
    from neat.tools.bench.table import TableSettings
    from neat.tools.bench.table import table as run

    settings = TableSettings(**options)
    finish(
        lambda progress: run(settings, progress, lambda text: click.echo(text, err=True)),
        tables.table,
        as_json,
        lambda result: no_errors(result) and not any(row["failed"] for row in result["left_out"]),
    )


@bench.command()
@server_option("lighttpd", ["demo", "lighttpd", "nginx"])
@click.option("--connections", type=click.IntRange(1, 10_000), default=128, show_default=True)
@duration_option
@rounds_option
@click.option(
    "--datapaths", type=Names("queues", "driver"), default=("queues", "driver"), show_default="queues,driver"
)
@click.option(
    "--most", type=click.IntRange(1, 16), default=16, show_default=True, help="Replicas on the curve."
)
@click.option(
    "--from",
    "source",
    type=click.File(),
    metavar="FILE",
    help="What http, table or model printed with -j: its costs are used, and not measured.",
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the curves: FILE.svg or .png."
)
@json_option
def model(as_json: bool, source: TextIO | None, plot: Path | None, duration: int, **options: Any) -> None:
    """How many requests a second more cores and more replicas would serve, from what a request costs each
    component here; beside what two cores measure, and what the paper has published."""
    from neat.tools.bench import plot as picture
    from neat.tools.bench.model import ModelSettings
    from neat.tools.bench.model import model as run

    if plot is not None:
        picture.check(plot)
    settings = ModelSettings(seconds=duration, **options)
    known = None
    if source is not None:
        try:
            known = json.load(source)
        except ValueError as error:
            raise click.ClickException(f"--from {source.name}: {error}") from None

    def measure(progress: Callable[[str], None]) -> dict[str, Any]:
        result = run(settings, known, progress)
        if plot is not None:
            picture.draw_model(plot, result)
        return result

    finish(measure, tables.model, as_json, lambda result: True)


@bench.command()
@server_option("lighttpd", ["demo", "lighttpd", "nginx"])
@click.option("--replicas", type=click.IntRange(1, 16), default=3, show_default=True)
@click.option(
    "--rates",
    type=Numbers(0, 1_000_000),
    default="3000,15000,0",
    show_default=True,
    help="Requests/s of httperf; 0: as many as wrk gets answered.",
)
@click.option("--seconds", type=click.IntRange(1, 60), default=3, show_default=True, help="Of each load.")
@click.option("--datapaths", type=Names("queues", "driver"), default=("driver",), show_default="driver")
@stack_option
@json_option
def spent(as_json: bool, **options: Any) -> None:
    """Where the time of driver and replicas goes, by load: in the kernel, looking for work, working."""
    from neat.tools.bench.spent import SpentSettings
    from neat.tools.bench.spent import spent as run

    settings = SpentSettings(**options)
    finish(
        lambda progress: run(settings, progress),
        tables.spent,
        as_json,
        lambda result: all(point["errors"] == 0 for point in result["points"]),
    )


@bench.command()
@server_option("lighttpd", ["demo", "lighttpd", "nginx"])
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Of the server.")
@click.option("--connections", type=click.IntRange(1, 10_000), default=64, show_default=True)
@duration_option
@rounds_option
@json_option
def tuning(as_json: bool, **options: Any) -> None:
    """Linux's own stack, tuned one option after another, all of them in turns."""
    from neat.tools.bench.tuning import TuningSettings
    from neat.tools.bench.tuning import tuning as run

    settings = TuningSettings(**options)
    finish(
        lambda progress: run(settings, progress),
        tables.tuning,
        as_json,
        lambda result: all(point["linux"]["errors"] == 0 for point in result["points"]),
    )


@bench.command()
@click.option("--connections", type=click.IntRange(1, 1_000_000), default=50_000, show_default=True)
@click.option("--parallel", type=click.IntRange(1, 1000), default=32, show_default=True)
@click.option("--time-wait-ms", type=click.IntRange(0, 60_000), default=1000, show_default=True)
@replicas_option
@json_option
def churn(as_json: bool, **options: Any) -> None:
    """Short connections, one request each; then looks for leaks."""
    from neat.tools.bench.churn import ChurnSettings
    from neat.tools.bench.churn import churn as run

    settings = ChurnSettings(**options)
    finish(
        lambda progress: run(settings, progress),
        tables.churn,
        as_json,
        lambda result: not result["leaks"] and not result["failed"],
    )


@bench.command()
@click.option("--replicas", type=Numbers(1, 16), default="1,2,4,8", show_default=True, help="To compare.")
@click.option("--connections", type=click.IntRange(2, 2000), default=200, show_default=True)
@json_option
def layouts(as_json: bool, **options: Any) -> None:
    """How many address-space layouts handle a client's connections, and what a restart changes."""
    from neat.tools.bench import layouts as of

    settings = of.LayoutSettings(**options)
    lost = lambda result: any(point["restarted"]["lost"] for point in result["points"])  # noqa: E731
    finish(lambda progress: of.layouts(settings, progress), of.show, as_json, lambda result: not lost(result))


@bench.command()
@click.option(
    "--seconds", type=click.IntRange(1, 60), default=1, show_default=True, help="Of each of four parts."
)
@json_option
def limit(as_json: bool, seconds: int) -> None:
    """What the TAP device itself can do, without a stack."""
    from neat.tools.bench.limit import limit as run

    finish(lambda progress: run(seconds, progress), tables.limit, as_json, lambda result: True)
