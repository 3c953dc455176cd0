"""Link segments and doorbells."""

import os

import pytest

from neat.shm import doorbell, link, segment
from neat.shm.segment import Segment, SegmentError

RX, TX = 1 << 18, 1 << 19


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
