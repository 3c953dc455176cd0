"""A component that does nothing, in any role: it beats, says ready, and misbehaves on request.

Files in $NEAT_DUMMY_DIR: `NAME.crash`: exit with status 3 at once; `NAME.refuse`: refuse the state of a
predecessor; `NAME.mute`: never say ready; `NAME.holds`: have a process hold its descriptors, unless one does.
SIGUSR1: spin without a heartbeat; SIGUSR2: block without one; `NAME.busy`: spin with one. Nobody takes
anything out of a ring. A replica lists two sockets. What it was started with is noted in `NAME.boots`, what
it hears in `NAME.heard`.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from neat.boot import from_argv
from neat.replica import sizes
from neat.rundir import start_ticks
from neat.shm.board import BoardWriter


def spin(*_):
    while True:
        pass


def block(*_):
    while True:
        signal.pause()


def main():
    boot = from_argv()
    behaviour = Path(os.environ["NEAT_DUMMY_DIR"])
    note(behaviour / f"{boot.component}.boots", boot.incarnation, boot.state, boot.blame)
    if (behaviour / f"{boot.component}.crash").exists():
        sys.exit(3)
    signal.signal(signal.SIGUSR1, spin)
    signal.signal(signal.SIGUSR2, block)
    page = BoardWriter(boot.fds["board"], boot.component)
    page.announce(boot.incarnation)
    ctl = socket.socket(fileno=boot.fds["ctl"])
    if boot.state != boot.incarnation and (behaviour / f"{boot.component}.refuse").exists():
        ctl.send(b'{"event": "refused", "why": "of another version"}')
        sys.exit(1)
    if (behaviour / f"{boot.component}.holds").exists() and sizes.holder_of(boot.fds["state"]) is None:
        hold(boot.fds["state"], boot.fds["lifeline"])
    if not (behaviour / f"{boot.component}.mute").exists():
        page.running()
        ctl.send(b'{"event": "ready", "connections": 7}')
    while True:
        busy = (behaviour / f"{boot.component}.busy").exists()
        patience = 0 if busy else boot.config.heartbeat_ms / 1000
        ready, _, _ = select.select([ctl, boot.fds["lifeline"]], [], [], patience)
        page.heartbeat()
        if boot.fds["lifeline"] in ready:
            sys.exit(0)
        if ctl in ready:
            answer(boot, ctl, behaviour, json.loads(ctl.recv(1 << 16)))


def hold(state, lifeline):
    """As a replica's holder: it is named in the ledger, and ends with the stack."""
    child = subprocess.Popen(["cat"], stdin=lifeline).pid  # a standby's memory is not for a fork()
    name = child << sizes.TICKS_BITS | start_ticks(child)
    ledger = sizes.HEADER.pack(sizes.LEDGER_MAGIC, 1, 0, name)
    os.pwrite(state, ledger, os.fstat(state).st_size - sizes.LEDGER_HEADER)


def answer(boot, ctl, behaviour, message):
    if message["op"] == "stop":
        note(behaviour / f"{boot.component}.stops", message.get("stay", False))
        sys.exit(0)
    elif message["op"] == "ss":
        row = {"protocol": "tcp", "state": "LISTEN", "local": "10.77.0.2:80", "remote": "*:*"}
        ctl.send(json.dumps({"seq": message["seq"], "rows": [row], "more": True}).encode())
        ctl.send(json.dumps({"seq": message["seq"], "rows": [row], "more": False}).encode())
    else:
        note(behaviour / f"{boot.component}.heard", message | {"at": time.monotonic()})


def note(path, *values):
    with open(path, "a") as file:
        file.write(json.dumps(values if len(values) > 1 else values[0]) + "\n")


if __name__ == "__main__":
    main()
