"""Run directories: which one, its lock, and what is left of a guardian that was killed."""

import os
from pathlib import Path

import pytest

from neat import rundir


def test_environment_names_the_whole_directory(monkeypatch):
    monkeypatch.setenv("NEAT_RUN_DIR", "/somewhere/else")
    assert rundir.path("any") == Path("/somewhere/else")


def test_root_and_others(monkeypatch):
    monkeypatch.delenv("NEAT_RUN_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rundir.path("web") == Path("/run/neat/web")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert rundir.path("web") == Path("/run/user/1000/neat/web")


def test_lock_is_exclusive_until_its_last_copy_is_closed(tmp_path):
    lock = rundir.acquire(tmp_path / "run")
    copy = os.dup(lock)
    os.close(lock)
    with pytest.raises(rundir.InUse):
        rundir.acquire(tmp_path / "run")
    os.close(copy)
    os.close(rundir.acquire(tmp_path / "run"))


def test_removed_directory_can_be_locked_anew_though_the_old_lock_is_held(tmp_path):
    """An ending guardian still holds the lock of the file that it removed."""
    old = rundir.acquire(tmp_path / "run")
    rundir.remove(tmp_path / "run")
    new = rundir.acquire(tmp_path / "run")
    assert os.fstat(old).st_ino != os.fstat(new).st_ino
    os.close(old)
    os.close(new)


def test_it_is_open_to_other_users_whatever_the_umask(tmp_path):
    old = os.umask(0o077)
    try:
        os.close(rundir.acquire(tmp_path / "neat" / "run"))
    finally:
        os.umask(old)
    made = tmp_path / "neat", tmp_path / "neat" / "run"
    assert [path.stat().st_mode & 0o777 for path in made] == [0o755, 0o755]
    assert (tmp_path / "neat" / "run" / rundir.LOCK).stat().st_mode & 0o777 == 0o600


def test_remove_spares_what_is_not_ours(tmp_path):
    directory = tmp_path / "run"
    os.close(rundir.acquire(directory))
    (directory / "notes.txt").touch()
    (directory / rundir.LOG).touch()
    rundir.remove(directory)
    assert [path.name for path in directory.iterdir()] == ["notes.txt"]


def test_guardian_is_known_by_pid_and_start_time(tmp_path):
    rundir.write_guardian(tmp_path, os.getpid())
    assert rundir.guardian(tmp_path) == os.getpid()
    (tmp_path / rundir.GUARDIAN_PID).write_text(f"{os.getpid()} 12345\n")
    assert rundir.guardian(tmp_path) is None


@pytest.mark.parametrize("text", ["", "x y", "1", "999999999 5\n"])
def test_nonsense_in_the_pid_file_is_no_guardian(tmp_path, text):
    (tmp_path / rundir.GUARDIAN_PID).write_text(text)
    assert rundir.guardian(tmp_path) is None
