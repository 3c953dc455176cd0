"""The two worlds of a comparison: the same server program, with a client at the other end of one wire."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from neat.tools.bench.processes import READY_S, SideError, end, running, tree
from neat.tools.bench.servers import Plan, Server
from neat.tools.stack import Stack, environment


class World(Protocol):
    """A wire with an address at its far end where a server can be started."""

    name: str
    address: str

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` on the client's side of the wire."""
        ...

    def serve(self, server: Server, plan: Plan) -> contextlib.AbstractContextManager["Side"]:
        """The server at this world's address; the plan's own address does not matter."""
        ...


class Side(Protocol):
    """A server that answers, reachable from where `inside` puts a command."""

    name: str
    address: str
    datapath: str  # of a stack; else ""
    placement: str  # likewise
    server: subprocess.Popen[bytes]

    def inside(self, command: Sequence[str]) -> list[str]: ...

    def pids(self) -> dict[str, list[int]]:
        """The processes whose CPU time and memory count, by component."""
        ...

    def counters(self) -> dict[str, dict[str, int]]:
        """What driver and replicas of a stack have counted so far, by component."""
        ...

    def rest(self) -> None:
        """After a run: wait until it leaves nothing behind that makes the machine faster or slower."""
        ...


class NeatWorld:
    name = "neat"

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.address = stack.address

    def inside(self, command: Sequence[str]) -> list[str]:
        return self.stack.inside(command)

    @contextlib.contextmanager
    def serve(self, server: Server, plan: Plan) -> Iterator["NeatSide"]:
        with tempfile.TemporaryDirectory(prefix="neat-server-") as name:
            command = server.command(plan._replace(address=self.address), Path(name))
            if server.name == "demo":
                command = [*command, "--name", self.stack.name]
            else:
                command = self.stack.run(command)
            target = (self.address, server.port)
            with running(
                command, self.stack.environment(), Path(name) / "log", self.stack.guardian, target
            ) as process:
                yield NeatSide(self.stack, process, self.name)


class NeatSide:
    def __init__(self, stack: Stack, server: subprocess.Popen[bytes], name: str = "neat") -> None:
        self.name = name
        self.stack = stack
        # What "auto" has become.
        state = stack.status()
        self.datapath: str = state.get("datapath", "driver")
        placement = state.get("placement") or "none"
        self.placement: str = placement if isinstance(placement, str) else ", ".join(placement)
        self.server = server
        self.address = stack.address

    def inside(self, command: Sequence[str]) -> list[str]:
        return self.stack.inside(command)

    def pids(self) -> dict[str, list[int]]:
        components = {name: [pid] for name, pid in self.stack.pids().items()}
        return components | {"server": tree(self.server.pid)}

    def counters(self) -> dict[str, dict[str, int]]:
        state = self.stack.status()
        found = {replica["name"]: replica["counters"] for replica in state["replicas"]}
        return {"driver": state["driver"]["counters"], **found}

    def rest(self) -> None:
        deadline = time.monotonic() + READY_S
        while self.stack.status().get("cpu_latency_asked"):
            if time.monotonic() > deadline:
                raise SideError(f"{self.name}: it asks for a CPU latency {READY_S:g} s after its last work")
            time.sleep(0.05)


class LinuxWorld:
    name = "linux"
    address = "10.78.0.2"
    client_address = "10.78.0.1"

    def __init__(self, server_pid: int, client_pid: int) -> None:
        self.server_pid = server_pid
        self.client_pid = client_pid

    def inside(self, command: Sequence[str]) -> list[str]:
        return in_namespace(self.client_pid, command)

    @contextlib.contextmanager
    def serve(self, server: Server, plan: Plan) -> Iterator["LinuxSide"]:
        with tempfile.TemporaryDirectory(prefix="neat-server-") as name:
            command = server.command(plan._replace(address=self.address), Path(name))
            if server.name == "demo":
                command = [*command, "--kernel"]
            command = in_namespace(self.server_pid, command)
            target = (self.address, server.port)
            with running(command, environment(), Path(name) / "log", self.client_pid, target) as process:
                yield LinuxSide(self.client_pid, process)


class LinuxSide:
    name = "linux"
    datapath = ""
    placement = ""
    address = LinuxWorld.address

    def __init__(self, client_pid: int, server: subprocess.Popen[bytes]) -> None:
        self.client_pid = client_pid
        self.server = server

    def inside(self, command: Sequence[str]) -> list[str]:
        return in_namespace(self.client_pid, command)

    def pids(self) -> dict[str, list[int]]:
        return {"server": tree(self.server.pid)}

    def counters(self) -> dict[str, dict[str, int]]:
        return {}

    def rest(self) -> None:
        pass


def in_namespace(pid: int, command: Sequence[str]) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *command]


@contextlib.contextmanager
def neat_world(replicas: int, name: str | None = None, **settings: str) -> Iterator[NeatWorld]:
    """A stack of its own."""
    with Stack.up(name or f"bench-{os.getpid()}", replicas, settings) as stack:
        world = NeatWorld(stack)
        prepare_client(world)
        yield world


@contextlib.contextmanager
def neat_worlds(
    replicas: int,
    datapaths: Sequence[str],
    settings: Sequence[str] = (),
    placements: Sequence[str] = (),
) -> Iterator[list[NeatWorld]]:
    """A stack for each of the datapaths, and of the placements ("none": the kernel's), all of them up, under
    their names; without any, one as it is by default, called "neat". settings: of all of them, as
    key=value."""
    ours = dict(text.split("=", 1) for text in settings)
    paths = [{"datapath": datapath} for datapath in datapaths] or [{}]
    ways = [{"placement": placement} for placement in placements] or [{}]
    with contextlib.ExitStack() as ends:
        worlds = []
        for kind in (path | way for path in paths for way in ways):
            name = "-".join(kind.values())
            own = {key: "" if value == "none" else value for key, value in kind.items()}
            of_stack = f"bench-{os.getpid()}-{name}" if name else None
            worlds.append(ends.enter_context(neat_world(replicas, of_stack, **(ours | own))))
            worlds[-1].name = name or NeatWorld.name
        yield worlds


@contextlib.contextmanager
def linux_world() -> Iterator[LinuxWorld]:
    """Two network namespaces with a veth pair between them."""
    with namespace() as server, namespace() as client:
        ip(server, f"link add wire type veth peer name wire netns {client}")
        for pid, address in ((server, LinuxWorld.address), (client, LinuxWorld.client_address)):
            ip(pid, f"address add {address}/24 dev wire")
            ip(pid, "link set wire up")
            ip(pid, "link set lo up")
        world = LinuxWorld(server, client)
        prepare_client(world)
        yield world


# Of the client's namespace, so that short connections do not run out of ports: all of them, with their
# re-use (RFC 6191), and not more of them in TIME_WAIT than that.
CLIENT_SETTINGS = {"ip_local_port_range": "1024 65535", "tcp_tw_reuse": "1", "tcp_max_tw_buckets": "4096"}


def prepare_client(world: World) -> None:
    """The same for the clients of both sides; what the kernel has not, or does not let us set, stays."""
    lines = [f"echo {value} >/proc/sys/net/ipv4/{key} || :" for key, value in CLIENT_SETTINGS.items()]
    command = world.inside(["sh", "-c", "\n".join(lines)])
    subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def ip(pid: int, command: str) -> None:
    """ip(8) in the network namespace of a process."""
    done = subprocess.run(
        in_namespace(pid, ["ip", *command.split()]), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SideError(f"ip {command}: {done.stderr.strip()}")


@contextlib.contextmanager
def namespace() -> Iterator[int]:
    """A network namespace that lives as long as a process that waits for us; its pid."""
    mine = os.stat("/proc/self/ns/net").st_ino
    holder = subprocess.Popen(
        ["unshare", "--net", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + READY_S
        while os.stat(f"/proc/{holder.pid}/ns/net").st_ino == mine:
            if holder.poll() is not None or time.monotonic() > deadline:
                raise SideError("a network namespace cannot be made: are you root?")
            time.sleep(0.005)
        yield holder.pid
    finally:
        end(holder)
