"""Local ports: which range is for whom, and which replica opens connections from a port. The one place that
says so.

**A port belongs to one replica**: that one alone opens connections from it, whatever their destination. So it
alone knows whether a 5-tuple is taken (by a connection, or by a TIME-WAIT that does not give way), and no two
replicas ever open the same one. The shares are equal. When they change with the replicas that there are,
connections that are open stay where they are, and a port's new owner does not choose it while its old one has
some (neat/syscalls/shares.py). Connections that arrive have nothing to do with it: the driver steers those.
"""

from collections.abc import Sequence

CONNECT = range(32768, 61000)  # connect() without bind(): chosen by the replica; Linux's ip_local_port_range
BIND = range(61000, 65536)  # bind() to port 0: chosen by the syscall server, so the two never meet


def share(slot: int, slots: Sequence[int]) -> tuple[int, int]:
    """(rank, count): the replica in `slot` has the ports p with p % count == rank. `slots`: of all that there
    are, ascending."""
    return slots.index(slot), len(slots)


def owner(port: int, slots: Sequence[int]) -> int:
    """The slot whose replica has this port: the reverse of `share`."""
    return slots[port % len(slots)]
