"""A supervisor is killed at each of its system calls by which a stack begins to steer in the kernel; its
successor gets through, and frames go where the segment says."""

import os
import platform
import selectors
import signal
import socket
import tempfile
import threading
from pathlib import Path

import pytest

from neat.config import build
from neat.drivers import program, tap
from neat.drivers.limit import STACK_MAC
from neat.replica import confine
from neat.shm.steering import SlotState, Steering
from neat.store import Store, StoreServer
from neat.supervisor import device
from neat.supervisor.inventory import Inventory
from tests.drivers.rig import KERNEL, STACK, in_netns
from tests.replica.killer import (
    ORIG_RAX,
    PTRACE_O_TRACESYSGOOD,
    PTRACE_PEEKUSER,
    PTRACE_SETOPTIONS,
    PTRACE_SYSCALL,
    PTRACE_TRACEME,
    ptrace,
)

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64"),
    pytest.mark.skipif(bool(program.usable() or confine.usable()), reason="no datapath of queues"),
]
WATCHED = {1, 16, 18, 46, 49, 77, 321}  # write, ioctl, pwrite64, sendmsg, bind, ftruncate, bpf
SYSCALL_STOP = signal.SIGTRAP | 0x80
MOST = 300


class Guardian:
    """A store that answers on any number of sockets, in a thread."""

    def __init__(self):
        self.store = StoreServer()
        self.selector = selectors.DefaultSelector()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            for key, _mask in self.selector.select(0.01):
                if not self.store.handle(key.fileobj):
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()

    def client(self):
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.setblocking(False)
        self.selector.register(peer, selectors.EVENT_READ)
        return ours.detach()


def begin(store_fd, config, directory):
    """What a supervisor does before it starts anything; the steering segment."""
    inventory = Inventory(Store(store_fd), config, directory)
    inventory.ensure_all()
    device.steer(inventory.fds["tap"], inventory.fds["steering"], config)
    return inventory


def kill_at(number, store_fd, config, directory):
    """Whether a supervisor came to this call, and was killed as it entered it."""
    pid = os.fork()
    if pid == 0:
        ptrace(PTRACE_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        begin(store_fd, config, directory)
        os._exit(0)
    os.close(store_fd)
    os.waitpid(pid, 0)
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD)
    entered = False
    while True:
        ptrace(PTRACE_SYSCALL, pid)
        _pid, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return False
        if os.WSTOPSIG(status) != SYSCALL_STOP:
            continue
        entered = not entered
        if entered and ptrace(PTRACE_PEEKUSER, pid, ORIG_RAX) in WATCHED:
            number -= 1
            if number == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return True


def steered_to(queues, sender):
    """The number of the queue in which one datagram to the stack arrives."""
    sender.sendto(b"x", (STACK, 9))
    for number, fd in enumerate(queues):
        try:
            os.read(fd, 2048)
        except BlockingIOError:
            continue
        return number
    return None


@in_netns
def test_successor_steers_whenever_its_predecessor_was_killed():
    guardian = Guardian()
    queues, config, _why = device.attach(build({"datapath": "queues", "replicas": 1, "flow_entries": 1024}))
    device.configure(queues[0], config)
    known = f"ip neigh add {STACK} lladdr {STACK_MAC.hex(':')} dev {config.tap}"
    assert os.system(known) == 0
    kills = 0
    with tempfile.TemporaryDirectory() as path, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((KERNEL, 0))
        while kills < MOST:
            for name, fd in zip(device.NAMES, queues, strict=True):
                guardian.store.keep(name, os.dup(fd))
            killed = kill_at(kills + 1, guardian.client(), config, Path(path))
            inventory = begin(guardian.client(), config, Path(path))
            steering = Steering(inventory.fds["steering"], config.flow_entries, writable=True)
            assert steered_to(queues, sender) == 0, "no slot is open yet"
            steering.set_state(0, SlotState.SLOT_ACTIVE)
            assert steered_to(queues, sender) == 1
            for fd in inventory.fds.values():
                os.close(fd)
            inventory.store.sock.close()
            for name in list(guardian.store.kept):
                os.close(guardian.store.kept.pop(name))
            if not killed:
                break
            kills += 1
    tap.close(queues)
    assert 20 < kills < MOST
