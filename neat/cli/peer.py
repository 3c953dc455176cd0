"""`neat peer -- PROGRAM`: a program at the other end of the wire, in the stack's network namespace."""

import os

import click

from neat.cli import executable
from neat.cli.client import guardian_of, name_option


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def peer(name: str, program: tuple[str, ...]) -> None:
    """Run PROGRAM at the other end of the wire; the exit status is the program's.

    Example: neat peer -- curl http://10.77.0.2/
    """
    from neat.supervisor.process import enter_network

    pid = guardian_of(name)
    try:
        enter_network(f"/proc/{pid}/ns/net")
    except PermissionError:
        raise click.ClickException(
            "entering the stack's network namespace needs root (CAP_SYS_ADMIN)"
        ) from None
    except OSError as error:
        raise click.ClickException(f"the stack's network namespace: {error}") from None
    try:
        path = executable.find(program[0])
    except OSError as error:
        executable.fail(program[0], error)
    executable.become(path, program, dict(os.environ))
