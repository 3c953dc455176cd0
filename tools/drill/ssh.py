"""sshd under `neat run`, and the command that logs in and runs the checking server over its pipe."""

import contextlib
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from neat.tools.bench.servers import Plan, Server, write
from neat.tools.stack import ROOT

PORT = 2222
MOST = 2000  # logins at once
PRIVILEGE_SEPARATION = Path("/run/sshd")


def make_keys(folder: Path) -> None:
    """The host's and the user's."""
    folder.mkdir()
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def sshd(plan: Plan, folder: Path) -> list[str]:
    """With the keys in the plan's site. It starts itself again by its whole name."""
    lines = [
        f"Port {PORT}",
        f"ListenAddress {plan.address}",
        f"HostKey {plan.site}/host",
        f"AuthorizedKeysFile {plan.site}/user.pub",
        "StrictModes no",
        "UsePAM no",
        "PidFile none",
        "PermitRootLogin yes",
        f"MaxStartups {MOST}:1:{MOST}",
        "LoginGraceTime 0",
    ]
    return [shutil.which("sshd") or "sshd", "-D", "-e", "-f", write(folder / "sshd_config", lines)]


SERVER = Server("ssh", "sshd", "openssh-server", PORT, sshd, http=False)


def client(address: str, keys: Path) -> list[str]:
    """Quiet, as a connection that is lost is in the report."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=QUIET"]
    said = [word for option in options for word in ("-o", option)]
    there = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "neat.tools.drill.server"]
    whom = f"{pwd.getpwuid(os.getuid()).pw_name}@{address}"
    return ["ssh", "-F", "none", "-i", str(keys / "user"), *said, "-p", str(PORT), whom, shlex.join(there)]


@contextlib.contextmanager
def run_directory() -> Iterator[None]:
    """The empty directory that sshd wants to be in; where no service has made it, there is one meanwhile."""
    fresh = not PRIVILEGE_SEPARATION.exists()
    if fresh:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    try:
        yield
    finally:
        if fresh:
            PRIVILEGE_SEPARATION.rmdir()
