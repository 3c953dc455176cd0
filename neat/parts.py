"""Multi-component replicas: which slots have one, and how its parts are called.

The replica in slot k is then `replicaK` (TCP), `replicaK.udp` and `replicaK.ip`. To applications and the
syscall server the UDP part is one more replica: it has slot k + FIRST_UDP, which is never steered to. So a
stack that has such replicas has at most FIRST_UDP of them, whole or not.
"""

from neat.config import SLOTS, Config

TCP, UDP, IP = "tcp", "udp", "ip"
FIRST_UDP = SLOTS // 2


def is_multi(config: Config, slot: int) -> bool:
    return slot < FIRST_UDP and config.components_of(slot) == "multi"


def slots(config: Config) -> list[int]:
    """Those that may have a multi-component replica."""
    return [slot for slot in range(FIRST_UDP) if is_multi(config, slot)]


def slot_of(component: str) -> int:
    """The slot of a replica or of a part by its name; of an IP part that of its replica."""
    name, _, part = component.partition(".")
    return int(name.removeprefix("replica")) + (FIRST_UDP if part == UDP else 0)


def part_of(config: Config, component: str) -> str:
    """Which part a component is; empty: of none."""
    name, _, part = component.partition(".")
    if part:
        return part
    slot = name.removeprefix("replica")
    return TCP if slot.isdecimal() and is_multi(config, int(slot)) else ""


def serves_tcp(config: Config, slot: int) -> bool:
    return not config.has_parts or slot < FIRST_UDP


def serves_udp(config: Config, slot: int) -> bool:
    return not is_multi(config, slot)
