"""`neat filter`: the packet filter's rules, shown and changed on a stack that runs."""

from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from neat import rundir
from neat.cli.client import name_option, print_json, request
from neat.filter import CHAINS
from neat.supervisor.filtering import LOG_FILE

chain_argument = click.argument("chain", type=click.Choice(CHAINS))
RULE_HELP = "A rule is matches and a verdict in nftables' words, like: tcp dport 22 drop"


@click.group("filter", invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@name_option
@click.option("-j", "--json", "as_json", is_flag=True)
@click.pass_context
def filter_(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show the packet filter's rules with what they have counted; the subcommands change them.

    A change is made at once and whole: each packet meets the rules of before, or those of after. Rules are
    looked at in their order, the first that matches and has a verdict decides, else the chain's policy.
    """
    ctx.obj = name
    if ctx.invoked_subcommand is None:
        found = request(name, {"op": "filter"})
        if as_json:
            print_json({key: found[key] for key in ("policies", "rules")})
        else:
            show(found)


def show(found: dict[str, Any]) -> None:
    """Rules are not broken into lines: they are meant to be copied."""
    for chain in CHAINS:
        click.echo(f"{chain} policy {found['policies'][chain]}")
        rules = [row for row in found["rules"] if row["chain"] == chain]
        if rules:
            click.echo(f"{'handle':>8} {'packets':>12} {'bytes':>15}  rule")
        for row in rules:
            click.echo(f"{row['handle']:8} {row['packets']:12,} {row['bytes']:15,}  {row['rule']}")


def change(name: str, **what: Any) -> dict[str, Any]:
    return request(name, {"op": "filter", **what})


@filter_.command(context_settings={"ignore_unknown_options": True}, epilog=RULE_HELP)
@chain_argument
@click.argument("rule", nargs=-1, required=True)
@click.pass_obj
def add(name: str, chain: str, rule: tuple[str, ...]) -> None:
    """Add a rule at the end of a chain."""
    _put(name, "add", chain, rule)


@filter_.command(context_settings={"ignore_unknown_options": True}, epilog=RULE_HELP)
@chain_argument
@click.argument("rule", nargs=-1, required=True)
@click.pass_obj
def insert(name: str, chain: str, rule: tuple[str, ...]) -> None:
    """Add a rule at the beginning of a chain."""
    _put(name, "insert", chain, rule)


def _put(name: str, do: str, chain: str, rule: tuple[str, ...]) -> None:
    """A text after `prefix` or `comment` was in quotation marks, which the shell has taken away."""
    if rule[0].split()[:1] == ["policy"]:
        raise click.ClickException(f"it is no rule: neat filter policy {chain} accept, or drop")
    words = [rule[0]]
    for before, word in pairwise(rule):
        is_text = before.split()[-1:] in (["prefix"], ["comment"]) and '"' not in word
        words.append(f'"{word}"' if is_text else word)
    found = change(name, do=do, lines=[f"{chain} {' '.join(words)}"])
    newest = max(found["rules"], key=lambda row: row["handle"])
    click.echo(f"{chain}: handle {newest['handle']}: {newest['rule']}")


@filter_.command()
@click.argument("handle", type=int)
@click.pass_obj
def delete(name: str, handle: int) -> None:
    """Delete the rule with a handle, as `neat filter` shows it."""
    change(name, do="delete", handle=handle)


@filter_.command()
@chain_argument
@click.argument("policy", type=click.Choice(["accept", "drop"]))
@click.pass_obj
def policy(name: str, chain: str, policy: str) -> None:
    """Say what becomes of a packet that no rule decides about."""
    change(name, do="add", lines=[f"{chain} policy {policy}"])


@filter_.command()
@click.argument("chain", type=click.Choice(CHAINS), required=False)
@click.pass_obj
def flush(name: str, chain: str | None) -> None:
    """Delete all rules, or all of a chain; policies stay."""
    change(name, do="flush", chain=chain)


@filter_.command()
@click.argument("file", type=click.File("r"))
@click.pass_obj
def load(name: str, file: Any) -> None:
    """Replace all rules and policies by those of a file (- for standard input), or change nothing.

    A line is a chain and a rule, or a chain, `policy` and accept or drop; # begins a comment.
    """
    try:
        lines = file.read().splitlines()
    except UnicodeDecodeError:
        raise click.ClickException(f"{file.name}: is no text") from None
    found = change(name, do="replace", lines=lines)
    click.echo(f"{name}: {len(found['rules'])} rules")


@filter_.command()
@click.pass_obj
def save(name: str) -> None:
    """Print the rules as `neat filter load` takes them."""
    found = request(name, {"op": "filter"})
    for chain in CHAINS:
        click.echo(f"{chain} policy {found['policies'][chain]}")
        for row in found["rules"]:
            if row["chain"] == chain:
                click.echo(f"{chain} {row['rule']}")


@filter_.command()
@click.option("-n", "count", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Lines.")
@click.pass_obj
def log(name: str, count: int) -> None:
    """Print the last packets that rules with `log` matched; they stay when the stack is gone."""
    path: Path = rundir.kept(name) / LOG_FILE
    if not path.exists():
        raise click.ClickException(f"{name}: no rule with `log` has matched (looked for {path})")
    with path.open(errors="replace") as file:
        for line in deque(file, count):
            click.echo(line, nl=False)
