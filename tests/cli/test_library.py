"""Where the preload library is opened from: by whoever a program runs as."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from neat import rundir
from neat.cli import library
from tests.support import ROOT


@pytest.fixture
def places(monkeypatch):
    """(installation, run directory, cache), all below directories that everybody may enter."""
    base = Path(tempfile.mkdtemp(prefix="neat-", dir="/tmp"))
    base.chmod(0o755)
    made = [base / name for name in ("installed", "run", "cache")]
    for place in made[:2]:
        place.mkdir(mode=0o755)
    (made[0] / "libneat.so").write_bytes(b"\x7fELF library")
    (made[0] / "libneat.so").chmod(0o755)
    monkeypatch.setattr(library, "built", lambda: made[0] / "libneat.so")
    monkeypatch.setattr(library, "CACHE", made[2])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    yield made
    shutil.rmtree(base)


def test_an_open_installation_is_used_as_it_is(places):
    installed, run, _cache = places
    assert library.library(run) == installed / "libneat.so"
    assert os.listdir(run) == []


@pytest.mark.parametrize("closed", ["directory", "file"])
def test_of_a_closed_one_the_run_directory_has_a_copy(places, closed):
    installed, run, _cache = places
    installed.chmod(0o700) if closed == "directory" else (installed / "libneat.so").chmod(0o700)
    for text in (b"\x7fELF library", b"\x7fELF a newer one"):
        (installed / "libneat.so").write_bytes(text)
        path = library.library(run)
        assert path == run / rundir.LIBRARY
        assert path.read_bytes() == text and path.stat().st_mode & 0o777 == 0o755
        assert os.listdir(run) == [rundir.LIBRARY]
    lock = rundir.acquire(run)
    rundir.remove(run)
    os.close(lock)
    assert not run.exists()


def test_where_the_run_directory_will_not_do_the_cache_does(places, monkeypatch):
    installed, run, cache = places
    installed.chmod(0o700)
    run.chmod(0o700)
    assert library.library(run).parent == cache
    run.chmod(0o755)
    monkeypatch.setattr(library, "is_executable", lambda path: path.parent != run)
    assert library.library(run).parent == cache
    assert len(os.listdir(cache)) == 1


def test_with_no_place_for_a_copy_it_says_so(places, monkeypatch):
    installed, run, cache = places
    installed.chmod(0o700)
    monkeypatch.setattr(library, "is_executable", lambda _path: False)
    with pytest.raises(FileNotFoundError, match="closed to other users") as caught:
        library.library(run)
    text = str(caught.value)
    assert all(str(place) in text for place in places) and "\n" not in text


def test_who_has_no_rights_to_give_up_needs_no_copy(places, monkeypatch):
    installed, run, _cache = places
    installed.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert library.library(run) == installed / "libneat.so"


MOUNT = """
mount -t tmpfs -o noexec none "$1" && cp "$2" "$1/x" && exec "$0" -c '
import sys
from pathlib import Path
from neat.cli.library import is_executable
print(is_executable(Path(sys.argv[1], "x")), is_executable(Path(sys.argv[2])))
' "$@"
"""


@pytest.mark.netns
def test_a_file_system_without_execution_is_no_place(tmp_path):
    command = ["unshare", "-m", "sh", "-c", MOUNT, sys.executable, str(tmp_path), "/bin/true"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
