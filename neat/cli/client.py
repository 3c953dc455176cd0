"""Talking to a stack that runs: where it is, and one request over its control socket."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import click

from neat import rundir

PATIENCE_S = 8.0  # a supervisor that keeps being killed is started again after at most 5 s


class NotRunning(click.ClickException):
    """No stack of that name is up."""


def check_name(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    """A name that a stack can have, or BadParameter."""
    if not re.fullmatch(rundir.NAME, name):
        raise click.BadParameter(f"{name!r}: must be up to 32 of a-z, 0-9 and -, and not start with -")
    return name


# Every command has this option.
name_option = click.option(
    "--name",
    default="default",
    envvar="NEAT_STACK",
    show_default=True,
    callback=check_name,
    help="Which stack.",
)


def directory_of(name: str) -> Path:
    return rundir.path(name)


def guardian_of(name: str, directory: Path | None = None) -> int:
    """The pid of the stack's guardian."""
    directory = directory or directory_of(name)
    pid = rundir.guardian(directory)
    if pid is None:
        waiting = rundir.caretaker(directory)
        more = f"; programs wait for it (caretaker {waiting}): `neat down --force` lets them go"
        raise NotRunning(f"no stack called {name!r} is up (looked in {directory}){more if waiting else ''}")
    return pid


def request(
    name: str, message: dict[str, Any], timeout_s: float = PATIENCE_S, directory: Path | None = None
) -> dict[str, Any]:
    """The supervisor's reply to one request. While the supervisor is being replaced, its successor
    answers. `directory`: the stack's, where it is not the one that its name leads to."""
    directory = directory or directory_of(name)
    guardian_of(name, directory)
    path = directory / rundir.CONTROL_SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
            sock.sendall(json.dumps(message).encode() + b"\n")
            data = _read_line(sock)
        except PermissionError:
            raise click.ClickException(f"the stack {name!r} belongs to another user") from None
        except TimeoutError:
            raise click.ClickException(
                f"the supervisor of {name!r} did not answer within {timeout_s:.0f} s"
            ) from None
        except OSError as error:
            raise click.ClickException(
                f"the supervisor of {name!r} cannot be reached: {error.strerror}"
            ) from None
    if not data:
        raise click.ClickException(
            f"the supervisor of {name!r} ended before it answered; it is being restarted"
        )
    reply = json.loads(data)
    if not reply.get("ok"):
        raise click.ClickException(reply.get("error", "refused"))
    return reply


def _read_line(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
        if part.endswith(b"\n"):
            break
    return b"".join(parts)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))
