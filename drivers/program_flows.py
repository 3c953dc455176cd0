"""The steering program's part that reads and writes the flow table, as drivers/flows.pyx does.

Entries are claimed by compare-and-swap, and written with the state last: drivers/flows.pxd has the rules.
"""

from neat.drivers.assembler import R0, R1, R2, R3, R4, R5, R10, Assembler, Register
from neat.drivers.flows import IDLE, SEEN_STEP, WINDOW
from neat.drivers.program_layout import (
    AT,
    FIN,
    LOCAL_IP,
    NOW,
    PORTS,
    REMOTE_IP,
    RST,
    SLOT_AT,
    SLOT_EPOCH,
    SLOT_HALVES,
    SLOT_HOME,
    SLOT_REPLICA,
    SYN,
    TCP_FLAGS,
    go_unless_open,
    load_slot,
)
from neat.shm.steering import SLOTS, FlowState

KEY, STATE, EPOCH = AT["flow.key"], AT["flow.state"], AT["flow.epoch"]
SEEN, REPLICA = AT["flow.seen"], AT["flow.replica"]
LOCAL, REMOTE = AT["flow.local"], AT["flow.remote"]
FREE, FADING, NEW = FlowState.FLOW_FREE, FlowState.FLOW_FADING, FlowState.FLOW_NEW
LIVE, BUSY = FlowState.FLOW_LIVE, FlowState.FLOW_BUSY
STATE_SHIFT = 60  # of an entry's strength (drivers/flows.pyx)


def find_flow(a: Assembler, steering: int, flow_entries: int, secrets: tuple[int, ...]) -> None:
    """flow_find(): go on at "found" with the entry in R4 and its state in R0, or behind this."""
    _home(a, secrets)
    a.store("u64", R10, SLOT_HOME, R3)
    a.set(R5, 0)
    a.label("find")
    _entry(a, R4, steering, flow_entries)
    a.load(R0, "u32", R4, STATE)
    _go_unless_entry(a, "find next")
    _go_unless_key(a, "find next")
    _go_if_void(a, steering, "find void")
    a.load(R2, "u32", R4, STATE)
    a.go_if(R2, "==", FREE, "find next")
    a.go_if(R2, "<=", LIVE, "found")
    a.go("find next")  # claimed meanwhile: what was read may be of two flows
    # flow_heard(): the peer of a lost connection has said something.
    a.label("find void")
    a.set(R1, FREE)
    a.atomic("compare_exchange", "u32", R4, STATE, R1)
    a.label("find next")
    a.compute(R5, "+", 1)
    a.go_if(R5, "<", WINDOW, "find")


def _home(a: Assembler, secrets: tuple[int, ...]) -> None:
    """flow_home() of an IPv4 key, into R3. Uses R1, R2."""
    a.constant(R3, secrets[0])
    a.set(R1, PORTS)
    a.compute32(R1, "=", R1)  # family, protocol, local port
    a.compute(R3, "+", R1)
    a.constant(R2, secrets[1])
    a.set(R1, PORTS)
    a.compute(R1, ">>", 32)
    a.compute(R2, "+", R1)
    a.compute(R3, "*", R2)
    a.constant(R1, secrets[2])
    a.compute(R1, "+", LOCAL_IP)
    a.constant(R2, secrets[3])
    a.compute(R2, "+", REMOTE_IP)
    a.compute(R1, "*", R2)
    a.compute(R3, "+", R1)
    a.set(R1, R3)
    a.compute(R1, ">>", 32)
    a.compute(R3, "^", R1)
    a.constant(R1, secrets[4] | 1)
    a.compute(R3, "*", R1)
    a.compute(R3, ">>", 32)


def _entry(a: Assembler, to: Register, steering: int, flow_entries: int) -> None:
    """The entry R5 of the window that begins at R3. Uses R1."""
    a.set(to, R3)
    a.compute(to, "+", R5)
    a.compute(to, "&", flow_entries - 1)
    a.compute(to, "*", AT["FlowEntry"])
    a.map_value(R1, steering, AT["flows"])
    a.compute(to, "+", R1)


def _go_unless_entry(a: Assembler, label: str) -> None:
    """is_entry(): R0 is FADING, NEW or LIVE."""
    a.go_if(R0, "==", FREE, label)
    a.go_if(R0, ">", LIVE, label)


def _go_unless_key(a: Assembler, label: str) -> None:
    """flow_equal(): the entry in R4 is not of this frame's flow. Uses R1."""
    a.load(R1, "u64", R4, KEY)
    a.go_if(R1, "!=", PORTS, label)
    for at, address in ((REMOTE, REMOTE_IP), (LOCAL, LOCAL_IP)):
        a.load(R1, "u64", R4, at)
        a.go_if(R1, "!=", address, label)
        a.load(R1, "u64", R4, at + 8)
        a.go_if(R1, "!=", 0, label)


def _go_if_void(a: Assembler, steering: int, label: str) -> None:
    """flow_void() of the entry in R4. Uses R1, R2."""
    a.load(R1, "u8", R4, REPLICA)
    a.go_if(R1, ">=", SLOTS, label)
    load_slot(a, R2, R1, steering, "slot.epoch")
    a.load(R1, "u32", R4, EPOCH)
    a.go_if(R1, "!=", R2, label)


def learn(a: Assembler, steering: int, flow_entries: int) -> None:
    """flow_learn(): a SYN's flow, for the replica in SLOT_REPLICA."""
    a.load(R1, "u64", R10, SLOT_REPLICA)
    a.go_if(R1, ">=", SLOTS, "to the driver")  # for the verifier: it was on the stack
    load_slot(a, R2, R1, steering, "slot.epoch")
    a.store("u64", R10, SLOT_EPOCH, R2)
    _claim(a, steering, flow_entries)
    a.label("claimed")
    a.store("u64", R4, KEY, PORTS)
    for at, address in ((LOCAL, LOCAL_IP), (REMOTE, REMOTE_IP)):
        a.store("u64", R4, at, address)
        a.store("u64", R4, at + 8, 0)
    a.load(R1, "u64", R10, SLOT_EPOCH)
    a.store("u32", R4, EPOCH, R1)
    a.store("u64", R4, SEEN, NOW)
    a.load(R1, "u64", R10, SLOT_REPLICA)
    a.store("u64", R4, REPLICA, R1)  # and its reserved bytes
    a.set(R1, NEW)
    a.atomic("exchange", "u32", R4, STATE, R1)
    _count(a, steering, "learnt")
    a.load(R2, "u64", R10, SLOT_REPLICA)
    _count_flow(a, R2, steering, 1)
    a.label("to its replica")
    a.load(R0, "u64", R10, SLOT_REPLICA)
    a.compute(R0, "+", 1)
    a.exit()


def _claim(a: Assembler, steering: int, flow_entries: int) -> None:
    """flow_claim(): an entry in R4, BUSY. R2: the least strength so far, SLOT_AT: its place in the table."""
    a.load(R3, "u64", R10, SLOT_HOME)
    a.store("u64", R10, SLOT_AT, R3)
    a.set(R2, -1)
    _forget_bounds(a, R2)
    a.set(R5, 0)
    a.label("look")
    _entry(a, R4, steering, flow_entries)
    a.load(R0, "u32", R4, STATE)
    a.go_if(R0, "!=", FREE, "look at an entry")
    a.set(R1, BUSY)
    a.atomic("compare_exchange", "u32", R4, STATE, R1)
    a.go_if(R0, "==", FREE, "claimed")
    a.go("look next")
    a.label("look at an entry")
    _go_unless_entry(a, "look next")
    _strength(a, steering)
    a.go_if(R0, ">=", R2, "look next")
    a.set(R2, R0)
    _forget_bounds(a, R2)
    a.load(R1, "u64", R10, SLOT_HOME)
    a.compute(R1, "+", R5)
    _forget_bounds(a, R1)
    a.store("u64", R10, SLOT_AT, R1)
    a.label("look next")
    a.compute(R5, "+", 1)
    a.go_if(R5, "<", WINDOW, "look")

    a.go_if(R2, "==", -1, "full")
    a.load(R3, "u64", R10, SLOT_AT)
    a.set(R5, 0)
    _entry(a, R4, steering, flow_entries)
    a.set(R1, R2)
    a.compute(R1, ">>", STATE_SHIFT)
    a.go_if(R1, "!=", LIVE, "push out")
    a.load(R1, "u64", R4, SEEN)
    a.set(R0, NOW)
    a.compute(R0, "-", R1)
    a.constant(R1, IDLE)
    a.go_if(R0, "s<", R1, "full")
    a.label("push out")
    a.load(R0, "u32", R4, STATE)
    _go_unless_entry(a, "full")
    a.set(R5, R0)
    a.set(R1, BUSY)
    a.atomic("compare_exchange", "u32", R4, STATE, R1)
    a.go_if(R0, "!=", R5, "full")
    a.go_if(R2, "==", 0, "claimed")
    _count(a, steering, "evicted")
    a.load(R2, "u8", R4, REPLICA)
    _count_flow(a, R2, steering, -1)
    a.go("claimed")
    a.label("full")
    _count(a, steering, "full")
    a.go("to its replica")


def _forget_bounds(a: Assembler, register: Register) -> None:
    """The same value, but to the verifier it may be any now, as two halves on the stack are no number to it.
    So it looks at each place of a window once, and not at each way to come there."""
    a.store("u64", R10, SLOT_HALVES, register)
    a.store("u32", R10, SLOT_HALVES, register)
    a.load(register, "u64", R10, SLOT_HALVES)


def _strength(a: Assembler, steering: int) -> None:
    """strength() of the entry in R4 whose state is R0, into R0. Uses R1, and R3, which is restored."""
    a.load(R1, "u8", R4, REPLICA)
    a.go_if(R1, ">=", SLOTS, "is void")
    load_slot(a, R3, R1, steering, "slot.epoch")
    a.load(R1, "u32", R4, EPOCH)
    a.go_if(R1, "!=", R3, "is void")
    a.compute(R0, "<<", STATE_SHIFT)
    a.load(R1, "u64", R4, SEEN)
    a.compute(R1, "<<", 64 - STATE_SHIFT)
    a.compute(R1, ">>", 64 - STATE_SHIFT)
    a.compute(R0, "|", R1)
    a.go("has strength")
    a.label("is void")
    a.set(R0, 0)
    a.label("has strength")
    a.load(R3, "u64", R10, SLOT_HOME)


def _count(a: Assembler, steering: int, name: str) -> None:
    """Uses R0, R1."""
    a.map_value(R1, steering, AT[name])
    a.set(R0, 1)
    a.atomic("add", "u64", R1, 0, R0)


def _count_flow(a: Assembler, replica: Register, steering: int, change: int) -> None:
    """Uses R0, R1; `replica` is overwritten."""
    a.compute(replica, "&", SLOTS - 1)
    a.compute(replica, "<<", 3)
    a.map_value(R1, steering, AT["program.flows"])
    a.compute(R1, "+", replica)
    a.set(R0, change)
    a.atomic("add", "u64", R1, 0, R0)


def found(a: Assembler, steering: int) -> None:
    """by_flow(), and what becomes of the flow. R4: the entry, R0: its state as it was when it was found."""
    a.label("found")
    a.load(R2, "u8", R4, REPLICA)
    a.go_if(R2, ">=", SLOTS, "to the driver")
    a.store("u64", R10, SLOT_REPLICA, R2)
    go_unless_open(a, R2, steering)
    a.load(R1, "u64", R4, SEEN)
    a.set(R2, NOW)
    a.compute(R2, "-", R1)
    a.go_if(R2, "s<=", SEEN_STEP, "seen lately")
    a.store("u64", R4, SEEN, NOW)
    a.label("seen lately")
    a.load(R1, "u8", R10, TCP_FLAGS)
    a.set(R2, FADING)
    a.go_if(R1, "&", FIN | RST, "turn")
    a.go_if(R1, "&", SYN, "opens")
    a.set(R2, LIVE)
    a.go_if(R0, "==", NEW, "turn")
    a.go("to its replica")
    a.label("opens")
    a.set(R2, NEW)
    a.go_if(R0, "!=", FADING, "to its replica")  # opened anew (RFC 6191)
    a.label("turn")
    a.atomic("compare_exchange", "u32", R4, STATE, R2)
    a.go("to its replica")
