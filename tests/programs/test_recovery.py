"""Real servers while parts of the stack are killed: what was asked again is answered, and nobody restarts
the server."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.programs.conftest import ADDRESS, fetch, run
from tests.support import wait_for

pytestmark = pytest.mark.netns

# Asks again and again, over a new connection each time; counts answers and failures.
ASK = """
import socket, sys, time
address, path, expected, seconds = sys.argv[1], sys.argv[2], sys.argv[3].encode(), float(sys.argv[4])
good = failed = 0
until = time.monotonic() + seconds
while time.monotonic() < until:
    try:
        with socket.create_connection((address, 80), 5) as sock:
            sock.sendall(b"GET %s HTTP/1.0\\r\\n\\r\\n" % path.encode())
            got = b"".join(iter(lambda: sock.recv(65536), b""))
        assert got.endswith(expected), got
        good += 1
    except OSError:
        failed += 1
print(good, failed)
"""


def ask(stack, path, expected, seconds):
    return stack.popen_peer(
        sys.executable,
        "-S",
        "-c",
        ASK,
        ADDRESS,
        path,
        expected,
        str(seconds),
        stdout=subprocess.PIPE,
        text=True,
    )


def counts(process):
    """(answers, failures)."""
    said, _ = process.communicate(timeout=60)
    good, failed = map(int, said.split())
    return good, failed


def replaced(stack, component, old):
    def done():
        state = stack.status_or_none()
        parts = state["components"] if state else []
        return any(p["name"] == component and p["state"] == "running" and p["pid"] != old for p in parts)

    wait_for(done, 15, f"a successor of {component}")


def kill(stack, component):
    old = stack.pids()[component]
    stack.neat("kill", component)
    replaced(stack, component, old)


def test_lighttpd_outlives_its_replicas(stack, serve, lighttpd_config, content):
    """Only connections that a dying replica had can fail; afterwards all replicas answer again."""
    with serve("lighttpd", "-D", "-f", lighttpd_config(), port=80) as server:
        asking = ask(stack, "/small.txt", content["/small.txt"].decode(), 6)
        kills = ("replica0", "replica1", "replica2")
        for component in kills:
            kill(stack, component)
        good, failed = counts(asking)
        assert good > 100
        assert failed <= 2 * len(kills)
        assert server.listens()
        for path, data in content.items():
            assert fetch(stack, server.url(path)) == data


@pytest.mark.parametrize("component", ["driver", "syscall", "supervisor"])
def test_nginx_notices_nothing(stack, serve, nginx_config, content, component):
    with serve("nginx", "-c", nginx_config(), port=80) as server:
        asking = ask(stack, "/small.txt", content["/small.txt"].decode(), 4)
        kill(stack, component)
        assert counts(asking)[1] == 0
        assert fetch(stack, server.url("/big.bin")) == content["/big.bin"]
        assert server.listens()


def test_nginx_reloads_after_another_syscall_server(stack, serve, nginx_config):
    with serve("nginx", "-c", nginx_config(), port=80) as server:
        kill(stack, "syscall")
        run(stack, "nginx", "-c", nginx_config(version="two"), "-s", "reload")
        wait_for(lambda: fetch(stack, server.url("/version")) == b"two", 15, "new workers")
        kill(stack, "replica0")
        assert {fetch(stack, server.url("/version")) for _ in range(10)} == {b"two"}


def test_workers_of_another_user_reach_a_syscall_server_that_they_cannot_see(stack, serve, nginx_config):
    """They need it for what the next replicas share with them."""
    stack.run_dir.parent.chmod(0o700)
    with serve("nginx", "-c", nginx_config(), port=80) as server:
        for component in ("syscall", *(row["name"] for row in stack.status()["replicas"])):
            kill(stack, component)
        asking = ask(stack, "/small.txt", fetch(stack, server.url("/small.txt")).decode(), 2)
        good, failed = counts(asking)
        assert good > 20
        assert failed == 0


def test_a_server_ends_after_its_stack(stack, serve, lighttpd_config):
    with serve("lighttpd", "-D", "-f", lighttpd_config(), port=80) as server:
        stack.neat("down")
        assert server.process.poll() is None
        used = ticks(server.pid)
        time.sleep(1)
        assert ticks(server.pid) - used < 20
        assert server.end() == 0


def ticks(pid):
    """Processor time used, in 1/100 s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
