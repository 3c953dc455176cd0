"""The command on a stack that runs (of components that do nothing): peer, status, foreground."""

import json
import os
import signal
import subprocess
import sys

import pytest

from neat import rundir
from tests.supervisor.conftest import dummy_stack
from tests.support import ROOT, wait_for

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with dummy_stack(tmp_path_factory.mktemp("behaviour"), replicas=2) as running:
        yield running


def peer(stack, *program, **options):
    """`neat peer` itself, which Stack.peer does without."""
    command = [sys.executable, "-m", "neat", "peer", "--name", stack.name, "--", *program]
    return subprocess.run(
        command, env=stack.env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_peer_hands_through_status_input_and_output(stack):
    done = peer(stack, "sh", "-c", "cat; echo to-stderr >&2; exit 7", input="to-stdin")
    assert (done.returncode, done.stdout, done.stderr) == (7, "to-stdin", "to-stderr\n")


def test_peer_passes_options_of_the_program_on(stack):
    assert peer(stack, "echo", "-j", "--name", "x").stdout == "-j --name x\n"


def test_peer_of_a_program_that_is_not_there(stack):
    done = peer(stack, "/no/such/program")
    assert done.returncode == 127
    assert done.stderr == "Error: /no/such/program: No such file or directory\n"


def test_peer_is_where_the_device_is(stack):
    links = json.loads(peer(stack, "ip", "-j", "link").stdout)
    assert {link["ifname"] for link in links} >= {"lo", "neat0"}
    assert not [link for link in links if link["ifname"].startswith(("eth", "en"))]


def test_status_for_people_has_every_component(stack):
    text = stack.neat("status").stdout
    for name in ("supervisor", "driver", "syscall", "replica0", "replica1", "is ready"):
        assert name in text


def test_status_json_has_the_documented_names(stack):
    status = stack.status()
    assert status["name"] == stack.name
    assert set(status) >= {
        "ready",
        "address",
        "gateway",
        "tap",
        "datapath",
        "no_queues",
        "cpu_latency_us",
        "cpu_latency_asked",
        "scaling",
        "netns",
        "run_dir",
        "guardian",
        "device",
        "driver",
        "syscall",
        "events",
    }
    component = {
        "name",
        "part",
        "replica",
        "pid",
        "state",
        "uptime_s",
        "restarts",
        "incarnation",
        "load",
        "heartbeat_age_ms",
        "starts_in_ms",
        "cores",
    }
    assert all(set(part) == component for part in status["components"])
    replica = {
        "name",
        "slot",
        "slot_state",
        "epoch",
        "share",
        "leaving",
        "waits_for",
        "connections",
        "packets_in",
        "packets_out",
        "drops",
        "counters",
        "driver",
        "parts",
    }
    assert all(set(part) == replica for part in status["replicas"])
    assert {"time", "component", "what", "detail", "ms"} == set(status["events"][0])


def test_kill_says_whom(stack):
    pid = stack.component("driver")["pid"]
    done = json.loads(stack.neat("kill", "driver", "--signal", "WINCH", "-j").stdout)
    assert done == {"component": "driver", "pid": pid, "signal": "WINCH"}


def test_a_signal_that_kills_nobody_does_not_end_the_supervisor(stack):
    pid = stack.component("supervisor")["pid"]
    stack.neat("kill", "supervisor", "--signal", "WINCH")
    assert stack.component("supervisor")["pid"] == pid


def test_the_supervisors_load_is_none_of_its_birth(stack):
    stack.neat("kill", "supervisor")
    assert 0 <= stack.component("supervisor")["load"] <= 1


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (
            ["kill", "replica7"],
            "no component 'replica7': there are syscall, driver, replica0, ",
        ),
        (["kill", "driver", "--signal", "SIGNONE"], "no signal 'SIGNONE'"),
        (["kill", "driver", "--signal", "4711"], "no signal 4711"),
        (["restart", "guardian"], "no component 'guardian'"),
    ],
)
def test_what_the_supervisor_refuses(stack, arguments, expected):
    done = stack.neat(*arguments, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert expected in done.stderr


def test_second_up_is_refused_and_harms_nothing(stack):
    before = stack.pids()
    done = stack.neat("up", "--detach", check=False)
    assert done.returncode == 1
    assert "is up already" in done.stderr
    assert stack.pids() == before


def test_up_that_cannot_have_its_device_says_so(tmp_path):
    """The same device twice in one namespace."""
    name = f"neat-twice-{os.getpid()}"
    with dummy_stack(tmp_path, netns=name, tap="neat1"):
        with (
            pytest.raises(AssertionError, match="neat1.*in use"),
            dummy_stack(tmp_path, netns=name, tap="neat1"),
        ):
            pass
        assert os.path.exists(f"/run/netns/{name}")  # who did not make it does not remove it


def test_stack_ends_with_its_owner(tmp_path):
    with dummy_stack(tmp_path, replicas=1) as stack:
        stack.neat("down")
        owner = subprocess.Popen(["sleep", "1000"])
        stack.neat("up", "--detach", "--owner", str(owner.pid), "--replicas", "1")
        assert stack.status()["ready"]
        owner.kill()
        owner.wait()
        wait_for(lambda: not stack.run_dir.exists(), 10, "nothing is left")


class Foreground:
    """`neat up` without --detach, as a process of its own, once it is ready."""

    def __init__(self, stack):
        command = [sys.executable, "-u", "-m", "neat", "up", "--name", stack.name]
        self.process = subprocess.Popen(command, env=stack.env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.first = self.process.stdout.readline()
        self.guardian = stack.guardian


@pytest.fixture
def foreground(tmp_path):
    with dummy_stack(tmp_path, replicas=1) as detached:
        detached.neat("down")
        shown = Foreground(detached)
        yield detached, shown
        shown.process.kill()
        shown.process.wait()
        shown.process.stdout.close()
        wait_for(lambda: detached.guardian is None, 10, "the stack has ended")


def test_foreground_shows_events_until_interrupted(foreground):
    stack, shown = foreground
    assert "up, 3 replicas at 10.77.0.2" in shown.first
    stack.neat("kill", "replica0")
    while "replica0 is back" not in (line := shown.process.stdout.readline()):
        assert line, "it ended before it showed the event"
    shown.process.send_signal(signal.SIGINT)
    assert shown.process.wait(15) == 0
    assert "down" in shown.process.stdout.read()
    assert not stack.run_dir.exists()


def test_foreground_that_is_killed_takes_the_stack_with_it(foreground):
    stack, shown = foreground
    pids = [*stack.pids().values(), shown.guardian]
    shown.process.kill()
    wait_for(lambda: not any(map(rundir.start_ticks, pids)), 10, "every process gone")
    assert not stack.run_dir.exists()


def test_foreground_ends_when_the_stack_is_taken_down(foreground):
    stack, shown = foreground
    stack.neat("down")
    assert shown.process.wait(15) == 0
