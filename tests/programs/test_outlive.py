"""Programs outlive their stack: they hear of its end, and the next one of that name serves them again."""

import os
import subprocess
import sys

import pytest

from neat import rundir
from tests.programs.conftest import ADDRESS, fetch, neat_run
from tests.support import wait_for

pytestmark = pytest.mark.netns

ECHO = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 7))
print("bound", flush=True)
while True:
    data, sender = sock.recvfrom(2048)
    sock.sendto(data.upper(), sender)
"""
ASK = f"""
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(0.5)
for _ in range(20):
    sock.sendto(b"hello", ({ADDRESS!r}, 7))
    try:
        print(sock.recv(100).decode(), end="")
        break
    except TimeoutError:
        pass
"""
# Accepts one connection; tells what its end says, and what a new socket meets then.
HELD = """
import errno, socket
with socket.create_server(("", 81)) as server:
    print("listens", flush=True)
    taken, _ = server.accept()
    print("accepted", flush=True)
    def said(call, *arguments):
        try:
            return call(*arguments)
        except OSError as error:
            return errno.errorcode[error.errno]
    print(said(taken.recv, 1), said(taken.recv, 1), said(taken.send, b"x"), flush=True)
    with socket.socket() as fresh:
        print(said(fresh.bind, ("", 82)), flush=True)
    taken, _ = server.accept()
    taken.sendall(b"again")
"""


def up(stack, *options):
    stack.neat("up", "--detach", "--owner", str(os.getpid()), *options)


def down(stack, *options):
    """And the caretaker's pid, or None."""
    stack.neat("down", *options)
    return rundir.caretaker(stack.run_dir)


def test_a_server_with_workers_is_served_by_the_next_stack(stack, serve, nginx_config):
    with serve("nginx", "-c", nginx_config(), port=80) as server:
        before = fetch(stack, server.url("/small.txt"))
        for replicas in ("2", "4"):  # another number of them, too
            assert down(stack)
            up(stack, "--replicas", replicas)
            assert rundir.caretaker(stack.run_dir) is None
            got = {fetch(stack, server.url("/small.txt")) for _ in range(8)}
            assert got == {before}
        assert server.process.poll() is None
    wait_for(lambda: not stack.status()["applications"], 10, "it is forgotten")


def test_a_udp_socket_too(stack):
    with subprocess.Popen(
        neat_run(stack, sys.executable, "-c", ECHO), env=stack.env, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout.readline() == "bound\n"
            down(stack)
            up(stack)
            assert stack.peer(sys.executable, "-c", ASK).stdout == "HELLO"
        finally:
            server.kill()


def test_each_socket_hears_one_clear_error(stack):
    with subprocess.Popen(
        neat_run(stack, sys.executable, "-c", HELD), env=stack.env, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout.readline() == "listens\n"
            hold = f"import socket, time; held = socket.create_connection(({ADDRESS!r}, 81)); time.sleep(60)"
            with stack.popen_peer(sys.executable, "-c", hold) as client:
                assert server.stdout.readline() == "accepted\n"
                down(stack)
                client.kill()
            # As Linux: a reset once, then end of file; EPIPE for who writes.
            assert server.stdout.readline() == "ECONNRESET b'' EPIPE\n"
            assert server.stdout.readline() == "ENETDOWN\n"
            up(stack)
            read = f"import socket; print(socket.create_connection(({ADDRESS!r}, 81)).recv(9).decode())"
            assert stack.peer(sys.executable, "-c", read).stdout == "again\n"
        finally:
            server.kill()


def test_nobody_waits_after_force(stack, serve, lighttpd_config):
    with serve("lighttpd", "-D", "-f", lighttpd_config(), port=80):
        assert down(stack, "--force") is None
        assert not stack.run_dir.exists()


def test_a_caretaker_ends_with_the_last_program(stack, serve, lighttpd_config):
    with serve("lighttpd", "-D", "-f", lighttpd_config(), port=80):
        caretaker = down(stack)
        said = stack.neat("status", check=False).stderr
        assert f"programs wait for it (caretaker {caretaker})" in said
    wait_for(lambda: not rundir.start_ticks(caretaker), 10, "it has ended")
    wait_for(lambda: not stack.run_dir.exists(), 10, "it leaves nothing behind")


def test_down_says_who_is_attached(stack, serve, lighttpd_config):
    with serve("lighttpd", "-D", "-f", lighttpd_config(), port=80) as server:
        said = stack.neat("down").stderr
        assert f"lighttpd (pid {server.pid}) is attached, at" in said
        assert "tcp 0.0.0.0:80" in said
