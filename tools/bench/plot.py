"""The rows of `neat bench http` as a picture: requests a second of both sides, and their ratio below."""

from pathlib import Path
from typing import Any

import click

# What may be on the horizontal axis, the first that has more than one value.
AXES = {
    "size": "file size, bytes",
    "replicas": "replicas",
    "requests_per_connection": "requests per connection",
    "connections": "connections",
}
# What else points may differ in.
WORDS = ("datapath",)
SIDES = {"neat": ("NEaT", "o-"), "linux": ("Linux", "s--")}
SUFFIXES = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """One clear line, before anything is measured, when this picture could not be drawn."""
    if path.suffix not in SUFFIXES:
        raise click.ClickException(f"--plot {path}: the name must end in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise click.ClickException(f"--plot {path}: there is no folder {path.parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise click.ClickException("--plot needs matplotlib: pip install 'neat-stack[plot]'") from None


def axis(points: list[dict[str, Any]]) -> str:
    """The key that the points differ in."""
    return next((key for key in AXES if len({point[key] for point in points}) > 1), "size")


def series(points: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The points that one line connects, by what they have in common."""
    across = axis(points)
    others = [key for key in (*AXES, *WORDS) if key != across and len({point[key] for point in points}) > 1]
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in sorted(points, key=lambda point: point[across]):
        label = ", ".join(f"{key.replace('_', ' ')} {point[key]}" for key in others)
        lines.setdefault(label, []).append(point)
    return lines


def draw(path: Path, result: dict[str, Any]) -> None:
    """Write the picture; its format is that of the name."""
    from matplotlib.figure import Figure

    settings, points = result["settings"], result["points"]
    across = axis(points)
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for label, line in series(points).items():
        color = None  # one for a line and its ratio
        places = [point[across] for point in line]
        for key, (name, style) in SIDES.items():
            rates = [point[key]["requests_per_s"] for point in line]
            around = [
                [rate - point["spread"][key][0] for rate, point in zip(rates, line, strict=True)],
                [point["spread"][key][1] - rate for rate, point in zip(rates, line, strict=True)],
            ]
            text = f"{name}, {label}" if label else name
            bars = above.errorbar(places, rates, yerr=around, fmt=style, capsize=3, label=text, color=color)
            color = bars.lines[0].get_color()
        ratios = [point["ratio"] or 0.0 for point in line]
        below.plot(places, ratios, "o-", color=color)
    if across == "size":
        below.set_xscale("symlog", linthresh=10)
    else:
        below.set_xticks(sorted({point[across] for point in points}))
    connections = ", ".join(map(str, settings["connections"]))
    above.set_title(f"{settings['server']}, {settings['client']}, {connections} connections")
    above.set_ylabel("requests/s")
    above.set_ylim(bottom=0)
    above.legend()
    below.axhline(1.0, color="grey", linewidth=0.8)
    below.set_ylabel("NEaT / Linux")
    below.set_ylim(bottom=0)
    below.set_xlabel(AXES[across])
    figure.savefig(path)
