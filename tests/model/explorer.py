"""All interleavings of a few small concurrent programs, on memory that is ordered as x86 orders it (x86-TSO).

A program is a generator function. It yields one operation at a time and is sent its result:

    def reader():
        yield Store("asleep", 1)
        yield Fence()
        if not (yield Load("ready")):
            yield Receive("bell")

A store goes into the program's own buffer first and reaches memory at any later time, in order; its own loads
see it at once (Sewell et al., "x86-TSO", CACM 2010). Fences and locked operations wait until the buffer is
empty, and so do messages, as a system call takes locks on its way. What a missing fence allows, happens here.

Where a program stands is what it was sent so far. One that loops returns Again(generator function, arguments)
where its past does not matter any more, and goes on with that: so a loop that makes no progress is one state.

Nothing is sampled: each state is reached once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

Program = Callable[[], Generator["Operation", Any, Any]]
MOST_STATES = 2_000_000


@dataclass(frozen=True)
class Operation:
    name: str = ""
    value: Any = 0


class Load(Operation):
    """What the word holds."""


class Store(Operation):
    pass


class Fence(Operation):
    pass


class Swap(Operation):
    """Atomic exchange: what was there."""


class Or(Operation):
    """Atomic: what was there."""


class AndNot(Operation):
    """Atomic: what was there."""


class Add(Operation):
    """Atomic: what is there now."""


class Replace(Operation):
    """Atomic compare-and-exchange, value = (before, after): what was there."""


class Send(Operation):
    """A message more; never blocks."""


class Ring(Operation):
    """A message, unless there is one: an eventfd, which is read as a whole."""


class Receive(Operation):
    """Blocks until there is a message, and takes it."""


class Take(Operation):
    """Whether there was a message, which is taken."""


class Await(Operation):
    """Blocks until there is a message, and leaves it there."""


class AwaitNone(Operation):
    """Blocks while there is a message."""


@dataclass(frozen=True)
class Again:
    """What a program goes on with."""

    program: Callable[..., Generator[Operation, Any, Any]]
    arguments: tuple[Any, ...] = ()


_ATOMIC: dict[type[Operation], Callable[[int, Any], tuple[int, int]]] = {  # (memory then, result)
    Swap: lambda old, value: (value, old),
    Or: lambda old, value: (old | value, old),
    AndNot: lambda old, value: (old & ~value, old),
    Add: lambda old, value: (old + value, old + value),
    Replace: lambda old, value: (value[1] if old == value[0] else old, old),
    Send: lambda old, value: (old + 1, old),
    Ring: lambda old, value: (1, old),
    Receive: lambda old, value: (old - 1, old),
    Take: lambda old, value: (max(old - 1, 0), old),
    Await: lambda old, value: (old, old),
    AwaitNone: lambda old, value: (old, old),
}


class State(NamedTuple):
    memory: tuple[int, ...]  # of Explorer.words, in that order
    buffers: tuple[tuple[tuple[int, int], ...], ...]  # of each program, (word, value), oldest first
    places: tuple[int, ...]  # where each program stands: Explorer.places


class Stuck(AssertionError):
    """Programs that will never go on; `trace` is how they came there."""

    def __init__(self, what: str, trace: list[str]) -> None:
        super().__init__("\n".join([what, *trace]))
        self.trace = trace


Check = Callable[[dict[str, int]], "str | None"]


class Explorer:
    """`programs` by name; those in `may_block` may end in a Receive that nothing comes for."""

    def __init__(self, may_block: tuple[str, ...] = (), **programs: Program) -> None:
        self.names = list(programs)
        self.may_block = may_block
        self.words: dict[str, int] = {}
        self.places: list[tuple[Any, ...]] = []  # what a program was sent, after what it goes on with
        self.operations: list[Operation | None] = []  # what it does next; None: it is over
        self._known: dict[tuple[Any, ...], int] = {}
        self._after: dict[tuple[int, Any], int] = {}
        self.first = tuple(self._place((Again(program),)) for program in programs.values())

    def _place(self, results: tuple[Any, ...]) -> int:
        """The number of this place; found by running there."""
        again, *sent = results
        running = again.program(*again.arguments)
        operation: Operation | Again | None
        try:
            operation = next(running)
            for result in sent:
                operation = running.send(result)
        except StopIteration as stop:
            operation = stop.value
        if isinstance(operation, Again):
            return self._place((operation,))
        if results not in self._known:
            self._known[results] = len(self.places)
            self.places.append(results)
            self.operations.append(operation)
        return self._known[results]

    def after(self, place: int, result: Any) -> int:
        """Where a program stands when that operation gave this result."""
        key = place, result
        if key not in self._after:
            self._after[key] = self._place((*self.places[place], result))
        return self._after[key]

    def steps(self, state: State) -> Iterator[tuple[int, Any, State]]:
        """(program, result, state after it); the result None: a store of it reaches memory."""
        memory, buffers, places = state
        for i, place in enumerate(places):
            buffer = buffers[i]
            if buffer:
                word, value = buffer[0]
                there = _with(memory, word, value)
                yield i, None, State(there, _with(buffers, i, buffer[1:]), places)
            operation = self.operations[place]
            if operation is None:
                continue
            word = self._word(operation.name)
            old = memory[word] if word < len(memory) else 0
            kind = type(operation)
            if kind is Store:
                pending = _with(buffers, i, (*buffer, (word, operation.value)))
                yield i, 0, State(memory, pending, _with(places, i, self.after(place, None)))
            elif kind is Load:
                result = next((value for at, value in reversed(buffer) if at == word), old)
                yield i, result, State(memory, buffers, _with(places, i, self.after(place, result)))
            elif not buffer and kind is Fence:
                yield i, 0, State(memory, buffers, _with(places, i, self.after(place, None)))
            elif not buffer and not _blocks(kind, old):
                new, result = _ATOMIC[kind](old, operation.value)
                yield (
                    i,
                    result,
                    State(_with(memory, word, new), buffers, _with(places, i, self.after(place, result))),
                )

    def _word(self, name: str) -> int:
        return self.words.setdefault(name, len(self.words))

    def explore(self, memory: dict[str, int] | None = None, check: Check | None = None) -> int:
        """Reach every state from `memory`; how many there are. Stuck: some program blocks for ever, or
        `check` of the memory of a last state says what is wrong with it."""
        words: tuple[int, ...] = ()
        for name, value in (memory or {}).items():
            words = _with(words, self._word(name), value)
        first = State(words, tuple(() for _ in self.names), self.first)
        came_from: dict[State, State | None] = {first: None}
        unexplored = [first]
        while unexplored:
            state = unexplored.pop()
            last = True
            for _, _, after in self.steps(state):
                last = False
                if after not in came_from:
                    came_from[after] = state
                    unexplored.append(after)
            assert len(came_from) < MOST_STATES, "too many states: make the programs smaller"
            if last:
                self._check_last(state, check, came_from)
        return len(came_from)

    def _check_last(self, state: State, check: Check | None, came_from: dict[State, State | None]) -> None:
        blocked = [
            name
            for name, place in zip(self.names, state.places, strict=True)
            if self.operations[place] is not None and name not in self.may_block
        ]
        memory = {name: state.memory[i] if i < len(state.memory) else 0 for name, i in self.words.items()}
        wrong = f"{', '.join(blocked)} waits for ever" if blocked else check(memory) if check else None
        if wrong:
            raise Stuck(wrong, self._trace(state, came_from))

    def _trace(self, state: State, came_from: dict[State, State | None]) -> list[str]:
        said = []
        before = came_from[state]
        while before is not None:
            i, result = next((i, result) for i, result, after in self.steps(before) if after == state)
            said.append(self._say(i, result, before))
            state, before = before, came_from[before]
        return said[::-1]

    def _say(self, i: int, result: Any, state: State) -> str:
        if result is None:
            word, value = state.buffers[i][0]
            return f"{self.names[i]}: {list(self.words)[word]} = {value:#x} reaches memory"
        operation = self.operations[state.places[i]]
        assert operation is not None
        said = f"{self.names[i]}: {type(operation).__name__} {operation.name}"
        if operation.value:
            said += f" {operation.value}"
        return said if isinstance(operation, (Store, Fence)) else f"{said} -> {result:#x}"


def _blocks(kind: type[Operation], messages: int) -> bool:
    return bool(messages) if kind is AwaitNone else kind in (Receive, Await) and not messages


def _with(values: tuple[Any, ...], i: int, value: Any) -> tuple[Any, ...]:
    if i >= len(values):
        values += (0,) * (i + 1 - len(values))
    return (*values[:i], value, *values[i + 1 :])
