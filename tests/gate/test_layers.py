"""The list of layers in neat/shim/README.md is true: files and headers rest on those above them in it."""

import re
from pathlib import Path

import pytest

from tests.gate.arrows import Graph, include_graph, sources, symbol_graph
from tests.gate.test_arrows import compiled
from tests.support import ROOT

NEAT = ROOT / "neat"
README = NEAT / "shim/README.md"
CONTRACTS = {"client.h", "order.h", "real.h"}  # what applications see, and what each layer may include


def layers() -> list[tuple[set[str], list[str]]]:
    """(headers, files) of each layer by their paths in `neat`, the lowest first."""
    text = README.read_text().partition("\n## Layers\n")[2].partition("\n## ")[0]
    found = []
    core, _, preload = text.partition("In `preload/`")
    for folder, part in (("shim", core), ("shim/preload", preload)):
        for left, right in re.findall(r"^\| (.*?) \| (.*) \|$", part, re.M):
            files = [f"{folder}/{name}" for name in re.findall(r"`(\w+\.c)`", right)]
            if files:
                found.append(({f"{folder}/{name}" for name in re.findall(r"`(\w+\.h)`", left)}, files))
    return found


def wrong_calls(graph: Graph, order: list[str]) -> set[tuple[str, str]]:
    place = {name: at for at, name in enumerate(order)}
    return {(name, other) for name, used in graph.items() for other in used if place[other] > place[name]}


def test_each_file_stands_in_one_layer() -> None:
    listed = [name for _, files in layers() for name in files]
    assert sorted(listed) == sorted(str(path.relative_to(NEAT)) for path in sources(NEAT, ".c"))


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    where = tmp_path_factory.mktemp("objects")
    return symbol_graph({str(path.relative_to(NEAT)): compiled(path, where) for path in sources(NEAT, ".c")})


def test_a_file_calls_those_above_it(calls: Graph) -> None:
    order = [name for _, files in layers() for name in files]
    assert not wrong_calls(calls, order)
    lowest_last = [*order[1:], order[0]]
    assert wrong_calls(calls, lowest_last), "the check finds nothing where there is something"


def test_a_layer_includes_no_header_of_a_layer_above() -> None:
    graph = include_graph(NEAT)
    heights = {header: at for at, (headers, _) in enumerate(layers()) for header in headers}
    for at, (headers, files) in enumerate(layers()):
        for name in [*headers, *files]:
            above = {h for h in graph[name] if heights.get(h, 0) > at and Path(h).name not in CONTRACTS}
            assert not above, f"{name} includes {above}"


def test_only_one_header_says_in_which_order_constructors_run() -> None:
    strays = [path for path in sources(NEAT / "shim", ".c", ".h") if "constructor(" in path.read_text()]
    assert strays == [NEAT / "shim/order.h"]
