"""The packet filter of a running stack: changed under load, and it outlives whoever dies."""

import json

import pytest

from tests.support import each_datapath, wait_for

pytestmark = [pytest.mark.netns, each_datapath]

COUNT = 40
CLOSED = ["input ct state established accept", "input policy drop"]


def load(stack, *lines):
    stack.neat("filter", "load", "-", stdin="\n".join(lines))


def packets(stack):
    return [row["packets"] for row in json.loads(stack.neat("filter", "-j").stdout)["rules"]]


def pings(served):
    return served.stack.peer("ping", "-c", "1", "-W", "1", served.stack.status()["address"].split("/")[0],
                             check=False).returncode == 0  # fmt: skip


@pytest.mark.parametrize("served", [{"replicas": 2, "filter": CLOSED[:1]}], indirect=True)
def test_established_connections_outlive_rules_and_replicas(served):
    stack = served.stack
    with served.client("hold", f"--count={COUNT}") as held:
        load(stack, *CLOSED)
        assert not pings(served)
        assert held.ask("round")["ok"] == COUNT
        for component in ("replica0", "replica1", "supervisor", "driver"):
            pid = stack.component(component)["pid"]
            stack.neat("kill", component)
            served.replaced(component, pid)
        assert held.ask("round")["ok"] == COUNT
        assert not pings(served)
        stack.neat("scale", "4")
        assert held.ask("round")["ok"] == COUNT
        assert not pings(served)  # whichever replica gets it
        assert packets(stack)[0] > 2 * COUNT
        stack.neat("filter", "insert", "input", "icmp", "type", "echo-request", "accept")
        assert pings(served)
        stack.neat("filter", "policy", "input", "accept")
        stack.neat("filter", "flush")
    assert served.answers()


def test_sets_are_changed_whole(shared):
    """Two sets that mean the same, in turns, under connections that each other rule would break."""
    stack = shared.stack
    one = ["input tcp dport 80 accept", "input ct state established accept", "input policy drop"]
    other = ["input tcp dport != 80 drop", "input tcp dport 81 drop", "input policy accept"]
    try:
        with shared.client("hold", f"--count={COUNT}") as held:
            for _ in range(10):
                load(stack, *one)
                load(stack, *other)
                assert held.ask("round")["ok"] == COUNT
                assert shared.answers()
    finally:
        load(stack)


def test_what_it_says(shared):
    stack = shared.stack
    try:
        assert "policy accept" in stack.neat("filter").stdout
        stack.neat("filter", "add", "input", "icmp", "type", "echo-request", "log", "prefix", "a b: ", "drop")
        assert not pings(shared)
        assert packets(stack) == [1]
        saved = stack.neat("filter", "save").stdout
        assert 'input icmp type echo-request log prefix "a b: " drop' in saved.splitlines()
        wait_for(lambda: "a b: input" in stack.neat("filter", "log", check=False).stdout, 10, "the log")
        assert sum(row["drops"].get("filter_in_dropped", 0) for row in stack.status()["replicas"]) >= 1
        for wrong in (("add", "input", "tcp", "dport", "x"), ("delete", "99"), ("load", "/dev/zero/x")):
            done = stack.neat("filter", *wrong, check=False)
            assert done.returncode != 0 and len(done.stderr.strip().splitlines()[-1]) > 10
        assert stack.neat("filter", "save").stdout == saved
        stack.neat("filter", "load", "-", stdin=saved)
        assert stack.neat("filter", "save").stdout == saved
    finally:
        load(stack)


def test_a_program_is_told(shared, python_on_stack):
    """What it sends is rejected: as if nobody listened, as with nftables."""
    stack = shared.stack
    try:
        load(stack, "output tcp dport 4711 reject", "output udp dport 4711 reject")
        code = """
from neat import socket
print("ready", flush=True)
def tried(kind):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(20)
        try:
            sock.connect(("10.77.0.1", 4711))
            sock.send(b"x")
            sock.recv(1)
        except OSError as error:
            return type(error).__name__
print(tried(socket.SOCK_STREAM), tried(socket.SOCK_DGRAM))
"""
        program = python_on_stack(stack, code)
        assert program.communicate(timeout=60)[0].split() == ["ConnectionRefusedError"] * 2
    finally:
        load(stack)
