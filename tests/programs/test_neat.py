"""What the `neat` command shows of programs."""

import json
import sys

import pytest

from tests.programs.conftest import ADDRESS, fetch

pytestmark = pytest.mark.netns

REFUSED = """
import socket
sock = socket.socket()
def ask(*option):
    try:
        sock.setsockopt(*option)
    except OSError:
        pass
ask(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY: the kernel has it, and the stack has not
sock.bind(("10.77.0.2", 7001))
sock.listen()
ask(socket.IPPROTO_TCP, 14, bytes(216))  # TCP_MD5SIG
while True:
    sock.accept()
"""


def test_status_and_ss_name_the_program(stack, serve, content, www):
    command = [sys.executable, "-u", "-m", "http.server", "--bind", ADDRESS, "--directory", str(www), "8000"]
    with serve(*command, port=8000) as server:
        assert fetch(stack, server.url("/small.txt")) == content["/small.txt"]
        app = next(a for a in stack.status()["applications"] if server.pid in a["pids"])
        assert app["program"].startswith("python")
        assert app["bound"] == [f"tcp {ADDRESS}:8000"]
        assert f"tcp {ADDRESS}:8000" in stack.neat("status").stdout
        rows = json.loads(stack.neat("ss", "-ltpj").stdout)["sockets"]
        assert {(row["program"], *row["pids"]) for row in rows} == {(app["program"], server.pid)}
        assert f"{app['program']} {server.pid}" in stack.neat("ss", "-ltp").stdout


def test_what_was_refused_is_shown(stack, serve):
    with serve(sys.executable, "-c", REFUSED, port=7001, ready=False) as server:
        server.wait_ready()
        refused = stack.status()["refused"]
    assert sorted((r["call"], r["what"], r["count"]) for r in refused) == [
        ("setsockopt", "IPPROTO_TCP, TCP_MD5SIG", 1),
        ("setsockopt", "SOL_SOCKET, SO_ZEROCOPY", 1),
    ]
    assert "TCP_MD5SIG" in stack.neat("status").stdout


def test_nested_runs_are_applications_of_their_own(stack, serve):
    inner = (sys.executable, "-m", "neat", "run", "--name", stack.name, "--", sys.executable, "-c", REFUSED)
    program = f"import subprocess, sys; {REFUSED.replace('7001', '7002').replace('while True:', 'if False:')}"
    outer = f"{program}\nsubprocess.run({inner!r})"
    with serve(sys.executable, "-c", outer, port=7001) as server:
        apps = stack.status()["applications"]
        bound = {a["app"]: a["bound"] for a in apps}
        assert sorted(bound.values()) == [["tcp 10.77.0.2:7001"], ["tcp 10.77.0.2:7002"]]
        server.kill()
