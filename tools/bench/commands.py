"""`neat bench`: http, bulk, churn, limit. Tables for people, `-j` for programs; failure is exit status 1."""

import json
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from neat.tools.bench import tables
from neat.tools.bench.load import LoadError
from neat.tools.bench.sides import SideError
from neat.tools.stack import StackError, end_tidily

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
    progress = Console(stderr=True, highlight=False)
    try:
        with progress.status("starting") as status:
            result = run(lambda text: status.update(text))
    except (LoadError, SideError, StackError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        show(Console(highlight=False), result)
    if not ok(result):
        raise SystemExit(1)


@bench.command()
@click.option("--connections", type=click.IntRange(1, 10_000), default=32, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 300), default=3, show_default=True, help="Of each round.")
@click.option(
    "--size", type=click.IntRange(0, 100 << 20), default=20, show_default=True, help="Of the file, in bytes."
)
@click.option("--keep-alive/--close", default=True, help="Many requests a connection, or one.")
@click.option("--client", type=click.Choice(["wrk", "httperf"]), default="wrk", show_default=True)
@click.option(
    "--calls", type=click.IntRange(1, 1_000_000), default=1000, help="Requests a connection, with httperf."
)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of wrk.")
@rounds_option
@replicas_option
@json_option
def http(as_json: bool, **options: Any) -> None:
    """Requests a second of the same web server, and the CPU time of each."""
    from neat.tools.bench.http import HttpSettings
    from neat.tools.bench.http import http as run

    settings = HttpSettings(**options)
    finish(
        lambda progress: run(settings, progress),
        tables.http,
        as_json,
        lambda result: result["neat"]["errors"] == result["linux"]["errors"] == 0,
    )


@bench.command()
@click.option("--megabytes", type=click.IntRange(1, 4096), default=512, show_default=True)
@rounds_option
@replicas_option
@json_option
def bulk(as_json: bool, **options: Any) -> None:
    """One large download with curl."""
    from neat.tools.bench.bulk import BulkSettings
    from neat.tools.bench.bulk import bulk as run

    settings = BulkSettings(**options)
    finish(lambda progress: run(settings, progress), tables.bulk, as_json, lambda result: True)


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
@click.option(
    "--seconds", type=click.IntRange(1, 60), default=1, show_default=True, help="Of each of four parts."
)
@json_option
def limit(as_json: bool, seconds: int) -> None:
    """What the TAP device itself can do, without a stack."""
    from neat.tools.bench.limit import limit as run

    finish(lambda progress: run(seconds, progress), tables.limit, as_json, lambda result: True)
