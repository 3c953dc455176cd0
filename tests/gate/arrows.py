"""Who uses whom in this project: imports, cimports and includes of its sources, symbols of its C.

A node is a module by its dotted name without `neat.` (`stack.tcp.input`: its .py, .pyx and .pxd are one), or
a file of C by its path in `neat` (`shim/watch.c`).
"""

import ast
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Graph = dict[str, set[str]]

_CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import[ \t]+(\([^)]*\)|[^#\n]*)|c?import[ \t]+([\w., \t]+))", re.M
)
_INCLUDE = re.compile(r'^[ \t]*(?:#[ \t]*include|cdef extern from)[ \t]+"([^"]+)"', re.M)


def sources(root: Path, *suffixes: str) -> Iterator[Path]:
    """Files that people write; `drivers` and `tools` are links to folders."""
    for folder, _, names in os.walk(root, followlinks=True):
        written = Path(folder).is_relative_to(root / "shim")  # other C was made by Cython
        for name in sorted(names):
            if name.endswith(suffixes) and (written or not name.endswith(".c")):
                yield Path(folder, name)


def module_of(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(module, names from it) of each import in a file; of `import x` without names."""
    text = path.read_text()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from ((alias.name, []) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: a relative import"
                assert node.module is not None
                yield node.module.removeprefix("cython.cimports."), [alias.name for alias in node.names]
    else:
        for origin, names, plain in _CYTHON_IMPORT.findall(text):
            if plain:
                yield from ((name.split()[0], []) for name in plain.split(",") if name.strip())
            else:
                yield origin, re.findall(r"\w+", names)


def module_graph(root: Path) -> Graph:
    """What modules import, run or not; `root` is the folder of the package `neat`."""
    files = [(module_of(root, path), path) for path in sources(root, ".py", ".pyx", ".pxd")]
    modules = {"neat" if name == "__init__" else f"neat.{name}": name for name, _ in files}
    graph: Graph = {name: set() for name in modules.values()}
    for name, path in files:
        for origin, names in imports(path):
            inner = {f"{origin}.{n}" for n in names} & modules.keys()
            used = inner if inner and len(inner) == len(names) else inner | {origin}
            graph[name] |= {modules[m] for m in used if m in modules} - {name}
        graph[name] |= includes(root, path)
    return graph


def includes(root: Path, path: Path) -> set[str]:
    """The files that an #include or `cdef extern from` of ours names."""
    found = set()
    for name in _INCLUDE.findall(path.read_text()):
        places = (path.parent / name, root / name, root / "shim" / name)
        found.update({os.path.relpath(place, root) for place in places if place.exists()})
    return found


def include_graph(root: Path) -> Graph:
    return {os.path.relpath(path, root): includes(root, path) for path in sources(root, ".c", ".h")}


def symbol_graph(objects: Mapping[str, Path]) -> Graph:
    """Which files of C call what others define. `objects`: a file's object file, by its name."""
    homes: dict[str, str] = {}
    wanted: Graph = {}
    for name, made in objects.items():
        listing = subprocess.run(["nm", "-P", made], check=True, capture_output=True, text=True).stdout
        symbols = [line.split()[:2] for line in listing.splitlines()]
        wanted[name] = {symbol for symbol, kind in symbols if kind in "Uwv"}
        homes |= {symbol: name for symbol, kind in symbols if kind.isupper() and kind != "U"}
    return {name: {homes[s] for s in used if s in homes} - {name} for name, used in wanted.items()}


def circles(graph: Graph) -> list[set[str]]:
    """Nodes that all lead to each other, where there is more than one (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    open_ones: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        open_ones.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
            if other in open_ones:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            at = open_ones.index(node)
            found.append(set(open_ones[at:]))
            del open_ones[at:]

    for node in graph:
        if node not in order:
            visit(node)
    return [circle for circle in found if len(circle) > 1]


def room_of(node: str, rooms: Iterable[str]) -> str:
    """The room that a node lies in: of those that its name begins with the innermost."""
    parts = re.split(r"[./]", node)
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((name for name in names if name in rooms), f"no room: {node}")


def wrong_arrows(graph: Graph, floors: list[set[str]]) -> set[tuple[str, str]]:
    """Uses of another room that do not lead to a lower floor. What is in no room is on none."""
    floor = {room: height for height, rooms in enumerate(floors) for room in rooms}
    found = set()
    for node, used in graph.items():
        here = room_of(node, floor)
        for other in used:
            there = room_of(other, floor)
            if here != there and floor.get(there, len(floors)) >= floor.get(here, -1):
                found.add((node, other))
    return found
