"""bpf(2): maps as segments, and programs: what the kernel takes, what it refuses, and who may not ask."""

import errno
import os
import struct

import pytest

from neat.shm import bpf, segment, steering
from neat.shm.bpf import BpfError
from neat.shm.segment import PAGE, Segment, SegmentError

# mov r0, 7; exit (RFC 9669)
SEVEN = struct.pack("<BBhi", 0xB7, 0, 0, 7) + struct.pack("<BBhi", 0x95, 0, 0, 0)
NO_RESULT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def why_not():
    try:
        os.close(bpf.array("neat_test", PAGE))
    except BpfError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def fd():
    fd = bpf.array("neat_test", 2 * PAGE)
    yield fd
    os.close(fd)


def test_a_map_is_a_segment(fd):
    whole = Segment(fd, 2 * PAGE)
    part = Segment(fd, 2 * PAGE, start=PAGE, length=PAGE, writable=False)
    assert bytes(whole.view) == bytes(2 * PAGE)
    whole.view[PAGE : PAGE + 5] = b"hello"
    assert bytes(part.view[:5]) == b"hello"
    with pytest.raises(TypeError):
        part.view[0] = 1
    assert not os.get_inheritable(fd)


def test_a_map_of_another_size_is_refused(fd):
    for size in (PAGE, 3 * PAGE):
        with pytest.raises(SegmentError, match=f"has {2 * PAGE} bytes instead of {size}"):
            segment.check(fd, size)


def test_a_map_of_another_kind_is_refused():
    constant = bpf.constant("neat_test", bytes(PAGE))
    with pytest.raises(SegmentError, match="no segment"):
        segment.check(constant, PAGE)
    os.close(constant)


def test_a_name_that_looks_like_a_map_is_none(tmp_path):
    with open(tmp_path / "anon_inode:bpf-map", "w+b") as file, pytest.raises(SegmentError, match="no memfd"):
        segment.check(file.fileno(), PAGE)
    with open(os.devnull, "rb") as file, pytest.raises(SegmentError, match="no memfd"):
        segment.check(file.fileno(), PAGE)


def test_the_steering_segment_as_a_map():
    fd = steering.create(64, kernel=True)
    table = steering.Steering(fd, 64, writable=True)
    table.set_state(3, 2)
    assert steering.Steering(fd, 64).slot(3).entries == steering.ENTRIES
    os.close(fd)


def test_a_program_runs():
    program = bpf.load("neat_test", SEVEN)
    result, duration = bpf.test_run(program, bytes(60), repeat=10)
    assert result == 7 and duration >= 0
    os.close(program)


def test_a_program_that_is_refused_has_a_log():
    with pytest.raises(
        BpfError, match="BPF program neat_test: the kernel's verifier refuses it: R0 !read_ok"
    ) as e:
        bpf.load("neat_test", NO_RESULT)
    assert "0: (95) exit" in e.value.log and "\n" not in str(e.value)


def test_nobody_changes_a_constant():
    fd = bpf.constant("neat_test", b"for ever")
    with open(f"/proc/self/fdinfo/{fd}") as file:
        assert "frozen:\t1" in file.read()
    os.close(fd)


def test_who_may_not_is_told_in_one_line():
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 65534, 65534)
        try:
            bpf.load("neat_test", SEVEN)
        except BpfError as error:
            os._exit(0 if error.errno == errno.EPERM and "CAP_BPF" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (0, 1)  # 1: where anybody may


def test_another_processor_is_told(monkeypatch):
    monkeypatch.setattr(bpf.platform, "machine", lambda: "vax")
    with pytest.raises(BpfError, match=r"BPF map neat_test: no bpf\(2\) on vax"):
        bpf.array("neat_test", PAGE)
