"""Rules of a stack that runs: all of a change or nothing, and a successor goes on with what there is."""

import pytest

from neat.filter import FilterError
from neat.supervisor.filtering import RULES


def shown(filtering):
    return [(row["chain"], row["handle"], row["rule"]) for row in filtering.show()["rules"]]


def test_order_and_handles(written):
    filtering = written("input tcp dport 1 drop").filtering
    filtering.change({"do": "add", "lines": ["input tcp dport 2 drop", "output accept"]})
    filtering.change({"do": "insert", "lines": ["input tcp dport 0 drop"]})
    assert shown(filtering) == [
        ("input", 4, "tcp dport 0 drop"),
        ("input", 1, "tcp dport 1 drop"),
        ("input", 2, "tcp dport 2 drop"),
        ("output", 3, "accept"),
    ]
    filtering.change({"do": "delete", "handle": 1})
    filtering.change({"do": "flush", "chain": "output"})
    assert [handle for _, handle, _ in shown(filtering)] == [4, 2]
    filtering.change({"do": "replace", "lines": ["output policy drop", "input accept"]})
    assert shown(filtering) == [("input", 5, "accept")]
    assert filtering.show()["policies"] == {"input": "accept", "output": "drop"}
    filtering.change({"do": "flush", "chain": None})
    assert filtering.show() == {"policies": {"input": "accept", "output": "drop"}, "rules": []}


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "add", "lines": ["input policy drop", "input tcp dport 9 accept", "input nonsense"]},
        {"do": "add", "lines": "input accept"},
        {"do": "add"},
        {"do": "add", "lines": [7]},
        {"do": "replace", "lines": ["input accept"] * (RULES + 1)},
        {"do": "delete", "handle": 99},
        {"do": "delete", "handle": None},
        {"do": "flush", "chain": "forward"},
        {"do": "jump"},
        {"do": None},
    ],
)
def test_all_or_nothing(written, request_):
    filtering = written("input tcp dport 1 drop").filtering
    generation = filtering.shared.generation
    with pytest.raises(FilterError):
        filtering.change(request_)
    assert shown(filtering) == [("input", 1, "tcp dport 1 drop")]
    assert filtering.show()["policies"]["input"] == "accept"
    assert filtering.shared.generation == generation


def test_a_successor_goes_on(written):
    """With what was changed, not with the settings."""
    world = written("input tcp dport 1 drop")
    world.filtering.change({"do": "add", "lines": ["input policy drop", 'output log prefix "é" accept']})
    successor = world.successor("input udp dport 9 drop")
    assert successor.show() == world.filtering.show()
    successor.change({"do": "add", "lines": ["input accept"]})
    assert shown(successor)[-1][1] == 3


def test_as_many_rules_as_there_can_be(written):
    filtering = written(*["input tcp dport 1 drop"] * RULES).filtering
    with pytest.raises(FilterError, match="there can be"):
        filtering.change({"do": "add", "lines": ["output accept"]})
    filtering.change({"do": "replace", "lines": ["output accept"] * RULES})
    assert len(shown(filtering)) == RULES
