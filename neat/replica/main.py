"""A replica process from start to end: map what it was given, learn its sockets, run."""

import logging
import resource
import signal
import sys

from neat import boot as boots
from neat.boot import Boot
from neat.replica.control import Control
from neat.replica.core import REASONS, Core
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


def run(boot: Boot) -> None:
    """Until told to stop, or the guardian is gone."""
    board = BoardWriter(boot.fds["board"], boot.component)
    board.announce(boot.incarnation)
    prepare_last_words(board)
    link = Link(boot.fds["link"], boot.config.ring_bytes, boot.config.ring_bytes)
    state = Segment(boot.fds["state"], state_bytes(boot.config))
    core = Core(boot, state, link, board, boot.config.spin_ns())
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
        control.tick()
    board.stopping()


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
