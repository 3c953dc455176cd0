"""Questions to components: one message on `ctl` to each that is asked, rows in one or several messages back
(ARCHITECTURE.md, "How a component starts"). An answer is any JSON, from a process that may have gone mad."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neat.supervisor.component import Component, Phase
from neat.supervisor.control import Waiting, until


@dataclass
class Question:
    """What was answered so far."""

    asked: dict[str, int]  # names, and the incarnation that was asked
    missing: set[str]  # names of those that have not given all their rows
    rows: list[dict[str, Any]]  # each of a replica has its slot as `replica`, also of its parts

    @property
    def answered(self) -> set[str]:
        return set(self.asked) - self.missing


class Questions:
    """Those that wait for an answer, by the number that an answer repeats."""

    def __init__(self, components: Mapping[str, Component]) -> None:
        self.components = components
        self._last = 0
        self._open: dict[int, Question] = {}

    def ask(self, kind: str, op: str, seconds: float) -> Waiting[Question]:
        """Of all components of that kind that run. Ends when all have answered, when nobody is left who
        still may, or when the time is up."""
        self._last += 1
        seq = self._last
        asked = {
            component.name: component.incarnation
            for component in self.components.values()
            if component.kind == kind
            and component.phase is Phase.RUNNING
            and component.tell({"op": op, "seq": seq})
        }
        question = self._open[seq] = Question(asked, set(asked), [])
        try:
            yield until(lambda: not self._has_hope(question), seconds)
        finally:
            del self._open[seq]
        return question

    def _has_hope(self, question: Question) -> bool:
        missing = [self.components[name] for name in question.missing if name in self.components]
        return any(c.phase is Phase.RUNNING and c.incarnation == question.asked[c.name] for c in missing)

    def answered(self, component: Component, message: dict[str, Any]) -> None:
        """A component said something that has `rows`: a part of its answer, if it was asked."""
        seq, rows = message.get("seq"), message["rows"]
        question = self._open.get(seq) if isinstance(seq, int) else None
        if question is None or not isinstance(rows, list):
            return
        origin = {} if component.home is None else {"replica": component.home}
        question.rows += [row | origin for row in rows if isinstance(row, dict)]
        if not message.get("more"):
            question.missing.discard(component.name)
