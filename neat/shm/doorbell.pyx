"""Doorbells from Python. Compiled loops use the inline functions of doorbell.pxd."""

import os


def make() -> int:
    """A new doorbell: an eventfd, close-on-exec, non-blocking."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def ring(fd) -> bool:
    """Wake the owner. False when the descriptor is no eventfd, or so full that its owner is awake anyway."""
    return bool(doorbell_ring(fd))


def clear(fd) -> bool:
    """Take all rings at once. False when there was none."""
    return bool(doorbell_clear(fd))
