"""Watching real processes through /proc/PID/stat."""

import os
import signal
import subprocess
import sys

import pytest

from neat.supervisor.policy import Verdict
from neat.supervisor.watch import Watch, read_stat
from tests.support import wait_for

MS = 1_000_000


@pytest.fixture
def process():
    """(Popen of a process that sleeps, or spins after SIGUSR1; its open stat)"""
    program = (
        "import signal,sys\n"
        "def spin(*_):\n while True: pass\n"
        "signal.signal(signal.SIGUSR1, spin)\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    child.stdout.readline()
    stat = os.open(f"/proc/{child.pid}/stat", os.O_RDONLY)
    yield child, stat
    os.close(stat)
    child.kill()
    child.wait()
    child.stdout.close()


def test_state_of_a_stopped_process(process):
    child, stat = process
    wait_for(lambda: read_stat(stat)[0] == "S", 10, "it sleeps")
    child.send_signal(signal.SIGSTOP)
    wait_for(lambda: read_stat(stat)[0] == "T", 10, "it is stopped")
    watch = Watch(350)
    assert watch.look("it", 1, stat, 1000 * MS, False)[0] is Verdict.ALIVE  # the first look at this heartbeat
    assert watch.look("it", 1, stat, 1100 * MS, False)[0] is Verdict.STOPPED


def test_cpu_time_counts_from_the_heartbeat(process):
    child, stat = process
    watch = Watch(350)
    child.send_signal(signal.SIGUSR1)
    watch.look("it", 1, stat, 0, False)
    watch.look("it", 1, stat, 200 * MS, False)  # overdue
    used = read_stat(stat)[1]
    wait_for(lambda: read_stat(stat)[1] >= used + 250 * MS, 60, "it has spun for a while")
    assert watch.look("it", 1, stat, 400 * MS, False)[0] is Verdict.SPINNING
    assert watch.look("it", 2, stat, 400 * MS, False)[0] is Verdict.ALIVE  # it has beaten
    assert watch.look("it", 2, stat, 400 * MS, False)[0] is Verdict.ALIVE


def test_ring_that_nobody_empties_counts_from_when_it_was_seen(process):
    """However busy it is with other things before: nothing waited."""
    child, stat = process
    watch = Watch(350)
    child.send_signal(signal.SIGUSR1)
    assert not watch.look_at_ring("it", "ring", 64, stat, 0, False)[0]
    assert not watch.look_at_ring("it", "ring", 64, stat, 200 * MS, False)[0]  # overdue
    used = read_stat(stat)[1]
    wait_for(lambda: read_stat(stat)[1] >= used + 250 * MS, 60, "it has spun for a while")
    hung, why = watch.look_at_ring("it", "ring", 64, stat, 400 * MS, False)
    assert hung
    assert why == "what is in its ring has waited for 400 ms"
    assert not watch.look_at_ring("it", "ring", 128, stat, 400 * MS, False)[0]  # it has taken something
    assert not watch.look_at_ring("it", "ring", None, stat, 900 * MS, False)[0]  # nothing waits
    assert not watch.look_at_ring("it", "ring", 128, stat, 900 * MS, False)[0]


def test_ring_of_a_process_that_gets_no_cpu_is_no_hang(process):
    """It is stopped here: CPU time does not pass, and what it takes to be asleep is not so."""
    child, stat = process
    child.send_signal(signal.SIGSTOP)
    wait_for(lambda: read_stat(stat)[0] == "T", 10, "it is stopped")
    watch = Watch(350)
    assert not any(watch.look_at_ring("it", "ring", 64, stat, t * MS, False)[0] for t in range(0, 9000, 90))


def test_process_that_is_gone_is_no_hang(process):
    child, stat = process
    child.kill()
    child.wait()
    assert read_stat(stat) == ("X", 0)
    watch = Watch(350)
    for now in range(0, 5000, 100):
        assert watch.look("it", 1, stat, now * MS, False)[0] is Verdict.ALIVE


def test_heartbeat_from_the_future_does_not_help(process):
    child, stat = process
    child.send_signal(signal.SIGSTOP)
    wait_for(lambda: read_stat(stat)[0] == "T", 10, "it is stopped")
    watch = Watch(350)
    watch.look("it", 1 << 63, stat, 1000 * MS, False)
    assert watch.look("it", 1 << 63, stat, 1349 * MS, False)[0] is Verdict.ALIVE
    assert watch.look("it", 1 << 63, stat, 1350 * MS, False)[0] is Verdict.STOPPED


def test_late_round_is_known(process):
    watch = Watch(350)
    assert not watch.begin_round(10_000 * MS)
    assert not watch.begin_round(10_000 * MS + watch.period_ns)
    assert watch.begin_round(10_000 * MS + 4 * watch.period_ns)


def test_new_process_starts_afresh(process):
    child, stat = process
    watch = Watch(350)
    child.send_signal(signal.SIGSTOP)
    wait_for(lambda: read_stat(stat)[0] == "T", 10, "it is stopped")
    watch.look("it", 1, stat, 1000 * MS, False)
    watch.forget("it")
    assert watch.look("it", 1, stat, 1100 * MS, False)[0] is Verdict.ALIVE
