"""Where $CI is "true", a test that has failed is run twice more, by itself. If both pass it is FLAKY: printed
with its first failure, and no reason for the run to fail. Everywhere else a failure is a failure.

A plugin of pytest, which tests/conftest.py loads. It is no licence: what it prints has a race to be found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

TRIES = 2
MOST = 5  # more failures than this are no chance
AGAIN = "NEAT_TESTS_AGAIN"  # set in the tries themselves


def is_tried(session: pytest.Session) -> bool:
    """Only where tests have failed, and in the one process that knows of all of them (pytest-xdist)."""
    return (
        session.exitstatus == pytest.ExitCode.TESTS_FAILED
        and os.environ.get("CI") == "true"
        and AGAIN not in os.environ
        and not hasattr(session.config, "workerinput")
    )


def passes(session: pytest.Session, nodeid: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", nodeid]
    done = subprocess.run(
        command,
        cwd=session.config.invocation_params.dir,
        env=os.environ | {AGAIN: "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """After the workers have ended, and before the summary is written."""
    yield
    if not is_tried(session):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    stats = reporter.stats
    reports = [report for kind in ("failed", "error") for report in stats.get(kind, ())]
    nodeids = list(dict.fromkeys(report.nodeid for report in reports))
    if len(nodeids) > MOST or not all(isinstance(report, pytest.TestReport) for report in reports):
        return
    flaky = {nodeid for nodeid in nodeids if all(passes(session, nodeid) for _ in range(TRIES))}
    for kind in ("failed", "error"):
        stats[kind] = [report for report in stats.get(kind, ()) if report.nodeid not in flaky]
        if not stats[kind]:
            del stats[kind]
    stats["flaky"] = [report for report in reports if report.nodeid in flaky]
    if flaky == set(nodeids):
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("flaky", ())
    if not reports:
        return
    terminalreporter.write_sep("=", f"FLAKY: failed once, then passed {TRIES} times alone")
    for report in reports:
        terminalreporter.write_sep("_", f"FLAKY {report.nodeid} ({report.when})")
        report.toterminal(terminalreporter._tw)
