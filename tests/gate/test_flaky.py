"""What happens to a test that fails: tried again where CI is true, and only chance is forgiven."""

import os
import subprocess
import sys

import pytest

from tests import flaky
from tests.support import ROOT

pytestmark = pytest.mark.slow

TESTS = """
import pathlib

def fails(name, *which):
    # Fails in the runs of these numbers.
    runs = pathlib.Path(__file__).with_name(name)
    runs.write_text(runs.read_text() + "." if runs.exists() else ".")
    assert len(runs.read_text()) not in which, f"{name} has failed"

def test_good(): pass
"""
FLAKY = "def test_flaky(): fails('flaky', 1)\n"
OFTEN = "def test_often(): fails('often', 1, 3)\n"
BROKEN = "def test_broken(): fails('broken', 1, 2, 3)\n"
NO_SETUP = """
import pytest
@pytest.fixture
def unlucky(): fails("unlucky", 1)
def test_setup(unlucky): pass
"""


def run(tmp_path, *tests, ci="true", options=()):
    """pytest in a process of its own, in a folder of its own."""
    (tmp_path / "test_some.py").write_text(TESTS + "".join(tests))
    ours = ("PYTEST_", flaky.AGAIN)
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    plugins = ["-p", "tests.flaky", "-p", "no:cacheprovider", *(["-p", "xdist"] if options else [])]
    command = [sys.executable, "-m", "pytest", *plugins, "-rfE", *options]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env=env | {"CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "worksteal")], ids=["alone", "workers"])
def test_chance_is_forgiven_and_shown(tmp_path, options):
    done = run(tmp_path, FLAKY, options=options)
    assert done.returncode == 0, done.stdout
    assert "FLAKY test_some.py::test_flaky" in done.stdout
    assert "AssertionError: flaky has failed" in done.stdout  # the first failure, with its traceback
    assert "1 passed, 1 flaky" in done.stdout
    assert (tmp_path / "flaky").read_text() == "..."


def test_a_fixture_that_fails_is_a_failure_too(tmp_path):
    done = run(tmp_path, NO_SETUP)
    assert done.returncode == 0, done.stdout
    assert "FLAKY test_some.py::test_setup (setup)" in done.stdout


@pytest.mark.parametrize(("tests", "failed"), [((BROKEN,), "broken"), ((OFTEN,), "often")])
def test_what_fails_twice_has_failed(tmp_path, tests, failed):
    done = run(tmp_path, *tests)
    assert done.returncode == 1, done.stdout
    assert f"FAILED test_some.py::test_{failed}" in done.stdout
    assert "FLAKY" not in done.stdout


def test_one_that_is_flaky_excuses_no_other(tmp_path):
    done = run(tmp_path, FLAKY, BROKEN)
    assert done.returncode == 1, done.stdout
    assert "FLAKY test_some.py::test_flaky" in done.stdout
    assert "FAILED test_some.py::test_broken" in done.stdout


def test_many_failures_are_no_chance(tmp_path):
    many = "".join(f"def test_{n}(): fails('many{n}', 1)\n" for n in range(flaky.MOST + 1))
    done = run(tmp_path, many)
    assert done.returncode == 1, done.stdout
    assert "FLAKY" not in done.stdout
    assert (tmp_path / "many0").read_text() == "."


def test_a_file_that_cannot_be_read_is_not_tried(tmp_path):
    done = run(tmp_path, "import no_such_module\n")
    assert done.returncode == 2, done.stdout


@pytest.mark.parametrize("ci", ["", "1"])
def test_elsewhere_a_failure_is_a_failure(tmp_path, ci):
    done = run(tmp_path, FLAKY, ci=ci)
    assert done.returncode == 1, done.stdout
    assert (tmp_path / "flaky").read_text() == "."
