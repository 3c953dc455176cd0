"""The tour and the benchmarks, short: that they run, and that their results have the promised names."""

import json
import os
import signal
import subprocess
import sys

import pytest

from neat import rundir
from neat.tools import tour
from tests.support import wait_for

pytestmark = pytest.mark.netns


def bench(*arguments):
    command = [sys.executable, "-m", "neat", "bench", *arguments, "-j"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("client", ["wrk", "httperf"])
def test_bench_http(client):
    (result,) = bench("http", "--rounds=1", "--seconds=1", "--connections=4", f"--client={client}")["points"]
    for side in ("neat", "linux"):
        assert result[side]["requests_per_s"] > 0 and result[side]["errors"] == 0
        assert result[side]["cpu_us_per_request"]["server"] > 0
    assert {"driver", "replica0", "syscall", "supervisor"} < result["neat"]["cpu_us_per_request"].keys()
    assert result["ratio"] > 0


def test_bench_bulk():
    (result,) = bench("bulk", "--rounds=1", "--megabytes=16")["points"]
    assert result["neat"]["gbit_per_s"] > 0 and result["linux"]["gbit_per_s"] > 0


def test_bench_churn():
    result = bench("churn", "--connections=600", "--replicas=2", "--time-wait-ms=200")
    assert (result["ok"], result["failed"], result["leaks"]) == (600, {}, [])


def test_bench_limit():
    result = bench("limit")
    assert result["small"]["write_ns"] > 0 and result["echo"]["one"]["per_second"] > 0


def test_the_tour(monkeypatch, capsys):
    """All of it, with more time for each step than it promises: a machine may be busy."""
    for name in ("FOUND_MS", "REPLACED_MS", "GAP_MS"):
        monkeypatch.setattr(tour, name, 10_000.0)
    assert tour.main() == 0, capsys.readouterr().out


def test_a_terminated_bench_leaves_nothing(tmp_path):
    """SIGTERM in the middle: the stack that it had up goes with it."""
    command = [sys.executable, "-m", "neat", "bench", "http", "--rounds=9", "--seconds=60"]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL)
    found = wait_for(lambda: list(tmp_path.glob("neat-*/run/guardian.pid")), 30, "a stack")
    guardian = wait_for(lambda: rundir.guardian(found[0].parent), 10, "its guardian")
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert rundir.start_ticks(guardian) == 0
    assert not list(tmp_path.iterdir())
