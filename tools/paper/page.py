"""The report: one HTML file without anything from elsewhere, to be read on a screen or printed."""

import datetime
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from neat.tools.paper.chart import STYLE
from neat.tools.paper.figure import Cell, Figure, Shown, Table

PAGE_STYLE = """
html{background:var(--paper);color:var(--ink);font:16px/1.5 Georgia,"Times New Roman",serif}
body{max-width:52rem;margin:0 auto;padding:2rem 1.2rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:.2em 0}h2{font-size:1.3rem;margin:0 0 .2em;line-height:1.3}
.sub,.source,figcaption,nav,details,.state{font-family:system-ui,sans-serif;color:var(--faint);
font-size:.85rem}
section{border-top:1px solid var(--rule);padding-top:1.6rem;margin-top:2.2rem}
figure{margin:1rem 0}figcaption{margin-top:.2rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font:13px/1.35 system-ui,sans-serif;margin:1rem 0;width:100%}
caption{text-align:left;color:var(--faint);padding-bottom:.3rem}
th{text-align:left;font-weight:600;border-bottom:1.5px solid var(--faint);padding:.25rem .5rem;
vertical-align:bottom}
td{border-bottom:1px solid var(--rule);padding:.22rem .5rem;font-variant-numeric:tabular-nums}
td.n,th.n{text-align:right;white-space:nowrap}
td.published{font-style:italic}td.model{color:var(--faint);font-style:italic}td.bad{color:var(--bad);
font-weight:600}
sup a,nav a{text-decoration:none}a{color:var(--k0)}
code{font:12.5px/1.4 ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
details{margin:.8rem 0}details li{margin:.35rem 0}summary{cursor:pointer}
.missing{border-left:3px solid var(--bad);padding:.1rem .8rem;margin:1rem 0;font-family:system-ui,sans-serif;
font-size:.88rem}
.missing p{margin:.3rem 0}
.summary td:first-child{white-space:nowrap}
nav ol{columns:2;column-gap:3rem;padding-left:1.2rem}
@media print{body{max-width:none;padding:0}details{display:block}details>*{display:block}
section{break-inside:avoid-page}a{color:inherit}html{font-size:11pt}}
@media (max-width:40rem){nav ol{columns:1}}
"""


class Entry(NamedTuple):
    """A figure and what has become of it. state: "whole", "in part" or "missing". runs: its commands, as
    `Kept` is in JSON, without the result."""

    figure: Figure
    state: str
    shown: Shown
    runs: Sequence[dict[str, Any]]
    missing: Sequence[str]


def page(about: dict[str, Any], entries: Sequence[Entry]) -> str:
    """about: `machine`, `version`, `date`, `quick`, `seconds`, `command`."""
    machine = about["machine"]
    kind = "a quick run: few points, one round each; for a look, not for a claim" if about["quick"] else ""
    title = "NEaT on Linux: the papers' evaluation"
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{title}</title><style>{STYLE}{PAGE_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f'<p class="sub">{escape(about["date"])} · NEaT {escape(about["version"])} · {machine["cpus"]} '
        f"processors, {escape(machine['model'])} · Linux {escape(machine['kernel'])} · "
        f"{about['seconds'] / 60:.1f} min · <code>{escape(about['command'])}</code></p>",
        f"<p><strong>This is {kind}.</strong></p>" if kind else "",
        "<p>Each figure and table of <em>A NEaT Design for Reliable and Scalable Network Stacks</em> "
        "(CoNEXT 2016) that can be measured on one machine, and the crash of <em>Keep Net Working</em> "
        "(DSN 2012), measured with this implementation, with the published numbers beside them. "
        f"The papers had 12 cores and 8 cores with 16 threads, a network card and a second machine for the "
        f"clients; here clients, stack and servers share {machine['cpus']} processors, and the wire is "
        "a TAP device (a veth pair for Linux's own stack). So <strong>absolute numbers are not to be "
        "compared; shapes and ratios are.</strong> A number in <em>italics</em> is published, or from a "
        "model, as its column says; a small number leads to the command that measured this and what else is "
        "in its row.</p>",
        contents(entries),
        summary(entries),
    ]
    parts += [section(entry) for entry in entries]
    return "\n".join([*parts, "</body></html>", ""])


def contents(entries: Sequence[Entry]) -> str:
    rows = "".join(
        f'<li><a href="#{e.figure.name}">{escape(e.figure.title)}</a>'
        + ("" if e.state == "whole" else f" ({e.state})")
        + "</li>"
        for e in entries
    )
    return f"<nav><ol>{rows}</ol></nav>"


def summary(entries: Sequence[Entry]) -> str:
    """What a reader would ask first, of all figures."""
    rows = "".join(
        f'<tr><td><a href="#{entry.figure.name}">{escape(entry.figure.title.partition(":")[0])}</a></td>'
        f'<td>{escape(key.what)}</td><td class="published">{escape(key.published)}</td>'
        f"<td>{escape(key.here)}</td></tr>"
        for entry in entries
        for key in entry.shown.keys
    )
    if not rows:
        return ""
    head = "<tr><th></th><th></th><th>published</th><th>here</th></tr>"
    return (
        f'<div class="wide"><table class="summary"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    )


def section(entry: Entry) -> str:
    figure, shown = entry.figure, entry.shown
    name = figure.name
    parts = [
        f'<section id="{name}"><h2>{escape(figure.title)}</h2>',
        f'<p class="source">{escape(figure.source)}</p>',
        f"<p>{escape(figure.says)}</p>",
    ]
    for picture in shown.pictures:
        parts.append(f"<figure>{picture}</figure>")
    parts += [f"<p>{escape(note)}</p>" for note in shown.notes]
    parts += [table(name, one) for one in shown.tables]
    if entry.missing:
        lines = "".join(f"<p>{escape(text)}</p>" for text in dict.fromkeys(entry.missing))
        parts.append(f'<div class="missing">{lines}</div>')
    if entry.runs:
        parts.append(commands(name, entry.runs))
    return "\n".join([*parts, "</section>"])


def table(name: str, one: Table) -> str:
    numeric = [
        bool(one.rows) and all(is_number(text_of(row[at])) for row in one.rows) for at in range(len(one.head))
    ]
    head = "".join(
        f'<th class="n">{escape(text)}</th>' if number else f"<th>{escape(text)}</th>"
        for text, number in zip(one.head, numeric, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(cell(name, c, n) for c, n in zip(row, numeric, strict=True)) + "</tr>"
        for row in one.rows
    )
    caption = f"<caption>{escape(one.title)}</caption>" if one.title else ""
    return (
        f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def text_of(one: Cell | str) -> str:
    return one.text if isinstance(one, Cell) else one


def is_number(text: str) -> bool:
    return text == "" or text.strip("+-−")[:1].isdigit()


def cell(name: str, one: Cell | str, number: bool) -> str:
    made = one if isinstance(one, Cell) else Cell(one)
    kinds = " ".join(word for word in ("n" if number else "", made.kind) if word)
    reference = f'<sup><a href="#{name}-{made.run}">{made.run}</a></sup>' if made.run else ""
    return f'<td class="{kinds}">{escape(made.text)}{reference}</td>'


def commands(name: str, runs: Sequence[dict[str, Any]]) -> str:
    """What was run, when, and how quiet the machine was."""
    rows = "".join(
        f'<li id="{name}-{number}"><code>{escape(run["command"])}</code><br>{escape(local(run["began"]))}, '
        f"{run['seconds']:g} s; stolen {run['steal']:.1%}, busy {run['busy']:.0%}; "
        f'<a href="data/{escape(run["file"])}">{escape(run["file"])}</a></li>'
        for number, run in enumerate(runs, 1)
    )
    return f"<details open><summary>Commands</summary><ol>{rows}</ol></details>"


def local(text: str) -> str:
    return datetime.datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC")
