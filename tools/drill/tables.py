"""A drill's result for people."""

from typing import Any

from rich.console import Console
from rich.table import Table

from neat.supervisor.scaling import LEFT

GAPS = {
    "faults": "longest gap of each fault",
    "clients": "each affected client's longest",
    "others": "longest of connections elsewhere",
    "quiet": "longest of each half second without a fault",
}
MANY = 30  # faults: more are not listed one by one


def show(console: Console, result: dict[str, Any]) -> None:
    if 0 < len(result["faults"]) <= MANY:
        console.print(faults(result))
    if result["steps"]:
        console.print(steps(result))
    console.print(phases(result))
    for line in lines(result):
        console.print(line)


def faults(result: dict[str, Any]) -> Table:
    table = Table(title="Faults", title_justify="left", header_style="bold")
    for name in ("at", "component", "back after", "affected", "lost", "hung", "gap", "others' gap"):
        table.add_column(name, justify="left" if name == "component" else "right")
    for row in result["faults"]:
        parts = row["components"]
        back = [part["back_ms"] for part in parts]
        known = [ms for ms in back if ms is not None]
        table.add_row(
            f"{row['at_s']:.2f} s",
            ", ".join(part["name"] for part in parts),
            f"{max(known):.0f} ms" if len(known) == len(back) else "never",
            f"{row['affected']} of {row['held']}",
            str(row["lost"] + row["lost_others"]),
            str(row["hung"]),
            f"{row['gap_ms']:.0f} ms",
            "–" if row["gap_others_ms"] is None else f"{row['gap_others_ms']:.0f} ms",
        )
    return table


def steps(result: dict[str, Any]) -> Table:
    table = Table(title="Steps", title_justify="left", header_style="bold")
    for name in ("at", "replicas", "ready after", "left after"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in result["steps"]:
        remarks = [f"{name} stays after all" for name in row["recalled"]]
        remarks += [f"{count} {LEFT[name]}" for name, count in row["waits_for"].items()]
        leave = set(row["leaving"]) - set(row["recalled"])
        table.add_row(
            f"{row['at_s']:.2f} s",
            f"{row['before']} → {row['count']}",
            "never" if row["ready_ms"] is None else f"{row['ready_ms']:.0f} ms",
            ("not yet" if row["left_ms"] is None else f"{row['left_ms']:.0f} ms") if leave else "–",
            ", ".join(remarks) or row["error"],
        )
    return table


def phases(result: dict[str, Any]) -> Table:
    table = Table(title="Throughput and latency", title_justify="left", header_style="bold")
    rows = {name: row for name, row in result["phases"].items() if row is not None}
    transfers = [key for key in next(iter(rows.values()), {}) if key.endswith("_mb_per_s")]
    for name in ("", "requests/s", "p50", "p99", "max", *transfers):
        table.add_column(name.removesuffix("_mb_per_s"), justify="right")
    for name, row in rows.items():
        late = row["latency_ms"] or {}
        table.add_row(
            name,
            f"{row['requests_per_s']:,.0f}",
            *(f"{late[key]:.1f} ms" if key in late else "–" for key in ("p50", "p99", "max")),
            *(f"{row[key]:.1f} MB/s" for key in transfers),
        )
    return table


def percentiles(values: dict[str, float] | None) -> str:
    if values is None:
        return "–"
    return ", ".join(f"{key} {values[key]:.1f}" for key in ("p50", "p90", "p99", "max")) + " ms"


def lines(result: dict[str, Any]) -> list[str]:
    seen = result["connections"]
    found = []
    found += [f"by load: {row['what']} ({row['why']})" for row in result["by_load"]]
    for name, values in result["recovery_ms"].items():
        found.append(f"{name} back after: {percentiles(values)}")
    if result["faults"]:
        share = seen["affected_share"]
        expected = "" if result["steps"] or result["by_load"] else f" (1/{result['replicas']})"
        found.append(
            f"affected: {seen['affected']} connections"
            + (f", {share:.1%} of all{expected}" if share is not None else "")
        )
        found += [f"{text}: {percentiles(result['gap_ms'][key])}" for key, text in GAPS.items()]
    found.append(
        f"connections: {seen['opened']} opened, {seen['lost']} lost, {seen['hung']} hung, "
        f"{seen['wrong']} with a wrong byte, {seen['refused']} refused"
    )
    if missed := seen["requests_unanswered"] + seen["requests_without_connection"]:
        found.append(f"requests without an answer: {missed}")
    found += [f"  {count} × {why}" for why, count in seen["why"].items()]
    late = result["load_late_ms"]
    found.append(
        f"the load was late by: {percentiles(late)}; stolen from this machine: {result['steal']:.1%}"
    )
    verdict = "; ".join(result["failures"]) or "no connection lost, no byte wrong, none hung"
    found.append(f"{len(result['faults'])} faults in {result['seconds']:.0f} s: {verdict}")
    return found
