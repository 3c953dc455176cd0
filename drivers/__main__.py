"""The driver process: takes up what its predecessor left, runs the loop, obeys the supervisor."""

import contextlib
import json
import os
import select
import signal
import socket
import sys

from neat.boot import Boot, from_argv
from neat.drivers.loop import Loop
from neat.shm.board import BoardWriter
from neat.shm.lastwords import prepare_last_words
from neat.shm.link import Link
from neat.shm.segment import SegmentError
from neat.shm.steering import Steering


class Process:
    """One incarnation of the driver."""

    def __init__(self, boot: Boot) -> None:
        config, fds = boot.config, boot.fds
        self.board = BoardWriter(fds["board"], "driver")
        self.board.announce(boot.incarnation)
        prepare_last_words(self.board)
        self.ctl = socket.socket(fileno=fds["ctl"])
        self.ctl.setblocking(False)
        self.lifeline = fds["lifeline"]
        self.signals, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.poll = select.epoll()
        self.poll.register(fds["bell.driver"], select.EPOLLIN | select.EPOLLET)
        for fd in (self.ctl.fileno(), self.lifeline, self.signals):
            self.poll.register(fd, select.EPOLLIN)
        os.set_blocking(fds["tap"], False)
        steering = Steering(fds["steering"], config.flow_entries, writable=True)
        self.loop = Loop(
            fds["tap"],
            self.poll.fileno(),
            fds["bell.driver"],
            self.board,
            (steering.segment.address, config.flow_entries, steering),
            mac=config.mac_bytes(),
            heartbeat_ms=config.heartbeat_ms,
            spin_ns=config.spin_ns(),
        )
        for name, fd in fds.items():
            slot = name.removeprefix("link")
            if slot.isdecimal():
                link = Link(fd, config.ring_bytes, config.ring_bytes)
                self.loop.attach(int(slot), link, fds[f"bell.replica{slot}"])

    def run(self) -> None:
        """Until the supervisor or a signal says stop, or the stack is over."""
        self.board.running()
        self.tell({"event": "ready"})
        while True:
            source = self.loop.run()
            if source == self.lifeline:
                os._exit(0)
            if source == self.signals or (source == self.ctl.fileno() and self.told_to_stop()):
                break
        self.board.stopping()

    def tell(self, message: dict) -> None:
        # Nobody may be there to read it: the supervisor restarts too.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.ctl.send(json.dumps(message).encode())

    def told_to_stop(self) -> bool:
        """Read one datagram. What is not a request that we know is ignored."""
        try:
            data = self.ctl.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:
            data = b""
        if not data:
            # The other end is gone for good; the lifeline tells when the stack is.
            self.poll.unregister(self.ctl.fileno())
            return False
        try:
            message = json.loads(data)
        except ValueError:
            return False
        return isinstance(message, dict) and message.get("op") == "stop"


def main() -> None:
    boot = from_argv()
    try:
        Process(boot).run()
    except (KeyError, OSError, SegmentError) as error:
        sys.exit(f"driver: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
