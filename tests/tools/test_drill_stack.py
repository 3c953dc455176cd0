"""A short drill on a stack of its own: that it runs, and that its result has the promised names."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import get_args, get_type_hints

import pytest

from neat.config import Config
from tests.support import each_datapath

pytestmark = pytest.mark.netns

RECOVERIES = get_args(get_type_hints(Config)["recovery"])

SMALL = ("--connections=24", "--rate=200", "--bulk=2", "--bulk-rate=2", "--hung-after=60s", "--quiet=200ms")


def neat_drill(*arguments, env=None):
    command = [sys.executable, "-m", "neat", "drill", *SMALL, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=240)


def test_replicas_are_killed(tmp_path):
    """In the stateless mode a replica's connections are lost, whoever else is killed; no byte is wrong."""
    picture = tmp_path / "a.svg"
    options = ("--recovery=stateless", "--kill=replica,driver", "--count=2", "--plot", str(picture))
    done = neat_drill(*options, "--allow-lost", "-j")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    of_replica, of_driver = result["faults"]
    assert [part["name"] for part in of_replica["components"]] == ["replica0"]
    assert [part["name"] for part in of_driver["components"]] == ["driver"]
    assert 0 < of_replica["affected"] < of_replica["held"] == of_driver["affected"] == 26
    assert of_replica["lost"] + of_replica["hung"] == of_replica["affected"]
    assert of_replica["lost_others"] == of_driver["lost"] == of_driver["hung"] == 0
    seen = result["connections"]
    assert seen["wrong"] == 0 and seen["opened"] == seen["closed"] + seen["lost"] + seen["hung"]
    assert all(part["back_ms"] is not None for fault in result["faults"] for part in fault["components"])
    assert result["server"]["wrong_total"] == 0
    assert result["phases"]["during"]["requests_per_s"] > 0
    ET.fromstring(picture.read_text())


@pytest.mark.skipif("stateful" not in RECOVERIES, reason="this stack's state does not survive")
@each_datapath
def test_nobody_notices(datapath):
    """With stateful recovery every connection comes through, whoever is killed."""
    whom = "--kill=replica,driver,syscall,supervisor"
    done = neat_drill("--recovery=stateful", "--datapath", datapath, whom, "--count=5", "-j")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["failures"] == [] and len(result["faults"]) == 5
    assert result["connections"]["opened"] == result["connections"]["closed"] == 26


@each_datapath
def test_replicas_come_and_go(datapath):
    """Nobody notices, whoever is killed meanwhile; and those that are to leave do, whatever pairs of sockets
    they have had kept for the next connection."""
    steps = ("--replicas=1", "--scale=3,1,2,1", "--scale-every=1s", "--churn=50", "--set=time_wait_ms=100")
    whom = ("--kill=replica,supervisor", "--every=700ms", "--overlap")
    done = neat_drill("--datapath", datapath, *steps, *whom, "-j")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["failures"] == [] and result["faults"]
    assert [(step["before"], step["count"]) for step in result["steps"]] == [(1, 3), (3, 1), (1, 2), (2, 1)]
    assert result["steps"][0]["ready_ms"] > 0 and result["steps"][-1]["left_ms"] > 0


def test_without_a_fault_nothing_is_lost():
    done = neat_drill("--kill=none", "--for=1s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no connection lost, no byte wrong, none hung" in " ".join(done.stdout.split())


def test_who_does_not_come_through_is_a_failure():
    done = neat_drill("--recovery=stateless", "--count=1")
    assert done.returncode == 1 and "connections lost" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["nginx", "redis", "ssh"])
def test_programs(program):
    few = ("--connections=6", "--rate=50") if program == "ssh" else ()
    done = neat_drill(*few, f"--program={program}", "--kill=driver", "--count=1", "-j")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["server"] is None and result["connections"]["opened"] == (8 if few else 26)


def test_a_stack_that_runs(stack):
    """It is used as it is, and stays up."""
    done = neat_drill("--name", stack.name, "--kill=syscall", "--count=1", env=stack.env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.component("syscall")["restarts"] == 1
    assert stack.status()["ready"]


def test_a_stack_that_is_not_there():
    done = neat_drill("--name=nobody")
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith("Error: no stack called")
