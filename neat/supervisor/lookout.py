"""The look at a component that runs: what it says on the board, and what it does with its rings and its queue
of the device."""

import select
from collections.abc import Mapping

from neat import parts
from neat.config import Config
from neat.shm.board import BoardReader, BoardWriter
from neat.shm.link import LinkReader
from neat.shm.steering import SLOTS
from neat.supervisor.component import Component, Phase
from neat.supervisor.policy import Verdict
from neat.supervisor.watch import Watch

# What a replica counts for each frame that it takes out of its queue.
TAKEN = ("queue_rx_frames", "queue_drop_truncated")
BROKEN_LINK = "its link is broken"
SETTLED_S = 0.5  # after which the driver has surely mended the link of a new replica


class Lookout:
    """It kills what is hung, and says why."""

    def __init__(self, board: BoardReader, fds: Mapping[str, int], config: Config, page: BoardWriter) -> None:
        """`fds`: the inventory's. `page`: the supervisor's own."""
        self.board = board
        self.page = page
        self.watch = Watch(config.hang_ms)
        self.links = [LinkReader(fds[f"link{k}"], config.ring_bytes, config.ring_bytes) for k in range(SLOTS)]
        self.fds, self.ring_bytes = fds, config.ring_bytes
        self.ups: dict[str, LinkReader] = {}  # between parts, by name
        self.queues: list[select.poll] = []  # by slot; none where the driver reads for all
        if config.datapath == "queues":
            self.queues = [readable(fds[f"queue{k}"]) for k in range(SLOTS)]

    def look(self, component: Component, now_ns: int, late: bool) -> None:
        """Once a round, at one that starts or runs. `late`: this round is."""
        self._look_at_heartbeat(component, now_ns, late)
        if component.phase is Phase.RUNNING and not component.kill_reason:
            self._look_at_link(component, now_ns)
            self._look_at_rings(component, now_ns, late)

    def _look_at_heartbeat(self, component: Component, now_ns: int, late: bool) -> None:
        """Of one that starts only whether it is stopped: it has more to do than to beat."""
        pid, heartbeat = self.board.heartbeat(component.name)
        if pid != component.pid:
            heartbeat = 0  # it has not said who it is, or lies about it
        verdict, evidence = self.watch.look(component.name, heartbeat, component.stat_fd, now_ns, late)
        hung = verdict is not Verdict.ALIVE and component.phase is Phase.RUNNING
        if hung or verdict is Verdict.STOPPED:
            self._kill(component, f"{verdict.value}, {evidence}", own=verdict is not Verdict.STOPPED)

    def _look_at_link(self, component: Component, now_ns: int) -> None:
        """A replica that broke the contract of its rings gets no packets any more, so it is replaced."""
        if component.home is None or now_ns / 1e9 - component.ready_at < SETTLED_S:
            return
        name = f"replica{component.home}"
        broken = self.board.counter("driver", f"{name}.broken") and component.part != parts.UDP
        found_by = "driver"
        if component.part in (parts.TCP, parts.UDP) and not broken:
            broken = self.board.counter(f"{name}.ip", f"{component.part}_link_broken")
            found_by = f"{name}.ip"
        if broken:
            component.state_fault = BROKEN_LINK
            component.kill(f"broke its link: the {found_by} found a ring that makes no sense")

    def _look_at_rings(self, component: Component, now_ns: int, late: bool) -> None:
        """One that beats and makes no progress: a replica that takes no frames, a driver that sends none."""
        for ring, head in self._heads(component).items():
            hung, why = self.watch.look_at_ring(component.name, ring, head, component.stat_fd, now_ns, late)
            if hung and not component.kill_reason:
                self._kill(component, f"no progress, {why}", own=True)

    def _heads(self, component: Component) -> dict[str, int | None]:
        """Its position in each ring that it is to empty, while something waits there."""
        if component.kind == "driver":
            return {f"ring of replica{k}": self._to_send(k) for k in range(len(self.links))}
        home = component.home
        if home is None:
            return {}
        if component.part in (parts.TCP, parts.UDP):
            return {"receive ring": self._up(home, component.part).rx_waits()}
        heads = {"receive ring": self.links[home].rx_waits()}
        if self.queues:
            heads |= {"intake": self.links[home].intake_waits(), "queue": self._to_read(component, home)}
        # What its parts send may wait for the driver.
        if component.part == parts.IP and self.links[home].tx_waits() is None:
            heads |= {f"ring of {part}": self._up(home, part).tx_waits() for part in (parts.TCP, parts.UDP)}
        return heads

    def _up(self, home: int, part: str) -> LinkReader:
        name = f"link{home}.{part}"
        if name not in self.ups:
            self.ups[name] = LinkReader(self.fds[name], self.ring_bytes, self.ring_bytes)
        return self.ups[name]

    def forget_link(self, component: Component) -> None:
        """There is another one."""
        self.ups.pop(f"link{component.home}.{component.part}", None)

    def _to_send(self, slot: int) -> int | None:
        """The driver's position in the transmit ring of a replica while something waits there. It empties
        none that is broken."""
        broken = self.board.counter("driver", f"replica{slot}.broken")
        return None if broken else self.links[slot].tx_waits()

    def _to_read(self, component: Component, slot: int) -> int | None:
        """How many frames a replica has taken out of its queue, while one waits there."""
        if not any(events & select.POLLIN for _fd, events in self.queues[slot].poll(0)):
            return None  # POLLERR alone: the device is gone
        return sum(self.board.counter(component.name, name) for name in TAKEN)

    def _kill(self, component: Component, why: str, *, own: bool) -> None:
        self.page.count("hangs")
        component.kill(why, own=own)


def readable(fd: int) -> select.poll:
    """Whose poll(0) says whether there is something to read."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll
