"""The `neat` command. Each subcommand's module is imported only when it is asked for, so that `neat status`
is quick."""

import importlib
import os
import sys
from typing import Any

import click

# Subcommand -> (module, attribute, help line)
COMMANDS = {
    "up": ("neat.cli.up", "up", "Start a stack."),
    "down": ("neat.cli.manage", "down", "End a stack."),
    "status": ("neat.cli.status", "status", "Show components, replicas, and recent events."),
    "ss": ("neat.cli.ss", "ss", "List the sockets of a stack."),
    "run": ("neat.cli.run", "run", "Run a program with its sockets on the stack."),
    "peer": ("neat.cli.peer", "peer", "Run a program at the other end of the wire."),
    "crashes": ("neat.cli.crashes", "crashes", "List crash reports, or show one."),
    "kill": ("neat.cli.manage", "kill", "Send a signal to a component."),
    "restart": ("neat.cli.manage", "restart", "Restart a component, or each in turn."),
    "scale": ("neat.cli.manage", "scale", "Have more replicas, or fewer."),
    "filter": ("neat.cli.filter", "filter_", "Show and change the packet filter's rules."),
    "bench": ("neat.tools.bench.commands", "bench", "Measure the stack against Linux's own."),
    "drill": ("neat.tools.drill.commands", "drill", "Kill components under load, and see who notices."),
    "paper": ("neat.tools.paper.commands", "paper", "Measure what the papers measured, in one report."),
}


def open_standard_descriptors() -> None:
    """What was closed becomes /dev/null, so that no other file gets its number."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(fd, True)
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r", closefd=False))


def drop_output() -> None:
    """Forget what cannot be written, so that it is not tried again when the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def describe(error: OSError) -> str:
    """In words, with the file that it is about, and without the number."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


class LazyGroup(click.Group):
    """A group that knows its commands' names without importing them."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's, and output that cannot be written is an error of one line."""
        open_standard_descriptors()
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            sys.exit(1)  # whoever read our output has seen enough
        except OSError as error:
            drop_output()
            click.echo(f"Error: {describe(error)}", err=True)
            sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _help = COMMANDS[cmd_name]
        try:
            return getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            raise click.ClickException(f"`neat {cmd_name}` is not available: {error}") from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, _attribute, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A TCP/IP stack that runs as replicated, isolated processes over a TAP device."""
