"""A component that does nothing, in any role: it beats, says ready, and misbehaves on request.

Files in $NEAT_DUMMY_DIR: `NAME.crash`: exit with status 3 at once; `NAME.mute`: never say ready. SIGUSR1:
spin without a heartbeat; SIGUSR2: block without one. A replica lists two sockets.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from neat.boot import from_argv
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
    if (behaviour / f"{boot.component}.crash").exists():
        sys.exit(3)
    signal.signal(signal.SIGUSR1, spin)
    signal.signal(signal.SIGUSR2, block)
    page = BoardWriter(boot.fds["board"], boot.component)
    page.announce(boot.incarnation)
    ctl = socket.socket(fileno=boot.fds["ctl"])
    if not (behaviour / f"{boot.component}.mute").exists():
        page.running()
        ctl.send(b'{"event": "ready"}')
    while True:
        ready, _, _ = select.select([ctl, boot.fds["lifeline"]], [], [], boot.config.heartbeat_ms / 1000)
        page.heartbeat()
        if boot.fds["lifeline"] in ready:
            sys.exit(0)
        if ctl in ready:
            answer(boot, ctl, behaviour, json.loads(ctl.recv(1 << 16)))


def answer(boot, ctl, behaviour, message):
    if message["op"] == "stop":
        sys.exit(0)
    elif message["op"] == "ss":
        row = {"protocol": "tcp", "state": "LISTEN", "local": "10.77.0.2:80", "remote": "*:*"}
        ctl.send(json.dumps({"seq": message["seq"], "rows": [row], "more": True}).encode())
        ctl.send(json.dumps({"seq": message["seq"], "rows": [row], "more": False}).encode())
    else:
        with open(behaviour / f"{boot.component}.heard", "a") as heard:
            heard.write(json.dumps(message | {"at": time.monotonic()}) + "\n")


if __name__ == "__main__":
    main()
