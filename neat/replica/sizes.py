"""Sizes of the segments that a replica is given."""

from neat.replica.settings import state_bytes

__all__ = ["state_bytes"]
