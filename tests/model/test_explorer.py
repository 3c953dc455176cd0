"""The explorer knows what x86 allows, and what it does not."""

import pytest

from tests.model.explorer import Add, Again, Explorer, Fence, Load, Receive, Send, Store, Stuck


def pair_of_flags(fenced):
    """Store buffering: each raises its flag and looks at the other's (Sewell et al., §2, SB)."""

    def one(mine, other, saw):
        def program():
            yield Store(mine, 1)
            if fenced:
                yield Fence()
            yield Store(saw, 1 + (yield Load(other)))

        return program

    def check(memory):
        return "neither saw the other" if memory["saw_a"] == memory["saw_b"] == 1 else None

    return Explorer(a=one("a", "b", "saw_a"), b=one("b", "a", "saw_b")), check


def test_a_store_may_pass_a_later_load():
    explorer, check = pair_of_flags(fenced=False)
    with pytest.raises(Stuck, match="neither saw the other") as stuck:
        explorer.explore({}, check)
    assert any("reaches memory" in step for step in stuck.value.trace)


def test_but_not_a_fence():
    explorer, check = pair_of_flags(fenced=True)
    assert explorer.explore({}, check) > 10


def test_stores_stay_in_order():
    """Message passing (MP): who sees the second store sees the first."""

    def writer():
        yield Store("text", 1)
        yield Store("flag", 1)

    def reader():
        flag = yield Load("flag")
        text = yield Load("text")
        yield Store("wrong", int(flag and not text))

    def check(memory):
        return "out of order" if memory["wrong"] else None

    Explorer(writer=writer, reader=reader).explore({}, check)


def test_atomic_operations_are_whole():
    def adder():
        for _ in range(3):
            yield Add("sum", 1)

    def check(memory):
        return "an addition is lost" if memory["sum"] != 6 else None

    Explorer(a=adder, b=adder).explore({}, check)


def test_who_waits_for_ever_is_told_of():
    def sender():
        if (yield Load("wanted")):
            yield Send("bell")

    def sleeper():
        yield Store("wanted", 1)
        yield Receive("bell")

    with pytest.raises(Stuck, match="sleeper waits for ever"):
        Explorer(sender=sender, sleeper=sleeper).explore({})
    Explorer(sender=sender, sleeper=sleeper, may_block=("sleeper",)).explore({})


def test_a_loop_without_progress_is_one_state():
    def spinner():
        if (yield Load("stop")):
            return None
        return Again(spinner)

    def stopper():
        yield Store("stop", 1)

    assert Explorer(spinner=spinner, stopper=stopper).explore() < 10
