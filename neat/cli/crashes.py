"""`neat crashes`: what components died of. Reads the reports themselves, so the stack need not be up."""

from typing import Any

import click

from neat import rundir
from neat.cli.client import name_option, print_json
from neat.supervisor import reports


@click.group(invoke_without_command=True)
@name_option
@click.option("-j", "--json", "as_json", is_flag=True)
@click.pass_context
def crashes(context: click.Context, name: str, as_json: bool) -> None:
    """List crash reports, oldest first; `neat crashes show N` prints one."""
    context.obj = name, as_json
    if context.invoked_subcommand is not None:
        return
    found = all_reports(name)
    if as_json:
        print_json({"crashes": found})
        return
    for report in found:
        click.echo(line(report))
    if not found:
        click.echo(f"no crash reports in {rundir.kept(name)}")


@crashes.command()
@click.argument("number", type=int)
@click.option("-j", "--json", "as_json", is_flag=True)
@click.pass_context
def show(context: click.Context, number: int, as_json: bool) -> None:
    """Print one report."""
    name, as_json_too = context.obj
    report = reports.read(rundir.kept(name), number)
    if report is None:
        raise click.ClickException(f"no crash report {number} in {rundir.kept(name)}")
    if as_json or as_json_too:
        print_json(report)
    else:
        click.echo("\n".join(describe(report)))


def all_reports(name: str) -> list[dict[str, Any]]:
    directory = rundir.kept(name)
    found = (reports.read(directory, number) for number in reports.numbers(directory))
    return [report for report in found if report is not None]


def line(report: dict[str, Any]) -> str:
    """One a report."""
    suspect = report.get("suspect")
    parts = [
        f"{report['number']:4}",
        str(report.get("time", ""))[:19].replace("T", " "),
        f"{report.get('component')}.{report.get('incarnation')}",
        f"{report.get('what')}: {report.get('reason')}",
    ]
    if suspect:
        parts.append(f"({of_what(suspect)})")
    return "  ".join(parts)


def of_what(suspect: dict[str, Any]) -> str:
    """What it had in its hands."""
    connection = suspect.get("connection")
    ends = f"{connection['local']} <-> {connection['remote']}" if connection else ""
    whose = f" of {ends}, {connection['state']}" if connection else ""
    return f"with a {suspect.get('kind')}{whose} in its hands"


def describe(report: dict[str, Any]) -> list[str]:
    """The whole of it, for a person."""
    out = [
        f"{report.get('component')} (pid {report.get('pid')}, incarnation {report.get('incarnation')}) "
        f"{report.get('what')} at {report.get('time')}: {report.get('reason')}"
    ]
    if report.get("signal"):
        address = report.get("address")
        at = f" at address {address:#x}" if isinstance(address, int) else ""
        out.append(f"signal: {report['signal']}{at}")
    if report.get("suspect"):
        out.append(f"it died {of_what(report['suspect'])}")
    if report.get("pcap"):
        out.append(f"packet: {report['pcap']} (tcpdump -nvr FILE shows it)")
    parts = {"backtrace": "backtrace, innermost first", "recent": "last packets and events"}
    for key, title in (parts | {"log": "end of the log"}).items():
        if report.get(key):
            out += [f"{title}:", *(f"  {text}" for text in report[key])]
    return out
