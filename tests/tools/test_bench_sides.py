"""The benchmarks with real servers on both sides, for a moment: that they run, count, and leave nothing."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neat import rundir
from neat.drivers import program
from neat.replica import confine
from neat.supervisor import latency
from neat.tools.bench import processes
from tests.support import wait_for

pytestmark = pytest.mark.netns
LATENCY_US = 5000  # changes little, here


def needs(*programs):
    """Skip the test where one of them is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")


def bench(*arguments, rounds="--rounds=1"):
    command = [sys.executable, "-m", "neat", "bench", *arguments, *([rounds] if rounds else []), "-j"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


@needs("lighttpd", "wrk")
def test_lighttpd_on_both_sides(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.png"
    result = bench(
        *("http", "--server=lighttpd", "--duration=1", "--connections=4", "--size=20,10K", "--syscalls"),
        f"--plot={picture}",
        *([] if latency.usable(LATENCY_US) else [f"--set=cpu_latency_us={LATENCY_US}"]),
    )
    assert [point["size"] for point in result["points"]] == [20, 10_000]
    for point in result["points"]:
        for side in ("neat", "linux"):
            assert point[side]["requests_per_s"] > 0 and point[side]["errors"] == 0
            assert point[side]["cpu_us_per_request"]["server"] > 0
            calls = point["syscalls"][side]
            assert calls["requests"] > 0 and calls["per_request"] > 0
        assert point["ratio"] > 0 and point["syscalls"]["share"] > 0
    assert picture.stat().st_size > 1000


@needs("nginx", "wrk")
def test_idle_connections():
    result = bench("idle", "--connections=300", "--duration=1")
    for side in ("neat", "linux"):
        assert result[side]["lost"] == 0 and result[side]["among"]["requests_per_s"] > 0
        assert result[side]["bytes_per_connection"].keys() >= {"server", "total", "kernel"}
    assert result["neat"]["bytes_per_connection"]["total"] > 0


@needs("iperf3")
def test_iperf3_in_both_directions():
    points = bench("bulk", "--server=iperf3", "--seconds=1", "--set=datapath=driver")["points"]
    assert [(point["direction"], point["datapath"]) for point in points] == [
        ("send", "driver"),
        ("receive", "driver"),
    ]
    for point in points:
        assert point["neat"]["gbit_per_s"] > 0 and point["linux"]["gbit_per_s"] > 0


@needs("wrk")
def test_datapaths_take_turns():
    """Two stacks, up at the same time; a row for each, with the same rounds of Linux."""
    if why := program.usable() or confine.usable():
        pytest.skip(why)
    result = bench("http", "--duration=1", "--datapaths=queues,driver", "--switches", "--connections=4")
    queues, driver = result["points"]
    assert (queues["datapath"], driver["datapath"]) == ("queues", "driver")
    assert queues["rounds"]["linux"] == driver["rounds"]["linux"]
    for point in (queues, driver):
        assert point["neat"]["errors"] == 0 and point["neat"]["requests_per_s"] > 0
        assert point["neat"]["switches_per_request"]["replica0"].keys() == {
            "slept",
            "gave_way",
            "woken",
            "rang",
        }


def test_what_the_device_can_do():
    result = bench("limit", rounds=None)
    assert min(result["contention"].values()) > 0
    assert result["memory"]["one_gb_per_s"] > 0 < result["memory"]["all_gb_per_s"]


@needs("iperf3", "lighttpd", "wrk")
def test_rows_of_the_table():
    """Two servers, one after the other, on the same stack; rows stand in the table's order."""
    result = bench("table", "--seconds=1", "--only=1 connection, 2", "--only=stolen", "--only=server sends")
    works = [point["work"] for point in result["points"]]
    if result["left_out"]:
        pytest.skip(str(result["left_out"]))
    assert works == [
        "lighttpd, 1 connection, 2 replicas",
        "iperf3, the server sends",
        "lighttpd, 32 connections, 20 % stolen",
    ]
    for point in result["points"]:
        assert point["ratio"] > 0 and point["cpu_ratio"] > 0
    assert [point["stolen"] for point in result["points"]] == [0, 0, 20]


@needs("nginx", "wrk")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_leaves_nothing(tmp_path, number):
    """Servers in sessions of their own, namespaces and the stack: all go, and so do their folders."""
    command = [sys.executable, "-m", "neat", "bench", "http", "--server=nginx", "--duration=60"]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL)

    def everybody():
        """Their pidfds. What runs only for a moment meanwhile may be gone before it is looked at."""
        ends = {}
        for pid in processes.tree(process.pid):
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                ends[os.pidfd_open(pid)] = name
        if list(ends.values()).count("nginx") == 4 and "wrk" in ends.values():
            return list(ends)
        for fd in ends:
            os.close(fd)
        return None

    try:
        ends = wait_for(everybody, 30, "two servers with a worker each, and the client")
        ends.append(os.pidfd_open(rundir.guardian(next(tmp_path.glob("neat-*/run")))))
        process.send_signal(number)
        assert process.wait(30) != 0
    finally:
        process.terminate()
        process.wait(30)
    for fd in ends:
        assert select.select([fd], [], [], 5)[0]
        os.close(fd)
    assert not list(tmp_path.iterdir())


@needs("wrk")
def test_placements_take_turns():
    """Each has a row of its own."""
    result = bench("http", "--placements=none,single", "--connections=4", "--duration=1")
    assert [point["placement"] for point in result["points"]] == ["none", "single"]
    assert all(point["neat"]["requests"] > 0 for point in result["points"])
