"""`neat ss`: the sockets in all replicas, with the letters of ss(8)."""

from typing import Any

import click

from neat.cli.client import name_option, print_json, request

LISTENING = ("LISTEN", "UNCONN")


def select(
    rows: list[dict[str, Any]], tcp: bool, udp: bool, listening: bool, everything: bool
) -> list[dict[str, Any]]:
    """The rows that were asked for: as with ss(8), without -l or -a only what is connected."""
    protocols = {name for name, wanted in (("tcp", tcp), ("udp", udp)) if wanted} or {"tcp", "udp"}
    chosen = [row for row in rows if row.get("protocol") in protocols]
    if everything:
        return chosen
    return [row for row in chosen if (row.get("state") in LISTENING) == listening]


@click.command()
@name_option
@click.option("-t", "--tcp", is_flag=True)
@click.option("-u", "--udp", is_flag=True)
@click.option("-l", "--listening", is_flag=True, help="Only sockets that listen, or are not connected.")
@click.option("-p", "--processes", is_flag=True, help="The application's program and its processes.")
@click.option("-n", "--numeric", is_flag=True, help="No names (always so).")
@click.option("-a", "--all", "everything", is_flag=True, help="Listening or not.")
@click.option("-j", "--json", "as_json", is_flag=True)
def ss(
    name: str,
    tcp: bool,
    udp: bool,
    listening: bool,
    processes: bool,
    numeric: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """List the sockets of a stack, replica by replica."""
    reply = request(name, {"op": "ss"}, timeout_s=10.0)
    rows = select(reply["rows"], tcp, udp, listening, everything)
    rows.sort(key=lambda row: (row["replica"], str(row.get("state")), str(row.get("local"))))
    if processes:
        add_processes(rows, request(name, {"op": "status"})["status"]["applications"] or [])
    if as_json:
        print_json({"sockets": rows, "missing": reply["missing"]})
    else:
        click.echo("\n".join(lines(rows, processes)))
    if reply["missing"]:
        silent = ", ".join(reply["missing"])
        click.echo(f"{silent}: silent, or just being replaced; its sockets are not shown", err=True)


def add_processes(rows: list[dict[str, Any]], applications: list[dict[str, Any]]) -> None:
    """To each row the `program` and `pids` of its application: any of them may have the socket."""
    known = {app["app"]: app for app in applications}
    for row in rows:
        app = known.get(row.get("app"), {})
        row["program"], row["pids"] = app.get("program", ""), app.get("pids", [])
        row["users"] = f"{row['program']} {','.join(map(str, row['pids']))}"


def lines(rows: list[dict[str, Any]], processes: bool) -> list[str]:
    """One a socket, in columns as wide as their contents."""
    last = ("Processes", "users") if processes else ("Pid", "pid")
    header = ("Netid", "State", "Recv-Q", "Send-Q", "Local", "Peer", "Replica", last[0])
    keys = ("protocol", "state", "recv_q", "send_q", "local", "remote", "replica", last[1])
    table = [header, *(tuple(str(row.get(key, "")) for key in keys) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
