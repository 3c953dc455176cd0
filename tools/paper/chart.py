"""Lines and bars as SVG, with the colours of the page they stand in (light, dark, printed): `STYLE`."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 18, 16, 46
LEGEND = 18  # of a row
ACROSS = 3  # labels in a row of the legend
TICKS = 5
COLOURS = 7

# Classes: s0 … s6 a series' colour, `paper` what is published, `model` what was not measured.
STYLE = """
:root{--ink:#1c1e21;--faint:#6a7078;--rule:#d5d9de;--paper:#ffffff;--k0:#1f5fa8;--k1:#c4561c;--k2:#3d8a3d;
--k3:#7a4aa5;--k4:#a38113;--k5:#1b8b8b;--k6:#b02a57;--bad:#b02a37}
@media (prefers-color-scheme:dark){:root{--ink:#e4e6e9;--faint:#9aa1aa;--rule:#3a3f46;--paper:#16181b;
--k0:#6fa8ea;--k1:#ee9361;--k2:#7cc47c;--k3:#b994de;--k4:#d6b64a;--k5:#5cc4c4;--k6:#e77a9d;--bad:#f07a86}}
@media print{:root{--ink:#000;--faint:#444;--rule:#bbb;--paper:#fff;--k0:#1f5fa8;--k1:#c4561c;--k2:#3d8a3d;
--k3:#7a4aa5;--k4:#a38113;--k5:#1b8b8b;--k6:#b02a57;--bad:#b02a37}}
svg.chart{font:12px system-ui,sans-serif;width:100%;height:auto}
svg.chart text{fill:var(--ink)} svg.chart .faint{fill:var(--faint)}
svg.chart .rule{stroke:var(--rule);stroke-width:1} svg.chart .axis{stroke:var(--faint);stroke-width:1}
svg.chart .line{fill:none;stroke-width:2;stroke-linejoin:round} svg.chart .thin{stroke-width:1.3}
svg.chart .model{stroke-dasharray:2 4;stroke-linecap:round} svg.chart .linux{stroke-dasharray:7 4}
svg.chart .published{fill:var(--paper);stroke:var(--ink);stroke-width:1.6}
svg.chart line.published{stroke-dasharray:10 3 2 3;stroke-width:1.2}
svg.chart .fault{stroke:var(--bad);stroke-dasharray:3 3} svg.chart .bad{fill:var(--bad)}
""" + "".join(
    f"svg.chart .s{n}{{stroke:var(--k{n})}} svg.chart .f{n}{{fill:var(--k{n});stroke:none}}\n"
    for n in range(COLOURS)
)


class Series(NamedTuple):
    """One line, or one bar in each group. `kind`: "ours", "linux", "model" or "published" (marks without a
    line). `around`: smallest and largest of each point's rounds."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: str = "ours"
    colour: int = 0
    around: Sequence[tuple[float, float]] = ()
    marks: bool = True
    note: str = ""  # beside its first mark


class Axis(NamedTuple):
    """`ticks`: where to write numbers, or as it fits. `words`: what to write there."""

    title: str
    log: bool = False
    ticks: Sequence[float] = ()
    words: Sequence[str] = ()
    most: float = 0.0  # 0: as high as what is shown


def nice(most: float, count: int = TICKS) -> list[float]:
    """Round numbers from 0 to at least `most`, about so many."""
    if most <= 0 or not math.isfinite(most):
        return [0.0, 1.0]
    raw = most / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    return [round(step * n, 10) for n in range(math.ceil(most / step - 1e-9) + 1)]


def decades(least: float, most: float) -> list[float]:
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    return [10.0**n for n in range(low, max(high, low + 1) + 1)]


def number(value: float) -> str:
    """As short as it can be read: 0.5, 1,200, 10 k, 2.5 M."""
    for unit, least, word in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e3, 1e4, "k")):
        if value >= least and value % (unit / 10) == 0:
            return f"{value / unit:g} {word}"
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


class Scale:
    """From values to pixels."""

    def __init__(self, ticks: Sequence[float], first: float, last: float, log: bool) -> None:
        self.log, self.first, self.last = log, first, last
        self.low, self.high = self._of(min(ticks)), self._of(max(ticks))

    def _of(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value

    def __call__(self, value: float) -> float:
        part = (self._of(value) - self.low) / ((self.high - self.low) or 1.0)
        return round(self.first + part * (self.last - self.first), 1)


def legend(series: Sequence[Series], dots: bool) -> list[str]:
    """Rows of labels below the picture."""
    parts = []
    for at, one in enumerate(series):
        x = LEFT + (at % ACROSS) * (WIDTH - LEFT - RIGHT) / ACROSS
        y = HEIGHT + 12 + at // ACROSS * LEGEND
        if one.kind == "published":
            parts.append(diamond(x + 12, y - 4))
        elif dots:
            parts.append(f'<rect x="{x + 4:g}" y="{y - 10:g}" width="14" height="11" class="f{one.colour}"/>')
        else:
            parts.append(
                f'<line x1="{x:g}" x2="{x + 24:g}" y1="{y - 4:g}" y2="{y - 4:g}" '
                f'class="line {one.kind} s{one.colour}"/>'
            )
        parts.append(f'<text x="{x + 30:g}" y="{y:g}">{escape(one.label)}</text>')
    return parts


def diamond(x: float, y: float, about: str = "") -> str:
    path = f"M{x:g} {y - 6:g}l6 6l-6 6l-6 -6z"
    return f'<path d="{path}" class="published"><title>{escape(about)}</title></path>'


def frame(title: str, body: Sequence[str], labels: int) -> str:
    height = HEIGHT + (-(-labels // ACROSS)) * LEGEND + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img"><title>{escape(title)}</title>',
            *body,
            "</svg>",
        ]
    )


def upright(axis: Axis, values: Sequence[float]) -> tuple[list[str], Scale]:
    """The vertical axis, with its rules across."""
    positive = [value for value in values if value > 0]
    if axis.log and positive:
        ticks = list(axis.ticks) or decades(min(positive), max(positive))
    else:
        ticks = list(axis.ticks) or nice(axis.most or max(values, default=1.0))
    scale = Scale(ticks, HEIGHT - BOTTOM, TOP, axis.log)
    parts = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{scale(t)}" y2="{scale(t)}" class="rule"/>'
        f'<text x="{LEFT - 8}" y="{scale(t) + 4}" text-anchor="end" class="faint">{number(t)}</text>'
        for t in ticks
    ]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text transform="translate(16 {middle:g}) rotate(-90)" text-anchor="middle">'
        f"{escape(axis.title)}</text>"
    )
    return parts, scale


def along(axis: Axis, ticks: Sequence[float], scale: Scale) -> list[str]:
    """The horizontal axis."""
    y = HEIGHT - BOTTOM
    words = axis.words or [number(tick) for tick in ticks]
    parts = [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="axis"/>']
    for tick, word in zip(ticks, words, strict=True):
        parts.append(
            f'<text x="{scale(tick)}" y="{y + 17}" text-anchor="middle" class="faint">{escape(word)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:g}" y="{HEIGHT - 8}" text-anchor="middle">{escape(axis.title)}</text>')
    return parts


def lines(
    title: str, x: Axis, y: Axis, series: Sequence[Series], faults: Sequence[tuple[float, str]] = ()
) -> str:
    """A picture of lines. `faults`: where something was killed, and what."""
    shown = [one for one in series if one.points]
    places = sorted({place for one in shown for place, _ in one.points})
    heights = [value for one in shown for _, value in one.points]
    heights += [high for one in shown for _, high in one.around]
    body, up = upright(y, heights)
    ticks = list(x.ticks) or (
        decades(min(places), max(places)) if x.log else nice(max(places, default=1.0), 8)
    )
    ends = [*ticks, *places] if places else ticks
    # A little room beside the outermost marks.
    inset = 0 if not x.ticks else 24
    across = Scale(ends, LEFT + inset, WIDTH - RIGHT - inset, x.log)
    body += along(x, ticks, across)
    for at, about in faults:
        body.append(
            f'<line x1="{across(at)}" x2="{across(at)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="fault"/>'
            f'<text x="{across(at) + 5}" y="{TOP + 10}" class="bad">{escape(about)}</text>'
        )
    for one in shown:
        body += drawn(one, across, up)
    return frame(title, [*body, *legend(shown, dots=False)], len(shown))


def drawn(one: Series, across: Scale, up: Scale) -> list[str]:
    """A series in its place: spread, line, marks."""
    at = [(across(place), up(value)) for place, value in one.points]
    if one.kind == "published":
        marks = [
            diamond(px, py, f"{one.label}: {value:g}")
            for (px, py), (_, value) in zip(at, one.points, strict=True)
        ]
        if one.note and at:
            px, py = at[0]
            side = ("end", -10) if px > WIDTH - 120 else ("start", 10)
            marks.append(
                f'<text x="{px + side[1]:g}" y="{py - 8:g}" text-anchor="{side[0]}">{escape(one.note)}</text>'
            )
        return marks
    parts = []
    for (px, _), (low, high) in zip(at, one.around, strict=False):
        parts.append(
            f'<line x1="{px}" x2="{px}" y1="{up(low)}" y2="{up(high)}" class="line thin s{one.colour}"/>'
        )
    path = " ".join(f"{px},{py}" for px, py in at)
    thin = "" if one.marks else " thin"
    parts.append(f'<polyline points="{path}" class="line{thin} {one.kind} s{one.colour}"/>')
    if one.marks and one.kind != "model":
        for (px, py), (place, value) in zip(at, one.points, strict=True):
            about = escape(f"{one.label}: {value:,.4g} at {place:,.4g}")
            shape = (
                f'<rect x="{px - 3.5:g}" y="{py - 3.5:g}" width="7" height="7" class="f{one.colour}">'
                if one.kind == "linux"
                else f'<circle cx="{px}" cy="{py}" r="4" class="f{one.colour}">'
            )
            parts.append(f"{shape}<title>{about}</title>{'</rect>' if one.kind == 'linux' else '</circle>'}")
    return parts


def bars(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Groups of bars; a point's place is the number of its group, `x.words` names them all."""
    shown = [one for one in series if one.points]
    solid = [one for one in shown if one.kind != "published"]
    heights = [value for one in shown for _, value in one.points]
    heights += [high for one in shown for _, high in one.around]
    body, up = upright(y, heights)
    groups = len(x.words)
    across = Scale([-0.5, groups - 0.5], LEFT, WIDTH - RIGHT, False)
    body += along(x, range(groups), across)
    wide = (across(1) - across(0)) * 0.8 / max(len(solid), 1) if groups > 1 else 60.0
    wide = min(wide, 60.0)
    for at, one in enumerate(solid):
        shift = (at - (len(solid) - 1) / 2) * wide
        for n, (place, value) in enumerate(one.points):
            left, height = across(place) + shift - wide * 0.45, up(0) - up(value)
            about = escape(f"{one.label}: {value:,.4g}")
            body.append(
                f'<rect x="{left:.1f}" y="{up(value)}" width="{wide * 0.9:.1f}" height="{height:.1f}" '
                f'class="f{one.colour}"><title>{about}</title></rect>'
            )
            if n < len(one.around):
                low, high = one.around[n]
                middle = left + wide * 0.45
                body.append(
                    f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{up(low)}" y2="{up(high)}" class="axis"/>'
                )
    for one in shown:
        if one.kind == "published":
            body += [diamond(across(p), up(v), f"{one.label}: {v:g}") for p, v in one.points]
    return frame(title, [*body, *legend(shown, dots=True)], len(shown))
