"""The `neat` command. Each subcommand's module is imported only when it is asked for, so that `neat status`
is quick."""

import importlib

import click

# Subcommand -> (module, attribute, help line)
COMMANDS = {
    "up": ("neat.cli.up", "up", "Start a stack."),
    "down": ("neat.cli.manage", "down", "End a stack."),
    "status": ("neat.cli.status", "status", "Show components, replicas, and recent events."),
    "ss": ("neat.cli.ss", "ss", "List the sockets of a stack."),
    "peer": ("neat.cli.peer", "peer", "Run a program at the other end of the wire."),
    "kill": ("neat.cli.manage", "kill", "Send a signal to a component."),
    "restart": ("neat.cli.manage", "restart", "Restart a component, or each in turn."),
    "bench": ("neat.tools.bench.commands", "bench", "Measure the stack against Linux's own."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names without importing them."""

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
