"""The TAP device: made, and configured as the kernel's end of the wire."""

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyroute2.iproute import IPRoute

CLONE_DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
IFF_TAP, IFF_NAPI, IFF_MULTI_QUEUE = 0x0002, 0x0010, 0x0100
IFF_NO_PI, IFF_VNET_HDR, IFF_TUN_EXCL = 0x1000, 0x4000, 0x8000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04
VNET_BYTES = 10
NAME_MAX = 15
# Frames that the kernel keeps in each queue before it drops. A restart of who reads it fits in.
QUEUE_FRAMES = 2000
# The parent of a device's root queueing discipline (TC_H_ROOT).
ROOT = 0xFFFFFFFF

# Why there is no clone device, or no device from it; for other errors the system's own words will do.
NO_CLONE_DEVICE = {
    errno.ENOENT: "it does not exist (is the kernel module tun loaded?)",
    errno.ENXIO: "the kernel has no TAP support",
    errno.ENODEV: "the kernel has no TAP support",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}
NO_DEVICE = {
    errno.EBUSY: "in use by another program",
    errno.EPERM: "permission denied (CAP_NET_ADMIN is needed in this network namespace)",
    errno.EINVAL: "there is another device of this name, which is no such TAP device",
}
NOT_NEW = {errno.EBUSY: "its name is in use already"}


class TapError(OSError):
    """The device cannot be had; the text is one line that says why."""


def open_tap(name: str, address: str, mtu: int, offload: bool = True, queues: int = 1) -> list[int]:
    """Make the TAP device `name` in the calling thread's network namespace; bring it and the loopback up.

    address: the kernel's own on the wire, with prefix (10.77.0.1/24). The descriptors that are returned
    (non-blocking, close-on-exec) are those of its queues, 1 to 256; they are numbered as in this list while
    all are open, and closing one renumbers the others. The device lives as long as a copy of one of them,
    wherever it is sent. With offload, frames of up to 64 KiB and partial checksums go both ways. TapError
    when it cannot be had; nothing is left then.
    """
    fds = attach(name, queues)
    try:
        configure(fds[0], name, address, mtu, offload)
    except BaseException:
        close(fds)
        raise
    return fds


def attach(name: str, queues: int = 1) -> list[int]:
    """The device of open_tap(), which is down yet. A second queue makes it a multi-queue device, which must
    not be there before; with one queue it may be, if it is free."""
    encoded = name.encode()
    odd = set("/%") & set(name) or name in (".", "..") or not name.isprintable()
    if odd or not 0 < len(encoded) <= NAME_MAX:
        rule = f"a device name has 1 to {NAME_MAX} characters and no / or %"
        raise TapError(errno.EINVAL, f"TAP device {name!r}: {rule}")
    # NAPI: with each frame that we write, the processor also frees what others have returned to it of what we
    # wrote before. Else they interrupt it for that, every 32 frames.
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_NAPI | (IFF_MULTI_QUEUE if queues > 1 else 0)
    # Without IFF_TUN_EXCL, a multi-queue device of another program would just get more queues.
    first = flags | (IFF_TUN_EXCL if queues > 1 else 0)
    fds: list[int] = []
    try:
        for number in range(queues):
            fds.append(_attach_queue(name, flags if number else first))
    except TapError:
        close(fds)
        raise
    return fds


def configure(fd: int, name: str, address: str, mtu: int, offload: bool = True) -> None:
    """The other half of open_tap(), of a device that is attached; `fd` is any of its queues."""
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_BYTES))
    # No TUN_F_TSO_ECN and USO: the kernel then splits those segments itself.
    fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 if offload else 0)
    _silence_ipv6(name)
    _bring_up(name, address, mtu)


def close(fds: list[int]) -> None:
    """Take the device away, unless somebody has a copy."""
    for fd in fds:
        os.close(fd)


def _attach_queue(name: str, flags: int) -> int:
    try:
        fd = os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TapError(error.errno, f"{CLONE_DEVICE}: {_reason(NO_CLONE_DEVICE, error)}") from None
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as error:
        os.close(fd)
        known = NO_DEVICE | (NOT_NEW if flags & IFF_TUN_EXCL else {})
        raise TapError(error.errno, f"TAP device {name}: {_reason(known, error)}") from None
    return fd


def _reason(known: dict[int, str], error: OSError) -> str:
    return known.get(error.errno or 0) or error.strerror or str(error)


def _silence_ipv6(name: str) -> None:
    """No router solicitations and multicast reports on a wire whose other end speaks IPv4."""
    setting = Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6")
    try:
        setting.write_text("1")
    except OSError:
        # No IPv6 in this kernel, or /proc/sys is read-only: then there is some noise, steered like all else.
        return


def _bring_up(name: str, address: str, mtu: int) -> None:
    from pyroute2.iproute import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    local, _, prefix = address.partition("/")
    try:
        with IPRoute() as netlink:
            (index,) = netlink.link_lookup(ifname=name)
            netlink.link("set", index=index, mtu=mtu, txqlen=QUEUE_FRAMES)
            netlink.addr("replace", index=index, address=local, prefixlen=int(prefix))
            netlink.link("set", index=index, state="up")
            netlink.link("set", index=netlink.link_lookup(ifname="lo")[0], state="up")
            _without_discipline(netlink, index)
    except NetlinkError as error:
        reason = error.args[1] if len(error.args) > 1 else os.strerror(error.code)
        raise TapError(error.code, f"TAP device {name} with {address}, MTU {mtu}: {reason}") from None


def _without_discipline(netlink: "IPRoute", index: int) -> None:
    """Frames go into the device's own queues at once, as on a veth pair: a queueing discipline before them
    would never hold one, and costs the sender a lock and a detour for each. It goes for all queues."""
    from pyroute2.netlink.exceptions import NetlinkError

    # A kernel without traffic control has none in the way.
    with contextlib.suppress(NetlinkError):
        netlink.tc("replace", "noqueue", index, parent=ROOT)
