"""iperf3 as server and as client, each direction."""

import contextlib
import json
import subprocess

import pytest

from tests.programs.conftest import ADDRESS, CONNECT, PEER, START_S, program, run
from tests.support import wait_for

pytestmark = pytest.mark.netns

LIMITS = ("-t", "1", "-J")


def transferred(text):
    result = json.loads(text)
    assert "error" not in result, result["error"]
    sent, received = result["end"]["sum_sent"]["bytes"], result["end"]["sum_received"]["bytes"]
    assert 0 < received <= sent
    return received


@contextlib.contextmanager
def server(serve):
    """Not asked for a connection: after one that says nothing, iperf3 makes its listening socket anew."""
    with serve("iperf3", "-s", "-B", ADDRESS, port=5201, ready=False) as started:
        wait_for(started.listens, START_S, "iperf3 on the stack")
        yield


@pytest.mark.parametrize("options", [(), ("-R",), ("-P", "3"), ("--bidir",)], ids=" ".join)
def test_server(stack, serve, options):
    with server(serve):
        done = stack.peer(program("iperf3"), "-c", ADDRESS, *LIMITS, *options)
    assert transferred(done.stdout) > 1_000_000


@contextlib.contextmanager
def server_at_peer(stack):
    process = stack.popen_peer(program("iperf3"), "-s", "-B", PEER, stdout=subprocess.DEVNULL)
    try:
        wait_for(
            lambda: stack.peer("python3", "-c", CONNECT, PEER, "5201", check=False).returncode == 0,
            START_S,
            "iperf3 at the other end",
        )
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("options", [(), ("-R",), ("-P", "3")], ids=" ".join)
def test_client(stack, options):
    with server_at_peer(stack):
        done = run(stack, "iperf3", "-c", PEER, *LIMITS, *options)
    assert transferred(done.stdout) > 1_000_000


def test_udp_server(stack, serve):
    with server(serve):
        done = stack.peer(program("iperf3"), "-c", ADDRESS, "-u", "-b", "10M", "-l", "1200", *LIMITS)
    end = json.loads(done.stdout)["end"]["sum"]
    assert end["packets"] > 100
    assert end["lost_packets"] == 0
