from collections.abc import Iterator

import pytest

from tests.socket import worlds
from tests.support import running_stack


@pytest.fixture(scope="package", params=["kernel", "fake", pytest.param("neat", marks=pytest.mark.netns)])
def shared_world(request: pytest.FixtureRequest) -> Iterator[worlds.World]:
    if request.param == "kernel":
        yield worlds.kernel()
    elif request.param == "fake":
        with worlds.fake() as world:
            yield world
    else:
        with running_stack(replicas=2, time_wait_ms=500) as stack, worlds.real(stack) as world:
            yield world


@pytest.fixture
def world(shared_world: worlds.World) -> Iterator[worlds.World]:
    """One world for all tests; each closes what it opened."""
    yield shared_world
    shared_world.close()


@pytest.fixture(params=["accepted", "connected"])
def pair(request: pytest.FixtureRequest, world: worlds.World) -> tuple:
    """(subject, peer) of an established connection, opened from either side."""
    return getattr(world, request.param)()
