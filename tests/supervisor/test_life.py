"""Guardian and supervisor for real, with components that do nothing: start, crash, hang, adopt, end."""

import json
import os
import signal

import pytest

from neat import rundir
from neat.config import Config
from neat.shm.link import Link
from tests.supervisor.conftest import dummy_stack
from tests.support import Stack, wait_for

pytestmark = pytest.mark.netns

NAMED = f"neat-test-{os.getpid()}"
COMPONENTS = ["syscall", "driver", "replica0", "replica1", "replica2"]


def alive(pid: int) -> bool:
    return rundir.start_ticks(pid) != 0


def wait_replaced(stack: Stack, name: str, old: int, seconds: float = 20) -> dict:
    """Until the component is running as another process; its status then."""

    def replaced():
        status = stack.status_or_none()
        part = next((c for c in status["components"] if c["name"] == name), None) if status else None
        return part if part and part["state"] == "running" and part["pid"] != old else None

    return wait_for(replaced, seconds, f"{name} replaced")


def events(stack: Stack, component: str) -> list[tuple[str, str]]:
    return [(e["what"], e["detail"]) for e in stack.status()["events"] if e["component"] == component]


def heard_by_syscall(stack: Stack) -> list[dict]:
    path = stack.behaviour / "syscall.heard"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_up_is_ready_with_everything_running(dummies):
    status = dummies.status()
    assert status["ready"]
    assert [c["name"] for c in status["components"]] == ["supervisor", *COMPONENTS]
    assert {c["state"] for c in status["components"]} == {"running"}
    assert [r["slot_state"] for r in status["replicas"]] == ["active"] * 3
    assert sum(r["share"] for r in status["replicas"]) == 128


def test_device_and_address_are_in_the_namespace_of_the_stack_only(dummies):
    assert "10.77.0.1/24" in dummies.peer("ip", "-o", "addr", "show", "dev", "neat0").stdout
    assert os.readlink(f"/proc/{dummies.guardian}/ns/net") != os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("dummies", [{"datapath": "driver"}], indirect=True)
def test_components_inherit_nothing_but_their_descriptors(dummies):
    """A replica has neither the TAP device, nor another replica's memory, nor the run directory's lock."""
    pid = dummies.pids()["replica1"]
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    memory = sorted({link.split(":")[2].split(" ")[0] for link in links if link.startswith("/memfd:neat:")})
    assert memory == ["board", "filter", "link1", "state1", "track"]
    assert not [link for link in links if "tun" in link or link.endswith("/lock")]


def test_secret_is_not_in_an_argument(dummies):
    pid = dummies.pids()["replica0"]
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        assert file.read().split(b"\0")[-2].startswith(b"replica0@")


@pytest.mark.parametrize("name", COMPONENTS)
def test_killed_component_is_replaced_and_the_others_stay(dummies, name):
    before = dummies.pids()
    dummies.neat("kill", name)
    part = wait_replaced(dummies, name, before[name])
    assert part["restarts"] == 1
    after = dummies.pids()
    assert {k: v for k, v in after.items() if k != name} == {k: v for k, v in before.items() if k != name}
    assert ("died", "crashed with SIGKILL") in events(dummies, name)
    assert [what for what, _ in events(dummies, name)][-1] == "is back"


@pytest.mark.parametrize("dummies", [{"recovery": "stateless"}], indirect=True)
def test_replicas_share_is_given_to_the_others_until_it_is_back(dummies):
    (dummies.behaviour / "replica1.mute").touch()
    pid = dummies.pids()["replica1"]
    dummies.neat("kill", "replica1")
    wait_for(lambda: dummies.component("replica1")["pid"] not in (pid, None), 10, "a successor")
    replica = dummies.status()["replicas"][1]
    assert (replica["slot_state"], replica["share"], replica["epoch"]) == ("recovering", 0, 1)
    assert [r["share"] for r in dummies.status()["replicas"]] == [64, 0, 64]
    (dummies.behaviour / "replica1.mute").unlink()
    dummies.neat("restart", "replica1")
    assert dummies.status()["replicas"][1]["slot_state"] == "active"


@pytest.mark.parametrize("dummies", [{"recovery": "stateless"}], indirect=True)
def test_syscall_server_hears_of_replicas(dummies):
    dummies.neat("restart", "replica2")
    about = [(m["op"], m.get("incarnation")) for m in heard_by_syscall(dummies) if m.get("replica") == 2]
    assert about[-2:] == [("replica_down", 1), ("replica_up", 2)]


def test_new_syscall_server_is_told_which_replicas_are_up(dummies):
    heard = dummies.behaviour / "syscall.heard"
    heard.unlink(missing_ok=True)
    dummies.neat("restart", "syscall")
    wait_for(lambda: heard.exists() and len(heard_by_syscall(dummies)) >= 4, 10, "four messages")
    first, *others = heard_by_syscall(dummies)
    assert (first["op"], first["slots"]) == ("slots", [0, 1, 2])
    assert {(m["op"], m["replica"]) for m in others} == {("replica_up", k) for k in range(3)}


@pytest.mark.parametrize("number", ["SIGSTOP", "SIGUSR1"])
def test_stopped_or_spinning_replica_is_found_and_replaced(dummies, number):
    pid = dummies.pids()["replica1"]
    dummies.neat("kill", "replica1", "--signal", number)
    wait_replaced(dummies, "replica1", pid)
    what, detail = [e for e in events(dummies, "replica1") if e[0] == "hung"][0]
    assert detail.startswith("stopped by a signal" if number == "SIGSTOP" else "spinning")
    assert not alive(pid)


def test_blocked_component_is_found(dummies):
    pid = dummies.pids()["syscall"]
    dummies.neat("kill", "syscall", "--signal", "SIGUSR2")
    wait_replaced(dummies, "syscall", pid)
    assert any(what == "hung" and "asleep" in detail for what, detail in events(dummies, "syscall"))


def push(stack: Stack, name: str, slot: int, *, received: bool) -> None:
    """A record into a ring of a link that this component has."""
    pid, config = stack.pids()[name], Config()
    fds = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    path = next(path for path in fds if os.readlink(path).startswith(f"/memfd:neat:link{slot}"))
    with open(path, "r+b", buffering=0) as file:
        link = Link(file.fileno(), config.ring_bytes, config.ring_bytes)
        ring = link.rx_ring(producer=True) if received else link.tx_ring(producer=True)
        ring.push(b"frame")
        ring.publish()


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize(
    ("name", "slot", "received", "ring"),
    [("replica1", 1, True, "receive ring"), ("driver", 2, False, "ring of replica2")],
)
def test_component_that_beats_and_makes_no_progress_is_replaced(dummies, name, slot, received, ring, busy):
    if busy:
        (dummies.behaviour / f"{name}.busy").touch()
    pid = dummies.pids()[name]
    push(dummies, name, slot, received=received)
    wait_replaced(dummies, name, pid)
    (why,) = [detail for what, detail in events(dummies, name) if what == "hung"][:1]
    assert why.startswith(f"no progress, what is in its {ring} has waited for")


def test_crash_loop_backs_off_and_ends_when_the_cause_does(dummies):
    (dummies.behaviour / "replica0.crash").touch()
    pid = dummies.pids()["replica0"]
    dummies.neat("kill", "replica0")
    wait_for(lambda: dummies.component("replica0")["restarts"] >= 4, 20, "four restarts")
    part = dummies.component("replica0")
    assert not dummies.status()["ready"]
    assert ("died", "exited with status 3") in events(dummies, "replica0")
    (dummies.behaviour / "replica0.crash").unlink()
    assert wait_replaced(dummies, "replica0", pid)["restarts"] >= part["restarts"]


def test_restart_of_one_component_is_no_crash(dummies):
    before = dummies.pids()
    assert json.loads(dummies.neat("restart", "driver", "-j").stdout) == {"restarted": ["driver"]}
    assert dummies.pids()["driver"] != before["driver"]
    assert not [what for what, _ in events(dummies, "driver") if what == "died"]


def test_rolling_restart_replaces_everything_in_turn(dummies):
    before = dummies.pids()
    done = json.loads(dummies.neat("restart", "--rolling", "-j").stdout)["restarted"]
    assert sorted(done) == sorted(["supervisor", *COMPONENTS])
    after = dummies.pids()
    assert not [name for name in done if after[name] == before[name]]
    assert not [event for event in dummies.status()["events"] if event["what"] == "died"]


def test_restart_makes_a_process_of_its_own(dummies):
    """A standby has imported what was installed before."""
    old = wait_warm(dummies)
    before = dummies.pids()
    dummies.neat("restart", "replica1")
    assert dummies.pids()["replica1"] not in (old, before["replica1"])


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSTOP", "SIGTERM"])
def test_supervisor_comes_back_and_adopts_without_restarting(dummies, number):
    before = dummies.pids()
    os.kill(before["supervisor"], signal.Signals[number])
    wait_replaced(dummies, "supervisor", before["supervisor"])
    after = dummies.wait_running()
    pids = {c["name"]: c["pid"] for c in after["components"]}
    assert {name: pids[name] for name in COMPONENTS} == {name: before[name] for name in COMPONENTS}
    assert [c["restarts"] for c in after["components"]] == [1, 0, 0, 0, 0, 0]
    assert [r["slot_state"] for r in after["replicas"]] == ["active"] * 3


def test_adopted_component_is_watched_like_any_other(dummies):
    before = dummies.pids()
    dummies.neat("restart", "supervisor")
    wait_replaced(dummies, "supervisor", before["supervisor"])
    dummies.neat("kill", "replica0")
    assert wait_replaced(dummies, "replica0", before["replica0"])["restarts"] == 1
    pid = dummies.pids()["replica1"]
    dummies.neat("kill", "replica1", "--signal", "SIGSTOP")
    wait_replaced(dummies, "replica1", pid)


@pytest.mark.parametrize("dummies", [{"recovery": "stateless"}], indirect=True)
def test_component_that_died_without_a_supervisor_is_started_by_the_next(dummies):
    before = dummies.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    os.kill(before["replica2"], signal.SIGKILL)
    part = wait_replaced(dummies, "replica2", before["replica2"])
    assert part["restarts"] == 1
    assert dummies.wait_running()["replicas"][2]["epoch"] == 1


def test_supervisor_killed_in_the_middle_of_a_start_leaves_no_second_process(dummies):
    """A component that never wrote its page is nobody's: the next supervisor ends it and starts another."""
    before = dummies.pids()
    os.kill(before["replica0"], signal.SIGKILL)
    os.kill(before["supervisor"], signal.SIGKILL)
    dummies.wait_running()
    wait_warm(dummies)
    known = {*dummies.pids().values(), dummies.status()["standby"]["pid"]}
    assert len(known) == 7
    assert descendants(dummies.guardian) == known


def descendants(root: int) -> set[int]:
    from neat.supervisor.process import children

    found: set[int] = set()
    todo = [root]
    while todo:
        new = children(todo.pop())
        found |= set(new)
        todo += new
    return found


def wait_warm(stack: Stack) -> int:
    """The pid of a standby that is warm."""

    def warm():
        standby = (stack.status_or_none() or {}).get("standby")
        return standby["pid"] if standby and standby["warm"] else None

    return wait_for(warm, 20, "a warm standby")


def test_standby_takes_the_place_of_a_dead_replica_and_gets_a_successor(dummies):
    pid = wait_warm(dummies)
    old = dummies.pids()["replica1"]
    dummies.neat("kill", "replica1")
    assert wait_replaced(dummies, "replica1", old)["pid"] == pid
    assert wait_warm(dummies) != pid
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    memory = {link.split(":")[2].split(" ")[0] for link in links if link.startswith("/memfd:neat:")}
    assert memory == {"board", "filter", "link1", "state1", "track"}


@pytest.mark.parametrize("name", ["driver", "syscall"])
def test_standby_takes_any_place(dummies, name):
    pid = wait_warm(dummies)
    old = dummies.pids()[name]
    dummies.neat("kill", name)
    assert wait_replaced(dummies, name, old)["pid"] == pid


@pytest.mark.parametrize("dummies", [{"standby": 3}], indirect=True)
def test_as_many_standbys_as_are_wanted(dummies):
    def warm():
        standbys = dummies.status()["standbys"]
        return len(standbys) == 3 and all(s["warm"] for s in standbys) and {s["pid"] for s in standbys}

    pids = wait_for(warm, 20, "three warm standbys")
    names = ["replica0", "driver", "replica2"]
    old = dummies.pids()
    for name in names:
        os.kill(old[name], signal.SIGKILL)
    assert {wait_replaced(dummies, name, old[name])["pid"] for name in names} == pids
    assert not wait_for(warm, 20, "three others") & pids


def layout(pid: int) -> set[str]:
    """Where the first mapping of libc and the stack begin."""
    with open(f"/proc/{pid}/maps") as file:
        lines = [line.split() for line in file]
    libc = next(line[0] for line in lines if "libc" in line[-1])
    stack = next(line[0] for line in lines if line[-1] == "[stack]")
    return {f"libc {libc.partition('-')[0]}", f"stack {stack.partition('-')[0]}"}


@pytest.mark.parametrize("dummies", [{"standby": 0}, {"standby": 1}], indirect=True)
def test_successive_incarnations_have_different_layouts(dummies):
    seen = layout(dummies.pids()["replica1"])
    for _ in range(3):
        old = dummies.pids()["replica1"]
        if dummies.status()["standby"]:
            wait_warm(dummies)
        dummies.neat("kill", "replica1")
        new = layout(wait_replaced(dummies, "replica1", old)["pid"])
        assert len(new) == 2
        assert not new & seen
        seen |= new


def test_dead_standby_is_no_loss(dummies):
    os.kill(wait_warm(dummies), signal.SIGKILL)
    old = dummies.pids()["replica0"]
    dummies.neat("kill", "replica0")
    wait_replaced(dummies, "replica0", old)
    wait_warm(dummies)


def test_down_leaves_nothing(dummies):
    wait_warm(dummies)
    pids = [*descendants(dummies.guardian), dummies.guardian]
    os.kill(dummies.pids()["replica1"], signal.SIGSTOP)  # one that can't end by itself
    dummies.neat("down")
    assert not [pid for pid in pids if alive(pid)]
    assert not dummies.run_dir.exists()


@pytest.mark.parametrize("stopped", [False, True])
def test_killed_guardian_takes_everything_with_it(dummies, stopped):
    """No process, hence no namespace without a name either, and no device in it."""
    pids = [*descendants(dummies.guardian), dummies.guardian]
    if stopped:
        os.kill(dummies.pids()["replica1"], signal.SIGSTOP)
    os.kill(dummies.guardian, signal.SIGKILL)
    wait_for(lambda: not [pid for pid in pids if alive(pid)], 10, "every process gone")
    assert dummies.neat("status", check=False).returncode == 1


def test_next_up_cleans_what_a_killed_guardian_left(tmp_path):
    with dummy_stack(tmp_path) as first:
        pids = [*first.pids().values(), first.guardian]
        os.kill(first.guardian, signal.SIGKILL)
        wait_for(lambda: not [pid for pid in pids if alive(pid)], 10, "every process gone")
        assert (first.run_dir / rundir.CONTROL_SOCKET).exists()
        first.neat("up", "--detach")
        assert first.status()["ready"]
        first.neat("down")


def test_stack_that_cannot_come_up_says_why_and_leaves_nothing(tmp_path):
    (tmp_path / "replica1.crash").touch()
    with pytest.raises(AssertionError) as failed, dummy_stack(tmp_path):
        pass
    text = str(failed.value)
    assert "replica1 died 3 times before it was ready (exited with status 3)" in text


@pytest.mark.parametrize("dummies", [{"netns": NAMED}], indirect=True)
def test_named_namespace_is_made_and_removed(dummies):
    assert os.path.exists(f"/run/netns/{NAMED}")
    dummies.neat("down")
    assert not os.path.exists(f"/run/netns/{NAMED}")


def test_named_namespace_of_a_killed_guardian_goes_with_the_next_command(tmp_path):
    with dummy_stack(tmp_path, netns=NAMED) as stack:
        os.kill(stack.guardian, signal.SIGKILL)
        wait_for(lambda: stack.guardian is None, 10, "the guardian is gone")
        assert os.path.exists(f"/run/netns/{NAMED}")
        assert stack.neat("down", check=False).returncode == 1
        assert not os.path.exists(f"/run/netns/{NAMED}")
        assert not stack.run_dir.exists()


def test_ss_collects_all_parts_from_all_replicas(dummies):
    sockets = json.loads(dummies.neat("ss", "-l", "-j").stdout)["sockets"]
    assert [s["replica"] for s in sockets] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("dummies", [{"hang_ms": 60_000}], indirect=True)
def test_ss_shows_the_others_and_names_a_replica_that_does_not_answer(dummies):
    os.kill(dummies.pids()["replica1"], signal.SIGSTOP)
    done = dummies.neat("ss", "-l", "-j")
    shown = json.loads(done.stdout)
    assert shown["missing"] == ["replica1"]
    assert [row["replica"] for row in shown["sockets"]] == [0, 0, 2, 2]
    assert done.stderr == "replica1: silent, or just being replaced; its sockets are not shown\n"
