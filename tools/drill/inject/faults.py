"""Faults as programmers make them, put into instructions (Ng and Swift's types, which MINIX and NewtOS used).

A fault changes the bytes of one instruction to another of the same length, or to one and NOPs. Which changes
there are is found by trying: each value of the ModRM byte, each bit of a displacement is decoded, and told by
what it has changed.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neat.tools.drill.inject import process
from neat.tools.drill.inject.process import Function, InjectError, Memory

NOP = b"\x90"
JUMP, CALL = 1, 2  # groups of Capstone: CS_GRP_
REGISTER, CONSTANT, MEMORY = 1, 2, 3  # types of operands: CS_OP_ (of 5.0, as X86_OP_)
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9", "edi", "esi", "edx", "ecx", "r8d", "r9d")
BEFORE_A_CALL = 6  # instructions in which arguments are loaded
FIRST = 16  # instructions of a function in which variables get their first values
TRIES = 200  # functions


@dataclass(frozen=True)
class Change:
    """`what`: the instruction or word, before and after, for people."""

    kind: str
    where: str
    address: int
    before: str  # bytes, in hex
    after: str
    what: str

    def row(self) -> dict[str, Any]:
        return asdict(self)


def decoder() -> Any:
    """Capstone's, with details; InjectError when it is not installed or knows not this machine."""
    import platform

    if platform.machine() != "x86_64":
        raise InjectError(f"instructions of {platform.machine()} are not known: x86-64 only")
    try:
        import capstone
        import elftools  # noqa: F401
    except ImportError as error:
        raise InjectError(
            f"{error.name} is missing: `pip install capstone pyelftools` brings what faults are made with"
        ) from None
    made = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    made.detail = True
    return made


class Mutator:
    """Finds changes of one function's instructions."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.decoder = decoder()
        self.makers: dict[str, Callable[[Sequence[Any], int], bytes | None]] = {
            "source": lambda code, at: self._other_operand(code[at], "source"),
            "destination": lambda code, at: self._other_operand(code[at], "destination"),
            "pointer": lambda code, at: self._other_operand(code[at], "pointer"),
            "branch": self._branch,
            "loop": self._loop,
            "initialisation": self._initialisation,
            "interface": self._interface,
            "nop": lambda code, at: NOP * code[at].size,
            "text": lambda code, at: self._flipped(bytes(code[at].bytes)),
        }

    def decode(self, text: bytes, address: int) -> list[Any]:
        return list(self.decoder.disasm(text, address))

    def change(self, kind: str, code: Sequence[Any], at: int) -> bytes | None:
        """Other bytes for the instruction `at`; None: it has no fault of this kind in it."""
        made = self.makers[kind](code, at)
        return made if made is not None and made != bytes(code[at].bytes) else None

    def _flipped(self, text: bytes) -> bytes:
        at, bit = self.chance.randrange(len(text)), self.chance.randrange(8)
        return text[:at] + bytes([text[at] ^ 1 << bit]) + text[at + 1 :]

    def _variants(self, insn: Any) -> Iterator[bytes]:
        text, encoding = bytes(insn.bytes), insn.encoding
        if encoding.modrm_offset:
            at = encoding.modrm_offset
            for value in range(256):
                yield text[:at] + bytes([value]) + text[at + 1 :]
        for at in range(encoding.disp_offset, encoding.disp_offset + encoding.disp_size):
            for bit in range(8):
                yield text[:at] + bytes([text[at] ^ 1 << bit]) + text[at + 1 :]

    def _other_operand(self, insn: Any, what: str) -> bytes | None:
        """The same operation on another register, or through another address."""
        if insn.group(JUMP) or insn.group(CALL):
            return None  # they have faults of their own
        found = []
        for text in self._variants(insn):
            other = next(self.decoder.disasm(text, insn.address, 1), None)
            if other is not None and difference(insn, other) == what:
                found.append(text)
        return self.chance.choice(found) if found else None

    def _branch(self, code: Sequence[Any], at: int) -> bytes | None:
        """It is never taken."""
        return NOP * code[at].size if is_conditional(code[at]) else None

    def _loop(self, code: Sequence[Any], at: int) -> bytes | None:
        """The condition to go round once more is inverted."""
        insn = code[at]
        if not is_conditional(insn) or not insn.operands or insn.operands[0].imm > insn.address:
            return None
        return inverted(bytes(insn.bytes))

    def _initialisation(self, code: Sequence[Any], at: int) -> bytes | None:
        """A first value is not given."""
        insn = code[at]
        if at >= FIRST or len(insn.operands) != 2:
            return None
        clears = insn.mnemonic == "xor" and insn.op_str.split(", ")[0] == insn.op_str.split(", ")[1]
        constant = insn.mnemonic == "mov" and insn.operands[1].type == CONSTANT
        return NOP * insn.size if clears or constant else None

    def _interface(self, code: Sequence[Any], at: int) -> bytes | None:
        """An argument of a call is whatever was in its register."""
        insn = code[at]
        if insn.mnemonic not in ("mov", "lea", "movzx", "xor"):
            return None
        if insn.op_str.split(", ")[0] not in ARGUMENTS:
            return None
        calls = any(other.group(CALL) for other in code[at + 1 : at + 1 + BEFORE_A_CALL])
        return NOP * insn.size if calls else None


def is_conditional(insn: Any) -> bool:
    return bool(insn.group(JUMP)) and insn.mnemonic != "jmp"


def inverted(text: bytes) -> bytes | None:
    """The opposite condition: the lowest bit of a Jcc's opcode (Intel SDM, volume 2, appendix B.1.4.7)."""
    if len(text) == 2 and text[0] & 0xF0 == 0x70:
        return bytes([text[0] ^ 1, text[1]])
    if len(text) == 6 and text[0] == 0x0F and text[1] & 0xF0 == 0x80:
        return bytes([text[0], text[1] ^ 1, *text[2:]])
    return None


def difference(one: Any, other: Any) -> str | None:
    """Which kind of operand alone is another one: "source", "destination", "pointer"; None: none, or more."""
    if (one.mnemonic, one.size, len(one.operands)) != (other.mnemonic, other.size, len(other.operands)):
        return None
    found = set()
    for number, (a, b) in enumerate(zip(one.operands, other.operands, strict=True)):
        if a.type != b.type or a.size != b.size:
            return None
        if a.type == REGISTER and a.reg != b.reg:
            found.add("destination" if number == 0 else "source")
        elif a.type == CONSTANT and a.imm != b.imm:
            return None
        elif a.type == MEMORY and place(a.mem) != place(b.mem):
            found.add("pointer")
    return found.pop() if len(found) == 1 else None


def place(mem: Any) -> tuple[int, ...]:
    return mem.base, mem.index, mem.scale, mem.disp, mem.segment


IN_TEXT = (
    *("source", "destination", "pointer", "branch", "loop", "initialisation", "interface", "nop"),
    "text",  # a bit of an instruction
)
IN_MEMORY = {"stack": process.stack_of, "heap": process.heap_of, "state": process.state_of}
KINDS = (*IN_TEXT, *IN_MEMORY)


def inject(pid: int, component: str, kind: str, count: int, chance: random.Random) -> list[Change]:
    """Put `count` faults of a kind into a process; `component`: "replica" or "driver". Fewer if it dies of
    those that are there. InjectError when there is none."""
    made: list[Change] = []
    with Memory(pid) as memory:
        finder = _in_memory if kind in IN_MEMORY else _in_text
        try:
            for change in finder(memory, component, kind, chance):
                made.append(change)
                if len(made) == count:
                    break
        except InjectError:
            if not made:
                raise
    if not made:
        raise InjectError(f"process {pid} has no place for a fault of the kind {kind}")
    return made


def _in_memory(memory: Memory, _component: str, kind: str, chance: random.Random) -> Iterator[Change]:
    for address in process.words_in_use(memory, IN_MEMORY[kind](memory.pid), chance):
        yield _flip(memory, kind, address, chance)


def _in_text(memory: Memory, component: str, kind: str, chance: random.Random) -> Iterator[Change]:
    mutator = Mutator(chance)
    functions = process.functions(memory.pid, component)
    sizes = [function.size for function in functions]
    for _ in range(TRIES):
        change = _change(memory, mutator, chance.choices(functions, sizes)[0], kind)
        if change is not None:
            yield change


def _flip(memory: Memory, kind: str, address: int, chance: random.Random) -> Change:
    address += chance.randrange(process.WORD)
    before, after = memory.flip(address, chance.randrange(8))
    return Change(kind, kind, address, before.hex(), after.hex(), f"{before.hex()} → {after.hex()}")


def _change(memory: Memory, mutator: Mutator, function: Function, kind: str) -> Change | None:
    """At a random one of its instructions that such a fault can be in."""
    code = mutator.decode(memory.read(function.address, function.size), function.address)
    for at in mutator.chance.sample(range(len(code)), len(code)):
        after = mutator.change(kind, code, at)
        if after is not None:
            return _write(memory, mutator, function, kind, code[at], after)
    return None


def _write(
    memory: Memory, mutator: Mutator, function: Function, kind: str, insn: Any, after: bytes
) -> Change:
    memory.write(insn.address, after)
    now = next(mutator.decoder.disasm(after, insn.address, 1), None)
    said = f"{now.mnemonic} {now.op_str}".strip() if now is not None else "no instruction"
    where = f"{function.module}:{function.name}+{insn.address - function.address:#x}"
    what = f"{insn.mnemonic} {insn.op_str}".strip() + f" → {said}"
    return Change(kind, where, insn.address, bytes(insn.bytes).hex(), after.hex(), what)
