"""The device's queues: which there are, who gets them, and what becomes of the setting `datapath`."""

import errno
import os
import time
from types import SimpleNamespace

import pytest

from neat.config import build
from neat.drivers.tap import TapError
from neat.shm.steering import SlotState, Steering
from neat.supervisor import device
from neat.supervisor.core import Supervisor
from tests.supervisor.conftest import dummy_stack
from tests.support import running_stack, wait_for


@pytest.fixture
def machine(monkeypatch):
    """What the device can do (`most` queues, TapError beyond), and the kernel (`fault`); `opened` is what was
    asked for."""
    scene = SimpleNamespace(most=17, fault="", no_filter="", opened=[])

    def attach(_name, queues=1):
        scene.opened.append(queues)
        if queues > scene.most:
            why = "in use by another program" if queues > 1 else "of another kind"
            raise TapError(errno.EBUSY, f"TAP device neat0: {why}")
        return list(range(100, 100 + queues))

    monkeypatch.setattr(device.tap, "attach", attach)
    monkeypatch.setattr(device, "program", SimpleNamespace(usable=lambda: scene.fault))
    monkeypatch.setattr(device, "confine", SimpleNamespace(usable=lambda: scene.no_filter))
    return scene


def decide(datapath):
    queues, config, why = device.attach(build({"datapath": datapath}))
    return len(queues), config.datapath, why


def test_driver_has_one_queue_and_asks_the_kernel_for_nothing(machine):
    machine.fault = "no such thing"
    assert decide("driver") == (1, "driver", "")


def test_queues_are_the_drivers_and_one_for_each_slot(machine):
    assert decide("queues") == (17, "queues", "")
    assert len(device.NAMES) == 17 and device.NAMES[:2] == ("tap", "queue0")


BPF, SECCOMP, BUSY = (
    "bpf(2) is not permitted",
    "no seccomp filter for s390x",
    "TAP device neat0: in use by another program",
)


@pytest.mark.parametrize(
    "most, fault, no_filter, why", [(17, BPF, "", BPF), (17, "", SECCOMP, SECCOMP), (1, "", "", BUSY)]
)
def test_auto_takes_what_there_is_and_says_why(machine, monkeypatch, most, fault, no_filter, why):
    monkeypatch.setattr(device, "PREFERRED", "queues")
    assert decide("auto") == (17, "queues", "")
    machine.most, machine.fault, machine.no_filter = most, fault, no_filter
    assert decide("auto") == (1, "driver", why)
    with pytest.raises(TapError) as caught:
        decide("queues")
    assert caught.value.strerror == f"datapath = 'queues' is not possible: {why}"


def test_auto_without_any_device_says_what_stood_in_the_way_of_queues(machine, monkeypatch):
    monkeypatch.setattr(device, "PREFERRED", "queues")
    machine.most = 0
    with pytest.raises(TapError, match="^.Errno 16. TAP device neat0: in use by another program$"):
        decide("auto")
    assert machine.opened == [17, 1]


@pytest.fixture
def supervisor(monkeypatch):
    """One whose kernel takes no program; `said` is what the guardian heard, `recorded` the event log."""

    def refuse(*_):
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(device.program, "install", refuse)
    fd = device.make_steering(build({"datapath": "driver"}))
    steering = Steering(fd, build({}).flow_entries, writable=True)
    scene = SimpleNamespace(said=[], recorded=[], boot=SimpleNamespace(config=build({"datapath": "queues"})))
    scene.inventory = SimpleNamespace(fds={"tap": -1, "steering": fd})
    scene.keeper = SimpleNamespace(slots=SimpleNamespace(steering=steering))
    scene.guardian = SimpleNamespace(send=scene.said.append)
    scene.events = SimpleNamespace(record=lambda *words: scene.recorded.append(words))
    yield scene
    os.close(fd)


def test_stack_does_not_come_up_unsteered(supervisor):
    with pytest.raises(OSError):
        Supervisor._steer(supervisor)
    assert supervisor.said == [b"failed: the kernel does not take the steering: [Errno 1] not permitted"]


def test_successor_goes_on_with_the_program_that_is_there(supervisor):
    supervisor.keeper.slots.steering.set_state(1, SlotState.SLOT_STARTING)
    Supervisor._steer(supervisor)
    assert not supervisor.said
    ((_who, what, why),) = supervisor.recorded
    assert (what, why) == ("cannot renew the steering", "[Errno 1] not permitted")


def queues_of(pid):
    """How many descriptors of a TAP device's queue the process has."""
    links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    return links.count("/dev/net/tun")


def is_back(stack, name, before):
    status = stack.status_or_none()
    found = {part["name"]: part["incarnation"] for part in status["components"]} if status else {}
    return found.get(name, 0) > before and status["ready"]


@pytest.mark.netns
def test_each_process_has_its_own_queue_only(tmp_path):
    with dummy_stack(tmp_path, replicas=2, datapath="queues") as stack:
        status = stack.status()
        assert (status["datapath"], status["no_queues"]) == ("queues", "")
        assert "datapath: queues" in stack.neat("status").stdout
        wanted = {"supervisor": 17, "driver": 1, "syscall": 0, "replica0": 1, "replica1": 1}
        assert {name: queues_of(pid) for name, pid in stack.pids().items()} == wanted
        assert queues_of(status["guardian"]["pid"]) == 17
        for name in ("supervisor", "replica1"):
            before = stack.component(name)["incarnation"]
            stack.neat("kill", name)
            wait_for(lambda name=name, n=before: is_back(stack, name, n), 20, f"{name} is back")
            assert {name: queues_of(pid) for name, pid in stack.pids().items()} == wanted


@pytest.mark.netns
def test_driver_mode_has_one_queue(tmp_path):
    with dummy_stack(tmp_path, replicas=1, datapath="driver") as stack:
        assert stack.status()["datapath"] == "driver"
        wanted = {"supervisor": 1, "driver": 1, "syscall": 0, "replica0": 0}
        assert {name: queues_of(pid) for name, pid in stack.pids().items()} == wanted


KNOCK = """
import socket
for port in range(20, 60):
    with socket.socket() as sock:
        assert sock.connect_ex(("10.77.0.2", port)) == 111, port
"""


def all_counted(status):
    """What the kernel has counted of the device is what driver and replicas have, all told."""
    device, driver, replicas = status["device"], status["driver"]["counters"], status["replicas"]
    own = {way: sum(r["counters"][f"queue_{way}_frames"] for r in replicas) for way in ("rx", "tx")}
    return (
        device["frames_in"] == driver["rx_frames"] + own["rx"] >= 40
        and device["frames_out"] == driver["tx_frames"] + own["tx"] >= 40
        and device["frames_out"] == sum(replica["packets_out"] for replica in replicas)
    )


@pytest.mark.netns
@pytest.mark.parametrize("datapath", ["queues", "driver"])
def test_status_counts_every_frame_once(datapath):
    """40 SYNs to closed ports, and as many RSTs; by whatever way they come."""
    with running_stack(replicas=2, datapath=datapath) as stack:
        assert stack.peer("python3", "-c", KNOCK).returncode == 0
        wait_for(lambda: all_counted(stack.status()), 20, "the counts agree")
        replicas = stack.status()["replicas"]
        for way in ("rx", "tx"):
            own = sum(replica["counters"][f"queue_{way}_frames"] for replica in replicas)
            assert own >= 40 if datapath == "queues" else own == 0
        assert sum(replica["packets_in"] for replica in replicas) >= 40
        if datapath == "queues":  # the driver has seen none of them
            assert sum(replica["driver"]["flows"] for replica in replicas) > 0
        assert "frames_in" in stack.neat("status").stdout


@pytest.mark.netns
def test_replica_whose_device_is_gone_waits_without_spinning():
    """poll() has POLLERR for a queue without a device, at once and for ever."""
    with running_stack(replicas=1, datapath="queues") as stack:
        stack.peer("ip", "link", "delete", "neat0")

        def counters():
            return stack.status()["replicas"][0]["counters"]

        wait_for(lambda: counters()["queue_read_failed"], 20, "it has noticed")
        since, before = time.monotonic(), counters()["wakeups"]
        time.sleep(0.5)
        woken = counters()["wakeups"] - before
        # For its heartbeat, and for drivers that try: some for each second, however many those were.
        assert woken < 1000 * (time.monotonic() - since)


SEND = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"neat0")
    for port in range(1, 65):
        sock.sendto(b"x", ("10.77.0.2", port))
"""


@pytest.mark.netns
@pytest.mark.parametrize("busy", [False, True])
def test_replica_that_beats_and_leaves_its_queue_alone_is_replaced(tmp_path, busy):
    """What 64 datagrams are steered to is no replica's ring: nobody but the kernel has touched them."""
    with dummy_stack(tmp_path, replicas=2, datapath="queues") as stack:
        if busy:
            (tmp_path / "replica1.busy").touch()
        mac = build({"name": stack.name}).mac_bytes().hex(":")
        stack.peer("ip", "neigh", "add", "10.77.0.2", "lladdr", mac, "dev", "neat0", check=True)
        stack.peer("python3", "-c", SEND, check=True)
        words = "no progress, what is in its queue has waited for"
        for name in ("replica0", "replica1"):
            wait_for(
                lambda name=name: [
                    event
                    for event in (stack.status_or_none() or {"events": []})["events"]
                    if (event["component"], event["what"]) == (name, "hung") and words in event["detail"]
                ],
                30,
                f"{name} is found",
            )
