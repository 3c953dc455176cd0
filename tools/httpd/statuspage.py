"""`/-/status` and `/-/status.json`: what `neat status` says, and what this server has done."""

import html
import os
import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from neat.cli.client import request
from neat.tools.httpd.files import Page

if TYPE_CHECKING:
    from neat.tools.httpd.server import Server

# A status that is younger than this is shown again, so that a reload button cannot burden the supervisor.
FRESH_SECONDS = 0.5
# This server stands still meanwhile.
ASK_SECONDS = 0.3

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "td,th{padding:.2rem .9rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}caption{text-align:left;font-weight:600}"
)


class StatusPage:
    """About the stack that $NEAT_STACK and $NEAT_RUN_DIR name, and the server (set after it is made)."""

    def __init__(self) -> None:
        self.stack = os.environ.get("NEAT_STACK") or "default"
        self.server: Server | None = None
        self._stack_status: dict[str, Any] = {}
        self._taken = -FRESH_SECONDS

    def paths(self) -> dict[bytes, Any]:
        return {b"/-/status": self.as_html, b"/-/status/": self.as_html, b"/-/status.json": self.as_json}

    def collect(self) -> dict[str, Any]:
        now = time.monotonic()
        if now - self._taken >= FRESH_SECONDS:
            self._stack_status = stack_status(self.stack)
            self._taken = time.monotonic()
        return {"stack": self._stack_status, "server": self.server_status()}

    def server_status(self) -> dict[str, Any]:
        if self.server is None:
            return {}
        stats = self.server.stats
        return {
            "pid": os.getpid(),
            "uptime_s": round(time.time() - stats.started, 1),
            "connections": len(self.server.connections),
            "accepted": stats.accepted,
            "requests": sum(stats.statuses.values()),
            "responses": {str(status): count for status, count in sorted(stats.statuses.items())},
            "bytes_sent": stats.bytes_sent,
            "errors": stats.errors,
            "timeouts": stats.timeouts,
        }

    def as_json(self) -> Page:
        return Page(msgspec.json.format(msgspec.json.encode(self.collect()), indent=2), "application/json")

    def as_html(self) -> Page:
        status = self.collect()
        parts = [plain_table("This server", status["server"]), *stack_tables(status["stack"])]
        text = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">'
            f"<title>NEaT status</title><style>{STYLE}</style><h1>NEaT: stack {html.escape(self.stack)}</h1>"
            f'{"".join(parts)}<p><a href="/-/status.json">The same as JSON</a>\n'
        )
        return Page(text.encode(errors="replace"))


def stack_status(name: str) -> dict[str, Any]:
    """What `neat status -j` prints; {"error": …} when no stack of this name can be asked."""
    try:
        return request(name, {"op": "status"}, timeout_s=ASK_SECONDS)["status"]
    except click.ClickException as error:
        return {"error": error.message}


def stack_tables(status: dict[str, Any]) -> list[str]:
    """A table for each list of records in the status, and one for its plain values."""
    tables = [
        plain_table(
            "Stack", {key: value for key, value in status.items() if not isinstance(value, list | dict)}
        )
    ]
    for key, value in status.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            tables.append(record_table(key, value))
        elif isinstance(value, dict):
            tables.append(plain_table(key, value))
    return tables


def plain_table(caption: str, values: dict[str, Any]) -> str:
    rows = "".join(f"<tr><td>{cell(key)}<td>{cell(value)}" for key, value in values.items())
    return f"<table><caption>{cell(caption)}</caption>{rows}</table>"


def record_table(caption: str, records: list[dict[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for record in records for key in record))
    head = "".join(f"<th>{cell(key)}" for key in keys)
    rows = "".join("<tr>" + "".join(f"<td>{cell(record.get(key, ''))}" for key in keys) for record in records)
    return f"<table><caption>{cell(caption)}</caption><tr>{head}{rows}</table>"


def cell(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{key} {count}" for key, count in value.items())
    return html.escape(f"{value:.1f}" if isinstance(value, float) else str(value))
