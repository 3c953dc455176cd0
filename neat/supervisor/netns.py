"""The network namespace of a stack: one of its own without a name, a named one, or the current one."""

import os
import subprocess
import sys
from pathlib import Path

from neat import rundir
from neat.supervisor import process

NAMED = "/run/netns"


def enter(name: str, directory: Path) -> None:
    """Go where the stack shall live ("": a new namespace, "none": stay). A named one that had to be made is
    noted in the run directory, for `clean`."""
    if name == "none":
        return
    if not name:
        process.unshare_network()
        return
    if not os.path.exists(f"{NAMED}/{name}"):
        (directory / rundir.NETNS).write_text(name)
        _ip("netns", "add", name)
    process.enter_network(f"{NAMED}/{name}")


def clean(directory: Path) -> None:
    """Remove the named namespace that was made for the stack of this run directory, if one was."""
    try:
        name = (directory / rundir.NETNS).read_text()
    except FileNotFoundError:
        return
    try:
        if os.path.exists(f"{NAMED}/{name}"):
            _ip("netns", "delete", name)
    except OSError as error:
        print(error, file=sys.stderr)  # what else there is to clean goes on


def _ip(*arguments: str) -> None:
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
