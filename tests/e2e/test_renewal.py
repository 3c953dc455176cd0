"""Everything is restarted at intervals, and connections go on."""

import pytest

from tests.support import each_datapath, wait_for

pytestmark = [pytest.mark.netns, each_datapath]

COUNT = 60


@pytest.mark.parametrize("served", [{"replicas": 2, "restart_every_ms": 1000}], indirect=True)
def test_connections_notice_nothing(served):
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        before = served.owners(set(held.first["ports"]))

        def replaced():
            assert held.ask("round")["ok"] == COUNT
            status = served.stack.status_or_none()
            return status is not None and all(c["restarts"] >= 1 for c in status["components"][1:])

        wait_for(replaced, 60, "everybody was replaced")
        assert served.owners(set(held.first["ports"])) == before
        assert held.ask("round")["ok"] == COUNT
    assert not [e for e in served.stack.status()["events"] if e["what"] in ("died", "hung", "lost its state")]
