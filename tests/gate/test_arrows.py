"""Who uses whom leads down, and not in circles: imports, cimports, C includes, symbols of the client core."""

import subprocess
from pathlib import Path

import pytest

from tests.gate.arrows import circles, include_graph, module_graph, sources, symbol_graph, wrong_arrows
from tests.support import ROOT

NEAT = ROOT / "neat"

# From the ground up. A room may use those of lower floors, not its neighbours; what lies in it, each other.
FLOORS = [
    {"__init__", "abi", "wire", "rundir", "routes", "ports", "filter", "placement", "store"},
    {"shm", "config"},
    {"parts"},
    {"boot"},
    {"stack", "shim"},
    {"shim.preload", "socket", "replica", "drivers", "syscalls"},
    {"supervisor"},
    {"cli"},
    {"tools"},
    {"__main__"},
]

# What is in a circle yet. Nothing may come into this list; what is cut should be taken out of it.
KNOWN_CIRCLES = [
    # Input, output and set-up of the engine call each other.
    {
        *("stack.arp", "stack.icmp", "stack.ipv4", "stack.neighbour", "stack.udp", "stack.udp_output"),
        *(f"stack.tcp.{name}" for name in ("ack", "commands", "connection", "icmp", "input", "listen")),
        *(f"stack.tcp.{name}" for name in ("output", "ports", "respond", "synsent", "text", "timewait")),
    },
]


def expect_no_more(found: list[set[str]], known: list[set[str]]) -> None:
    """Every circle lies within a known one."""
    new = [sorted(circle) for circle in found if not any(circle <= old for old in known)]
    assert not new, f"circles that are new, or have become larger: {new}"


def expect_downwards(graph: dict[str, set[str]]) -> None:
    new = wrong_arrows(graph, FLOORS)
    assert not new, f"used although not on a lower floor: {sorted(new)}"


def compiled(source: Path, where: Path) -> Path:
    """The object file of a source of the client core: the build's, where that is no older, else a new one."""
    inner = source.relative_to(ROOT).with_suffix(".o")
    newest = max(path.stat().st_mtime for path in (source, *sources(NEAT, ".h")))
    for made in ROOT.glob(f"build/temp.*/shim/{inner}"):
        if made.stat().st_mtime >= newest:
            return made
    made = where / str(inner).replace("/", "-")
    flags = ["-std=gnu11", "-D_GNU_SOURCE", f"-I{NEAT}", f"-I{NEAT / 'shim'}"]
    subprocess.run(["gcc", *flags, "-c", "-o", made, source], check=True)
    return made


def test_imports() -> None:
    graph = module_graph(NEAT)
    assert "stack.tcp.input" in graph["stack.engine"] | graph["stack.ipv4"]
    expect_downwards(graph)
    expect_no_more(circles(graph), KNOWN_CIRCLES)


def test_includes() -> None:
    graph = include_graph(NEAT)
    assert "abi/channel.h" in graph["abi/control.h"]
    expect_downwards(graph)
    expect_no_more(circles(graph), [])


def test_symbols(tmp_path: Path) -> None:
    objects = {str(path.relative_to(NEAT)): compiled(path, tmp_path) for path in sources(NEAT, ".c")}
    graph = symbol_graph(objects)
    assert len(graph) > 40
    expect_downwards(graph)
    expect_no_more(circles(graph), [])


# That these tests can fail: trees with one fault each.


def tree(root: Path, **files: str) -> Path:
    """Files by their names, with `__` for a slash and `_dot_` for the dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


UPWARDS = {
    "import": {"wire__a_dot_py": "import neat.stack.b\n"},
    "import from": {"wire__a_dot_py": "def f():\n    from neat.stack import b\n"},
    "cimport in a body": {"wire__a_dot_py": "from cython.cimports.neat.stack.b import f\n"},
    "cimport": {"wire__a_dot_pxd": "from neat.stack.b cimport (\n    f,\n    g,\n)\n"},
    "plain cimport": {"wire__a_dot_pyx": "cimport neat.wire.c, neat.stack.b\n"},
    "to a neighbour": {"wire__a_dot_py": "from neat.abi import layout\n"},
    "extern": {"stack__a_dot_pxd": 'cdef extern from "client.h":\n    int f()\n'},
    "verbatim": {"stack__a_dot_pxd": 'cdef extern from *:\n    """\n    #include "shim/client.h"\n    """\n'},
    "of no room": {"cellar__a_dot_py": "import neat.wire.c\n"},
}


@pytest.mark.parametrize("files", UPWARDS.values(), ids=UPWARDS.keys())
def test_an_import_upwards_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    others = {"stack__b_dot_py": "import neat.wire.c\n", "wire__c_dot_py": "", "abi__layout_dot_pyx": ""}
    root = tree(tmp_path, shim__client_dot_h="", **others, **files)
    found = wrong_arrows(module_graph(root), FLOORS)
    assert len(found) == 1
    with pytest.raises(AssertionError):
        expect_downwards(module_graph(root))


def test_an_include_upwards_is_found(tmp_path: Path) -> None:
    root = tree(tmp_path, abi__a_dot_h='#include "shim/b.h"\n', shim__b_dot_h='#  include "abi/a.h"\n')
    assert wrong_arrows(include_graph(root), FLOORS) == {("abi/a.h", "shim/b.h")}
    with pytest.raises(AssertionError):
        expect_no_more(circles(include_graph(root)), [])


def test_symbols_upwards_and_in_a_circle_are_found(tmp_path: Path) -> None:
    texts = {
        "shim/a.c": "int c(void); int a(void) { return c(); }",
        "shim/b.c": "int a(void); int b(void) { return a(); }",
        "shim/c.c": "int b(void); __attribute__((weak)) int d(void); int c(void) { return d ? d() : b(); }",
        "shim/preload/d.c": "static int e(void) { return 1; } int d(void) { return e(); }",
    }
    objects = {}
    for name, text in texts.items():
        objects[name] = tmp_path / f"{Path(name).stem}.o"
        command = ["gcc", "-x", "c", "-c", "-o", str(objects[name]), "-"]
        subprocess.run(command, input=text, text=True, check=True)
    graph = symbol_graph(objects)
    assert wrong_arrows(graph, FLOORS) == {("shim/c.c", "shim/preload/d.c")}
    found = circles(graph)
    assert found == [{"shim/a.c", "shim/b.c", "shim/c.c"}]
    expect_no_more(found, [{*found[0], "shim/e.c"}])
    with pytest.raises(AssertionError):
        expect_no_more(found, [found[0] - {"shim/a.c"}])
