"""From what was seen to what is said: a drill's result as one JSON object."""

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from neat.tools.drill.faults import Fault
from neat.tools.drill.records import Connection, Records

WINDOW_S = 2.0  # a silence that begins later than this after a fault is not the fault's
QUIET_S = 0.5  # of which the longest silence is taken, without a fault
BUCKET_S = 0.05  # of the throughput over time, unless the settings have another
SHOWN = 20  # of connections that went wrong
REQUESTS = ("requests", "short")  # kinds that are counted, not weighed
PERCENTS = (50, 90, 99)


def spread(values: Iterable[float]) -> dict[str, float] | None:
    """Nearest-rank percentiles, the largest, and how many there are; None for none."""
    ordered = sorted(values)
    if not ordered:
        return None
    found = {f"p{p}": round(ordered[math.ceil(len(ordered) * p / 100) - 1], 1) for p in PERCENTS}
    return found | {"max": round(ordered[-1], 1), "count": len(ordered)}


def make(
    *,
    settings: dict[str, Any],
    records: Records,
    faults: Sequence[Fault],
    owners: Mapping[int, str],
    stopped: float,
    server: dict[str, Any] | None,
    replicas: int,
    steal: float,
    steps: Sequence[dict[str, Any]] = (),
    by_load: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """`owners`: replica of a connection, by its number. `stopped`: when the load was told to stop. `server`:
    what it says of itself, if it is ours. `steal`: share of the processors that others had. Times in seconds
    of CLOCK_MONOTONIC; those of the result are milliseconds, or seconds since the load began."""
    began = records.began
    rows = [fault_row(fault, began) for fault in faults]
    clients = add_silences(rows, records, faults)
    add_ends(rows, records, faults)
    result: dict[str, Any] = {
        "drill": settings,
        "seconds": round(stopped - began, 3),
        "replicas": replicas,
        "faults": rows,
        "steps": list(steps),
        "by_load": list(by_load),
        "recovery_ms": recoveries(faults),
        "gap_ms": {
            "faults": spread(row["gap_ms"] for row in rows),
            "clients": spread(clients),
            "others": spread(row["gap_others_ms"] for row in rows if row["gap_others_ms"] is not None),
            "quiet": spread(quiet_silences(records, began, faults[0].at if faults else stopped)),
        },
        "connections": connections(records, rows, owners),
        "server": server,
        "phases": phases(records, faults, began, stopped),
        "timeline": timeline(records, began, stopped, settings.get("bucket", BUCKET_S)),
        "steal": round(steal, 4),
        "load_late_ms": spread(late * 1e3 for late in records.lag),
    }
    result["failures"] = failures(result)
    return result


def fault_row(fault: Fault, began: float) -> dict[str, Any]:
    return {
        "at_s": round(fault.at - began, 3),
        "signal": fault.signal,
        "components": [
            {"name": name, "pid": pid, "back_ms": fault.back_ms.get(name)} for name, pid in fault.pids.items()
        ],
        "late_s": fault.waited_s,
        "held": fault.held,
        "affected": len(fault.hit),
        "lost": 0,
        "lost_others": 0,
        "hung": 0,
        "gap_ms": 0.0,
        "gap_others_ms": 0.0 if fault.of_replicas() else None,
    }


def add_silences(rows: list[dict[str, Any]], records: Records, faults: Sequence[Fault]) -> list[float]:
    """To each fault the longest time that a client of it, and any other, waited for a byte: of the silences
    that it fell into, or that began before the next fault and within WINDOW_S. Whoever came after the fault
    does not count. Returns the longest, in ms, of each client that was hit, fault by fault."""
    times = [fault.at for fault in faults]
    longest = [dict.fromkeys(fault.hit, 0.0) for fault in faults]
    opened = [connection.opened for connection in records.connections]
    for since, seconds, who in zip(records.silent_from, records.silent_for, records.silent_who, strict=True):
        first = bisect_right(times, since) - 1
        if first < 0 or since > times[first] + WINDOW_S:
            first += 1
        for at in range(first, bisect_right(times, since + seconds)):
            ms, row = seconds * 1e3, rows[at]
            if who in longest[at]:
                longest[at][who] = max(longest[at][who], ms)
                row["gap_ms"] = max(row["gap_ms"], round(ms, 1))
            elif row["gap_others_ms"] is not None and opened[who] < times[at]:
                row["gap_others_ms"] = max(row["gap_others_ms"], round(ms, 1))
    return [ms for clients in longest for ms in clients.values()]


def quiet_silences(records: Records, began: float, until: float) -> list[float]:
    """The longest silence, in ms, of each QUIET_S before the first fault, for comparison. Without the first:
    everybody comes at once."""
    longest = [0.0] * max(int((until - began) / QUIET_S), 0)
    for since, seconds in zip(records.silent_from, records.silent_for, strict=True):
        at = int((since - began) / QUIET_S)
        if 0 <= at < len(longest):
            longest[at] = max(longest[at], seconds * 1e3)
    return longest[1:]


def add_ends(rows: list[dict[str, Any]], records: Records, faults: Sequence[Fault]) -> None:
    """To each fault the connections that it cost: of one that ended by no plan, the last fault that hit it,
    else the last before its end."""
    times = [fault.at for fault in faults]
    hit = [set(fault.hit) for fault in faults]
    for connection in records.connections:
        if connection.outcome not in ("lost", "hung"):
            continue
        last = bisect_left(times, connection.ended) - 1
        mine = next((at for at in range(last, -1, -1) if connection.number in hit[at]), None)
        at = last if mine is None else mine
        if at < 0:
            continue
        if connection.outcome == "hung":
            rows[at]["hung"] += 1
        else:
            rows[at]["lost_others" if mine is None else "lost"] += 1


def recoveries(faults: Sequence[Fault]) -> dict[str, dict[str, float] | None]:
    """By kind of component: milliseconds from the signal until a successor was ready."""
    found: dict[str, list[float]] = {}
    for fault in faults:
        for name, ms in fault.back_ms.items():
            kind = re.sub(r"^replica\d+", "replica", name)  # also a part of one: replica.ip
            found.setdefault(kind, []).append(ms)
    return {name: spread(values) for name, values in found.items()}


def connections(
    records: Records, rows: Sequence[dict[str, Any]], owners: Mapping[int, str]
) -> dict[str, Any]:
    outcomes = Counter(connection.outcome or "open" for connection in records.connections)
    ended = [c for c in records.connections if c.outcome not in ("closed", "", "refused")]
    of_one = [row for row in rows if row["gap_others_ms"] is not None and len(row["components"]) == 1]
    held = sum(row["held"] for row in of_one)
    return {
        "opened": sum(connection.opened > 0 for connection in records.connections),
        "closed": outcomes["closed"],
        "lost": outcomes["lost"],
        "hung": outcomes["hung"],
        "wrong": outcomes["wrong"],
        "refused": outcomes["refused"],
        "why": dict(Counter(f"{c.outcome}: {c.detail}" for c in ended if c.outcome != "wrong")),
        "affected": sum(row["affected"] for row in rows),
        # Of all connections, by faults of one replica: 1/N is expected.
        "affected_share": round(sum(row["affected"] for row in of_one) / held, 4) if held else None,
        "requests_unanswered": sum(connection.owed for connection in records.connections),
        "requests_without_connection": len(records.unsent),
        "ended": [described(connection, owners) for connection in ended[:SHOWN]],
    }


def described(connection: Connection, owners: Mapping[int, str]) -> dict[str, Any]:
    return {
        "number": connection.number,
        "kind": connection.kind,
        "port": connection.port,
        "replica": owners.get(connection.number),
        "outcome": connection.outcome,
        "detail": connection.detail,
    }


def phases(
    records: Records, faults: Sequence[Fault], began: float, stopped: float
) -> dict[str, dict[str, Any] | None]:
    """Throughput and latency before the first fault, from there to the last one's end, and after that."""
    if not faults:
        return {"before": phase(records, began, stopped), "during": None, "after": None}
    last = faults[-1]
    over = min(last.at + max([WINDOW_S / 2, *(ms / 1e3 for ms in last.back_ms.values())]), stopped)
    return {
        "before": phase(records, began, faults[0].at),
        "during": phase(records, faults[0].at, over),
        "after": phase(records, over, stopped),
    }


def kind_of(records: Records) -> Callable[[int], str]:
    kinds = [connection.kind for connection in records.connections]
    return kinds.__getitem__


def phase(records: Records, since: float, until: float) -> dict[str, Any] | None:
    """Answers that came in [since, until): a second, and how late after they were planned."""
    seconds = until - since
    if seconds <= 0:
        return None
    kind = kind_of(records)
    late: list[float] = []
    moved: Counter[str] = Counter()
    for planned, latency, who in zip(records.planned, records.latency, records.who, strict=True):
        if since <= planned + latency < until:
            name = kind(who)
            moved[name] += 1
            if name in REQUESTS:
                late.append(latency * 1e3)
    return {
        "seconds": round(seconds, 3),
        "requests_per_s": round(sum(moved[name] for name in REQUESTS) / seconds, 1),
        "latency_ms": spread(late),
    } | {
        f"{name}_mb_per_s": round(moved[name] * records.sizes[name] / seconds / 1e6, 2)
        for name in records.sizes
        if name not in REQUESTS
    }


def timeline(records: Records, began: float, stopped: float, bucket_s: float = BUCKET_S) -> dict[str, Any]:
    """What came in each `bucket_s`: requests a second, and MB a second of each direction."""
    count = max(math.ceil((stopped - began) / bucket_s), 1)
    kind = kind_of(records)
    buckets: dict[str, list[float]] = {name: [0.0] * count for name in records.sizes}
    for planned, latency, who in zip(records.planned, records.latency, records.who, strict=True):
        at = int((planned + latency - began) / bucket_s)
        if 0 <= at < count:
            buckets[kind(who)][at] += 1
    scale = {name: 1.0 if name in REQUESTS else size / 1e6 for name, size in records.sizes.items()}
    return {"bucket_s": bucket_s} | {
        name: [round(value * scale[name] / bucket_s, 2) for value in values]
        for name, values in buckets.items()
    }


def failures(result: dict[str, Any]) -> list[str]:
    """What a drill that everybody survives does not have, a line each."""
    seen, server = result["connections"], result["server"] or {}
    counts = {
        "connections lost": seen["lost"],
        "connections hung": seen["hung"],
        "connections refused": seen["refused"],
        "requests without an answer": seen["requests_unanswered"] + seen["requests_without_connection"],
        "answers with a wrong byte": seen["wrong"],
        "requests with a wrong byte": server.get("wrong_total", 0),
        "connections lost, as the server sees it": sum(server.get("lost", {}).values()),
        "components that did not come back": sum(
            part["back_ms"] is None for row in result["faults"] for part in row["components"]
        ),
        "steps whose replicas did not get ready": sum(s["ready_ms"] is None for s in result["steps"]),
        "steps whose replicas did not leave": sum(not s["settled"] for s in result["steps"]),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]
