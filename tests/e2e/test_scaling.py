"""Replicas come and go on a running stack: no connection notices, and programs use those that there are."""

import contextlib
import json
import subprocess
import sys

import pytest

from neat.tools.bench.processes import end
from tests.support import each_datapath, running_stack, wait_for

pytestmark = [pytest.mark.netns, each_datapath]

COUNT = 100
SMALL = {"replicas": 1, "time_wait_ms": 200}


def replicas(stack):
    """Slot -> whether it is leaving."""
    return {row["slot"]: row["leaving"] for row in stack.status()["replicas"]}


def scale(stack, count):
    return json.loads(stack.neat("scale", str(count), "-j").stdout)


def await_left(stack, *slots):
    wait_for(lambda: set(replicas(stack)) == set(slots), 30, f"replicas {slots} and no others")


@pytest.mark.parametrize("served", [SMALL], indirect=True)
def test_connections_stay_where_they_are_and_new_ones_use_all(served):
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as old:
        assert scale(served.stack, 4)["started"] == ["replica1", "replica2", "replica3"]
        with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as new:
            assert set(served.owners(set(old.first["ports"]))) == {0}
            before = served.owners(set(new.first["ports"]))
            assert set(before) == {0, 1, 2, 3}
            assert scale(served.stack, 1)["leaving"] == ["replica1", "replica2", "replica3"]
            assert replicas(served.stack) == {0: False, 1: True, 2: True, 3: True}
            assert (new.ask("round")["ok"], old.ask("round")["ok"]) == (COUNT, COUNT)
            assert served.owners(set(new.first["ports"])) == before
            with served.client("hold", f"--count={COUNT}") as newest:
                assert set(served.owners(set(newest.first["ports"]))) == {0}
            waits_for = [row["waits_for"] for row in served.stack.status()["replicas"]]
            assert waits_for[0] is None
            assert sum(row["tcp_connections"] for row in waits_for[1:]) == sum(
                len(ports) for slot, ports in before.items() if slot
            )
        await_left(served.stack, 0)
        assert old.ask("round")["ok"] == COUNT
    assert scale(served.stack, 2)["started"] == ["replica1"]
    assert served.answers()


@pytest.mark.parametrize("served", [SMALL], indirect=True)
def test_who_is_leaving_can_stay_after_all(served):
    scale(served.stack, 3)
    with served.client("hold", f"--count={COUNT}") as held:
        pids = served.stack.pids()
        scale(served.stack, 1)
        assert scale(served.stack, 4) == {
            "ok": True,
            "auto": False,
            "kept": ["replica1", "replica2"],
            "started": ["replica3"],
            "leaving": [],
        }
        now = served.stack.pids()
        assert {name: now[name] for name in pids} == pids
        assert held.ask("round")["ok"] == COUNT
    with served.client("hold", f"--count={COUNT}") as held:
        assert set(served.owners(set(held.first["ports"]))) == {0, 1, 2, 3}


@pytest.mark.parametrize("served", [SMALL], indirect=True)
@pytest.mark.parametrize("victim", ["replica1", "supervisor", "syscall", "driver"])
def test_a_death_while_one_leaves(served, victim):
    scale(served.stack, 2)
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        before = served.owners(set(held.first["ports"]))
        scale(served.stack, 1)
        old = served.stack.component(victim)["pid"]
        served.stack.neat("kill", victim)
        served.replaced(victim, old)
        assert replicas(served.stack) == {0: False, 1: True}
        assert held.ask("round")["ok"] == COUNT
        assert served.owners(set(held.first["ports"])) == before
        with served.client("hold", f"--count={COUNT}") as new:
            assert set(served.owners(set(new.first["ports"]))) == {0}
    await_left(served.stack, 0)
    assert served.answers()


@pytest.mark.parametrize("served", [SMALL | {"recovery": "stateless"}], indirect=True)
def test_stateless_it_is_gone_with_its_connections(served):
    scale(served.stack, 2)
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        owners = served.owners(set(held.first["ports"]))
        scale(served.stack, 1)
        served.stack.neat("kill", "replica1")
        await_left(served.stack, 0)
        report = held.ask("round")
        assert {int(port) for port in report["lost"]} == owners[1]
        assert report["ok"] == COUNT - len(owners[1])


@pytest.fixture
def talking():
    """Start Python code that answers a number on its input with one on its output; ended after the test."""
    with contextlib.ExitStack() as ends:

        def start(command, code, env):
            pipe = subprocess.PIPE
            process = subprocess.Popen([*command, "-c", code], env=env, stdin=pipe, stdout=pipe, text=True)
            ends.callback(end, process)

            def ask(number):
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
                return int(process.stdout.readline())

            return ask

        yield start


CONNECTS = """
import neat.socket as socket, sys
used = set()
for line in sys.stdin:
    kept, sock = [], None  # those of the line before are closed
    for _ in range(int(line)):
        sock = socket.create_connection(("10.77.0.1", 93), timeout=10)
        assert sock.getsockname()[1] not in used or line == "0\\n", "a port twice"
        used.add(sock.getsockname()[1])
        kept.append(sock)
        sock.sendall(b"x" * 100)
        assert sock.recv(10) == b"ok"
    print(len(used), flush=True)
"""

ANSWERS = """
import socket, threading
def serve(sock):
    with sock:
        while sock.recv(200):
            sock.sendall(b"ok")
listener = socket.create_server(("10.77.0.1", 93), backlog=512)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def test_programs_that_connect_notice_nothing(datapath, talking):
    with running_stack(datapath=datapath, **SMALL) as stack:
        answering = subprocess.Popen(
            stack.peer_command(sys.executable, "-c", ANSWERS), env=stack.env, stdout=subprocess.PIPE
        )
        try:
            answering.stdout.readline()
            connect = talking([sys.executable], CONNECTS, stack.env | {"NEAT_STACK": stack.name})
            for i, count in enumerate((1, 4, 2, 3, 1), 1):
                scale(stack, count)
                assert connect(30) == 30 * i  # other ports each time: TIME-WAITs are where they were
        finally:
            end(answering)


@contextlib.contextmanager
def left_behind(talking, **settings):
    """A stack whose programs have closed connections: (stack, how to make more)."""
    with running_stack(**settings) as stack:
        answering = subprocess.Popen(
            stack.peer_command(sys.executable, "-c", ANSWERS), env=stack.env, stdout=subprocess.PIPE
        )
        try:
            answering.stdout.readline()
            yield stack, talking([sys.executable], CONNECTS, stack.env | {"NEAT_STACK": stack.name})
        finally:
            end(answering)


def counted(stack, name):
    """Slot -> this counter of its replica."""
    return {row["slot"]: row["counters"].get(name, 0) for row in stack.status()["replicas"]}


@pytest.mark.parametrize("victim", [None, "replica0", "replica1", "supervisor", "syscall", "driver"])
def test_nobody_waits_for_time_waits(datapath, talking, victim):
    """They last for a minute each, and are handed to one that stays."""
    with left_behind(talking, datapath=datapath, replicas=1) as (stack, connect):
        scale(stack, 3)
        assert connect(COUNT) == COUNT
        assert connect(0) == COUNT
        wait_for(
            lambda: (
                sum(counted(stack, "tcp_time_waiting").values()) == COUNT
                and not any(counted(stack, "tcp_fin_waiting").values())
            ),
            30,
            "TIME-WAITs",
        )
        assert all(counted(stack, "tcp_time_waiting").values())
        scale(stack, 1)
        if victim is not None:
            stack.neat("kill", victim, check=False)  # it may have left by now
        await_left(stack, 0)
        wait_for(lambda: counted(stack, "tcp_time_waiting") == {0: COUNT}, 30, "all of them at one replica")
        what = [event["what"] for event in stack.status()["events"]]
        assert victim == "replica1" or what.count("has handed over its TIME-WAITs") == 2
        wait_for(lambda: stack.status()["replicas"][0]["driver"]["flows"] >= COUNT, 30, "their flows there")
        assert connect(30) == COUNT + 30  # from other ports
        assert stack.status()["driver"]["counters"].get("flow_foreign", 0) == 0


ECHO = """
import neat.socket as socket
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 94))
print("ready", flush=True)
while True:
    data, peer = sock.recvfrom(2000)
    sock.sendto(data, peer)
"""

ASK = """
import socket, sys
for line in sys.stdin:
    answered = 0
    for i in range(int(line)):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            for _ in range(20):
                sock.sendto(b"%d" % i, ("10.77.0.2", 94))
                try:
                    answered += sock.recv(100) == b"%d" % i
                    break
                except TimeoutError:
                    pass  # it may be lost
    print(answered, flush=True)
"""


def test_udp_sockets_are_on_every_replica(datapath, python_on_stack, talking):
    with running_stack(datapath=datapath, **SMALL) as stack:
        python_on_stack(stack, ECHO)
        ask = talking(stack.peer_command(sys.executable), ASK, stack.env)
        for count in (1, 4, 1):
            scale(stack, count)
            assert ask(100) == 100
            received = {row["slot"]: row["counters"]["udp_in"] for row in stack.status()["replicas"]}
            assert count == 1 or all(received.values())
        await_left(stack, 0)


@pytest.mark.parametrize(
    "served",
    [SMALL | {"scaling": "auto", "scale_up_load": 0.5, "scale_down_load": 0.1, "scale_cooldown_ms": 100}],
    indirect=True,
)
def test_by_load(served):
    """Up while there is some, down to one again when it is over."""
    assert list(replicas(served.stack)) == [0]
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        wait_for(
            lambda: held.ask("round")["ok"] == COUNT and len(replicas(served.stack)) > 1, 60, "two replicas"
        )
    wait_for(lambda: list(replicas(served.stack).values()) == [False], 60, "a single replica")
    events = [e for e in served.stack.status()["events"] if e["what"].startswith("scales")]
    assert events[0]["what"] == "scales from 1 to 2 replicas"
    assert "load" in events[0]["detail"]
