"""The network namespace of a stack: one of its own without a name, a named one, or the current one."""

import os
import subprocess

from neat.supervisor import process

NAMED = "/run/netns"


def enter(name: str) -> bool:
    """Go where the stack shall live ("": a new namespace, "none": stay). True when a named one was made for
    it."""
    if name == "none":
        return False
    if not name:
        process.unshare_network()
        return False
    made = not os.path.exists(f"{NAMED}/{name}")
    if made:
        _ip("netns", "add", name)
    process.enter_network(f"{NAMED}/{name}")
    return made


def remove(name: str) -> None:
    """Remove a named namespace; what lives in it keeps it until it ends."""
    _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
