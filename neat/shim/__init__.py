"""The client core: C that lives inside applications. Its contracts are client.h and those of neat/abi."""

from pathlib import Path


def library_path() -> Path:
    """Where libneat.so is."""
    return Path(__file__).with_name("libneat.so")
