"""The layout of what crosses processes, as the C compiler has it, for Python.

Here are, under their names in C, every macro and enumerator of channel.h and control.h as an int, and every
struct as a Struct: `neat_sock["rx_tail"].offset` is where that field lies, and
`neat_sock.get(segment, "rx_tail", at)` what it is in the object that begins at `at`.
"""
from collections import namedtuple

from libc.stdint cimport uint32_t, uint64_t

from neat.abi.channel cimport (
    NEAT_SOCKS_OFFSET, neat_channel_bytes, neat_rings_offset, neat_rx_offset, neat_sock, neat_tx_offset,
)

cdef extern from *:
    """
    #include "abi/control.h"

    struct constant { const char *name; uint64_t value; };
    struct field { const char *owner, *type, *name; size_t bytes, offset, size, each; };

    /* 0, if the value is one of this type: so what Cython is told of a macro is true. */
    #define FITS(type, name) \\
        (0 * sizeof(struct { _Static_assert((uint64_t)(type)(name) == (uint64_t)(name), #name); int _; }))
    #define CONSTANT(type, name) {#name, (uint64_t)(name) + FITS(type, name)},
    #define FIELD(owner, type, name)
    static const struct constant constants[] = {
    #include "abi/table.h"
        {0}
    };
    #undef CONSTANT
    #undef FIELD
    #define CONSTANT(type, name)
    #define FIELD(owner, type, name) \\
        {#owner, #type, #name, sizeof(struct owner), offsetof(struct owner, name), \\
         sizeof(((struct owner *)0)->name), sizeof(type)},
    static const struct field fields[] = {
    #include "abi/table.h"
        {0}
    };
    """
    struct constant:
        const char* name
        uint64_t value
    struct field:
        const char* owner
        const char* type
        const char* name
        size_t bytes, offset, size, each
    const constant constants[]
    const field fields[]

# Bytes; `size`: of one element. `count`: elements of an array, 1 of anything else. `type`: as in C.
Field = namedtuple("Field", "offset size count type")

_CODES = {"uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "int32_t": "i", "uint64_t": "Q", "int64_t": "q"}


class Struct:
    """A struct of the headers: its `size` in bytes, and its `fields` by name."""

    def __init__(self, name, size):
        self.name, self.size, self.fields = name, size, {}

    def __getitem__(self, name):
        """The Field."""
        return self.fields[name]

    def get(self, buffer, name, at=0, index=0):
        """The integer in a field of the struct that begins at `at`; of an array the one at `index`."""
        field = self.fields[name]
        start = at + field.offset + index * field.size
        signed = field.type.startswith("int")
        return int.from_bytes(buffer[start : start + field.size], "little", signed=signed)

    def put(self, buffer, name, value, at=0, index=0):
        """Likewise; what is too large for the field is cut off."""
        field = self.fields[name]
        start = at + field.offset + index * field.size
        kept = value & (1 << 8 * field.size) - 1
        buffer[start : start + field.size] = kept.to_bytes(field.size, "little")

    @property
    def format(self):
        """For the module `struct`: the fields in their order, an array of bytes as one; padding is none."""
        parts, at = [], 0
        for name, field in self.fields.items():
            if name.startswith("_"):
                continue
            parts.append("x" * (field.offset - at))
            if field.type.startswith("struct "):
                parts.append(STRUCTS[field.type.removeprefix("struct ")].format[1:] * field.count)
            elif field.count > 1 and field.size == 1:
                parts.append(f"{field.count}s")
            else:
                parts.append(_CODES[field.type] * field.count)
            at = field.offset + field.size * field.count
        return "<" + "".join(parts) + "x" * (self.size - at)


def sock_offset(uint32_t index):
    """Where a socket object begins."""
    return NEAT_SOCKS_OFFSET + index * sizeof(neat_sock)


def rings_offset(uint32_t nsock):
    """Where the rings begin in a segment of so many sockets."""
    return neat_rings_offset(nsock)


def channel_bytes(uint32_t nsock, uint32_t rx_size, uint32_t tx_size):
    """The size of a segment."""
    return neat_channel_bytes(nsock, rx_size, tx_size)


def rx_offset(uint32_t nsock, uint32_t rx_size, uint32_t tx_size, uint32_t index):
    """Where a socket's receive ring begins."""
    return neat_rx_offset(nsock, rx_size, tx_size, index)


def tx_offset(uint32_t nsock, uint32_t rx_size, uint32_t tx_size, uint32_t index):
    return neat_tx_offset(nsock, rx_size, tx_size, index)


CONSTANTS = {}
STRUCTS = {}


cdef _fill():
    cdef const constant* c = constants
    cdef const field* f = fields
    while c.name:
        CONSTANTS[c.name.decode()] = c.value
        c += 1
    while f.owner:
        struct = STRUCTS.setdefault(f.owner.decode(), Struct(f.owner.decode(), f.bytes))
        struct.fields[f.name.decode()] = Field(f.offset, f.each, f.size // f.each, f.type.decode())
        f += 1


_fill()
globals().update(CONSTANTS, **STRUCTS)
