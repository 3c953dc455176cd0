"""The micro-benchmark plays real conversations: every request is answered, at any of its sizes."""

import pytest

from neat.stack.bench import Bench


@pytest.mark.parametrize(
    "case",
    [{"connections": 1}, {"connections": 300, "timestamps": False}, {"request": 1400, "response": 1400}],
)
def test_every_request_is_answered(case):
    assert Bench(**case).run(200) > 0
