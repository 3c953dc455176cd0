"""A driver on a TAP device in a network namespace of its own, with replicas that are threads of the test."""

import ctypes
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

from neat.boot import Boot
from neat.config import build
from neat.drivers.tap import open_tap
from neat.shm import board, doorbell, link, segment, steering
from neat.shm.pyring import FRAME

CLONE_NEWNET = 0x40000000
KERNEL, STACK = "10.77.0.1", "10.77.0.2"
MAC = "02:4e:00:00:00:01"
RING = 1 << 18
SLOT_ACTIVE, SLOT_RECOVERING, SLOT_TERMINATING = 2, 3, 4


def in_netns(function):
    """Run a test in a child process that has a network namespace of its own."""

    @functools.wraps(function)
    def wrapper():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "unshare")
                function()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        pidfd = os.pidfd_open(child)
        try:
            ended = select.select([pidfd], [], [], 60)[0]
            if not ended:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        finally:
            os.close(pidfd)
        assert ended, "the test did not end"
        assert os.waitstatus_to_exitcode(status) == 0, "see the child's output"

    return wrapper


def eventually(condition, timeout=10.0):
    """Wait until condition() is true, looking often; its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.002)
    return value


class Rig:
    """Segments, device and descriptors of a stack, as guardian and supervisor would hold them."""

    def __init__(self, replicas=2, **settings):
        self.config = build({"replicas": replicas, "ring_bytes": RING, "flow_entries": 1024, **settings})
        (self.tap,) = open_tap(self.config.tap, f"{KERNEL}/24", self.config.mtu, self.config.offload)
        self.board_fd = segment.create("board", board.BOARD_BYTES)
        self.steering_fd = segment.create("steering", steering.steering_bytes(self.config.flow_entries))
        steering.initialise(self.steering_fd, self.config.flow_entries)
        self.steering = steering.Steering(self.steering_fd, self.config.flow_entries, writable=True)
        self.board = board.BoardReader(self.board_fd)
        self.bell = doorbell.make()
        self.link_fds, self.bells = [], []
        for k in range(replicas):
            fd = segment.create(f"link{k}", link.link_bytes(RING, RING))
            link.initialise(fd, RING, RING)
            self.link_fds.append(fd)
            self.bells.append(doorbell.make())
            self.steering.set_state(k, SLOT_ACTIVE)
        self.ctl, self.ctl_peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ctl.settimeout(10)
        self.lifeline, self.lifeline_end = os.pipe()
        self.incarnation = 0
        self.driver = None

    def start(self):
        """Start a driver (or its successor) and wait until it is ready."""
        self.incarnation += 1
        fds = {
            "board": self.board_fd,
            "tap": self.tap,
            "steering": self.steering_fd,
            "ctl": self.ctl_peer.fileno(),
            "lifeline": self.lifeline,
            "bell.driver": self.bell,
        }
        for k, fd in enumerate(self.link_fds):
            fds |= {f"link{k}": fd, f"bell.replica{k}": self.bells[k]}
        boot = Boot("driver", self.incarnation, self.config, fds)
        self.driver = subprocess.Popen(
            [sys.executable, "-m", "neat.drivers", boot.to_json()], pass_fds=tuple(fds.values())
        )
        assert json.loads(self.ctl.recv(1 << 16)) == {"event": "ready"}
        return self.driver

    def counters(self):
        return self.board.read("driver").counters

    def link_memory(self, k):
        """Link k as bytes, for a replica that lies."""
        return link.Link(self.link_fds[k], RING, RING).segment.view

    def replica(self, k):
        """The replica's ends of link k."""
        ends = link.Link(self.link_fds[k], RING, RING)
        return FakeReplica(
            k, ends.rx_ring(producer=False), ends.tx_ring(producer=True), self.bells[k], self.bell
        )


class FakeReplica:
    """A replica's side of a link. After `serve`, a thread gives each frame to `answer` and sends what that
    returns."""

    def __init__(self, k, rx, tx, bell, driver_bell):
        self.k, self.rx, self.tx, self.bell, self.driver_bell = k, rx, tx, bell, driver_bell
        self.frames = []
        self.stopped = False

    def take(self):
        """All records that wait, as (vnet header, frame)."""
        taken = []
        while (record := self.rx.pop()) is not None:
            taken.append((record[2][:10], record[2][10:]))
        self.rx.release()
        return taken

    def send(self, frame, vnet=bytes(10)):
        self.record(vnet + frame, FRAME)

    def record(self, payload, type):
        """Put a record into the transmit ring, waiting for room."""
        eventually(lambda: self.tx.push(payload, type))
        if self.tx.publish():
            doorbell.ring(self.driver_bell)

    def serve(self, answer):
        def loop():
            while not self.stopped:
                frames = self.take()
                for vnet, frame in frames:
                    self.frames.append((vnet, frame))
                    for reply in answer(vnet, frame):
                        self.send(*reply)
                if not frames and self.rx.prepare_sleep():
                    select.select([self.bell], [], [], 0.5)
                    self.rx.cancel_sleep()
                    doorbell.clear(self.bell)

        threading.Thread(target=loop, daemon=True).start()
        return self
