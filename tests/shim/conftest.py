from collections.abc import Iterator

import pytest

from tests.shim import fakestack


@pytest.fixture
def stack() -> Iterator[fakestack.FakeStack]:
    """A fake stack of two replicas for one test."""
    with fakestack.running(2) as running:
        yield running
