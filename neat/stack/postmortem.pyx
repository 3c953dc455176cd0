"""What a dead replica's state segment says: which input it had in its hands, and for which connection. For
the supervisor, from copies of what it read: any bytes at all."""

import ipaddress

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy
from neat.stack.state cimport (
    STATE_HEADER, STATE_MAGIC, STATE_VERSION, SUSPECT_COMMAND, SUSPECT_FRAME, SUSPECT_TIMER, SUSPECT_TRANSMIT,
    ConnSlot, StateHeader,
)
from neat.wire.flow cimport FAMILY_IPV4, FAMILY_IPV6

from neat.stack.tcp.state import TcpState

HEADER_BYTES = STATE_HEADER
SLOT_BYTES = sizeof(ConnSlot)
KINDS = {
    SUSPECT_FRAME: "frame", SUSPECT_COMMAND: "command", SUSPECT_TIMER: "timer", SUSPECT_TRANSMIT: "transmit"
}


def suspect_of(bytes header not None):
    """What was being processed, from the first HEADER_BYTES of the segment: `kind`, `position`, `length`,
    `at` (CLOCK_MONOTONIC ns), and `slot`, the connection's offset in the segment or None. None: nothing."""
    cdef StateHeader copy
    if len(header) != STATE_HEADER:
        return None
    memcpy(&copy, <const char*>header, sizeof(StateHeader))
    if copy.magic != STATE_MAGIC or copy.version != STATE_VERSION or copy.suspect.kind not in KINDS:
        return None
    known = copy.suspect.conn < copy.max_connections
    return {
        "kind": KINDS[copy.suspect.kind],
        "position": copy.suspect.position,
        "length": copy.suspect.length,
        "at": copy.suspect.at,
        "slot": copy.connections + copy.suspect.conn * <uint32_t>sizeof(ConnSlot) if known else None,
    }


def connection_of(bytes slot not None):
    """`state`, `local`, `remote` and `strikes` of a connection, from its SLOT_BYTES; None: there is none."""
    cdef ConnSlot copy
    if len(slot) != sizeof(ConnSlot):
        return None
    memcpy(&copy, <const char*>slot, sizeof(ConnSlot))
    names = {int(state): state.name for state in TcpState}
    if copy.state == 0 or copy.state not in names or copy.key.family not in (FAMILY_IPV4, FAMILY_IPV6):
        return None
    return {
        "state": names[copy.state],
        "local": address(copy.key.family, copy.key.local, copy.key.local_port),
        "remote": address(copy.key.family, copy.key.remote, copy.key.remote_port),
        "strikes": copy.strikes,
    }


cdef str address(uint32_t family, const uint8_t* packed, uint32_t port):
    host = ipaddress.ip_address(<bytes>packed[: 4 if family == FAMILY_IPV4 else 16])
    return f"{host}:{port}" if family == FAMILY_IPV4 else f"[{host}]:{port}"
