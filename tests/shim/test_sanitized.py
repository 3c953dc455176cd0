"""The client core under AddressSanitizer and UndefinedBehaviorSanitizer: honest, hostile and noisy stacks."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NEAT = Path(__file__).parents[2] / "neat"
SHIM = NEAT / "shim"
FLAGS = [
    *("-g", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fno-omit-frame-pointer"),
    f"-I{NEAT}",
]
SANITIZERS = "-fsanitize=address,undefined"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exercise(once):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    sources = [Path(__file__).with_name("exercise.c"), *sorted(SHIM.glob("*.c"))]

    def build(where):
        flags = [*FLAGS, SANITIZERS, "-fno-sanitize-recover=all", "-lpthread"]
        subprocess.run([compiler, *sources, *flags, "-o", where / "program"], check=True)

    return once("exercise", build) / "program"


@pytest.mark.parametrize(
    "mode", [["echo"], *(["hostile", str(n)] for n in range(4)), ["noise", "1"]], ids=" ".join
)
def test_nothing_is_found(stack, exercise, mode):
    done = subprocess.run([exercise, *mode], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_spinning_changes_nothing(stack, exercise):
    env = os.environ | {"NEAT_SPIN_US": "30"}
    done = subprocess.run(
        [exercise, "echo"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
