"""The device: what opening it makes, what it refuses, and what it can do by itself."""

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading

import pytest
from pyroute2.iproute import IPRoute

from neat.drivers import tap
from neat.drivers.echo import Meter
from neat.drivers.limit import STACK_MAC, measure
from tests.drivers.peers import Pinger
from tests.drivers.rig import KERNEL, STACK, in_netns

pytestmark = pytest.mark.netns
TUNGETIFF, TUNGETVNETHDRSZ = 0x800454D2, 0x800454D7
ADDRESS = f"{KERNEL}/24"


@in_netns
def test_device_is_ready_for_frames():
    (fd,) = tap.open_tap("wire0", ADDRESS, 9000)
    flags = struct.unpack_from("16sH", fcntl.ioctl(fd, TUNGETIFF, bytes(40)))[1]
    assert flags & (tap.IFF_TAP | tap.IFF_NAPI | tap.IFF_NO_PI | tap.IFF_VNET_HDR) == 0x5012
    assert struct.unpack("i", fcntl.ioctl(fd, TUNGETVNETHDRSZ, bytes(4)))[0] == 10
    assert not os.get_blocking(fd)
    assert not os.get_inheritable(fd)
    with IPRoute() as netlink:
        for name, mtu in (("wire0", 9000), ("lo", 65536)):
            (index,) = netlink.link_lookup(ifname=name)
            (link,) = netlink.get_links(index)
            assert link["flags"] & 1, f"{name} is up"
            assert link.get("mtu") == mtu
        (index,) = netlink.link_lookup(ifname="wire0")
        disciplines = {q["index"]: q.get("kind") for q in netlink.get_qdiscs()}
        addresses = [(a.get("address"), a["prefixlen"]) for a in netlink.get_addr(index=index)]
    assert addresses == [(KERNEL, 24)]
    assert disciplines[index] == "noqueue"


@in_netns
def test_device_of_many_queues():
    """17 queues, each as long as one alone, and no discipline before any."""
    fds = tap.open_tap("wire0", ADDRESS, 1500, queues=17)
    assert len(fds) == len(set(fds)) == 17
    assert not any(map(os.get_blocking, fds)) and not any(map(os.get_inheritable, fds))
    for fd in fds:
        assert struct.unpack("i", fcntl.ioctl(fd, TUNGETVNETHDRSZ, bytes(4)))[0] == 10
    with IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname="wire0")
        (link,) = netlink.get_links(index)
        disciplines = [q.get("kind") for q in netlink.get_qdiscs() if q["index"] == index]
    assert disciplines == ["noqueue"]
    assert link.get("txqlen") == tap.QUEUE_FRAMES
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("wire0", 0))
        for _ in range(3 * tap.QUEUE_FRAMES):  # all of one flow, so they wait in one queue
            with contextlib.suppress(OSError):  # ENOBUFS, as there is no discipline that would hold it
                sender.send(bytes(64))
    assert sorted(map(waiting, fds)) == [0] * 16 + [tap.QUEUE_FRAMES]


def waiting(fd):
    """How many frames a queue has, by reading them."""
    count = 0
    while select.select([fd], [], [], 0)[0]:
        os.read(fd, 2048)
        count += 1
    return count


@in_netns
def test_multi_queue_device_is_nobody_elses():
    """It gets no queues of a second program, which would take frames away."""
    held = tap.open_tap("wire0", ADDRESS, 1500, queues=2)
    for queues, number, text in (
        (2, errno.EBUSY, "its name is in use already"),
        (1, errno.EINVAL, "there is another device"),
    ):
        with pytest.raises(tap.TapError, match=text) as caught:
            tap.open_tap("wire0", ADDRESS, 1500, queues=queues)
        assert caught.value.errno == number
    with pytest.raises(tap.TapError, match="MTU 1048576"):
        tap.open_tap("wire1", ADDRESS, 1 << 20, queues=2)
    assert {name for _, name in socket.if_nameindex()} == {"lo", "wire0"}
    tap.close(held)
    assert {name for _, name in socket.if_nameindex()} == {"lo"}


@in_netns
def test_device_lives_as_long_as_a_descriptor():
    (first,) = tap.open_tap("wire0", ADDRESS, 1500)
    copy = os.dup(first)
    os.close(first)
    assert "wire0" in dict(socket.if_nameindex()).values()
    os.close(copy)
    assert "wire0" not in dict(socket.if_nameindex()).values()


@in_netns
def test_refusals_are_one_line_and_leave_nothing():
    (held,) = tap.open_tap("wire0", ADDRESS, 1500)
    for name, mtu, number, text in [
        ("wire0", 1500, errno.EBUSY, "in use by another program"),
        ("lo", 1500, errno.EINVAL, "another device"),
        ("x" * 16, 1500, errno.EINVAL, "1 to 15 characters"),
        ("", 1500, errno.EINVAL, "1 to 15 characters"),
        ("a/b", 1500, errno.EINVAL, "no / or %"),
        ("wire%d", 1500, errno.EINVAL, "no / or %"),
        ("wire1", 1 << 20, errno.EINVAL, "MTU 1048576"),
    ]:
        with pytest.raises(tap.TapError, match=text) as caught:
            tap.open_tap(name, ADDRESS, mtu)
        assert caught.value.errno == number
        assert "\n" not in str(caught.value)
    assert {name for _, name in socket.if_nameindex()} == {"lo", "wire0"}
    os.close(held)


@in_netns
def test_without_the_right_to_make_devices():
    os.setgid(65534)
    os.setuid(65534)
    with pytest.raises(tap.TapError, match="permission denied"):
        tap.open_tap("wire0", ADDRESS, 1500)


@in_netns
def test_no_clone_device():
    tap.CLONE_DEVICE = "/dev/net/there-is-none"
    with pytest.raises(tap.TapError, match="does not exist"):
        tap.open_tap("wire0", ADDRESS, 1500)


@in_netns
def test_wire_is_quiet():
    """Nothing that the kernel sends of itself reaches the driver while nobody talks."""
    (fd,) = tap.open_tap("wire0", ADDRESS, 1500)
    assert select.select([fd], [], [], 1.5)[0] == []


@in_netns
def test_responder_answers_arp_and_ping():
    (fd,) = tap.open_tap("wire0", ADDRESS, 1500)
    stop, ring = os.pipe()
    responder = threading.Thread(target=Meter().answer, args=(fd, stop, STACK_MAC, 10))
    responder.start()
    pinger = Pinger()
    assert pinger.ping()
    assert pinger.ping(bytes(range(256)) * 5)
    os.close(ring)
    responder.join()


@in_netns
def test_limit_is_measured():
    (fd,) = tap.open_tap("wire0", ADDRESS, 1500)
    found = measure(fd, "wire0", KERNEL, STACK, seconds=0.1)
    assert found["small"]["frame_bytes"] == 64
    assert found["large"]["frame_bytes"] > 65_000
    for size in ("small", "large"):
        assert found[size]["frames"] > 0
        assert found[size]["read_ns"] > 0 < found[size]["write_ns"]
    for window in ("one", "pipelined"):
        assert found["echo"][window]["round_trips"] > found["echo"][window]["lost"]


@in_netns
def test_persistent_device_has_the_queue_that_it_was_made_with():
    """As somebody with the rights made it for who has none."""
    subprocess.run(["ip", "tuntap", "add", "wire0", "mode", "tap", "vnet_hdr"], check=True)
    with pytest.raises(tap.TapError, match="already"):
        tap.open_tap("wire0", ADDRESS, 1500, queues=2)
    assert len(tap.open_tap("wire0", ADDRESS, 1500)) == 1
