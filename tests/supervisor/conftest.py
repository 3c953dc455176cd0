"""Stacks whose components are `neat_dummy`, to test guardian and supervisor alone."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Stack, running_stack

HERE = Path(__file__).resolve().parent


@contextmanager
def dummy_stack(behaviour: Path, *arguments: str, **settings) -> Iterator[Stack]:
    """A stack of dummies; files in `behaviour` make them misbehave (see neat_dummy.py)."""
    env = {
        "NEAT_MODULES": json.dumps(dict.fromkeys(("driver", "syscall", "replica", "ip"), "neat_dummy")),
        "NEAT_DUMMY_DIR": str(behaviour),
    }
    with pytest.MonkeyPatch.context() as patch:
        path = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in (str(HERE), path) if p))
        with running_stack(*arguments, env=env, **settings) as stack:
            yield stack


@pytest.fixture
def dummies(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack of dummies. `stack.behaviour` is the directory of their misbehaviour."""
    with dummy_stack(tmp_path, **getattr(request, "param", {})) as stack:
        stack.behaviour = tmp_path
        yield stack
