"""The differences from Linux that are meant. Each is in the matrix of neat/shim/README.md too, where it
names its scenario."""

from typing import NamedTuple


class Difference(NamedTuple):
    """`row`: in the README's table. `lines` as a diff shows them: `- ` what Linux's transcript has in that
    place, `+ ` what NEaT's has."""

    row: str
    lines: tuple[str, ...]


DIFFERENCES: dict[str, Difference] = {
    "datagram/longer_than_a_frame": Difference(
        "fragments",
        (
            "- send(fd, data, sizeof data, 0): 3000",
            "+ send(fd, data, sizeof data, 0): -1 EMSGSIZE",
        ),
    ),
    "descriptors/queue_lengths": Difference(
        "unsent",
        (
            "- ioctl(fd, SIOCOUTQNSD, &n): 0",
            "+ ioctl(fd, SIOCOUTQNSD, &n): -1 ENOTTY",
        ),
    ),
    "option/names_of_congestion_control_and_devices": Difference(
        "devices",
        (
            '- setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nonesuch", 8): -1 ENODEV',
            '+ setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nonesuch", 8): -1 ENOPROTOOPT',
        ),
    ),
    "process/socket_made_before_fork_connected_after": Difference(
        "own",
        (
            '- write(fd, "parent", 6): 6',
            "- [exit 0]",
            "+ [exit -13]",
        ),
    ),
    "setup/bind_while_connections_fade": Difference(
        "fading",
        (
            "- bind(fd, IN(same)): -1 EADDRINUSE",
            "+ bind(fd, IN(same)): 0",
        ),
    ),
}
