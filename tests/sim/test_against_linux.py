"""The engine and Linux's TCP understand each other, also when frames get lost."""

import subprocess
import sys

import pytest

CSUM_AND_TSO = 3


@pytest.mark.netns
@pytest.mark.parametrize("offloads", [0, CSUM_AND_TSO])
@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_streams(loss, offloads):
    command = [sys.executable, "-m", "tests.sim.linux_peer", "1", str(loss), str(offloads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
