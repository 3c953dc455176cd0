"""What a program sees on NEaT is what it sees on Linux: each scenario runs in both worlds, and the
transcripts are the same but for the differences that are listed, with their reasons, in differences.py."""

import contextlib
import difflib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.posix import worlds
from tests.posix.differences import DIFFERENCES
from tests.support import Once, running_stack

pytestmark = pytest.mark.netns

FORTIFIED = ("fortified",)
ALL = [(family, name) for family, names in worlds.families().items() for name in names]
Both = tuple[worlds.World, worlds.World]


@pytest.fixture(scope="module")
def programs(once: Once) -> Path:
    return once("scenarios", worlds.build)


@pytest.fixture(scope="module")
def fortified(once: Once) -> Path:
    def build(where: Path) -> None:
        worlds.build(where, "-O2", "-D_FORTIFY_SOURCE=2", only=FORTIFIED)

    return once("fortified", build)


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with contextlib.ExitStack() as open_worlds:
        stack = open_worlds.enter_context(running_stack(replicas=2))
        yield open_worlds.enter_context(worlds.kernel()), open_worlds.enter_context(worlds.neat(stack))


def changes(expected: list[str], seen: list[str]) -> list[str]:
    """`-` lines that only the kernel's transcript has, `+` lines that only NEaT's has."""
    return [line for line in difflib.ndiff(expected, seen) if line[0] in "+-"]


def compare(both: Both, program: Path, scenario: tuple[str, str]) -> None:
    expected, seen = (world.transcript(program, scenario[1]) for world in both)
    assert expected[-1] == "[exit 0]", "the scenario does not run on Linux:\n" + "\n".join(expected)
    differences = DIFFERENCES.get("/".join(scenario))
    listed = list(differences.lines) if differences else []
    found = changes(expected, seen)
    title = "Linux (-), NEaT (+)" if found else "a listed difference is none any more"
    assert found == listed, "\n".join([title, *difflib.ndiff(expected, seen)])


@pytest.mark.parametrize("scenario", ALL, ids="/".join)
def test_same_as_linux(scenario: tuple[str, str], both: Both, programs: Path) -> None:
    compare(both, programs / scenario[0], scenario)


@pytest.mark.parametrize("scenario", [s for s in ALL if s[0] in FORTIFIED], ids="/".join)
def test_same_as_linux_under_the_fortified_names(
    scenario: tuple[str, str], both: Both, fortified: Path
) -> None:
    compare(both, fortified / scenario[0], scenario)


def test_the_fortified_programs_use_the_checked_names(fortified: Path) -> None:
    command = ["nm", "-D", "-u", str(fortified / "fortified")]
    listing = subprocess.run(command, check=True, capture_output=True, text=True)
    used = {line.split()[-1].partition("@")[0] for line in listing.stdout.splitlines()}
    checked = ("read", "recv", "recvfrom", "poll", "ppoll", "dprintf")
    assert used >= {f"__{name}_chk" for name in checked}


def test_every_listed_difference_has_a_scenario() -> None:
    assert set(DIFFERENCES) <= {"/".join(scenario) for scenario in ALL}
