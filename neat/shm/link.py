# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Link segments: size, birth, and mapping them at either end. The layout is in link.pxd."""

import cython
from cython.cimports.libc.stdint import uintptr_t

from neat.shm.pyring import FrameRing
from neat.shm.segment import Segment, SegmentError, page_align


def link_bytes(rx_capacity, tx_capacity):
    """Size of a link segment whose rings hold so many bytes each."""
    for capacity in (rx_capacity, tx_capacity):
        if capacity < 4096 or capacity & (capacity - 1):
            raise SegmentError(f"a ring of {capacity} bytes: must be a power of two, at least 4096")
    return page_align(link_tx_offset(rx_capacity) + ring_bytes(tx_capacity))


def initialise(fd, rx_capacity, tx_capacity):
    """Write the header of a link segment that was just created (all zero: its rings are empty)."""
    segment = Segment(fd, link_bytes(rx_capacity, tx_capacity))
    header = cython.cast("LinkHeader*", cython.cast(uintptr_t, segment.address))
    header.rx_capacity = rx_capacity
    header.tx_capacity = tx_capacity
    header.version = LINK_VERSION
    header.magic = LINK_MAGIC


class Link:
    """A mapped link segment: `rx_address` and `tx_address` are where its rings (RingHeader) start.

    The geometry is the caller's, from its settings; a header that disagrees raises SegmentError.
    """

    def __init__(self, fd, rx_capacity, tx_capacity):
        self.segment = Segment(fd, link_bytes(rx_capacity, tx_capacity))
        header = cython.cast("LinkHeader*", cython.cast(uintptr_t, self.segment.address))
        if header.magic != LINK_MAGIC or header.version != LINK_VERSION:
            raise SegmentError(f"descriptor {fd} is no link segment of version {LINK_VERSION}")
        if header.rx_capacity != rx_capacity or header.tx_capacity != tx_capacity:
            raise SegmentError(
                f"link segment {fd} has rings of {header.rx_capacity} and {header.tx_capacity} bytes "
                f"instead of {rx_capacity} and {tx_capacity}"
            )
        self.rx_capacity = rx_capacity
        self.tx_capacity = tx_capacity
        self.rx_address = self.segment.address + LINK_HEADER
        self.tx_address = self.segment.address + link_tx_offset(rx_capacity)

    def rx_ring(self, *, producer):
        """The receive ring for Python, as the driver (producer) or the replica sees it."""
        return FrameRing(self.segment.view[LINK_HEADER:], self.rx_capacity, producer=producer)

    def tx_ring(self, *, producer):
        """The transmit ring for Python, as the replica (producer) or the driver sees it."""
        return FrameRing(
            self.segment.view[link_tx_offset(self.rx_capacity) :], self.tx_capacity, producer=producer
        )
