"""An assembler for BPF: instructions as method calls, jumps to names.

Source: RFC 9669, whose section is named beside each group of instructions. An instruction has 64 bits:
opcode, destination and source register (four bits each), a signed offset (16 bits), a signed immediate
(32 bits).
"""

import struct
import sys
from dataclasses import dataclass, field

# RFC 9669 §3: classes, in the lowest three bits of an opcode.
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
# §4.1, §4.3: the operand is a register instead of the immediate.
SOURCE_REGISTER = 0x08
ALU_CODES = {
    "+": 0x00, "-": 0x10, "*": 0x20, "/": 0x30, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70,
    "%": 0x90, "^": 0xA0, "=": 0xB0, "s>>": 0xC0,
}  # fmt: skip
BYTE_SWAP, TO_BIG_ENDIAN = 0xD0, 0x08
# "&": any of the bits is set; s: signed.
JUMP_CODES = {
    "==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "s>": 0x60, "s>=": 0x70, "<": 0xA0,
    "<=": 0xB0, "s<": 0xC0, "s<=": 0xD0,
}  # fmt: skip
CALL, EXIT = 0x80, 0x90
# §5: sizes and modes of loads and stores.
SIZES = {"u8": 0x10, "u16": 0x08, "u32": 0x00, "u64": 0x18}
IMMEDIATE_64, MEMORY, ATOMIC = 0x00, 0x60, 0xC0
# §5.3, Table 8; all of these but "add" return the value before, and order memory.
ATOMICS = {"add": 0x00, "exchange": 0xE1, "compare_exchange": 0xF1}
# §5.4: the 64-bit immediate is the address of a map's memory.
MAP_VALUE = 2


@dataclass(frozen=True)
class Register:
    """R0 has results, R1 to R5 arguments; a call keeps R6 to R9 only. R10 is the end of the stack."""

    number: int


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = (Register(number) for number in range(11))
Operand = Register | int


@dataclass
class Assembler:
    """A program as it grows. Operands are registers, or numbers of 32 bits, signed."""

    code: list[bytes] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    # (index of the instruction, name of the label)
    jumps: list[tuple[int, str]] = field(default_factory=list)

    def assemble(self) -> bytes:
        """The program, with the offsets of its jumps filled in. KeyError when a label is missing."""
        code = list(self.code)
        for at, name in self.jumps:
            # §4.3: relative to the instruction behind the jump.
            code[at] = code[at][:2] + struct.pack("<h", self.labels[name] - at - 1) + code[at][4:]
        return b"".join(code)

    def label(self, name: str) -> None:
        if name in self.labels:
            raise ValueError(f"label {name} stands in two places")
        self.labels[name] = len(self.code)

    def set(self, to: Register, value: Operand) -> None:
        """to = value."""
        self.compute(to, "=", value)

    def compute(self, to: Register, operator: str, value: Operand) -> None:
        """to = to OPERATOR value, on 64 bits (§4.1)."""
        self._emit(ALU64 | ALU_CODES[operator], to, value)

    def compute32(self, to: Register, operator: str, value: Operand) -> None:
        """The same on the lower 32 bits; the upper ones become zero."""
        self._emit(ALU | ALU_CODES[operator], to, value)

    def host_order(self, register: Register, bits: int) -> None:
        """From network byte order, `bits` wide (§4.2)."""
        if sys.byteorder != "little":
            raise NotImplementedError("instructions are laid out for little-endian hosts")
        self._instruction(ALU | BYTE_SWAP | TO_BIG_ENDIAN, register.number, 0, 0, bits)

    def load(self, to: Register, size: str, base: Register, offset: int) -> None:
        """to = what is at base + offset (§5.1)."""
        self._instruction(LDX | MEMORY | SIZES[size], to.number, base.number, offset, 0)

    def store(self, size: str, base: Register, offset: int, value: Operand) -> None:
        kind = STX if isinstance(value, Register) else ST
        source, immediate = (value.number, 0) if isinstance(value, Register) else (0, value)
        self._instruction(kind | MEMORY | SIZES[size], base.number, source, offset, immediate)

    def atomic(self, action: str, size: str, base: Register, offset: int, value: Register) -> None:
        """compare_exchange: the value is stored if R0 was there; R0 is what was there (§5.3)."""
        self._instruction(STX | ATOMIC | SIZES[size], base.number, value.number, offset, ATOMICS[action])

    def constant(self, to: Register, value: int) -> None:
        """to = a number of 64 bits, unsigned (§5.4)."""
        self._wide(to, 0, value & 0xFFFFFFFF, value >> 32)

    def map_value(self, to: Register, fd: int, offset: int = 0) -> None:
        """to = the address of the byte at `offset` of the one element of a map."""
        self._wide(to, MAP_VALUE, fd, offset)

    def call(self, helper: int) -> None:
        """Call a function of the kernel by its number (linux/bpf.h, §4.3.1)."""
        self._instruction(JMP | CALL, 0, 0, 0, helper)

    def exit(self) -> None:
        """Return R0."""
        self._instruction(JMP | EXIT, 0, 0, 0, 0)

    def go(self, label: str) -> None:
        self.jumps.append((len(self.code), label))
        self._instruction(JMP, 0, 0, 0, 0)

    def go_if(self, register: Register, relation: str, value: Operand, label: str) -> None:
        """Jump when it is so, on 64 bits; a number is sign-extended (§4.3)."""
        self.jumps.append((len(self.code), label))
        self._emit(JMP | JUMP_CODES[relation], register, value)

    def _emit(self, opcode: int, to: Register, value: Operand) -> None:
        if isinstance(value, Register):
            self._instruction(opcode | SOURCE_REGISTER, to.number, value.number, 0, 0)
        else:
            self._instruction(opcode, to.number, 0, 0, value)

    def _wide(self, to: Register, source: int, low: int, high: int) -> None:
        self._instruction(LD | IMMEDIATE_64 | SIZES["u64"], to.number, source, 0, low)
        self._instruction(0, 0, 0, 0, high)

    def _instruction(self, opcode: int, to: int, source: int, offset: int, immediate: int) -> None:
        # An immediate of 32 bits that stands for an unsigned number.
        if immediate > 0x7FFFFFFF:
            immediate -= 1 << 32
        self.code.append(struct.pack("<BBhi", opcode, source << 4 | to, offset, immediate))
