"""NEAT_ROUTES: which rule decides where a socket goes; and what `neat run -v` says of it."""

import subprocess
import sys

import pytest

from tests.preload.conftest import PRELUDE
from tests.support import ROOT

LIBRARY = ROOT / "neat/shim/libneat.so"

# Where each goes, with no stack there: on NEaT the call fails with ENETDOWN, and the line on stderr says why.
SCRIPT = """
call, host = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
sock = socket.socket(family, socket.SOCK_DGRAM)
try:
    getattr(sock, call)((host, 7001))
except OSError as error:
    pass
"""


def where(call: str, host: str, routes: str = "", address: str = "10.77.0.2/24") -> tuple[str, str]:
    """(neat or kernel, why)"""
    said = verbose(SCRIPT, call, host, routes=routes, address=address)
    assert len(said) == 1, said
    target, why = said[0].split(" -> ")[1].split(": ")[0].split(" ", 1)
    return target, why.strip("()")


def verbose(script: str, *arguments: str, routes: str = "", address: str = "10.77.0.2/24") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, *arguments],
        env={
            "LD_PRELOAD": str(LIBRARY),
            "NEAT_RUN_DIR": "/nonexistent",
            "NEAT_VERBOSE": "1",
            "NEAT_ROUTES": routes,
            "NEAT_ADDRESS": address,
        },
        check=True,
        timeout=20,
        capture_output=True,
        text=True,
    )
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("host", "target", "why"),
    [
        ("10.77.0.1", "neat", "default"),
        ("192.0.2.7", "neat", "default"),
        ("127.0.0.1", "kernel", "loopback"),
        ("127.9.9.9", "kernel", "loopback"),
        ("0.0.0.0", "kernel", "loopback"),
        ("224.0.0.251", "kernel", "multicast"),
        ("::1", "kernel", "IPv6"),
        ("2001:db8::1", "kernel", "IPv6"),
        ("::ffff:192.0.2.7", "neat", "default"),
        ("::ffff:127.0.0.1", "kernel", "loopback"),
    ],
)
def test_peers_without_rules(host: str, target: str, why: str) -> None:
    assert where("connect", host) == (target, why)


@pytest.mark.parametrize(
    ("host", "target", "why"),
    [
        ("0.0.0.0", "neat", "wildcard"),
        ("10.77.0.2", "neat", "the stack's address"),
        ("10.77.0.3", "kernel", "not the stack's address"),
        ("127.0.0.1", "kernel", "loopback"),
        ("::", "neat", "wildcard"),
        ("::1", "kernel", "IPv6"),
        ("::ffff:10.77.0.2", "neat", "the stack's address"),
    ],
)
def test_local_addresses_without_rules(host: str, target: str, why: str) -> None:
    assert where("bind", host) == (target, why)


@pytest.mark.parametrize(
    ("routes", "host", "target", "why"),
    [
        ("10.77.0.0/24=kernel", "10.77.0.9", "kernel", "a rule"),
        ("10.77.0.0/24=kernel", "10.77.1.9", "neat", "default"),
        ("10.77.0.9=neat,10.77.0.0/24=kernel", "10.77.0.9", "neat", "a rule"),
        ("10.77.0.0/24=kernel,10.77.0.9=neat", "10.77.0.9", "kernel", "a rule"),
        ("127.0.0.1=neat", "127.0.0.1", "neat", "a rule"),
        ("127.0.0.1=neat", "127.0.0.2", "kernel", "loopback"),
        ("10.64.0.0/11=kernel", "10.95.255.255", "kernel", "a rule"),
        ("10.64.0.0/11=kernel", "10.96.0.0", "neat", "default"),
        ("default=kernel", "192.0.2.1", "kernel", "default"),
        ("default=kernel", "10.77.0.200", "neat", "the stack's network"),
        ("default=kernel,192.0.2.0/24=neat", "192.0.2.1", "neat", "a rule"),
        ("default=kernel", "::ffff:192.0.2.1", "kernel", "default"),
        ("bind:0.0.0.0/0=kernel", "192.0.2.1", "neat", "default"),
        ("0.0.0.0/0=kernel", "192.0.2.1", "kernel", "a rule"),
    ],
)
def test_rules_for_peers(routes: str, host: str, target: str, why: str) -> None:
    assert where("connect", host, routes) == (target, why)


@pytest.mark.parametrize(
    ("routes", "host", "target", "why"),
    [
        ("bind:0.0.0.0=kernel", "0.0.0.0", "kernel", "a rule"),
        ("bind:0.0.0.0=kernel", "10.77.0.2", "neat", "the stack's address"),
        ("bind:0.0.0.0=kernel", "::", "neat", "wildcard"),
        ("bind:::=kernel", "::", "kernel", "a rule"),
        ("bind:::=kernel", "0.0.0.0", "neat", "wildcard"),
        ("0.0.0.0/0=kernel", "0.0.0.0", "neat", "wildcard"),
        ("default=kernel", "0.0.0.0", "neat", "wildcard"),
    ],
)
def test_rules_for_local_addresses(routes: str, host: str, target: str, why: str) -> None:
    assert where("bind", host, routes) == (target, why)


@pytest.mark.parametrize(
    "rule",
    [
        "10.0.0.0",
        "10.0.0.0/33=neat",
        "10.0.0.0/x=neat",
        "nonsense=kernel",
        "10.0.0.0/8=linux",
        "fd00::/8=neat",
    ],
)
def test_a_wrong_rule_is_said_once_and_the_others_hold(rule: str) -> None:
    said = verbose(SCRIPT, "connect", "192.0.2.1", routes=f"{rule},192.0.2.0/24=kernel")
    assert len(said) == 2
    assert f'NEAT_ROUTES: "{rule}"' in said[0]
    assert "-> kernel (a rule)" in said[1]


def test_too_many_rules() -> None:
    said = verbose("", routes=",".join(f"10.0.{i}.0/24=kernel" for i in range(65)))
    assert len(said) == 1
    assert "one rule too many" in said[0]


def test_a_line_says_program_process_socket_and_why() -> None:
    said = verbose("print(os.getpid(), end=''); socket.create_server(('127.0.0.1', 0))")
    (line,) = said
    head, _, tail = line.partition("] ")
    assert head.startswith("neat: python")
    assert head.partition("[")[2].isdigit()
    assert tail.startswith("socket ")
    assert tail.endswith("tcp bind 127.0.0.1:0 -> kernel (loopback)")


def test_a_daemon_that_closes_its_standard_error_still_says_it() -> None:
    said = verbose("os.closerange(0, 50); socket.create_server(('127.0.0.1', 0))")
    assert len(said) == 1
    assert "-> kernel (loopback)" in said[0]


def test_who_stops_reading_the_lines_does_not_end_the_program() -> None:
    script = """
reading, writing = os.pipe()
os.dup2(writing, 2)
os.execv(sys.executable, [sys.executable, "-c", '''
import os, signal, socket
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.closerange(2, 600)
socket.create_server(("127.0.0.1", 0))
socket.create_server(("127.0.0.1", 0))
'''])
"""
    assert verbose(script) == []


@pytest.mark.parametrize(
    ("level", "name", "value", "why"),
    [
        (1, 25, b"lo", "SO_BINDTODEVICE"),
        (0, 35, bytes([224, 0, 0, 251, 127, 0, 0, 1]), "IP_ADD_MEMBERSHIP"),
    ],
)
def test_what_only_the_kernel_can_do_stays_there(level: int, name: int, value: bytes, why: str) -> None:
    said = verbose(
        f"""
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.setsockopt({level}, {name}, {value!r})
sock.bind(("", 0))
"""
    )
    assert len(said) == 1
    assert said[0].endswith(f"-> kernel ({why})")
