"""Fixtures: an engine in its surroundings; one TCP connection, which every script meets at several ISNs."""

import pytest

from tests.stack.harness.conn import Conn
from tests.stack.harness.host import Host

# (the peer's ISN, about where the stack's should be): nowhere special; such that they wrap, or their sign.
ISNS = {
    "plain": (1000, None),
    "wrap": (2**32 - 1, 2**32 - 300),
    "wrap-later": (2**32 - 700, 2**32 - 5000),
    "sign": (2**31 - 2, 2**31 - 300),
}


@pytest.fixture(params=list(ISNS.values()), ids=list(ISNS))
def make_conn(request):
    """Make a Conn with settings of one's own: make_conn(mtu=576)."""
    irs, iss = request.param

    def make(**settings) -> Conn:
        return Conn(irs, iss, **settings)

    return make


@pytest.fixture
def conn(make_conn):
    return make_conn()


@pytest.fixture
def host():
    return Host()
