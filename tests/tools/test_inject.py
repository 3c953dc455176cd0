"""Fault injection: changes of instructions, classes of runs, campaigns that go on."""

import platform
import random
import subprocess
import sys
from collections import Counter

import pytest

from neat.tools.drill.inject import campaign, faults, process
from neat.tools.drill.inject.faults import IN_TEXT, Mutator
from neat.tools.drill.inject.process import InjectError, Memory
from neat.tools.drill.inject.run import (
    FAILED,
    GONE,
    IGNORED,
    LOST,
    OTHERS,
    TRANSPARENT,
    WRONG,
    Seen,
    ends_in,
    outcome,
)
from neat.tools.drill.records import Connection
from neat.tools.stack import environment
from tests.support import ROOT

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64")

CODE = bytes.fromhex(
    "31c0"  # xor eax, eax
    "48c7431000000000"  # mov qword ptr [rbx + 0x10], 0
    "8b4b08"  # mov ecx, [rbx + 8]
    "4889c7"  # mov rdi, rax
    "e800010000"  # call
    "01c8"  # add eax, ecx
    "75e7"  # jne, back to the start
    "0f8410000000"  # je, forward
    "c3"  # ret
)


@pytest.fixture
def mutator():
    return Mutator(random.Random(4))


def made(mutator, kind):
    """text before → texts after, of all changes of this kind that are found in CODE."""
    code = mutator.decode(CODE, 0x1000)
    found = {}
    for _ in range(20):
        for at, insn in enumerate(code):
            after = mutator.change(kind, code, at)
            if after is not None:
                assert len(after) == insn.size and after != bytes(insn.bytes)
                now = next(mutator.decoder.disasm(after, insn.address, 1), None)
                text = f"{now.mnemonic} {now.op_str}" if now is not None else "-"
                found.setdefault(f"{insn.mnemonic} {insn.op_str}".strip(), set()).add(text.strip())
    return found


def test_operands(mutator):
    destinations = made(mutator, "destination")
    assert all(text.startswith("add e") and text.endswith(", ecx") for text in destinations["add eax, ecx"])
    assert "mov edx, dword ptr [rbx + 8]" in destinations["mov ecx, dword ptr [rbx + 8]"]
    sources = made(mutator, "source")
    assert all(text.startswith("add eax, e") for text in sources["add eax, ecx"])
    pointers = made(mutator, "pointer")
    assert set(pointers) == {"mov ecx, dword ptr [rbx + 8]", "mov qword ptr [rbx + 0x10], 0"}
    assert all(text.startswith("mov ecx, dword ptr [") for text in pointers["mov ecx, dword ptr [rbx + 8]"])


def test_flow_of_control(mutator):
    assert {text.split()[0] for text in made(mutator, "branch")} == {"jne", "je"}
    (loop,) = made(mutator, "loop").items()
    assert loop[0].startswith("jne") and {text.split()[0] for text in loop[1]} == {"je"}


def test_values_and_arguments(mutator):
    assert set(made(mutator, "initialisation")) == {"xor eax, eax", "mov qword ptr [rbx + 0x10], 0"}
    assert set(made(mutator, "interface")) == {"mov rdi, rax", "mov ecx, dword ptr [rbx + 8]"}
    assert len(made(mutator, "nop")) == len(mutator.decode(CODE, 0x1000))
    assert len(made(mutator, "text")) == len(mutator.decode(CODE, 0x1000))


def test_garbage_has_no_faults_or_some(mutator):
    """Whatever the bytes are, a change keeps the length."""
    chance = random.Random(1)
    for _ in range(300):
        code = mutator.decode(chance.randbytes(40), 0)
        for kind in IN_TEXT:
            for at in range(len(code)):
                after = mutator.change(kind, code, at)
                assert after is None or len(after) == code[at].size


@pytest.fixture
def child():
    code = "import neat.stack.lab, sys; print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment()
    ) as started:
        assert started.stdout.readline() == b"ready\n"
        yield started
        started.kill()


@pytest.mark.parametrize("kind", [*IN_TEXT, "stack", "heap"])
def test_what_is_written_is_there_and_nowhere_else(child, kind):
    before = {f.address: f for f in process.functions(child.pid, "replica")}
    changes = faults.inject(child.pid, "replica", kind, 5, random.Random(9))
    assert len(changes) == 5
    with Memory(child.pid) as memory:
        last = {change.address: change for change in changes}
        for change in last.values():
            assert memory.read(change.address, len(change.after) // 2).hex() == change.after
    if kind in IN_TEXT:
        assert all(":" in change.where for change in changes)
        function = next(f for f in before.values() if f.address <= changes[0].address < f.address + f.size)
        assert function.module.split(".")[0] in process.ROOMS["replica"]


def test_another_seed_other_faults(child):
    first, second = (faults.inject(child.pid, "replica", "branch", 3, random.Random(seed)) for seed in (2, 3))
    assert [change.where for change in first] != [change.where for change in second]


def test_who_is_not_there_is_said():
    with subprocess.Popen(["sleep", "0"]) as gone:
        gone.wait()
    for kind in ("nop", "stack"):
        with pytest.raises(InjectError, match=str(gone.pid)):
            faults.inject(gone.pid, "replica", kind, 1, random.Random(1))


def test_a_process_that_is_none_of_ours():
    with subprocess.Popen(["sleep", "100"]) as other:
        try:
            with pytest.raises(InjectError, match="no compiled functions"):
                faults.inject(other.pid, "replica", "nop", 1, random.Random(1))
        finally:
            other.kill()


def ended(what):
    return Connection(1, 1, "requests", outcome=what)


@pytest.mark.parametrize(
    ("seen", "is_"),
    [
        (Seen(), IGNORED),
        (Seen(ends=["replica0 died: crashed"]), TRANSPARENT),
        (Seen(ended=[ended("lost")]), LOST),
        (Seen(ends=["replica0 died: crashed"], ended=[ended("hung")]), LOST),
        (Seen(ended=[ended("lost")], owners={1: "replica0"}, victim="replica0"), LOST),
        (Seen(ended=[ended("lost")], owners={1: "replica2"}, victim="replica0"), OTHERS),
        (Seen(serves=False), GONE),
        (Seen(back=False), GONE),
        (Seen(ended=[ended("lost"), ended("wrong")], serves=False), WRONG),
    ],
)
def test_classes(seen, is_):
    assert outcome(seen) == is_


def test_ends_are_read_from_the_log():
    events = [
        {"component": "replica0", "what": what, "detail": "x"}
        for what in ("is ready", "died", "hung", "is back", "stopped")
    ]
    assert ends_in(events) == ["replica0 died: x", "replica0 hung: x"]


def row(number, what=IGNORED, **more):
    return {"number": number, "component": "replica", "kind": "nop", "victim": "replica0", "class": what,
            "crashed": what == TRANSPARENT, "came_back": True, "why": []} | more  # fmt: skip


def test_a_campaign_goes_on_where_it_was(tmp_path, monkeypatch):
    path = tmp_path / "results"
    chosen = campaign.Campaign(["replica", "driver"], ["nop", "text"], 1)
    campaign.append(path, {"campaign": chosen.head()})
    for number in (0, 2):
        campaign.append(path, row(number))
    with path.open("a") as file:
        file.write('{"number": 1, "cla')  # its process was killed here
    started = []

    class Process:
        def __init__(self, command, **_):
            started.append(int(command[-2]))
            campaign.append(path, row(started[-1], TRANSPARENT))

        def wait(self, _timeout=None):
            return 0

    monkeypatch.setattr(campaign.subprocess, "Popen", Process)
    rows = campaign.run_all(chosen, 5, path, jobs=2)
    assert started == [1, 3, 4]
    assert sorted(r["number"] for r in rows) == [0, 1, 2, 3, 4]
    campaign.run_all(chosen, 5, path)
    assert started == [1, 3, 4]
    with pytest.raises(campaign.CampaignError, match="another campaign"):
        campaign.run_all(campaign.Campaign(["replica"], ["nop"], 1), 1, path)


@pytest.mark.parametrize(
    "text", ["[]\n", '{"a": 1}\n', 'x\n{"class": "ignored"}\n', '{"campaign": {}}\n[]\n']
)
def test_a_file_that_is_none(tmp_path, text):
    path = tmp_path / "results"
    path.write_text(text)
    with pytest.raises(campaign.CampaignError, match="results"):
        campaign.read(path)


def test_every_component_and_kind_gets_its_turn():
    plans = [campaign.plan_of(n, ["replica", "driver"], list(IN_TEXT)) for n in range(36)]
    assert set(Counter(plans).values()) == {2} and len(set(plans)) == 18


def test_intervals():
    """Brown, Cai, DasGupta, "Interval Estimation for a Binomial Proportion", 2001, of 8 of 10."""
    assert campaign.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert campaign.wilson(0, 0) == (0.0, 1.0)
    assert campaign.wilson(0, 10)[0] == pytest.approx(0, abs=1e-9)


def test_table():
    rows = [row(n, TRANSPARENT) for n in range(6)] + [row(6, LOST), row(7), row(8, FAILED)]
    of = campaign.table(rows)
    assert (of["all"]["runs"], of["all"]["effective"], of["all"][FAILED]) == (9, 7, 1)
    assert of["all"]["classes"][TRANSPARENT]["share"] == round(6 / 7, 4)
    assert of["crashed"]["classes"][TRANSPARENT]["share"] == 1
    assert of["kinds"]["nop"]["classes"][LOST]["runs"] == 1


@pytest.mark.netns
@pytest.mark.slow
def test_two_runs(tmp_path):
    """On stacks that run; what is said of each is consistent."""
    path = tmp_path / "results"
    command = ["drill", "--inject", "2", "--types", "nop,interface", "--random", "7", "--results", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "neat", *command], cwd=ROOT, env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    _, rows = campaign.read(path)
    assert [(r["number"], r["kind"]) for r in rows] == [(0, "nop"), (1, "interface")], done.stderr
    assert [r["error"] for r in rows] == ["", ""]
    assert all(1 <= len(r["changes"]) <= 5 and r["victim"].startswith("replica") for r in rows)
    gone = any(r["class"] == GONE and not r["came_back"] for r in rows)
    assert (done.returncode != 0) == gone, done.stderr
    assert "of 2 runs had an effect" in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--component", "syscall"], "replica and driver"),
        (["--types", "typo"], "there are source"),
    ],
)
def test_wrong_options(options, says):
    done = subprocess.run(
        [sys.executable, "-m", "neat", "drill", "--inject", "1", *options], cwd=ROOT, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and says in done.stderr
