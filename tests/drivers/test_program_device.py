"""The steering program on a device: what the kernel's own sockets send arrives in the queue that the table
says."""

import contextlib
import os
import select
import socket

import pytest
from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from neat.drivers import program
from neat.drivers.assembler import R0, R2, R3, Assembler
from neat.drivers.pysteer import Steering, toeplitz
from neat.drivers.tap import open_tap
from neat.shm import bpf, steering
from tests.drivers.rig import KERNEL, MAC, STACK, in_netns

CAPACITY = 1024
SLOTS = 16
ABSENT, ACTIVE, TERMINATING = 0, 2, 4
VNET = 10
NEW = 2
PROG_TYPE_SCHED_CLS, SKB_VLAN_PUSH = 3, 18  # linux/bpf.h
CLSACT_EGRESS = 0xFFFFFFF3  # linux/pkt_sched.h

pytestmark = pytest.mark.skipif(bool(program.usable()), reason=program.usable() or "")


class Device:
    """A device with a queue for each slot, which steers; its neighbour is known."""

    def __init__(self):
        self.queues = open_tap("neat0", f"{KERNEL}/24", 1500, queues=SLOTS + 1)
        self.fd = steering.create(CAPACITY, kernel=True)
        self.table = steering.Steering(self.fd, CAPACITY, writable=True)
        for slot in range(SLOTS):
            self.table.set_state(slot, ACTIVE)
        self.driver = Steering(self.table.segment.view, CAPACITY)
        program.install(self.queues[0], self.fd, CAPACITY)
        with IPRoute() as netlink:
            self.index = netlink.link_lookup(ifname="neat0")[0]
            netlink.neigh("replace", dst=STACK, lladdr=MAC, ifindex=self.index, state="permanent")

    def next_frame(self):
        """(queue, frame) of the next one that arrives."""
        ready = select.select(self.queues, [], [], 30)[0]
        assert len(ready) == 1, "one frame was sent"
        return self.queues.index(ready[0]), os.read(ready[0], 65536)[VNET:]

    def queue_of(self, port):
        """The queue of the next frame from a port of the kernel's; a SYN of before may be sent again."""
        while True:
            for fd in select.select(self.queues, [], [], 30)[0]:
                frame = os.read(fd, 65536)[VNET:]
                if int.from_bytes(frame[34:36], "big") == port:
                    return self.queues.index(fd)

    def expected(self, port, local_port):
        """The queue that the indirection table gives to a port of the kernel's."""
        hashed = toeplitz(self.table.rss_key, KERNEL, STACK, (port, local_port))
        return self.table.indirection[hashed % steering.ENTRIES] + 1


def udp_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((KERNEL, 0))
    return sock


def connect(port=0):
    """A connection that begins: its SYN is sent. Returns its socket."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((KERNEL, port))
    with contextlib.suppress(BlockingIOError):
        sock.connect((STACK, 80))
    return sock


@in_netns
def test_datagrams_go_by_hash():
    device = Device()
    seen = set()
    for size in [0, 1, 6, 100, 1400] * 16:
        with udp_socket() as sock:
            sock.sendto(bytes(size), (STACK, 53))
            queue, frame = device.next_frame()
            assert queue == device.expected(sock.getsockname()[1], 53)
            assert len(frame) == 14 + 28 + size
            seen.add(queue)
    assert len(seen) > 4 and 0 not in seen


@in_netns
def test_a_connection_stays_when_the_table_changes():
    device = Device()
    for _ in range(20):
        with connect() as sock:
            port = sock.getsockname()[1]
            queue = device.queue_of(port)
            assert queue == device.expected(port, 80)
            assert device.driver.find((6, STACK, 80, KERNEL, port)) == (queue - 1, NEW)
    device.table.set_state(queue - 1, TERMINATING)
    assert device.expected(port, 80) != queue
    with connect(port):
        assert device.queue_of(port) == queue


@in_netns
def test_everything_else_is_the_drivers():
    device = Device()
    with udp_socket() as sock:
        sock.sendto(bytes(3000), (STACK, 53))
        for _ in range(3):  # fragments
            assert device.next_frame()[0] == 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(b"to all", ("10.77.0.255", 53))
        assert device.next_frame()[0] == 0
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01\x01\x01\x00")
        sock.sendto(b"with options", (STACK, 53))
        assert device.next_frame()[0] == 0
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"")
        sock.sendto(b"who has?", ("10.77.0.77", 53))
        queue, frame = device.next_frame()
        assert queue == 0 and frame[12:14] == b"\x08\x06"
    for slot in range(SLOTS):
        device.table.set_state(slot, ABSENT)
    with udp_socket() as sock:
        sock.sendto(b"to nobody", (STACK, 53))
        assert device.next_frame()[0] == 0


@in_netns
def test_a_tagged_frame_is_the_drivers():
    """The tag of a VLAN stands beside the frame and not in it, when the program sees it. As there is not
    always a VLAN device to be had, a program on the way out tags what is sent."""
    device = Device()
    a = Assembler()
    a.set(R2, socket.htons(0x8100))
    a.set(R3, 5)
    a.call(SKB_VLAN_PUSH)
    a.set(R0, 0)  # TC_ACT_OK
    a.exit()
    tagger = bpf.load("neat_tag", a.assemble(), PROG_TYPE_SCHED_CLS)
    with IPRoute() as netlink, udp_socket() as sock:
        sock.sendto(b"without", (STACK, 53))
        queue, frame = device.next_frame()
        assert queue == device.expected(sock.getsockname()[1], 53)
        try:
            netlink.tc("add", "clsact", device.index)
            options = {"fd": tagger, "name": "tag", "parent": CLSACT_EGRESS, "classid": 1}
            netlink.tc("add-filter", "bpf", device.index, direct_action=True, **options)
        except NetlinkError as error:
            print("no test of tags: this kernel has no programs on the way out:", error)
            return
        sock.sendto(b"with", (STACK, 53))
        queue, frame = device.next_frame()
        assert frame[12:18] == b"\x81\x00\x00\x05\x08\x00"
        assert queue == 0


@in_netns
def test_a_program_takes_the_place_of_another():
    """As a supervisor that starts anew installs it: by the table of before, with the flows of before."""
    device = Device()
    with connect() as sock:
        port = sock.getsockname()[1]
        queue = device.queue_of(port)
    for _ in range(3):
        program.install(device.queues[0], device.fd, CAPACITY)
    device.table.set_state(queue - 1, TERMINATING)
    with connect(port):
        assert device.queue_of(port) == queue
