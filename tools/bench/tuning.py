"""`neat bench tuning`: Linux's own stack, tuned one option after another, each beside all others in turns.

Each step has what those before it have. Every one is a server in two network namespaces of its own; what is
set is set there, or for the server's own processes, and is gone with them.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import load
from neat.tools.bench.compare import medians, ratio, run_rounds
from neat.tools.bench.http import HttpSettings, Load, Point, measure_once, warm_up, write_random
from neat.tools.bench.processes import CLONE_NEWNET, SideError, libc, tree
from neat.tools.bench.servers import SERVERS, Plan
from neat.tools.bench.sides import LinuxSide, LinuxWorld, in_namespace, linux_world

SIZE = 20
DEVICE = "wire"
SIOCETHTOOL, ETHTOOL_SGRO = 0x8946, 0x2C  # <linux/sockios.h>, <linux/ethtool.h>
IFNAMSIZ = 16


class TuningSettings(NamedTuple):
    server: str = "lighttpd"
    workers: int = 2
    connections: int = 64
    requests_per_connection: int = 1000  # as in the paper's Table 1
    duration: int = 2
    rounds: int = 3


class Step(NamedTuple):
    """One option. `apply`: to a world and its server, which runs."""

    name: str
    what: str
    apply: Callable[[LinuxWorld, LinuxSide], None]


def nothing(world: LinuxWorld, side: LinuxSide) -> None:
    pass


def batch(world: LinuxWorld, side: LinuxSide) -> None:
    for pid in tree(side.server.pid):
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def receive_offload(world: LinuxWorld, side: LinuxSide) -> None:
    for pid in (world.server_pid, world.client_pid):
        inside(pid, gro)


def gro() -> None:
    """ETHTOOL_SGRO of the wire, here: netdevice(7), struct ethtool_value."""
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_SGRO, 1))
    request = struct.pack(f"{IFNAMSIZ}sP16x", DEVICE.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def packet_steering(world: LinuxWorld, side: LinuxSide) -> None:
    """Receive packet steering over all processors, at the server's end. /sys shows the network namespace of
    who mounted it, so it is mounted anew, for that command only."""
    mask = f"{(1 << (os.cpu_count() or 1)) - 1:x}"
    script = f"mount -t sysfs none /sys && echo {mask} >/sys/class/net/{DEVICE}/queues/rx-0/rps_cpus"
    command = in_namespace(world.server_pid, ["unshare", "--mount", "sh", "-c", script])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SideError(f"receive packet steering: {done.stderr.strip()}")


def pinned(world: LinuxWorld, side: LinuxSide) -> None:
    """Each process of the server on a processor of its own, as far as there are."""
    processors = sorted(os.sched_getaffinity(0))
    workers = tree(side.server.pid)[1:] or [side.server.pid]
    for number, pid in enumerate(workers):
        os.sched_setaffinity(pid, {processors[number % len(processors)]})


STEPS = (
    Step("defaults", "as it comes", nothing),
    Step("sched", "the server is SCHED_BATCH", batch),
    Step("eth", "receive offload (GRO) on both ends; segmentation offload is on by default", receive_offload),
    Step("rxAff", "receive packet steering over all processors", packet_steering),
    Step("serv", "each server process pinned to a processor", pinned),
)


def inside(pid: int, call: Callable[[], None]) -> None:
    """In the network namespace of a process. What it raises is raised here."""
    errors: list[OSError] = []

    def work() -> None:
        # setns(2) moves the calling thread only, and this one ends here.
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            call()
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def tuning(settings: TuningSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The result as the JSON that `-j` prints. A step that this machine does not let us take is in
    "left_out", with why, and the later ones are without it."""
    server = SERVERS[settings.server]
    load.need("wrk", "curl", server.program, "nsenter", "unshare", "ip", "mount")
    run = HttpSettings(
        server=settings.server,
        connections=(settings.connections,),
        duration=settings.duration,
        workers=settings.workers,
    )
    point = Point(0, settings.requests_per_connection, SIZE, settings.connections)
    left_out: dict[str, str] = {}
    with contextlib.ExitStack() as ends:
        site = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="neat-site-")))
        digest = write_random(site / point.file, SIZE)
        plan = Plan(site, "", settings.requests_per_connection, settings.connections, settings.workers)
        sides = {}
        for number, step in enumerate(STEPS):
            side = ends.enter_context(tuned(STEPS[: number + 1], settings, plan, left_out))
            if step.name not in left_out:
                sides["+".join(s.name for s in STEPS[: number + 1] if s.name not in left_out)] = side
        loads = {}
        for name, side in sides.items():
            progress(f"warming up: {name}")
            loads[name] = warm_up(side, Load(run, point), digest)._replace(settings=run)
        work = {name: lambda n=name: measure_once(sides[n], loads[n]) for name in sides}
        results = run_rounds(work, settings.rounds, progress)
    first = medians(results[STEPS[0].name])
    points = []
    for name, rounds in results.items():
        middle = medians(rounds)
        rates = [entry["requests_per_s"] for entry in rounds]
        gain = ratio(middle["requests_per_s"], first["requests_per_s"])
        points.append({"options": name, "linux": middle, "ratio": gain, "spread": [min(rates), max(rates)]})
    return {
        "bench": "tuning",
        "settings": settings._asdict(),
        "steps": {step.name: step.what for step in STEPS},
        "points": points,
        "left_out": left_out,
    }


@contextlib.contextmanager
def tuned(
    steps: Sequence[Step], settings: TuningSettings, plan: Plan, left_out: dict[str, str]
) -> Iterator[LinuxSide]:
    """A server that answers, with all those options that can be set."""
    with linux_world() as world, world.serve(SERVERS[settings.server], plan) as side:
        for step in steps:
            if step.name in left_out:
                continue
            try:
                step.apply(world, side)
            except (OSError, SideError) as error:
                left_out[step.name] = str(error)
        yield side
