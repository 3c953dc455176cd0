"""Programs on libuv: node, and Python on uvloop. A server and its clients with files, pipes, TLS and child
processes do the same on the stack as on the kernel's sockets, step by step.

`NEAT_TEST_NODE` names another node to try beside the installed one (the newest, say)."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.posix import worlds
from tests.programs.conftest import program
from tests.support import running_stack

pytestmark = pytest.mark.netns

SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE_S = 120
CERTIFICATE = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=neat"
Both = tuple[worlds.World, worlds.World]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with contextlib.ExitStack() as open_worlds:
        stack = open_worlds.enter_context(running_stack(replicas=2))
        yield open_worlds.enter_context(worlds.kernel()), open_worlds.enter_context(worlds.neat(stack))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a certificate that signs itself."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [program("openssl"), *CERTIFICATE.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path


def compare(both: Both, *command: str | Path) -> None:
    expected, seen = (world.transcript(*command, patience=PATIENCE_S) for world in both)
    assert expected[-1] == "[exit 0]", "it does not run on Linux:\n" + "\n".join(expected)
    assert seen == expected


@pytest.mark.parametrize("which", ["node", "NEAT_TEST_NODE"])
def test_node(which: str, both: Both, folder: Path) -> None:
    node = os.environ.get(which) if which.isupper() else program(which)
    if not node or not shutil.which(node):
        pytest.skip(f"{which} names no node")
    compare(both, node, SCRIPTS / "everyday.js", "10.77.0.2", folder)


def test_uvloop(both: Both, folder: Path) -> None:
    if importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed (pip install uvloop)")
    compare(both, sys.executable, SCRIPTS / "everyday.py", "10.77.0.2", folder)
