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

from neat.drivers.assembler import R0, R1, R2, R3, R4, R6, R7, R10, Assembler
from neat.drivers.program_flows import find_flow, found, learn
from neat.drivers.program_layout import (
    ACK,
    AT,
    DESTINATION,
    DESTINATION_PORT,
    ETHERTYPE,
    FRAGMENT,
    FRAME,
    HEADERS,
    LOCAL_IP,
    NOW,
    PORTS,
    PROTO_TCP,
    PROTO_UDP,
    PROTOCOL,
    REMOTE_IP,
    RST,
    SLOT_REPLICA,
    SOURCE,
    SOURCE_PORT,
    SYN,
    TCP_FLAGS,
    TOTAL_LENGTH,
    VERSION,
    go_unless_open,
)
from neat.drivers.toeplitz import tables
from neat.shm import bpf
from neat.shm.steering import ENTRIES, SLOTS, Steering, create

TUNSETSTEERINGEBPF = 0x800454E0
# linux/bpf.h: functions of the kernel.
SKB_LOAD_BYTES, KTIME_GET_COARSE_NS = 26, 160
# struct __sk_buff.
SKB_LENGTH, SKB_VLAN_PRESENT = 0, 20

ETHERNET, IP_PLAIN = 14, 0x45  # bytes; version 4 with a header of five words
UDP_HEADERS, TCP_FLAGS_END = 20 + 8, 20 + 14  # bytes from the IP header on that a packet must have
FAMILY_IPV4 = 4
TABLE_BYTES = 256 * 4  # of the Toeplitz hash, for each byte of its input
TOEPLITZ_IPV4 = 12  # bytes of input: two addresses, two ports


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
    find_flow(a, steering, flow_entries, struct.unpack("=5Q", key))
    _by_hash(a, steering, hashing)
    learn(a, steering, flow_entries)
    found(a, steering)
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
    go_unless_open(a, R2, steering)
    a.load(R1, "u8", R10, PROTOCOL)
    a.go_if(R1, "!=", PROTO_TCP, "to its replica")
    a.load(R1, "u8", R10, TCP_FLAGS)
    a.compute(R1, "&", SYN | ACK | RST)
    a.go_if(R1, "!=", SYN, "to its replica")
