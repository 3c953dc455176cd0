"""`neat run -- PROGRAM`: a program whose sockets are the stack's."""

import contextlib
import os
import secrets
from pathlib import Path

import click

from neat import routes
from neat.cli import executable, library
from neat.cli.client import name_option, request


def check_routes(_ctx: click.Context, _param: click.Parameter, rules: tuple[str, ...]) -> list[str]:
    try:
        return [routes.check(rule) for rule in rules]
    except routes.RouteError as error:
        raise click.BadParameter(str(error)) from None


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.option(
    "--route",
    "rules",
    multiple=True,
    metavar="CIDR=neat|kernel",
    callback=check_routes,
    help="Where sockets go; the first that matches. Before the rules of the configuration.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say for each socket where it went, and why.")
@click.option(
    "--batch/--no-batch",
    default=True,
    help="Whether waking PROGRAM waits for who runs just now (SCHED_BATCH).  [default: batch]",
)
@click.option("--io-uring", is_flag=True, help="Let PROGRAM use io_uring, which knows no socket of ours.")
@click.option("--anyway", is_flag=True, help="Run what can't be intercepted: on the kernel's network.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    name: str,
    rules: list[str],
    verbose: bool,
    batch: bool,
    io_uring: bool,
    anyway: bool,
    program: tuple[str, ...],
) -> None:
    """Run PROGRAM with its sockets on the stack; the exit status is the program's.

    Example: neat run -- lighttpd -D -f site.conf
    """
    state = request(name, {"op": "status"})["status"]
    if state["name"] != name:
        raise click.ClickException(
            f"the stack in {state['run_dir']} is called {state['name']!r}, not {name!r}"
        )
    try:
        path = executable.find(program[0])
    except OSError as error:
        executable.fail(program[0], error)
    obstacle = executable.obstacle(path)
    if obstacle is not None and not anyway:
        raise click.ClickException(f"{obstacle}: its sockets would be the kernel's (--anyway runs it so)")
    env = {key: value for key, value in os.environ.items() if key not in ("NEAT_VERBOSE", "NEAT_IO_URING")}
    if obstacle is None:
        try:
            env |= environment(name, state, rules, verbose, io_uring)
        except (FileNotFoundError, routes.RouteError) as error:
            raise click.ClickException(str(error)) from None
        if batch:
            work_in_batches()
        work_on(state.get("programs_cores") or [])
    executable.become(path, program, env)


def work_in_batches() -> None:
    """This process, and all that it becomes and starts: a wake-up does not interrupt who runs just now
    (sched(7), SCHED_BATCH). A policy that somebody chose stays."""
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def work_on(cpus: list[int]) -> None:
    """Where the stack's placement wants its programs, as far as we may run there."""
    with contextlib.suppress(OSError):
        if allowed := os.sched_getaffinity(0) & set(cpus):
            os.sched_setaffinity(0, allowed)


def environment(
    name: str, state: dict, rules: list[str], verbose: bool, io_uring: bool = False
) -> dict[str, str]:
    """What the preload library reads (neat/shim/README.md)."""
    said = {"NEAT_VERBOSE": "1"} if verbose else {}
    said |= {"NEAT_IO_URING": "1"} if io_uring else {}
    ours = str(library.library(Path(state["run_dir"])))
    others = [part for part in os.environ.get("LD_PRELOAD", "").replace(":", " ").split() if part != ours]
    return {
        "LD_PRELOAD": " ".join([ours, *others]),
        "NEAT_STACK": name,
        "NEAT_RUN_DIR": state["run_dir"],
        "NEAT_APP": f"{secrets.randbits(64) | 1:016x}",
        "NEAT_ADDRESS": state["address"],
        "NEAT_ROUTES": routes.merge(rules, state["routes"]),
    } | said
