"""Questions to components: who answers, who may still, and any JSON from a process that may have gone mad."""

from types import SimpleNamespace

import pytest

from neat.supervisor.component import Phase
from neat.supervisor.questions import Questions


def component(name, kind, slot, phase=Phase.RUNNING):
    """One that takes down what it is told."""
    told = []

    def tell(message):
        told.append(message)
        return True

    return SimpleNamespace(
        name=name, kind=kind, slot=slot, home=slot, phase=phase, incarnation=1, told=told, tell=tell
    )


@pytest.fixture
def components():
    everyone = [component("syscall", "syscall", None)]
    everyone += [component(f"replica{k}", "replica", k) for k in range(2)]
    return {c.name: c for c in everyone}


@pytest.fixture
def questions(components):
    return Questions(components)


class Asked:
    """`ss` to both replicas, an hour's patience. `over()`: whether the wait is; `result`: then."""

    def __init__(self, questions, components):
        self.components = components
        self.questions = questions
        self.waiting = questions.ask("replica", "ss", 3600)
        self.condition = next(self.waiting)
        self.seq = components["replica0"].told[-1]["seq"]
        self.result = None

    def answer(self, name, **message):
        self.questions.answered(self.components[name], {"seq": self.seq, "rows": []} | message)

    def over(self):
        if self.result is None and self.condition():
            with pytest.raises(StopIteration) as end:
                next(self.waiting)
            self.result = end.value.value
        return self.result is not None


@pytest.fixture
def asked(questions, components):
    return Asked(questions, components)


def test_those_of_the_kind_that_run_are_asked(questions, components):
    components["replica1"].phase = Phase.STARTING
    Asked(questions, components)
    assert components["replica0"].told == [{"op": "ss", "seq": 1}]
    assert components["replica1"].told == components["syscall"].told == []


def test_rows_are_collected_until_the_last_part(asked):
    asked.answer("replica0")
    asked.answer("replica1", rows=[{"local": "a"}], more=True)
    assert not asked.over()
    asked.answer("replica1", rows=[{"local": "b"}], more=False)
    assert asked.over()
    assert asked.result.rows == [{"local": "a", "replica": 1}, {"local": "b", "replica": 1}]
    assert asked.result.answered == {"replica0", "replica1"}
    assert asked.result.missing == set()


@pytest.mark.parametrize("message", [{"seq": None}, {"seq": []}, {"seq": {}}, {"seq": 8}, {"rows": 7}])
def test_answers_to_nothing_are_ignored(asked, message):
    asked.answer("replica0")
    asked.answer("replica1", **message)
    assert not asked.over()


def test_rows_without_a_number_are_ignored(questions, components, asked):
    questions.answered(components["replica1"], {"rows": []})
    assert not asked.over()


def test_a_replica_cannot_speak_for_another(asked):
    asked.answer("replica1", rows=[{"replica": 0}, "row", None])
    asked.answer("replica0")
    assert asked.over()
    assert asked.result.rows == [{"replica": 1}]


def test_an_answer_that_comes_too_late_is_ignored(asked):
    asked.answer("replica0")
    asked.answer("replica1")
    assert asked.over()
    asked.answer("replica1", rows=[{"local": "a"}])
    assert asked.result.rows == []


@pytest.mark.parametrize("change", [{"phase": Phase.DOWN}, {"incarnation": 2}])
def test_nobody_waits_for_one_that_is_gone(asked, components, change):
    asked.answer("replica0", rows=[{"local": "a"}])
    vars(components["replica1"]).update(change)
    assert asked.over()
    assert asked.result.rows == [{"local": "a", "replica": 0}]
    assert asked.result.missing == {"replica1"}


def test_what_was_asked_at_the_same_time_is_kept_apart(questions, components):
    first, second = Asked(questions, components), Asked(questions, components)
    for name in ("replica0", "replica1"):
        second.answer(name)
    assert second.over()
    assert not first.over()
