"""OpenSSH: before it knows who is there, its child may read and write, and little else (seccomp(2))."""

import hashlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.conftest import ADDRESS, Server, program, run
from tests.support import Stack

pytestmark = pytest.mark.netns

PORT = 2222
DATA = hashlib.shake_256(b"neat").digest(1 << 20)
CONFIG = """
Port {port}
ListenAddress {address}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
"""


@pytest.fixture
def run_sshd() -> Iterator[None]:
    """The empty directory that it wants to be in; the package's service makes it."""
    path = Path("/run/sshd")
    fresh = not path.exists()
    if fresh:
        path.mkdir(mode=0o755)
    yield
    if fresh:
        path.rmdir()


@pytest.fixture
def sshd(stack: Stack, serve, tmp_path: Path, run_sshd: None) -> Iterator[Server]:
    program("sshd")
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        pytest.skip("there is no user sshd (the package openssh-server makes it)")
    for name in ("host", "user"):
        command = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    config = tmp_path / "sshd_config"
    config.write_text(CONFIG.format(port=PORT, address=ADDRESS, folder=tmp_path))
    with serve("sshd", "-D", "-e", "-f", str(config), port=PORT) as server:
        yield server


def ssh(folder: Path, *command: str) -> list[str]:
    user = pwd.getpwuid(os.getuid()).pw_name
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR"]
    said = [word for option in options for word in ("-o", option)]
    key = str(folder / "user")
    return [program("ssh"), "-F", "none", "-i", key, *said, "-p", str(PORT), f"{user}@{ADDRESS}", *command]


def test_a_login_and_a_megabyte_each_way(stack: Stack, sshd: Server, tmp_path: Path) -> None:
    for _ in range(3):
        done = stack.peer(*ssh(tmp_path, "cat"), input=DATA, text=False)
        assert done.stdout == DATA, sshd.output()


def test_the_status_of_a_command(stack: Stack, sshd: Server, tmp_path: Path) -> None:
    done = stack.peer(*ssh(tmp_path, "echo said; exit 7"), check=False)
    assert (done.returncode, done.stdout) == (7, "said\n"), sshd.output()


def test_a_client_on_the_same_stack(stack: Stack, sshd: Server, tmp_path: Path) -> None:
    done = run(stack, *ssh(tmp_path, "cat"), input=DATA, text=False)
    assert done.stdout == DATA, sshd.output()
