"""The rows of `neat bench http` as a picture: requests a second of both sides, and their ratio below; and the
curves of `neat bench model`, beside what the paper has published."""

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


def draw_model(path: Path, result: dict[str, Any]) -> None:
    """Write the picture: cores to spare; then as many as the paper has for its Fig. 7, and for 9 and 11."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    spare, *machines = figure.subplots(1, 1 + len(result["machines"]))
    for name, found in result["datapaths"].items():
        rates = [row["requests_per_s"] / 1e3 for row in found["curve"]]
        (line,) = spare.plot([row["replicas"] for row in found["curve"]], rates, "-", label=f"model, {name}")
        checked = [row["replicas"] for row in found["check"]]
        measured = [row["measured"] / 1e3 for row in found["check"]]
        text = f"measured, {name}, on {result['cores']} cores"
        spare.plot(checked, measured, "x", color=line.get_color(), label=text)
    top = spare.get_ylim()[1]
    for name, value in result["limits"].items():
        if value is not None and value / 1e3 < top:
            spare.axhline(value / 1e3, color="grey", linestyle=":", label=f"ends with the {name}")
    spare.set_title("cores to spare")
    spare.set_ylabel("1,000 requests/s")
    for place, (cores, machine) in zip(machines, result["machines"].items(), strict=True):
        for name in result["datapaths"]:
            rates = [row["requests_per_s"] / 1e3 for row in machine[name]]
            place.plot([row["replicas"] for row in machine[name]], rates, "-", label=f"model, {name}")
        place.axhline(machine["linux"] / 1e3, color="black", linewidth=0.8, label="model, Linux")
        published(place, result, f"{cores} cores")
        place.set_title(f"{cores} cores; the paper on as many")
    for place in (spare, *machines):
        place.set_xlabel("replicas")
        place.set_ylim(bottom=0)
        place.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.12))
    figure.savefig(path)


def published(place: Any, result: dict[str, Any], machine: str) -> None:
    """The paper's numbers of that machine: points where it says how many replicas, else a line."""
    for number, entry in enumerate(result["published"]):
        if not entry["machine"].startswith(machine):
            continue
        rate, label = entry["requests_per_s"] / 1e3, f"{entry['source']}: {entry['what']}"
        if entry["replicas"] is None:
            place.axhline(rate, color="grey", linestyle="--", linewidth=0.8, label=label)
        else:
            place.plot([entry["replicas"]], [rate], "sD^ov"[number % 5], label=label)
