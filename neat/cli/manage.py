"""`neat down`, `neat kill`, `neat restart`."""

import os
import select
import signal

import click

from neat import rundir
from neat.cli.client import NotRunning, directory_of, guardian_of, name_option, print_json, request
from neat.supervisor.netns import clean as clean_netns

DOWN_S = 10.0
RESTART_S = 20.0


@click.command()
@name_option
def down(name: str) -> None:
    """End a stack, and wait until nothing is left of it."""
    try:
        pid = guardian_of(name)
    except NotRunning:
        clean_stale(name)
        raise
    end_guardian(pid)
    click.echo(f"{name}: down")


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


def clean_stale(name: str) -> None:
    """Remove what a guardian left that was killed."""
    directory = directory_of(name)
    if not directory.exists():
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
@click.option("--rolling", is_flag=True, help="Each component in turn.")
@name_option
@click.option("-j", "--json", "as_json", is_flag=True)
def restart(component: str | None, rolling: bool, name: str, as_json: bool) -> None:
    """Restart a component and wait until it is ready again."""
    if rolling == (component is not None):
        raise click.UsageError("give one component, or --rolling")
    message = {"op": "restart", "rolling": True} if rolling else {"op": "restart", "component": component}
    reply = request(name, message, timeout_s=RESTART_S * (20 if rolling else 1))
    if as_json:
        print_json({"restarted": reply["restarted"]})
    else:
        click.echo(f"{', '.join(reply['restarted'])}: restarted")
