"""Throughput over time, the faults marked, as SVG: `neat drill --plot FILE.svg`."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import click

from neat.tools.drill.report import REQUESTS

WIDTH, PANEL, GAP = 960, 200, 50
LEFT, RIGHT, TOP = 80, 20, 60
STROKES = ("#1f5fa8", "#c4561c", "#3d8a3d")
FAULT = "#b02a37"
LABELLED = 40  # faults: of more, only the lines are drawn
TICKS = 8
CUT = 3.0  # times the median: higher is cut off


def check(path: Path) -> None:
    """One clear line, before the drill begins, when this file could not be written."""
    if path.suffix != ".svg":
        raise click.ClickException(f"--plot {path}: the name must end in .svg")
    if not path.parent.is_dir():
        raise click.ClickException(f"--plot {path}: there is no folder {path.parent}")


def draw(path: Path, result: dict[str, Any]) -> None:
    path.write_text(svg(result))


def svg(result: dict[str, Any]) -> str:
    """A panel of requests a second, and one of MB/s with a line for each direction."""
    line = dict(result["timeline"])
    bucket = line.pop("bucket_s")
    seconds = max(result["seconds"], bucket)
    requests = {name: values for name, values in line.items() if name in REQUESTS and any(values)}
    transfers = {name: values for name, values in line.items() if name not in REQUESTS and any(values)}
    panels = [(title, of) for title, of in (("requests/s", requests), ("MB/s", transfers)) if of]
    height = TOP + len(panels) * (PANEL + GAP)
    kind = ", ".join(result["drill"]["kill"])
    title = f"{len(result['faults'])} faults ({kind}), {result['replicas']} replicas: {verdict(result)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for at, (name, lines) in enumerate(panels):
        parts += panel(name, lines, TOP + at * (PANEL + GAP), seconds, bucket)
    parts += marks(result["faults"], seconds, height - GAP)
    return "\n".join([*parts, "</svg>", ""])


def verdict(result: dict[str, Any]) -> str:
    seen = result["connections"]
    return f"{seen['lost']} connections lost, {seen['hung']} hung, {seen['wrong']} with a wrong byte"


def x_of(second: float, seconds: float) -> float:
    return round(LEFT + second / seconds * (WIDTH - LEFT - RIGHT), 1)


def panel(name: str, lines: dict[str, Sequence[float]], top: int, seconds: float, bucket: float) -> list[str]:
    highest = max(max(values) for values in lines.values())
    usual = max(statistics.median(values) for values in lines.values())
    # What is caught up after an outage would press all else to the ground.
    most = min(highest, CUT * usual) * 1.05 if usual else highest
    bottom = top + PANEL
    parts = [
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{PANEL}" '
        'fill="none" stroke="#999"/>',
        f'<text x="{LEFT - 8}" y="{top + 10}" text-anchor="end">'
        f"{'≥ ' if most < highest else ''}{most:,.0f}</text>",
        f'<text x="{LEFT - 8}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{LEFT - 8}" y="{top + PANEL / 2:g}" text-anchor="end">{name}</text>',
    ]
    for tick in range(TICKS + 1):
        second = seconds * tick / TICKS
        x = x_of(second, seconds)
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{second:.1f} s</text>')
    for at, (label, values) in enumerate(lines.items()):
        # The last bucket is not full.
        points = " ".join(
            f"{x_of((i + 0.5) * bucket, seconds)},{bottom - min(value / most, 1.0) * PANEL:.1f}"
            for i, value in enumerate(values[:-1])
        )
        colour = STROKES[at % len(STROKES)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        parts.append(f'<text x="{LEFT + 8 + 90 * at}" y="{top - 6}" fill="{colour}">{escape(label)}</text>')
    return parts


def marks(faults: Sequence[dict[str, Any]], seconds: float, bottom: int) -> list[str]:
    """A line at each fault, through all panels."""
    parts = []
    for fault in faults:
        x = x_of(fault["at_s"], seconds)
        names = ", ".join(part["name"] for part in fault["components"])
        about = escape(f"{fault['at_s']:.2f} s: {fault['signal']} to {names}; gap {fault['gap_ms']:.0f} ms")
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{TOP - 14}" y2="{bottom}" stroke="{FAULT}" stroke-dasharray="3 3">'
            f"<title>{about}</title></line>"
        )
        if len(faults) <= LABELLED:
            label = escape(names if len(fault["components"]) == 1 else "all")
            place = f'x="{x}" y="{TOP - 18}" text-anchor="middle"'
            parts.append(f'<text {place} fill="{FAULT}" font-size="9">{label}</text>')
    return parts
