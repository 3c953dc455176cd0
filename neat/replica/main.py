"""A replica process from start to end: map what it was given, learn its sockets, run."""

import contextlib
import json
import logging
import os
import resource
import signal
import socket
import sys

from neat import boot as boots
from neat.boot import Boot
from neat.replica.confine import confine
from neat.replica.control import Control
from neat.replica.core import REASONS, Core
from neat.replica.numbers import set_apart
from neat.replica.sizes import state_bytes
from neat.shm.board import BoardWriter
from neat.shm.lastwords import prepare_last_words
from neat.shm.link import Link
from neat.shm.segment import Segment, SegmentError

log = logging.getLogger("replica")
BUSY_TICK_NS = 1_000_000


def raise_descriptor_limit() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def refuse(boot: Boot, why: str) -> None:
    """A predecessor's state that cannot go on here is given up by the supervisor."""
    if boot.state not in (0, boot.incarnation):
        with socket.socket(fileno=os.dup(boot.fds["ctl"])) as ctl, contextlib.suppress(OSError):
            ctl.send(json.dumps({"event": "refused", "why": why}).encode())


def run(boot: Boot) -> None:
    """Until told to stop, or the guardian is gone."""
    if boot.config.recovery == "stateful":
        boot = set_apart(boot)
    board = BoardWriter(boot.fds["board"], boot.component)
    board.announce(boot.incarnation)
    prepare_last_words(board)
    if "queue" in boot.fds:
        confine()  # before there is a holder, which has the descriptor too
    link = Link(boot.fds["link"], boot.config.ring_bytes, boot.config.ring_bytes)
    state = Segment(boot.fds["state"], state_bytes(boot.config))
    try:
        core = Core(boot, state, link, board, boot.config.spin_ns())
    except (ValueError, OSError) as error:
        refuse(boot, str(error))
        raise
    control = Control(boot, core, board)
    signal.signal(signal.SIGTERM, control.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tick_ns = boot.config.heartbeat_ms * 800_000  # leaves room for a late wake-up
    while not control.stopping:
        reasons = core.run(BUSY_TICK_NS if control.busy else tick_ns)
        if reasons & REASONS["lifeline"]:
            return
        if reasons & REASONS["sys"]:
            control.read_sys()
        if reasons & REASONS["ctl"]:
            control.read_ctl()
        if reasons & REASONS["holder"]:
            core.look_after_holder()
        control.tick()
    board.stopping()
    if control.over:
        core.end()


def main() -> None:
    boot = boots.from_argv()
    logging.basicConfig(
        level=boot.config.log_level.upper(),
        stream=sys.stderr,
        format=f"{boot.component}: %(levelname)s: %(message)s",
    )
    raise_descriptor_limit()
    try:
        run(boot)
    except (SegmentError, KeyError, ValueError, OSError) as error:
        log.exception("cannot go on")
        sys.exit(f"{boot.component}: {type(error).__name__}: {error}")
