"""What replicas answer to `ss`: any JSON, from a process that may have gone mad."""

from types import SimpleNamespace

import pytest

from neat.supervisor.commands import collect_rows


@pytest.fixture
def supervisor():
    return SimpleNamespace(ask_rows={7: []}, ask_open={7: {"replica1"}})


REPLICA = SimpleNamespace(name="replica1", slot=1)


def test_rows_are_collected_until_the_last_part(supervisor):
    collect_rows(supervisor, REPLICA, {"seq": 7, "rows": [{"local": "a"}], "more": True})
    assert supervisor.ask_open[7] == {"replica1"}
    collect_rows(supervisor, REPLICA, {"seq": 7, "rows": [{"local": "b"}], "more": False})
    assert supervisor.ask_open[7] == set()
    assert supervisor.ask_rows[7] == [{"local": "a", "replica": 1}, {"local": "b", "replica": 1}]


@pytest.mark.parametrize(
    "message",
    [
        {"rows": []},
        {"seq": [], "rows": []},
        {"seq": {}, "rows": []},
        {"seq": 8, "rows": []},
        {"seq": 7, "rows": 7},
    ],
)
def test_answers_to_nothing_are_ignored(supervisor, message):
    collect_rows(supervisor, REPLICA, message)
    assert supervisor.ask_open == {7: {"replica1"}}
    assert supervisor.ask_rows == {7: []}


def test_a_replica_cannot_speak_for_another(supervisor):
    collect_rows(supervisor, REPLICA, {"seq": 7, "rows": [{"replica": 0}, "row", None]})
    assert supervisor.ask_rows[7] == [{"replica": 1}]
