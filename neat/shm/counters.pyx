"""Names of the counters on each component's board page."""

import functools
import importlib

SLOTS = 16
# Components in plain Python: a name's place is its index. Append, never insert.
SUPERVISOR = (
    "components_started",
    "crashes",
    "hangs",
    "restarts",
    "adopted",
    "start_failures",
    "control_requests",
    "control_errors",
)
SYSCALL = (
    "apps_registered",
    "apps_gone",
    "apps_rejoined",
    "binds",
    "listens",
    "connects",
    "replica_hellos",
    "requests",
    "errors",
    "drop_bad_message",
    "pollers",
    "cords",
    "refused_by_preload",
    "refused_memory",
)
GUARDIAN = ("store_puts", "store_gets", "store_drops", "supervisor_starts", "drop_bad_request")


def driver_names():
    """Name -> index, of the driver; those of a replica slot are called `replica3.rx_frames`."""
    names = {DriverCounter(i).name.removeprefix("DRV_").lower(): i for i in range(DRIVER_COUNTERS)}
    for slot in range(SLOTS):
        base = DRIVER_REPLICAS + slot * DRIVER_REPLICA_STRIDE
        for i in range(DRIVER_REPLICA_COUNTERS):
            name = DriverReplicaCounter(i).name.removeprefix("DRVREP_").lower()
            names[f"replica{slot}.{name}"] = base + i
    return names


def replica_names():
    """Name -> index, of a replica. Its room defines them: it is imported only when somebody asks."""
    return importlib.import_module("neat.replica.counters").names()


def enumerate_names(known):
    return {name: index for index, name in enumerate(known)}


@functools.cache
def names(component):
    """Name -> index of the counters that a component writes: "driver", "replica0", "syscall", ..."""
    if component == "driver":
        return driver_names()
    if component.startswith("replica"):
        return replica_names()
    return enumerate_names({"supervisor": SUPERVISOR, "syscall": SYSCALL, "guardian": GUARDIAN}[component])
