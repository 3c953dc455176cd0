"""Idle processors that wake fast while there is traffic: the CPU latency request of the stack.

Waking a processor that is halted costs who wakes it and who waits for it, under a hypervisor 10 µs and more
each; a frame may need three of them. A program can ask the kernel that no idle processor may take longer to
wake than so many microseconds (PM QoS, Documentation/power/pm_qos_interface.rst), as drivers of network cards
do while frames come. The price is power: at 0 µs an idle processor spins. So it is asked for only while
replicas have work, and only where `cpu_latency_us` says so.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

from neat.shm.board import BoardReader

DEVICE = Path("/dev/cpu_dma_latency")
UNASKED = -1
BUSY = 0.05  # of a processor, all replicas together: 1,000 frames/s that come alone, as each keeps one awake
KEPT_NS = 250_000_000  # after they were last busy
LEAST_NS = 20_000_000  # between two looks: what a replica does is on its page only when it rests


class CpuLatency:
    """The request, which stands while its descriptor is open: it ends with this process at the latest."""

    def __init__(self, microseconds: int, device: Path = DEVICE) -> None:
        """`microseconds`: the setting `cpu_latency_us`. With UNASKED, who looks is to leave it alone."""
        self.microseconds = microseconds
        self.device = device
        self.fd = -1
        self._seen: tuple[int, int] | None = None  # when, and what the replicas had been busy until then
        self._busy_at = 0

    @property
    def asked(self) -> bool:
        return self.fd >= 0

    def look(self, busy_ns: int, now_ns: int) -> None:
        """Ask, or ask no more. `busy_ns`: how long the replicas have been awake in all, by their pages of the
        board, which begin anew with a new process. Raises OSError if the kernel does not let us ask."""
        if self._seen and now_ns - self._seen[0] < LEAST_NS:
            return
        before, self._seen = self._seen, (now_ns, busy_ns)
        if before is None:
            return
        if busy_ns - before[1] >= BUSY * (now_ns - before[0]):
            self._busy_at = now_ns
            if not self.asked:
                self.fd = ask(self.microseconds, self.device)
        elif self.asked and now_ns - self._busy_at >= KEPT_NS:
            self.release()

    def release(self) -> None:
        if self.asked:
            os.close(self.fd)
            self.fd = -1


def busy_ns(board: BoardReader, components: Sequence[str]) -> int:
    """How long they have been awake, in all."""
    return sum(board.busy(component) for component in components)


def ask(microseconds: int, device: Path = DEVICE) -> int:
    """The request, as the descriptor that holds it. Raises OSError."""
    fd = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, struct.pack("=i", microseconds))
    except OSError:
        os.close(fd)
        raise
    return fd


def usable(microseconds: int, device: Path = DEVICE) -> str:
    """Why the kernel does not take such a request; empty when it does, or when none is to be made."""
    if microseconds == UNASKED:
        return ""
    try:
        os.close(ask(microseconds, device))
    except OSError as error:
        return f"{device}: {error.strerror}"
    return ""
