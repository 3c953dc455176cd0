"""`neat crashes`: what a real component died of, also when the stack is gone."""

import json

import pytest

from tests.support import running_stack, wait_for

pytestmark = pytest.mark.netns
PATIENCE_S = 60


def reports(stack):
    return json.loads(stack.neat("crashes", "-j").stdout)["crashes"]


def test_components_that_die_leave_a_report_that_stays():
    with running_stack(replicas=2) as stack:
        assert "no crash reports" in stack.neat("crashes").stdout
        for number, name in enumerate(("replica0", "driver", "syscall"), 1):
            stack.wait_running()
            stack.neat("kill", name, "--signal", "SIGSEGV")
            wait_for(lambda n=number: len(reports(stack)) == n, PATIENCE_S, "a report")
            found = reports(stack)
            assert (found[-1]["component"], found[-1]["signal"]) == (name, "SIGSEGV")
            assert found[-1]["backtrace"] and found[-1]["reason"] == "crashed with SIGSEGV"
        stack.wait_running()
        stack.neat("restart", "replica1")
        stack.neat("kill", "driver")
        stack.wait_running()
        stack.neat("down")
        assert [report["component"] for report in reports(stack)] == ["replica0", "driver", "syscall"]
        lines = stack.neat("crashes").stdout.splitlines()
        assert len(lines) == 3 and "replica0.1  died: crashed with SIGSEGV" in lines[0]
        shown = stack.neat("crashes", "show", "1").stdout
        assert "signal: SIGSEGV" in shown and "backtrace" in shown
        assert json.loads(stack.neat("crashes", "show", "1", "-j").stdout)["number"] == 1
        refused = stack.neat("crashes", "show", "9", check=False)
        assert refused.returncode == 1 and "no crash report 9" in refused.stderr
        kept = stack.run_dir.with_name("run.log") / "events.log"
        events = [json.loads(line) for line in kept.read_text().splitlines()]
        assert {"died", "is back"} <= {event["what"] for event in events}
