"""`neat run` without a stack: its mistakes, which programs it can't intercept, and what it says to those
that it can."""

import os
import shutil
import stat
import struct
import subprocess
import sys

import pytest
from click.testing import CliRunner

from neat.cli import executable, library, main
from neat.cli import run as module

STATE = {"name": "default", "run_dir": "/run/x", "address": "10.77.0.2/24", "routes": ["default=kernel"]}


class Executed(Exception):
    def __init__(self, path, arguments, env):
        super().__init__(path)
        self.path, self.arguments, self.env = path, arguments, env


@pytest.fixture
def run(monkeypatch):
    """`neat run` up to its exec: the result, with `executed` and `policy`, which it was given if any."""
    policies = []

    def execve(path, arguments, env):
        raise Executed(path, tuple(arguments), env)

    monkeypatch.setattr(library, "open_to_everybody", lambda _path: True)
    monkeypatch.setattr(module, "request", lambda name, _message: {"status": STATE | {"name": name}})
    monkeypatch.setattr(executable.os, "execve", execve)
    monkeypatch.setattr(executable.signal, "signal", lambda *_: None)
    monkeypatch.setattr(module.os, "sched_setscheduler", lambda _pid, policy, _param: policies.append(policy))

    def invoke(*arguments, **env):
        policies.clear()
        result = CliRunner().invoke(main.main, ["run", *arguments], env=env)
        result.executed = result.exception if isinstance(result.exception, Executed) else None
        result.policy = policies[0] if policies else None
        return result

    return invoke


def script(path, text, mode=0o755):
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_what_the_library_is_told(run):
    done = run("--name", "web", "--route", "10.0.0.0/8=neat", "--", "sh", "-c", "exit").executed
    assert os.path.basename(done.path) == "sh"
    assert done.arguments == ("sh", "-c", "exit")
    env = done.env
    assert env["LD_PRELOAD"].endswith("/neat/shim/libneat.so")
    assert (env["NEAT_STACK"], env["NEAT_RUN_DIR"]) == ("web", "/run/x")
    assert env["NEAT_ADDRESS"] == "10.77.0.2/24"
    assert env["NEAT_ROUTES"] == "10.0.0.0/8=neat,default=kernel"
    assert "NEAT_VERBOSE" not in env
    assert int(env["NEAT_APP"], 16) != 0


def test_each_run_is_an_application_of_its_own(run):
    first = run("true").executed.env
    nested = run("-v", "true", **{key: first[key] for key in ("NEAT_APP", "LD_PRELOAD", "NEAT_ROUTES")})
    assert nested.executed.env["NEAT_APP"] != first["NEAT_APP"]
    assert nested.executed.env["LD_PRELOAD"] == first["LD_PRELOAD"]
    assert nested.executed.env["NEAT_VERBOSE"] == "1"


@pytest.mark.parametrize(
    "options, chosen, given",
    [
        ([], os.SCHED_OTHER, os.SCHED_BATCH),
        (["--no-batch"], os.SCHED_OTHER, None),
        ([], os.SCHED_IDLE, None),
        ([], os.SCHED_FIFO, None),
    ],
)
def test_who_runs_is_not_interrupted_but_by_the_users_choice(run, monkeypatch, options, chosen, given):
    monkeypatch.setattr(module.os, "sched_getscheduler", lambda _pid: chosen)
    done = run(*options, "true")
    assert done.executed
    assert done.policy == given


def test_another_library_stays_behind_ours(run):
    preload = run("true", LD_PRELOAD="/lib/other.so /lib/more.so").executed.env["LD_PRELOAD"].split()
    assert preload[0].endswith("libneat.so")
    assert preload[1:] == ["/lib/other.so", "/lib/more.so"]


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("10.0.0.0/8", "must be NETWORK=neat or NETWORK=kernel"),
        ("=neat", "must be NETWORK=neat or NETWORK=kernel"),
        ("10.0.0.0/8=linux", "'linux' must be neat or kernel"),
        ("10.0.0.0/33=neat", "does not appear to be an IPv4 or IPv6 network"),
        ("10.0.0.1/8=neat", "has host bits set"),
        ("fd00::/8=neat", "the stack speaks IPv4 only"),
        ("bind:default=neat", "does not appear to be"),
    ],
)
def test_bad_routes(run, rule, expected):
    result = run("--route", rule, "--", "true")
    assert result.exit_code == 2
    assert expected in result.output


def test_routes_of_the_command_line_go_before_those_of_the_configuration(run):
    rules = ["--route", "default=neat", "--route", "bind:0.0.0.0=kernel", "--route", "10.1.2.3=kernel"]
    env = run(*rules, "--", "true").executed.env
    assert env["NEAT_ROUTES"] == "default=neat,bind:0.0.0.0/32=kernel,10.1.2.3/32=kernel"


def test_too_many_routes(run):
    rules = [part for i in range(64) for part in ("--route", f"10.0.0.{i}=neat")]
    result = run(*rules, "--", "true")
    assert result.exit_code == 1
    assert "65 rules: 64 are allowed" in result.output


@pytest.mark.parametrize(
    "make, status, expected",
    [
        (lambda path: str(path / "none"), 127, "No such file or directory"),
        (lambda path: str(path), 126, "is a directory"),
        (lambda path: script(path / "x", "#!/bin/sh\n", 0o644), 126, "not executable"),
        (lambda path: "no-such-program-at-all", 127, "no such program"),
        (lambda path: "", 127, ""),
    ],
)
def test_programs_that_cannot_be_run(run, tmp_path, make, status, expected):
    result = run("--", make(tmp_path))
    assert result.exit_code == status
    assert expected in result.output
    assert result.output.count("\n") == 1


def test_no_stack(tmp_path, monkeypatch):
    monkeypatch.setenv("NEAT_RUN_DIR", str(tmp_path))
    result = CliRunner().invoke(main.main, ["run", "true"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: no stack called 'default' is up")


def test_another_stack_in_the_run_directory(run, monkeypatch):
    monkeypatch.setattr(module, "request", lambda *_: {"status": STATE})
    result = run("--name", "other", "true")
    assert (result.exit_code, result.executed) == (1, None)
    assert "is called 'default', not 'other'" in result.output


def test_no_library(run, monkeypatch, tmp_path):
    import neat

    monkeypatch.setattr(neat, "__file__", str(tmp_path / "neat" / "__init__.py"))
    result = run("true")
    assert result.exit_code == 1
    assert "libneat.so is not there" in result.output


# --- what can't be intercepted


@pytest.fixture
def compiled(tmp_path):
    """A program from C, linked with these options."""

    def build(*options):
        target = tmp_path / "program"
        source = tmp_path / "program.c"
        source.write_text("int main(void) { return 0; }\n")
        done = subprocess.run(
            ["gcc", *options, "-o", str(target), str(source)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"gcc {' '.join(options)} does not work here")
        return str(target)

    return build


def elf(machine=62, bits=64, interpreter=b"/lib64/ld-linux-x86-64.so.2\0", sections=b"\0.text\0", notes=b""):
    """As little ELF as may be looked at."""
    segments = [(3, interpreter)] if interpreter else []
    segments += [(4, notes)] if notes else []
    at = 64 + 56 * len(segments)
    table, body = b"", b""
    for kind, data in segments:
        table += struct.pack("<IIQQQQQQ", kind, 4, at + len(body), 0, 0, len(data), len(data), 1)
        body += data
    names_at = at + len(body)
    body += sections
    sections_at = at + len(body)
    body += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at, len(sections), 0, 0, 1, 0)
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, machine, 1, 0, 64, sections_at, 0, 64, 56, len(segments), 64, 1, 0
    )
    return head + table + body


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A file with these bytes, on a machine of ELF machine 62."""
    monkeypatch.setattr(executable, "own_elf", lambda: executable.Elf(64, 62))

    def write(data):
        path = tmp_path / "program"
        path.write_bytes(data)
        path.chmod(0o755)
        return str(path)

    return write


GO_NOTE = struct.pack("<III4s", 4, 83, 4, b"Go\0\0") + bytes(84)


@pytest.mark.parametrize(
    "data, expected",
    [
        (elf(), None),
        (elf(interpreter=b""), "statically linked"),
        (elf(sections=b"\0.text\0.go.buildinfo\0.data\0"), "is a Go program"),
        (elf(sections=b"\0.text\0.go.buildinfoX\0.data\0"), None),
        (elf(notes=GO_NOTE), "is a Go program"),
        (elf(interpreter=b"", notes=GO_NOTE), "is a Go program"),
        (elf(machine=183), "another architecture (64 bits, ELF machine 183)"),
        (elf(machine=3, bits=32), "another architecture (32 bits, ELF machine 3)"),
        (elf(interpreter=b"/lib/ld-musl-x86_64.so.1\0"), "musl"),
        (elf()[:100], "damaged"),
        (b"\x7fELF", "damaged"),
        (b"neither", None),
        (b"", None),
    ],
)
def test_obstacles(program, data, expected):
    found = executable.obstacle(program(data))
    assert found is None if expected is None else expected in found


def test_damaged_headers_are_no_trouble(program):
    """Any bytes: an answer, within reason."""
    whole = elf(notes=GO_NOTE)
    for i in range(4, 64):
        for value in (0, 1, 0x7F, 0xFF):
            executable.obstacle(program(whole[:i] + bytes([value]) + whole[i + 1 :]))


@pytest.mark.parametrize("options", [["-static"], ["-static-pie"]])
def test_a_static_program_is_not_run(run, compiled, options):
    path = compiled(*options)
    result = run("--", path)
    assert (result.exit_code, result.executed) == (1, None)
    assert f"{path} is statically linked" in result.output
    assert result.output.count("\n") == 1


def test_anyway(run, compiled):
    result = run("--anyway", "--", compiled("-static"))
    done = result.executed
    assert result.policy is None
    assert "libneat" not in done.env.get("LD_PRELOAD", "")
    assert "NEAT_APP" not in done.env


def test_a_program_of_this_machine(compiled):
    assert executable.obstacle(compiled()) is None
    assert executable.obstacle(os.path.realpath(sys.executable)) is None


def test_scripts_are_what_their_interpreter_is(compiled, tmp_path):
    static = compiled("-static")
    assert "statically linked" in executable.obstacle(script(tmp_path / "a", f"#!{static} -x\n"))
    inner = script(tmp_path / "b", f"#! {static}\n")
    assert "statically linked" in executable.obstacle(script(tmp_path / "c", f"#!{inner}\n"))
    assert executable.obstacle(script(tmp_path / "d", "#!/bin/sh\n")) is None
    assert executable.obstacle(script(tmp_path / "e", f"#!{tmp_path}/none\n")) is None
    loop = tmp_path / "f"
    assert executable.obstacle(script(loop, f"#!{loop}\n")) is None


def test_scripts_through_env(compiled, tmp_path, monkeypatch):
    shutil.copy(compiled("-static"), tmp_path / "thing")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for line in ("#!/usr/bin/env thing", "#!/usr/bin/env -S thing -x", "#!/usr/bin/env A=b thing"):
        assert "statically linked" in executable.obstacle(script(tmp_path / "x", line + "\n"))
    assert executable.obstacle(script(tmp_path / "x", "#!/usr/bin/env\n")) is None
    assert executable.obstacle(script(tmp_path / "x", "#!/usr/bin/env 'unbalanced\n")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another owner")
@pytest.mark.parametrize("mode", [stat.S_ISUID, stat.S_ISGID])
def test_a_set_user_id_program(compiled, mode):
    path = compiled()
    os.chown(path, 65534, 65534)
    os.chmod(path, 0o755 | mode)
    assert "gains privileges" in executable.obstacle(path)
    os.chown(path, 0, 0)
    os.chmod(path, 0o755 | mode)
    assert executable.obstacle(path) is None


def test_a_script_without_a_first_line_goes_to_the_shell(tmp_path):
    """As execvp(3) does it; in a process of its own, for the real exec."""
    path = script(tmp_path / "plain", "echo $1; exit 7\n")
    code = f"from neat.cli.executable import become; become({path!r}, ({path!r}, 'word'), {{}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("word\n", 7)


def test_signals_are_as_they_were(tmp_path):
    """Python ignores SIGPIPE; the program must not inherit that."""
    code = "from neat.cli.executable import become; become('/bin/cat', ('cat', '/proc/self/status'), {})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ignored = int(done.stdout.partition("SigIgn:")[2].split()[0], 16)
    assert not ignored >> 12 & 1
