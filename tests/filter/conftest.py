"""Segments of a filter, and who writes them."""

import os

import pytest

from neat.config import Config
from neat.shm import filter as filters
from neat.supervisor.filtering import Filtering


class Written:
    """The supervisor's part, with its segments."""

    def __init__(self, *lines, kept=None):
        self.fds = filters.create(), filters.create_track()
        self.kept = kept
        self.filtering = Filtering(Config(filter=list(lines)), *self.fds, kept)

    def successor(self, *lines):
        """A supervisor that finds what this one left; `lines`: of its settings."""
        return Filtering(Config(filter=list(lines)), *self.fds, self.kept)

    def close(self):
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def written():
    made = []

    def write(*lines, **options):
        made.append(Written(*lines, **options))
        return made[-1]

    yield write
    for each in made:
        each.close()
