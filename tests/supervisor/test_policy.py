"""When to restart, and what is hung: pure functions on a clock of the test's own."""

import pytest

from neat.supervisor.policy import Pulse, RestartPolicy, Verdict, judge

MS = 1_000_000
HANG = 350 * MS


def crash_loop(policy, now, lives, life=0.05):
    """Delays that follow after each of `lives` short lives; and the time then."""
    delays = []
    for _ in range(lives):
        policy.started(now)
        now += life
        delays.append(policy.died(now))
        now += delays[-1]
    return delays, now


def test_first_restart_is_immediate_then_backs_off():
    delays, _ = crash_loop(RestartPolicy(), 100.0, 9)
    assert delays == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_back_off_is_bounded_for_ever():
    delays, _ = crash_loop(RestartPolicy(), 0.0, 5000)
    assert max(delays) == 5.0


def test_ten_seconds_of_health_forgive_everything():
    policy = RestartPolicy()
    _, now = crash_loop(policy, 0.0, 6)
    policy.started(now)
    assert policy.died(now + 10.0) == 0.0
    policy.started(now + 10.0)
    assert policy.died(now + 10.1) == pytest.approx(0.1)


def test_who_lived_for_two_seconds_makes_the_delay_no_longer():
    delays, now = crash_loop(RestartPolicy(), 0.0, 20, life=2.5)
    assert set(delays) == {0.0}
    policy = RestartPolicy()
    _, now = crash_loop(policy, 0.0, 4)
    assert crash_loop(policy, now, 2, life=2.5)[0] == pytest.approx([0.4, 0.4])


def pulse(**changes):
    usual = {"age_ns": 400 * MS, "cpu_ns": 0, "process_state": "S", "looks": 5, "observer_late": False}
    return Pulse(**(usual | changes))


@pytest.mark.parametrize("state", ["T", "t"])
def test_stopped_process_is_hung_once_its_heartbeat_is_stale(state):
    assert judge(pulse(process_state=state, age_ns=349 * MS), HANG) is Verdict.ALIVE
    assert judge(pulse(process_state=state, age_ns=350 * MS), HANG) is Verdict.STOPPED


def test_stopped_process_is_found_by_a_late_observer_too():
    assert judge(pulse(process_state="T", observer_late=True), HANG) is Verdict.STOPPED


def test_spinning_is_cpu_time_without_a_heartbeat():
    assert judge(pulse(process_state="R", cpu_ns=150 * MS), HANG) is Verdict.SPINNING
    assert judge(pulse(process_state="R", cpu_ns=140 * MS), HANG) is Verdict.ALIVE


def test_starved_process_is_never_hung():
    """It is runnable and got no CPU: however long, that is the machine's fault."""
    assert (
        judge(pulse(process_state="R", cpu_ns=10 * MS, age_ns=60_000 * MS, looks=600), HANG) is Verdict.ALIVE
    )


@pytest.mark.parametrize("state", ["S", "D"])
def test_sleeper_is_hung_when_it_owes_its_heartbeat_for_long(state):
    long = pulse(process_state=state, age_ns=4 * HANG)
    assert judge(long, HANG) is Verdict.BLOCKED
    assert judge(pulse(process_state=state, age_ns=4 * HANG - 1), HANG) is Verdict.ALIVE


def test_sleeper_is_looked_at_again_when_the_observer_was_late():
    assert judge(pulse(age_ns=10 * HANG, observer_late=True), HANG) is Verdict.ALIVE
    assert judge(pulse(age_ns=10 * HANG, looks=2), HANG) is Verdict.ALIVE
