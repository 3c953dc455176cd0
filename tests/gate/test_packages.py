"""What users install: the source distribution, and the wheel that it becomes, each in a fresh environment."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support import ROOT, Once

# Each setup compiles the whole package: on a busy machine that takes long.
pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(1800)]

COMPILED = """
import importlib.util, pathlib, sys
import neat
root = pathlib.Path(neat.__file__).parent
assert root.is_relative_to(sys.prefix), root
for path in root.rglob("*.pyx"):
    name = ".".join(("neat", *path.relative_to(root).with_suffix("").parts))
    assert importlib.util.find_spec(name).origin.endswith(".so"), name
"""
TALK = """
import socket, sys, threading
server = socket.create_server(("10.77.0.2", 7))
threading.Thread(target=lambda: server.accept()[0].sendall(b"over the stack"), daemon=True).start()
with socket.create_connection(("10.77.0.2", 7)) as client:
    print(client.recv(100).decode())
"""


class Environment:
    """A virtual environment with nothing of ours; what we depend on is that of the tests."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.python = str(where / "bin" / "python")
        hidden = ("PYTHONPATH", "NEAT_RUN_DIR", "NEAT_STACK")
        self.env = {name: value for name, value in os.environ.items() if name not in hidden}

    def make(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.where], check=True)
        site = next((self.where / "lib").glob("python*/site-packages"))
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, *arguments: str, **more: str) -> str:
        """What `python ARGUMENTS` prints, away from the source."""
        command, env = [self.python, *arguments], self.env | more
        done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def install(self, *what: str, **more: str) -> None:
        options = ("--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "-q")
        self.run("-m", "pip", "install", *options, *what, **more)


def build(base: Path) -> None:
    """A source distribution and the wheel that pip makes of it, and keeps; each is installed."""
    code = "import setuptools.build_meta as b, sys; b.build_sdist(sys.argv[1])"
    quiet = {"NEAT_ONLY": "-"}
    subprocess.run([sys.executable, "-c", code, base], cwd=ROOT, env=os.environ | quiet, check=True)
    sdist, wheel = Environment(base / "sdist"), Environment(base / "wheel")
    sdist.make()
    wheel.make()
    cache = str(base / "cache")
    sdist.install("--cache-dir", cache, "--find-links", str(base), "neat-stack", NEAT_CFLAGS="-O0 -g0")
    wheel.install(str(next((base / "cache").rglob("*.whl"))))


@pytest.fixture(scope="module")
def environments(once: Once) -> dict[str, Environment]:
    """By what was installed there."""
    base = once("packages", build)
    return {what: Environment(base / what) for what in ("sdist", "wheel")}


@pytest.mark.parametrize("what", ["sdist", "wheel"])
def test_all_is_there(environments: dict[str, Environment], what: str) -> None:
    environments[what].run("-c", COMPILED)


@pytest.mark.parametrize("what", ["sdist", "wheel"])
def test_a_stack_and_a_program_on_it(environments: dict[str, Environment], what: str, tmp_path: Path) -> None:
    environment = environments[what]

    def neat(*command: str) -> str:
        return environment.run("-m", "neat", *command, NEAT_RUN_DIR=str(tmp_path / "run"))

    neat("up", "--detach", "--replicas", "1", "--owner", str(os.getpid()))
    try:
        assert neat("run", "--", environment.python, "-c", TALK) == "over the stack\n"
    finally:
        neat("down")
