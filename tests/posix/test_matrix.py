"""The POSIX matrix of neat/shim/README.md says what is."""

import collections
import json
import re
import sys
from collections.abc import Iterator

import pytest

from tests.posix import matrix, symbols, worlds
from tests.posix.differences import DIFFERENCES
from tests.posix.probe_options import OPTIONS, suits
from tests.support import ROOT, running_stack

Answers = dict[str, dict[str, list[str]]]
KINDS = ("TCP", "UDP", "TCP6", "UDP6")


def probe(world: worlds.World) -> Answers:
    transcript = world.transcript(sys.executable, worlds.HERE / "probe_options.py")
    assert transcript[-1] == "[exit 0]", "\n".join(transcript)
    return json.loads(transcript[0])


@pytest.fixture(scope="module")
def linux() -> Iterator[Answers]:
    with worlds.kernel() as world:
        yield probe(world)


@pytest.fixture(scope="module")
def neat() -> Iterator[Answers]:
    with running_stack(replicas=1) as stack, worlds.neat(stack) as world:
        yield probe(world)


def test_every_interposed_name_has_a_row_and_the_other_way_round() -> None:
    rows = collections.Counter(matrix.calls())
    assert set(rows) == symbols.interposed()
    assert [name for name, count in rows.items() if count > 1] == []


def test_every_option_has_a_row_and_the_other_way_round() -> None:
    rows = collections.Counter((option.name, option.kind) for option in matrix.options())
    expected = {name for kind in KINDS for name in OPTIONS if suits(name, kind)}
    assert {name for name, _kind in rows} == expected
    assert [row for row, count in rows.items() if count > 1] == []


def test_every_option_that_the_client_core_knows_is_asked_about() -> None:
    known = set()
    for file in ("options.c", "optget.c", "optable.c"):
        text = (ROOT / "neat/shim" / file).read_text()
        known |= set(re.findall(r"\b(?:OPT_)?((?:SO|TCP|IP|IPV6|UDP)_[A-Z0-9_]+)\b", text))
    assert known <= set(OPTIONS) | {"IP_LEVEL"}


@pytest.mark.netns
@pytest.mark.parametrize("option", matrix.options(), ids=lambda option: f"{option.name}-{option.kind}")
def test_an_option_is_what_its_row_says(option: matrix.Option, linux: Answers, neat: Answers) -> None:
    if option.status == "–":
        assert option.name not in linux[option.kind]
        return
    expected, seen = linux[option.kind][option.name], neat[option.kind][option.name]
    if seen != expected and set(expected) == {"ENOPROTOOPT"}:
        pytest.skip("this kernel does not know it")
    if option.status in ("works", "kept"):
        assert seen == expected
    elif option.status in ("refused", "kernel"):
        assert seen[1] == option.errno, "not refused with that"
        assert seen != expected, "Linux says the same: it works"
    else:
        assert option.status == "differs" and option.note
        assert seen != expected, "it does not differ"


@pytest.mark.netns
@pytest.mark.parametrize(
    "option",
    [option for option in matrix.options() if option.status not in ("–", "differs")],
    ids=lambda option: f"{option.name}-{option.kind}",
)
def test_an_option_of_a_fresh_socket_is_what_its_row_says(
    option: matrix.Option, linux: Answers, neat: Answers
) -> None:
    """What setsockopt() takes before connect() is there after it; what would not be, it does not take."""
    expected, seen = (world[f"fresh {option.kind}"][option.name] for world in (linux, neat))
    if seen != expected and expected[0] == "ENOPROTOOPT":
        pytest.skip("this kernel does not know it")
    if option.status == "refused":
        assert seen[0] == option.errno
        assert seen[2] == "connected"
    elif option.status == "kernel":
        assert seen[0] == expected[0]
        assert seen[0] != "done" or seen == expected or seen[2] == "ENETUNREACH"
    else:
        assert seen == expected


def test_the_differences_that_the_page_tells_are_those_that_the_scenarios_have() -> None:
    told = {(scenario, row) for row, scenarios in matrix.differences().items() for scenario in scenarios}
    assert told == {(scenario, difference.row) for scenario, difference in DIFFERENCES.items()}


def test_the_calls_point_to_differences_that_exist() -> None:
    assert matrix.names_used() <= set(matrix.differences())
