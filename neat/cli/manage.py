"""`neat down`, `neat kill`, `neat restart`, `neat scale`."""

import os
import select
import signal
import sys

import click

from neat import rundir
from neat.cli.client import NotRunning, directory_of, guardian_of, name_option, print_json, request
from neat.cli.options import Seconds
from neat.supervisor.netns import clean as clean_netns

DOWN_S = 10.0
RESTART_S = 20.0


@click.command()
@click.option("--force", is_flag=True, help="Without asking; programs do not wait for the next stack.")
@name_option
def down(name: str, force: bool) -> None:
    """End a stack, and wait until nothing is left of it.

    Programs that listen on it hear nothing: the next stack of that name serves them again. Meanwhile a
    caretaker keeps their sockets, unless --force says that nobody waits.
    """
    try:
        pid = guardian_of(name)
    except NotRunning:
        if force and end_caretaker(name):
            click.echo(f"{name}: no program waits for it any more")
            return
        clean_stale(name)
        raise
    if not force:
        ask_programs(name)
    end_guardian(pid)
    if force:
        end_caretaker(name)
    waiting = rundir.caretaker(directory_of(name))
    click.echo(f"{name}: down" + (f"; programs wait for the next (caretaker {waiting})" if waiting else ""))


def ask_programs(name: str) -> None:
    """Say which programs are attached; on a terminal, ask whether that is meant."""
    try:
        state = request(name, {"op": "status"})["status"]
    except click.ClickException:
        return  # it does not answer: all the more reason to end it
    for row in state["applications"] or []:
        more = f" and {row['processes'] - 1} more" if row["processes"] > 1 else ""
        bound = f", at {', '.join(row['bound'])}" if row["bound"] else ""
        pid = row["pids"][0] if row["pids"] else "-"
        click.echo(f"{name}: {row['program']} (pid {pid}{more}) is attached{bound}", err=True)
    if state["applications"] and sys.stdin.isatty():
        click.confirm(f"End {name}? Connections are lost, programs that listen wait", abort=True)


def end_guardian(pid: int, patience_s: float = DOWN_S) -> None:
    """SIGTERM and wait; SIGKILL when it takes too long, which ends everything too."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(pidfd, number)
            if select.select([pidfd], [], [], patience_s)[0]:
                return
    except ProcessLookupError:
        return
    except PermissionError:
        raise click.ClickException("the stack belongs to another user") from None
    finally:
        os.close(pidfd)
    raise click.ClickException(f"guardian {pid} does not end")


def end_caretaker(name: str) -> bool:
    """Let programs go that wait for the next stack of this name; False when there are none."""
    pid = rundir.caretaker(directory_of(name))
    if pid is None:
        return False
    end_guardian(pid)
    clean_stale(name)
    return True


def clean_stale(name: str) -> None:
    """Remove what a guardian left that was killed."""
    directory = directory_of(name)
    if not directory.exists() or rundir.caretaker(directory) is not None:
        return
    try:
        lock = rundir.acquire(directory)
    except (rundir.InUse, OSError):
        return
    clean_netns(directory)
    rundir.remove(directory)
    os.close(lock)


@click.command()
@click.argument("component")
@click.option("--signal", "signal_name", default="SIGKILL", show_default=True, help="Name or number.")
@name_option
@click.option("-j", "--json", "as_json", is_flag=True)
def kill(component: str, signal_name: str, name: str, as_json: bool) -> None:
    """Send a signal to a component: driver, syscall, supervisor, replica0, ..."""
    value = int(signal_name) if signal_name.isdecimal() else signal_name
    reply = request(name, {"op": "kill", "component": component, "signal": value})
    if as_json:
        print_json({"component": component, "pid": reply["pid"], "signal": signal_name})
    else:
        click.echo(f"{component}: {signal_name} sent to pid {reply['pid']}")


@click.command()
@click.argument("component", required=False)
@click.option("--rolling", is_flag=True, help="Everything, one after another.")
@click.option(
    "--every", type=Seconds(31 * 86_400, zero=True), help="With --rolling: again and again; 0: no more."
)
@name_option
@click.option("-j", "--json", "as_json", is_flag=True)
def restart(component: str | None, rolling: bool, every: float | None, name: str, as_json: bool) -> None:
    """Replace a component by a fresh process, of the code that is installed now, and wait until it is ready.

    With --rolling all but the guardian, the supervisor first, as it is the one that starts the others. What
    replaces a replica goes on with its connections (`recovery = "stateful"`).

    With --rolling --every 1h all that sees packets gets a fresh process, and with it another layout of its
    address space, each time an hour is over; the supervisor stays. It is a setting, too: restart_every_ms.
    """
    if rolling == (component is not None):
        raise click.UsageError("give one component, or --rolling")
    if every is not None and not rolling:
        raise click.UsageError("--every goes with --rolling")
    if every is not None:
        reply = request(name, {"op": "restart", "rolling": True, "every_s": every})
        if as_json:
            print_json({"restarted": [], "every_s": reply["every_s"]})
        else:
            click.echo(f"{name}: {f'restarts everything every {every:g} s' if every else 'no more restarts'}")
        return
    restarted = []
    for target in ("supervisor", None) if rolling else (component,):
        message = {"op": "restart"} | ({"component": target} if target else {"rolling": True})
        reply = request(name, message, timeout_s=RESTART_S * (20 if rolling else 1))
        restarted += reply["restarted"]
    if as_json:
        print_json({"restarted": restarted})
    else:
        click.echo(f"{', '.join(restarted)}: restarted")


@click.command()
@click.argument("replicas", metavar="N|auto")
@name_option
@click.option("-j", "--json", "as_json", is_flag=True)
def scale(replicas: str, name: str, as_json: bool) -> None:
    """Have N replicas, or with `auto` as many as their load asks for, and wait until they are ready.

    Programs notice nothing: new replicas serve their sockets, too. Those that are too many get nothing new
    and end with the last connection that they have; `neat status` shows what they wait for.
    """
    count: int | str = int(replicas) if replicas.isdecimal() else replicas
    reply = request(name, {"op": "scale", "replicas": count}, timeout_s=RESTART_S)
    if as_json:
        print_json(reply)
        return
    words = {"started": "started", "kept": "stays after all", "leaving": "leaves with its last connection"}
    for key, word in words.items():
        for replica in reply[key]:
            click.echo(f"{replica}: {word}")
    if reply["auto"]:
        click.echo(f"{name}: as many replicas as the load asks for")
    elif not any(reply[key] for key in words):
        click.echo(f"{name}: has {replicas} already")
