"""Connections that kill their replica: three strikes. And the door by which tests kill one."""

import errno
import signal
import subprocess
import sys

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import Conn
from .harness.frames import ACK, SYN, TCP, ethernet, ipv4, tcp
from .harness.host import EV_RESET, RECORD_FLOW_DELETE, Host

ABORT, SPIN = 1, 2


def option(deed, identifier=b"NEaT"):
    return bytes([253, 3 + len(identifier)]) + identifier + bytes([deed])


def test_the_third_strike_resets(conn):
    """The peer is told by a RST that is right, the application by ECONNRESET, the driver by FLOW_DELETE."""
    conn.established()
    assert [conn.lab.strike(conn.index) for _ in range(2)] == [False, False]
    conn.settle()
    assert conn.state == TcpState.ESTABLISHED
    conn.run("+0 < P. 1:11(10) ack 1 win 65535\n+.04 > . 1:1(0) ack 11")
    assert conn.lab.strike(conn.index)
    conn.settle()
    conn.run("+0 > R. 1:1(0) ack 11")
    (event,) = [event for event in conn.host.take_events() if event.kinds & EV_RESET]
    assert event.error == errno.ECONNRESET
    assert RECORD_FLOW_DELETE in [kind for kind, _key in conn.host.flows]
    assert conn.counters["TCP_STRUCK_OUT"] == 1
    assert not conn.lab.strike(conn.index), "it is over"


def test_half_open_ones_too():
    conn = Conn()
    conn.connect()
    conn.run("+0 > S 0:0(0) <...>")
    assert [conn.lab.strike(conn.index) for _ in range(3)] == [False, False, True]
    conn.settle()
    assert any(event.kinds & EV_RESET for event in conn.host.take_events())
    passive = Conn()
    passive.listen()
    passive.run("+0 < S 0:0(0) win 65535 <mss 1460>\n+0 > S. 0:0(0) ack 1 <...>")
    assert [passive.lab.strike(0) for _ in range(3)] == [False, False, True]
    passive.settle()
    passive.run("+0 > R. 1:1(0) ack 1")
    assert "TCP_CONNECTIONS" not in passive.counters


@pytest.mark.parametrize("number", [0, 5, 63, 64, 2**32 - 1])
def test_of_no_connection(host, number):
    assert not any(host.lab.strike(number) for _ in range(5))


KILLED = """
import sys
from neat.stack.lab import Lab
Lab(poison=sys.argv[1] == "open").arrive(bytes.fromhex(sys.argv[2]))
"""


def killed_by(frame, door):
    """How an engine ends that gets this; None: it does not, and was stopped."""
    command = [sys.executable, "-c", KILLED, door, frame.hex()]
    try:
        return subprocess.run(command, capture_output=True, timeout=3, check=False).returncode
    except subprocess.TimeoutExpired:
        return None


def poisoned(flags, deed):
    return ethernet(ipv4(tcp(4000, 80, 1, 1, flags, options=b"\1" + option(deed)), TCP))


@pytest.mark.parametrize("flags", [SYN, ACK])
def test_the_door(flags):
    assert killed_by(poisoned(flags, ABORT), "open") == -signal.SIGABRT
    assert killed_by(poisoned(flags, ABORT), "shut") == 0


def test_the_door_to_the_endless_loop():
    frame = poisoned(ACK, SPIN)
    spinning = subprocess.Popen([sys.executable, "-c", KILLED, "open", frame.hex()])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            spinning.wait(2)
    finally:
        spinning.kill()
        spinning.wait()


@pytest.mark.parametrize(
    "options", [option(0), option(77), option(ABORT, b"NEAT"), option(ABORT, b"NEa"), option(ABORT)[:6]]
)
def test_other_experiments_are_passed_over(options):
    host = Host(poison=True)
    host.arrive(ethernet(ipv4(tcp(4000, 80, 1, 1, ACK, options=options), TCP)))
    assert host.lab.counters()["TCP_IN"] == 1
