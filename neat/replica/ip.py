"""The process of an IP part, from start to end: map what it was given, run. Read first: ip_core.pyx."""

import contextlib
import json
import logging
import os
import signal
import socket
import sys

from neat import boot as boots
from neat.boot import Boot
from neat.replica.confine import confine
from neat.replica.control import MAX_CTL
from neat.replica.core import REASONS
from neat.replica.ip_core import IpCore
from neat.replica.settings import ip_state_bytes
from neat.shm.board import BoardWriter
from neat.shm.lastwords import prepare_last_words
from neat.shm.link import Link
from neat.shm.segment import Segment, SegmentError

log = logging.getLogger("ip")


class Control:
    """The supervisor's word, on `ctl`."""

    def __init__(self, boot: Boot) -> None:
        self.ctl = socket.socket(fileno=boot.fds["ctl"])
        self.ctl.setblocking(False)
        self.stopping = False

    def stop(self, *_signal: object) -> None:
        self.stopping = True

    def ready(self) -> None:
        # Nobody may be there to read it: the supervisor restarts too.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.ctl.send(b'{"event": "ready"}')

    def read(self) -> None:
        """One datagram. What is not a request that we know is ignored; at its end the lifeline says more."""
        try:
            message = json.loads(self.ctl.recv(MAX_CTL) or b"{}")
        except (BlockingIOError, ConnectionError, ValueError, RecursionError):
            return
        if isinstance(message, dict) and message.get("op") == "stop":
            self.stop()


def run(boot: Boot) -> None:
    """Until told to stop, or the guardian is gone."""
    board = BoardWriter(boot.fds["board"], boot.component)
    board.announce(boot.incarnation)
    prepare_last_words(board)
    if "queue" in boot.fds:
        confine()
    config, fds = boot.config, boot.fds
    link, tcp, udp = (
        Link(fds[name], config.ring_bytes, config.ring_bytes) for name in ("link", "link.tcp", "link.udp")
    )
    state = Segment(fds["state"], ip_state_bytes(config))
    control = Control(boot)
    core = IpCore(boot, state, link, tcp, udp, board, config.spin_ns())
    signal.signal(signal.SIGTERM, control.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    board.running()
    control.ready()
    tick_ns = config.heartbeat_ms * 800_000  # leaves room for a late wake-up
    while not control.stopping:
        reasons = core.run(tick_ns)
        if reasons & REASONS["lifeline"]:
            os._exit(0)
        if reasons & REASONS["ctl"]:
            control.read()
    board.stopping()


def main() -> None:
    boot = boots.from_argv()
    logging.basicConfig(
        level=boot.config.log_level.upper(),
        stream=sys.stderr,
        format=f"{boot.component}: %(levelname)s: %(message)s",
    )
    try:
        run(boot)
    except (SegmentError, KeyError, ValueError, OSError) as error:
        log.exception("cannot go on")
        sys.exit(f"{boot.component}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
