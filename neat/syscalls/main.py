"""A syscall server's process from start to end."""

import logging
import resource
import signal
import sys

from neat import boot as boots
from neat.boot import Boot
from neat.shm.board import BoardWriter
from neat.shm.lastwords import prepare_last_words
from neat.shm.segment import SegmentError
from neat.store import Store, StoreError
from neat.syscalls.server import Server

log = logging.getLogger("syscall")


def run(boot: Boot) -> None:
    board = BoardWriter(boot.fds["board"], boot.component)
    board.announce(boot.incarnation)
    prepare_last_words(board)
    server = Server(boot, Store(boot.fds["store"]), board)
    signal.signal(signal.SIGTERM, server.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server.run()


def main() -> None:
    boot = boots.from_argv()
    logging.basicConfig(
        level=boot.config.log_level.upper(),
        stream=sys.stderr,
        format=f"{boot.component}: %(levelname)s: %(message)s",
    )
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        run(boot)
    except (SegmentError, StoreError, KeyError, ValueError, OSError) as error:
        log.exception("cannot go on")
        sys.exit(f"{boot.component}: {type(error).__name__}: {error}")
