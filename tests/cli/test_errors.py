"""Every mistake gives one clear line, a non-zero exit, and nothing started."""

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from neat import rundir
from neat.cli import main as cli
from neat.cli import up
from neat.cli.manage import end_guardian
from tests.support import ROOT


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("NEAT_RUN_DIR", str(tmp_path / "run"))
    return lambda *arguments: CliRunner().invoke(cli.main, arguments)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--replicas", "0"], "replicas = 0"),
        (["--replicas", "17"], "replicas = 17"),
        (["--address", "10.1.2.3.4/24"], "address = '10.1.2.3.4/24': must be an address with a prefix"),
        (
            ["--gateway", "192.168.1.1"],
            "gateway = '192.168.1.1': must be another address inside 10.77.0.0/24",
        ),
        (["--address", "10.77.0.0/24"], "address = '10.77.0.0/24': must be a host's address"),
        (["--address", "10.77.0.255/24"], "address = '10.77.0.255/24': must be a host's address"),
        (["--gateway", "10.77.0.255"], "gateway = '10.77.0.255': must be a host's address"),
        (["--address", "127.0.0.2/24", "--gateway", "127.0.0.1"], "must be a host's address"),
        (["--address", "224.0.0.2/24", "--gateway", "224.0.0.1"], "must be a host's address"),
        (["--address", "0.0.0.2/24", "--gateway", "0.0.0.1"], "must be a host's address"),
        (["--set", "mac=00:00:00:00:00:00"], "must be a unicast MAC address"),
        (["--set", "ring_bytes=300000"], "ring_bytes = 300000: must be a power of two"),
        (["--set", "no_such_key=1"], "no_such_key"),
        (["--set", "mtu=big"], "mtu = 'big'"),
        (["--set", "cpu_latency_us=-2"], "cpu_latency_us = -2"),
        (["--set", "hang_ms=200"], "hang_ms = 200: must be at least three times heartbeat_ms"),
        (["--set", "components=double"], "components = 'double'"),
        (["--set", "components=[]"], "components = []: must name at least one"),
        (["--set", 'components=["single", "multi"]', "--replicas", "9"], "replicas = 9: must be at most 8"),
        (["--set", "components=multi", "--set", "scale_max=16"], "scale_max = 16: must be at most 8"),
        (["--name", "Bad Name"], "name = 'Bad Name'"),
        (["-c", "/nonexistent/neat.toml"], "/nonexistent/neat.toml: cannot be read"),
    ],
)
def test_bad_settings_are_named_with_their_value(run, tmp_path, arguments, expected):
    result = run("up", "--detach", *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert expected in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_bad_setting_in_a_file_names_the_file(run, tmp_path):
    path = tmp_path / "site.toml"
    path.write_text("replicas = 'many'\n")
    result = run("up", "-c", str(path))
    assert result.exit_code == 1
    assert str(path) in result.output
    assert "replicas = 'many'" in result.output


def test_file_that_is_not_toml(run, tmp_path):
    path = tmp_path / "site.toml"
    path.write_text("replicas 3\n")
    assert "not TOML" in run("up", "-c", str(path)).output


def test_option_wins_over_the_file(run, tmp_path):
    path = tmp_path / "site.toml"
    path.write_text("replicas = 99\n")
    assert "replicas = 17" in run("up", "-c", str(path), "--replicas", "17").output


@pytest.mark.parametrize("text", ["novalue", "=3"])
def test_setting_without_key_or_value(run, text):
    result = run("up", "--set", text)
    assert result.exit_code == 2
    assert "must be key=value" in result.output


def test_settings_are_toml_or_bare_strings():
    assert up.parse_setting("replicas=2") == ("replicas", 2)
    assert up.parse_setting("offload=false") == ("offload", False)
    assert up.parse_setting("tap=neat7") == ("tap", "neat7")
    assert up.parse_setting("address=10.0.0.2/24") == ("address", "10.0.0.2/24")
    assert up.parse_setting("mac=") == ("mac", "")


def test_without_privileges_it_says_which(run, monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t0\n")
    monkeypatch.setattr(up, "PROC_STATUS", status)
    result = run("up")
    assert result.exit_code == 1
    assert "needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN)" in result.output


@pytest.mark.netns
def test_too_few_descriptors():
    """`neat up` may raise the limit, where it may: here not even root can."""
    command = ["sh", "-c", 'ulimit -n 32; exec "$0" -m neat up --name few', sys.executable]
    without_rights = ["setpriv", "--bounding-set=-sys_resource", *command]
    done = subprocess.run(without_rights, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: a process may have 32 open files (ulimit -n): 3 replicas need")
    assert done.stderr.count("\n") == 1


def test_owner_that_is_no_process_or_without_detach(run, monkeypatch):
    monkeypatch.setattr(up, "check_privileges", lambda config: None)
    assert "--owner 999999999" in run("up", "--detach", "--owner", "999999999").output
    assert "--owner goes with --detach" in run("up", "--owner", "1").output


def test_a_second_stack_of_the_same_name_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(up, "check_privileges", lambda config: None)
    lock = rundir.acquire(tmp_path / "run")
    result = run("up", "--name", "twice")
    assert result.exit_code == 1
    assert "a stack called 'twice' is up already" in result.output
    os.close(lock)


def test_run_directory_whose_path_is_too_long_for_a_socket(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NEAT_RUN_DIR", str(tmp_path / ("x" * 100)))
    monkeypatch.setattr(up, "check_privileges", lambda config: None)
    assert "the path is too long" in run("up").output


@pytest.mark.parametrize(
    "arguments",
    [
        ["down"],
        ["status"],
        ["status", "-j"],
        ["ss"],
        ["kill", "driver"],
        ["restart", "driver"],
        ["peer", "true"],
    ],
)
def test_no_stack_of_that_name(run, arguments):
    result = run(arguments[0], "--name", "ghost", *arguments[1:])
    assert result.exit_code == 1
    assert "no stack called 'ghost' is up" in result.output
    assert result.output.count("\n") == 1


def test_restart_wants_a_component_or_rolling(run):
    assert run("restart").exit_code == 2
    assert run("restart", "driver", "--rolling").exit_code == 2


def test_missing_part_of_the_command_is_said(run, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "bench", ("neat.no_such_module", "bench", ""))
    result = run("bench", "http")
    assert result.exit_code == 1
    assert "`neat bench` is not available" in result.output


def test_help_lists_every_command_without_importing_them(run):
    output = run("--help").output
    assert all(f"  {name} " in output for name in cli.COMMANDS)


@pytest.mark.parametrize("name", ["", "..", "../other", "a/b", "-x", "A", "x" * 33])
@pytest.mark.parametrize("command", [["down"], ["status"], ["kill", "driver"], ["peer", "true"]])
def test_a_name_that_no_stack_can_have(run, command, name):
    result = run(command[0], f"--name={name}", *command[1:])
    assert result.exit_code == 2
    assert "must be up to 32 of a-z, 0-9 and -" in result.output


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_output_that_cannot_be_written_gives_no_traceback(redirection):
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m neat status --help {redirection}', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    full = redirection == ">/dev/full"
    assert done.stderr == ("Error: No space left on device\n" if full else "")
    assert done.returncode == (1 if full else 0)


def test_a_stack_of_another_user_is_not_ended(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("signal.pidfd_send_signal", refuse)
    with pytest.raises(click.ClickException, match="belongs to another user"):
        end_guardian(os.getpid())
