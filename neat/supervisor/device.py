"""The device of a stack, and its datapath: the way of a frame from the device to a replica.

"driver": one queue, which the driver reads; it hands frames on over rings. "queues": the kernel steers, by a
program that the supervisor installs, and each replica slot has a queue of its own; the driver's has what is
left (docs/contracts/steering.md). The guardian makes the device and says which it is: from then on
`config.datapath` is one of the two.
"""

import errno

import msgspec

from neat.config import Config
from neat.drivers import program, tap
from neat.replica import confine
from neat.shm import steering

# Under these names the store has the queues, in the order of the device: the driver's, then slot k's.
NAMES = ("tap", *(f"queue{k}" for k in range(steering.SLOTS)))
PREFERRED = "queues"  # what "auto" becomes where there is a choice: what is measured to be better


def attach(config: Config) -> tuple[list[int], Config, str]:
    """The queues of the device, which is down yet; the settings, with `datapath` decided; and why "auto" did
    not become "queues", where it was meant to. TapError when there is no device to be had, or none for the
    datapath that was asked for; nothing is left then."""
    wish = PREFERRED if config.datapath == "auto" else config.datapath
    why = ""
    failure: tap.TapError | None = None
    if wish == "queues":
        why = program.usable() or confine.usable()
    if wish == "queues" and not why:
        try:
            queues = tap.attach(config.tap, len(NAMES))
            return queues, msgspec.structs.replace(config, datapath="queues"), ""
        except tap.TapError as error:
            failure, why = error, str(error.strerror)
    if config.datapath == "queues":
        raise tap.TapError(errno.EOPNOTSUPP, f"datapath = 'queues' is not possible: {why}")
    try:
        return tap.attach(config.tap), msgspec.structs.replace(config, datapath="driver"), why
    except tap.TapError as error:
        # If somebody has a multi-queue device of the name, the second attempt says only that it is of another
        # kind.
        raise failure or error from None


def configure(fd: int, config: Config) -> None:
    """Addresses and all else; then it is up. `fd`: any of its queues."""
    gateway = f"{config.gateway}/{config.interface.network.prefixlen}"
    tap.configure(fd, config.tap, gateway, config.mtu, config.offload)


def counted(name: str) -> dict[str, int]:
    """What the kernel counts of the device, seen from the stack; empty where it is in another namespace than
    the caller, or gone. `drops`: frames that found no room in their queue."""
    with open("/proc/self/net/dev") as table:
        for line in table:
            device, colon, numbers = line.partition(":")
            if colon and device.strip() == name:
                values = [int(number) for number in numbers.split()]
                # Eight values each for what the kernel received and sent: bytes, packets, errors, drops ...
                (bytes_out, frames_out), (bytes_in, frames_in, _, drops) = values[:2], values[8:12]
                return {
                    "frames_in": frames_in,
                    "bytes_in": bytes_in,
                    "frames_out": frames_out,
                    "bytes_out": bytes_out,
                    "drops": drops,
                }
    return {}


def make_steering(config: Config) -> int:
    """A new steering segment, in which no slot is open. The kernel's program reads and writes it too, where
    there is one."""
    return steering.create(config.flow_entries, kernel=config.datapath == "queues")


def steer(queue: int, steering_fd: int, config: Config) -> None:
    """Have the kernel steer by this segment from now on, in place of what it did. `queue`: any of the
    device's. Raises OSError."""
    if config.datapath == "queues":
        program.install(queue, steering_fd, config.flow_entries)
