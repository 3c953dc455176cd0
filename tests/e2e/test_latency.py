"""A CPU latency that is asked for while there is traffic."""

import threading

import pytest

from neat.supervisor import latency
from tests.support import wait_for

LATENCY_US = 5000  # changes little, here
pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(bool(latency.usable(LATENCY_US)), reason=latency.usable(LATENCY_US)),
]


@pytest.mark.parametrize("served", [{"cpu_latency_us": LATENCY_US}], indirect=True)
def test_it_is_asked_for_while_there_is_traffic_and_not_longer(served):
    status = served.stack.status()
    assert status["cpu_latency_us"] == LATENCY_US
    over = threading.Event()
    answered = []

    def ask() -> None:
        while not over.is_set():
            with served.client("churn", "--count=200") as client:
                answered.append(client.first["ok"])

    def asked() -> bool:
        return served.stack.status()["cpu_latency_asked"]

    traffic = threading.Thread(target=ask)
    traffic.start()
    try:
        wait_for(asked, 20, "a CPU latency request")
    finally:
        over.set()
        traffic.join()
    assert set(answered) == {200}
    shown = served.stack.neat("status").stdout
    assert f"idle processors: awake within {LATENCY_US} µs" in shown
    wait_for(lambda: not asked(), 20, "the end of the request")


def test_by_default_nothing_is_asked(served):
    assert served.stack.status()["cpu_latency_us"] is None
    assert served.answers()
    assert not served.stack.status()["cpu_latency_asked"]
    assert "idle processors" not in served.stack.neat("status").stdout
