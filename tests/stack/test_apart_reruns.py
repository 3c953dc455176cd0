"""What a whole engine does, one in parts does too: the same tests, with IP, TCP and UDP joined as their
processes are. All of tests/stack runs so with NEAT_TEST_COMPONENTS=multi."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

HERE = Path(__file__).parent
AGAIN = (
    *("arp", "filter", "icmp", "ipv4", "own_address", "udp", "udp_close", "udp_recovery", "absurd_frames"),
    *("tcp_abort", "tcp_attacks", "tcp_close", "tcp_data", "tcp_handshake", "tcp_recovery", "tcp_retransmit"),
)


@pytest.mark.parametrize("name", AGAIN)
def test_in_parts(name):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, HERE / f"test_{name}.py"],
        env=env | {"NEAT_TEST_COMPONENTS": "multi"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
