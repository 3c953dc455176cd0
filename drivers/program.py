"""The steering program: who gets a frame, decided in the kernel, where each replica has a queue of its own.

Read first: docs/contracts/steering.md, "In the kernel"; linux/if_tun.h, TUNSETSTEERINGEBPF. The kernel runs
it for each frame that it sends into the device, on any CPU, many at a time, and takes the result modulo the
number of attached queues: 0 is the driver's queue, k + 1 that of slot k.

It does for plain frames of TCP and UDP over IPv4 what drivers/steer.pyx does (steer_arrival), on the same
page and flow table, in the order of that file; each part names the function that it mirrors. Whatever is
different about a frame, the driver gets it and decides. What is written about flows differs in three points,
as what leaves the stack does not pass here: an answer of the peer makes a flow LIVE; a FIN or RST that comes
makes it FADING; a void entry is freed by a packet of its flow, whoever was told of it.
"""

import fcntl
import os
import struct

from neat.drivers.assembler import R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, Assembler, Register
from neat.drivers.flows import IDLE, SEEN_STEP, WINDOW
from neat.drivers.toeplitz import tables
from neat.shm import bpf
from neat.shm.steering import ENTRIES, SLOTS, FlowState, SlotState, Steering, create, layout

TUNSETSTEERINGEBPF = 0x800454E0
# linux/bpf.h: functions of the kernel.
SKB_LOAD_BYTES, KTIME_GET_COARSE_NS = 26, 160
# struct __sk_buff.
SKB_LENGTH, SKB_VLAN_PRESENT = 0, 20

ETHERNET, IP_PLAIN = 14, 0x45  # bytes; version 4 with a header of five words
UDP_HEADERS, TCP_FLAGS_END = 20 + 8, 20 + 14  # bytes from the IP header on that a packet must have
PROTO_TCP, PROTO_UDP = 6, 17
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
FAMILY_IPV4 = 4
TABLE_BYTES = 256 * 4  # of the Toeplitz hash, for each byte of its input
TOEPLITZ_IPV4 = 12  # bytes of input: two addresses, two ports
STATE_SHIFT = 60  # of an entry's strength (drivers/flows.pyx)

# The stack. The frame's first bytes lie so that addresses and ports are aligned.
HEADERS = 48  # up to the TCP flags
FRAME = -50
ETHERTYPE, VERSION, TOTAL_LENGTH, FRAGMENT = FRAME + 12, FRAME + 14, FRAME + 16, FRAME + 20
PROTOCOL, SOURCE, DESTINATION = FRAME + 23, FRAME + 26, FRAME + 30
SOURCE_PORT, DESTINATION_PORT, TCP_FLAGS = FRAME + 34, FRAME + 36, FRAME + 47
SLOT_HOME, SLOT_REPLICA, SLOT_EPOCH, SLOT_AT, SLOT_HALVES = -64, -72, -80, -88, -96

AT = layout()
KEY, STATE, EPOCH = AT["flow.key"], AT["flow.state"], AT["flow.epoch"]
SEEN, REPLICA = AT["flow.seen"], AT["flow.replica"]
LOCAL, REMOTE = AT["flow.local"], AT["flow.remote"]
FREE, FADING, NEW = FlowState.FLOW_FREE, FlowState.FLOW_FADING, FlowState.FLOW_NEW
LIVE, BUSY = FlowState.FLOW_LIVE, FlowState.FLOW_BUSY

# What registers hold once the frame is read; there is no call after that.
PORTS, LOCAL_IP, REMOTE_IP, NOW = R6, R7, R8, R9  # PORTS: the first eight bytes of the FlowKey


def install(tap: int, steering: int, flow_entries: int) -> None:
    """Have the device of this descriptor steer by the steering segment, which is a BPF map. A program that
    was set before is replaced between two frames. BpfError, OSError."""
    program = load(steering, flow_entries)
    try:
        fcntl.ioctl(tap, TUNSETSTEERINGEBPF, struct.pack("i", program))
    finally:
        os.close(program)


def usable() -> str:
    """Why no steering program can run here, in one line; "" if one can."""
    flow_entries = 64
    try:
        steering = create(flow_entries, kernel=True)
    except bpf.BpfError as error:
        return error.strerror or str(error)
    try:
        os.close(load(steering, flow_entries))
    except bpf.BpfError as error:
        return error.strerror or str(error)
    finally:
        os.close(steering)
    return ""


def load(steering: int, flow_entries: int) -> int:
    """The program for a steering segment, in the kernel: its descriptor. BpfError."""
    key = Steering(steering, flow_entries).rss_key
    hashing = bpf.constant("neat_toeplitz", tables(key)[: TOEPLITZ_IPV4 * TABLE_BYTES])
    try:
        return bpf.load("neat_steering", build(steering, hashing, flow_entries, key))
    finally:
        os.close(hashing)


def build(steering: int, hashing: int, flow_entries: int, key: bytes) -> bytes:
    """The program's instructions. steering, hashing: descriptors of its maps."""
    a = Assembler()
    _read_frame(a)
    _read_key(a)
    _skip_quarantined(a, steering)
    a.load(R1, "u8", R10, PROTOCOL)
    a.go_if(R1, "==", PROTO_UDP, "by hash")
    _find_flow(a, steering, flow_entries, struct.unpack("=5Q", key))
    _by_hash(a, steering, hashing)
    _learn(a, steering, flow_entries)
    _found(a, steering)
    a.label("to the driver")
    a.set(R0, 0)
    a.exit()
    return a.assemble()


def _read_frame(a: Assembler) -> None:
    """Go on with what drivers/classify.pyx calls PACKET_TUPLE, and not with all of that."""
    a.set(R6, R1)
    a.load(R0, "u32", R6, SKB_VLAN_PRESENT)
    a.go_if(R0, "!=", 0, "to the driver")
    a.load(R7, "u32", R6, SKB_LENGTH)
    _load_bytes(a, HEADERS)
    a.go_if(R0, "==", 0, "has headers")
    # UDP with less than six bytes of text is shorter.
    _load_bytes(a, ETHERNET + UDP_HEADERS)
    a.go_if(R0, "!=", 0, "to the driver")
    a.label("has headers")
    a.load(R1, "u8", R10, FRAME)
    a.go_if(R1, "&", 1, "to the driver")  # a group's address
    a.load(R1, "u16", R10, ETHERTYPE)
    a.go_if(R1, "!=", 0x0008, "to the driver")  # 0x0800 as it lies
    a.load(R1, "u8", R10, VERSION)
    a.go_if(R1, "!=", IP_PLAIN, "to the driver")
    a.load(R1, "u16", R10, FRAGMENT)
    a.go_if(R1, "&", 0xFF3F, "to the driver")  # more fragments, or an offset; as they lie
    # A total length that the frame has not, or that ends within the headers.
    a.load(R2, "u16", R10, TOTAL_LENGTH)
    a.host_order(R2, 16)
    a.compute(R7, "-", ETHERNET)
    a.go_if(R2, ">", R7, "to the driver")
    a.load(R1, "u8", R10, PROTOCOL)
    a.go_if(R1, "==", PROTO_TCP, "is TCP")
    a.go_if(R1, "!=", PROTO_UDP, "to the driver")
    a.go_if(R2, "<", UDP_HEADERS, "to the driver")
    a.go("is plain")
    a.label("is TCP")
    a.go_if(R2, "<", TCP_FLAGS_END, "to the driver")
    a.label("is plain")


def _load_bytes(a: Assembler, count: int) -> None:
    """R0: 0, or not when the frame has not so many bytes."""
    a.set(R1, R6)
    a.set(R2, 0)
    a.set(R3, R10)
    a.compute(R3, "+", FRAME)
    a.set(R4, count)
    a.call(SKB_LOAD_BYTES)


def _read_key(a: Assembler) -> None:
    """classify_ports(): the 5-tuple. And the time: CLOCK_MONOTONIC of the last tick."""
    a.call(KTIME_GET_COARSE_NS)
    a.set(NOW, R0)
    a.load(PORTS, "u16", R10, SOURCE_PORT)
    a.host_order(PORTS, 16)
    a.compute(PORTS, "<<", 16)
    a.load(R1, "u16", R10, DESTINATION_PORT)
    a.host_order(R1, 16)
    a.compute(PORTS, "|", R1)
    a.compute(PORTS, "<<", 16)
    a.load(R1, "u8", R10, PROTOCOL)
    a.compute(R1, "<<", 8)
    a.compute(R1, "|", FAMILY_IPV4)
    a.compute(PORTS, "|", R1)
    a.load(LOCAL_IP, "u32", R10, DESTINATION)
    a.load(REMOTE_IP, "u32", R10, SOURCE)


def _skip_quarantined(a: Assembler, steering: int) -> None:
    """is_quarantined(): the driver decides what of a source that is on the list is kept out."""
    a.map_value(R1, steering, AT["quarantined"])
    a.load(R2, "u64", R1, 0)
    a.go_if(NOW, ">=", R2, "nobody is quarantined")
    a.map_value(R1, steering, AT["quarantine"])
    for i in range(16):
        entry = i * AT["Quarantine"]
        a.load(R2, "u64", R1, entry + AT["quarantine.until"])
        a.go_if(NOW, ">=", R2, f"quarantine {i}")
        a.load(R2, "u32", R1, entry + AT["quarantine.address"])
        a.go_if(R2, "==", REMOTE_IP, "to the driver")
        a.label(f"quarantine {i}")
    a.label("nobody is quarantined")


def _find_flow(a: Assembler, steering: int, flow_entries: int, secrets: tuple[int, ...]) -> None:
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
    _load_slot(a, R2, R1, steering, "slot.epoch")
    a.load(R1, "u32", R4, EPOCH)
    a.go_if(R1, "!=", R2, label)


def _load_slot(a: Assembler, to: Register, replica: Register, steering: int, name: str) -> None:
    """What a slot has under this name; replica: below SLOTS, overwritten."""
    a.compute(replica, "*", AT["ReplicaSlot"])
    a.map_value(to, steering, AT["slots"])
    a.compute(to, "+", replica)
    a.load(to, "u32", to, AT[name])


def _by_hash(a: Assembler, steering: int, hashing: int) -> None:
    """by_hash(): toeplitz_flow() and the indirection table. Ends with the replica in SLOT_REPLICA, and its
    slot is open; what opens no connection ends here."""
    a.label("by hash")
    a.set(R2, 0)
    a.map_value(R3, hashing)
    # The input in its order is what lies in the frame from the addresses on: theirs, ours; then the ports.
    for position in range(TOEPLITZ_IPV4):
        a.load(R1, "u8", R10, SOURCE + position)
        a.compute(R1, "<<", 2)
        a.set(R4, R3)
        a.compute(R4, "+", R1)
        a.load(R1, "u32", R4, position * TABLE_BYTES)
        a.compute(R2, "^", R1)
    a.compute(R2, "&", ENTRIES - 1)
    a.map_value(R3, steering, AT["indirection"])
    a.compute(R3, "+", R2)
    a.load(R2, "u8", R3, 0)
    a.go_if(R2, ">=", SLOTS, "to the driver")
    a.store("u64", R10, SLOT_REPLICA, R2)
    _go_unless_open(a, R2, steering)
    a.load(R1, "u8", R10, PROTOCOL)
    a.go_if(R1, "!=", PROTO_TCP, "to its replica")
    a.load(R1, "u8", R10, TCP_FLAGS)
    a.compute(R1, "&", SYN | ACK | RST)
    a.go_if(R1, "!=", SYN, "to its replica")


def _go_unless_open(a: Assembler, replica: Register, steering: int) -> None:
    """slot_open(). Uses R1; `replica` is overwritten."""
    _load_slot(a, R1, replica, steering, "slot.state")
    a.go_if(R1, "<", SlotState.SLOT_ACTIVE, "to the driver")
    a.go_if(R1, ">", SlotState.SLOT_TERMINATING, "to the driver")


def _learn(a: Assembler, steering: int, flow_entries: int) -> None:
    """flow_learn(): a SYN's flow, for the replica in SLOT_REPLICA."""
    a.load(R1, "u64", R10, SLOT_REPLICA)
    a.go_if(R1, ">=", SLOTS, "to the driver")  # for the verifier: it was on the stack
    _load_slot(a, R2, R1, steering, "slot.epoch")
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
    _load_slot(a, R3, R1, steering, "slot.epoch")
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


def _found(a: Assembler, steering: int) -> None:
    """by_flow(), and what becomes of the flow. R4: the entry, R0: its state as it was when it was found."""
    a.label("found")
    a.load(R2, "u8", R4, REPLICA)
    a.go_if(R2, ">=", SLOTS, "to the driver")
    a.store("u64", R10, SLOT_REPLICA, R2)
    _go_unless_open(a, R2, steering)
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
