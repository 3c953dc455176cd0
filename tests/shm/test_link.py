"""Link segments and doorbells."""

import os

import pytest

from neat.shm import doorbell, link, segment
from neat.shm.pyring import FrameRing
from neat.shm.segment import Segment, SegmentError

RX, TX = 1 << 18, 1 << 19
INTAKE_HEADER = 64


@pytest.fixture
def fd():
    fd = segment.create("link0", link.link_bytes(RX, TX))
    link.initialise(fd, RX, TX)
    yield fd
    os.close(fd)


def test_both_rings_from_both_ends(fd):
    driver, replica = link.Link(fd, RX, TX), link.Link(fd, RX, TX)
    assert driver.rx_ring(producer=True).push(b"") is True
    into, out_of = driver.rx_ring(producer=True), replica.rx_ring(producer=False)
    back, at_driver = replica.tx_ring(producer=True), driver.tx_ring(producer=False)
    for number in range(300):
        assert into.push(b"r" * 9000, stamp=number) and back.push(b"t" * 9000, stamp=number)
        into.publish()
        back.publish()
        assert out_of.pop() == (1, number, b"r" * 9000)
        assert at_driver.pop() == (1, number, b"t" * 9000)
        out_of.release()
        at_driver.release()


def test_addresses_are_where_the_rings_are(fd):
    mapped = link.Link(fd, RX, TX)
    assert mapped.rx_address == mapped.segment.address + 4096
    assert mapped.tx_address == mapped.rx_address + 256 + RX
    assert mapped.rx_address % 64 == mapped.tx_address % 64 == 0
    assert mapped.tx_address + 256 + TX <= mapped.segment.address + mapped.segment.size


def test_other_geometry_is_refused(fd):
    with pytest.raises(SegmentError, match="bytes instead of"):
        link.Link(fd, RX * 2, TX)
    with pytest.raises(SegmentError, match=f"rings of {RX} and {TX} bytes instead of {TX} and {RX}"):
        link.Link(fd, TX, RX)
    for capacity in (0, 2048, RX + 1, 3 << 16):
        with pytest.raises(SegmentError, match="power of two"):
            link.link_bytes(capacity, TX)


@pytest.mark.parametrize("place", [0, 4])
def test_foreign_magic_or_version_is_refused(fd, place):
    Segment(fd, link.link_bytes(RX, TX)).view[place] ^= 0x55
    with pytest.raises(SegmentError, match="no link segment of version 2"):
        link.Link(fd, RX, TX)


def test_doorbell_rings_add_up_to_one():
    bell = doorbell.make()
    assert not os.get_inheritable(bell)
    assert not doorbell.clear(bell)
    assert doorbell.ring(bell) and doorbell.ring(bell)
    assert doorbell.clear(bell)
    assert not doorbell.clear(bell)
    os.close(bell)


def test_doorbell_never_blocks():
    bell = doorbell.make()
    os.eventfd_write(bell, 2**64 - 2)
    assert not doorbell.ring(bell), "as full as it gets: its owner is awake anyway"
    assert doorbell.clear(bell)
    os.close(bell)
    assert not doorbell.ring(bell)


def intake_of(fd):
    """The Intake of a link, as bytes that can be written, and the replica's side of its ring."""
    mapped = link.Link(fd, RX, TX)
    at = mapped.intake_address - mapped.segment.address
    view = mapped.segment.view[at:]
    return view, FrameRing(view[INTAKE_HEADER:], link.INTAKE, producer=True)


def test_text_that_went_straight_to_its_socket_is_not_in_a_report(fd):
    """What is in its place in the intake is of some frame before."""
    intake, ring = intake_of(fd)
    first, second = b"one" * 9, b"HHHH" + b"stale" * 6 + b"rest"
    for frame in (first, second):
        assert ring.push(frame, stamp=7)
    ring.publish()
    position = 64  # behind the first, with its header

    def found(place):
        return link.record_at(fd, RX, TX, place, intake=True)

    assert found(0) == (7, first) and found(position) == (7, second)
    for conn, pending, expected in (
        (3, position + 1, b"HHHH" + bytes(30) + b"rest"),
        (0, position + 1, second),  # it went into the room
        (3, position + 65, second),  # another frame is being read
    ):
        intake[: link.READING.size] = link.READING.pack(pending, 1234, conn, 4, 30)
        assert found(position) == (7, expected)
        assert found(0) == (7, first)
    for header, room in ((0, 0), (4, 1 << 31), ((1 << 32) - 1, (1 << 32) - 1)):
        intake[: link.READING.size] = link.READING.pack(position + 1, 0, 1, header, room)
        stamp, payload = found(position)
        assert (stamp, len(payload)) == (7, len(second)) and payload[:4] == b"HHHH"
