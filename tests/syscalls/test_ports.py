"""The port table against Linux's rules."""

import errno

import pytest

from neat.ports import BIND
from neat.syscalls.ports import Binding, PortTable

A, B = b"\x0a" * 16, b"\x0b" * 16


def tcp(port=80, host=None, uid=0, **flags):
    return Binding(6, host, port, uid, **flags)


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        (tcp(), tcp(), errno.EADDRINUSE),
        (tcp(host=A), tcp(), errno.EADDRINUSE),
        (tcp(host=A), tcp(host=B), 0),
        (tcp(), Binding(17, None, 80, 0), 0),
        (tcp(reuse_address=True), tcp(), errno.EADDRINUSE),
        (tcp(reuse_address=True), tcp(reuse_address=True), 0),
        (tcp(reuse_port=True), tcp(reuse_port=True), 0),
        (tcp(reuse_port=True), tcp(reuse_port=True, uid=1), errno.EADDRINUSE),
        (tcp(reuse_address=True, listening=True), tcp(reuse_address=True), errno.EADDRINUSE),
    ],
)
def test_two_sockets_on_a_port(first, second, error):
    table = PortTable()
    assert table.bind(first) == 0
    assert table.bind(second) == error


def test_one_listens():
    table = PortTable()
    one, other = tcp(reuse_address=True), tcp(reuse_address=True)
    table.bind(one)
    table.bind(other)
    assert table.listen(one) == 0
    assert table.listen(one) == 0  # again: only the backlog changes
    assert table.listen(other) == errno.EADDRINUSE


def test_reuseport_listeners_share():
    table = PortTable()
    for _ in range(3):
        binding = tcp(reuse_port=True)
        assert table.bind(binding) == 0
        assert table.listen(binding) == 0


def test_port_zero_takes_a_free_one_until_there_is_none():
    table = PortTable()
    ports = set()
    for _ in BIND:
        binding = tcp(0)
        assert table.bind(binding) == 0
        ports.add(binding.port)
    assert ports == set(BIND)
    assert table.bind(tcp(0)) == errno.EADDRINUSE
    binding.port = BIND[7]
    table.release(next(iter(table.bindings[6, BIND[7]])))
    late = tcp(0)
    assert (table.bind(late), late.port) == (0, BIND[7])


def test_a_port_comes_again_after_all_others():
    """So that its last TIME-WAIT is old enough to give way; and in no order that one could guess."""
    table, other = PortTable(), PortTable()

    def chosen(table):
        binding = tcp(0)
        assert table.bind(binding) == 0
        table.release(binding)
        return binding.port

    first = [chosen(table) for _ in BIND]
    assert sorted(first) == list(BIND)
    assert [chosen(table) for _ in BIND] == first
    assert [chosen(other) for _ in BIND] != first
