"""Layouts: what is read of a process, what is counted of a course, and a small run."""

import json
import os
import subprocess
import sys

import pytest

from neat.tools.bench.layouts import REGIONS, bases, described, layout_of, spread
from neat.tools.stack import StackError
from tests.support import ROOT

MAPS = """\
55d0c0a00000-55d0c0a01000 r--p 00000000 fe:00 1  /usr/bin/python3.11
55d0c0b00000-55d0c0b01000 r-xp 00001000 fe:00 1  /usr/bin/python3.11
55d0c2000000-55d0c2100000 rw-p 00000000 00:00 0  [heap]
7f0000400000-7f0000410000 r-xp 00001000 fe:00 2  /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000300000-7f0000400000 r--p 00000000 fe:00 2  /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000500000-7f0000510000 r-xp 00000000 fe:00 3  /a b/neat/stack/tcp/input.cpython-311-x86_64-linux-gnu.so
7f0000600000-7f0000700000 rw-p 00000000 00:00 0
7f0000700000-7f0000800000 rw-s 00000000 00:01 9  /memfd:neat:state (deleted)
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0  [stack]
7ffd00100000-7ffd00102000 r-xp 00000000 00:00 0  [vdso]
"""


def test_where_regions_begin():
    found = dict(zip(REGIONS, bases(MAPS, "/usr/bin/python3.11"), strict=True))
    assert {region: f"{base:x}" for region, base in found.items()} == {
        "program": "55d0c0a00000",
        "heap": "55d0c2000000",
        "libraries": "7f0000300000",
        "engine": "7f0000500000",
        "stack": "7ffd00000000",
        "vdso": "7ffd00100000",
    }


def test_a_process_that_is_gone():
    with pytest.raises(StackError, match="process 999999999"):
        layout_of(999_999_999)


def test_a_forked_process_has_the_layout_of_its_parent():
    """And one that was exec'd has not, where the machine places processes at random."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if layout_of(os.getpid()) == layout_of(os.getppid()) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_course():
    a, b, c = (1, 0), (2, 0), (3, 0)
    assert described([a, a, a, b, c, a]) == {
        "connections": 6,
        "layouts": 3,
        "changes": 0.6,
        "longest_run": 3,
    }
    assert described([a])["changes"] == 0.0


def test_how_far_places_are_apart():
    assert spread([0x1000, 0x3000, 0x1000, 0x8000]) == {"places": 3, "of": 4, "bits": 3}
    assert spread([4096, 4096]) == {"places": 1, "of": 2, "bits": 0}


@pytest.mark.netns
def test_a_small_run():
    options = ("layouts", "--replicas=2", "--connections=40", "-j")
    command = [sys.executable, "-m", "neat", "bench", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (point,) = result["points"]
    assert point["connections"] == 40
    assert point["restarted"]["lost"] == 0
    assert result["forked"]["layouts"] == 1 and result["forked"]["changes"] == 0.0
    assert result["regions"]["engine"]["of"] == 4
    if result["aslr"] == 2:
        assert point["layouts"] == 2 and point["changes"] > 0
        assert (point["restarted"]["moved"], point["restarted"]["seen_before"]) == (40, 0)
