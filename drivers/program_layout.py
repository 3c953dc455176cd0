"""What the parts of the steering program share (drivers/program.py): its stack, its registers, the offsets in
the steering segment, and what both of them ask about a slot."""

from neat.drivers.assembler import R1, R6, R7, R8, R9, Assembler, Register
from neat.shm.steering import SlotState, layout

PROTO_TCP, PROTO_UDP = 6, 17
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

# The stack. The frame's first bytes lie so that addresses and ports are aligned.
HEADERS = 48  # up to the TCP flags
FRAME = -50
ETHERTYPE, VERSION, TOTAL_LENGTH, FRAGMENT = FRAME + 12, FRAME + 14, FRAME + 16, FRAME + 20
PROTOCOL, SOURCE, DESTINATION = FRAME + 23, FRAME + 26, FRAME + 30
SOURCE_PORT, DESTINATION_PORT, TCP_FLAGS = FRAME + 34, FRAME + 36, FRAME + 47
SLOT_HOME, SLOT_REPLICA, SLOT_EPOCH, SLOT_AT, SLOT_HALVES = -64, -72, -80, -88, -96

# What registers hold once the frame is read; there is no call after that.
PORTS, LOCAL_IP, REMOTE_IP, NOW = R6, R7, R8, R9  # PORTS: the first eight bytes of the FlowKey

AT = layout()


def load_slot(a: Assembler, to: Register, replica: Register, steering: int, name: str) -> None:
    """What a slot has under this name; replica: below SLOTS, overwritten."""
    a.compute(replica, "*", AT["ReplicaSlot"])
    a.map_value(to, steering, AT["slots"])
    a.compute(to, "+", replica)
    a.load(to, "u32", to, AT[name])


def go_unless_open(a: Assembler, replica: Register, steering: int) -> None:
    """slot_open(). Uses R1; `replica` is overwritten."""
    load_slot(a, R1, replica, steering, "slot.state")
    a.go_if(R1, "<", SlotState.SLOT_ACTIVE, "to the driver")
    a.go_if(R1, ">", SlotState.SLOT_TERMINATING, "to the driver")
