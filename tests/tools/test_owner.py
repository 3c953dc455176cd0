"""Who brings up a stack for a while takes it along, however he ends."""

import os
import select
import subprocess
import sys

import pytest

pytestmark = pytest.mark.netns

OWNER = """
import os, sys, time
from pathlib import Path
from neat.tools.bench.processes import running
from neat.tools.stack import Stack
LISTEN = "import socket, time; s = socket.create_server(('10.77.0.2', 7)); time.sleep(1000)"
with Stack.up(f"owned-{os.getpid()}", 1) as stack:
    command, log = stack.run([sys.executable, "-c", LISTEN]), Path(sys.argv[1])
    with running(command, stack.environment(), log, stack.guardian, (stack.address, 7)) as server:
        print(stack.guardian, server.pid, flush=True)
        time.sleep(1000)
"""


def test_killed_it_leaves_neither_stack_nor_server(tmp_path):
    env = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", OWNER, str(tmp_path / "log")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as owner:
        try:
            pidfds = [os.pidfd_open(int(pid)) for pid in owner.stdout.readline().split()]
            assert len(pidfds) == 2
        finally:
            owner.kill()
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 30)[0]
        os.close(pidfd)
