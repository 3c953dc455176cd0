"""Streams under attack: somebody who cannot see the wire, but knows the addresses and ports, forges segments.

He even guesses sequence numbers inside the window, which RFC 5961 and RFC 7323 §5 must stand; not the one at
its left edge, and no acknowledgment.
"""

import random
import struct

import pytest

from neat.stack.tcp.state import TcpState
from tests.stack.harness.frames import ACK, FIN, PSH, RST, SYN, TCP, URG, VNET, ethernet, ipv4, tcp

from .streams import ADDRESSES, MACS, Exchange, Side
from .test_streams import WEATHERS

STAMP = b"\1\1\x08\x0a"  # of a timestamps option
MASK = 0xFFFFFFFF


class Attacked(Exchange):
    """Segments arrive in the name of the other end before each turn of a host; `most` in all."""

    def __init__(self, seed: int, *args, aim: bool, most: int, **settings):
        super().__init__(seed, *args, **settings)
        self.attacker = random.Random(seed + 1)
        self.aim, self.most = aim, most
        self.forged = 0

    def _tick(self, host: int) -> bool:
        for side in list(self.by_conn[host].values()):
            if side.conn is not None and self.forged < self.most:
                for _ in range(self.attacker.randrange(20)):
                    self._forge(host, side)
        return super()._tick(host)

    def _forge(self, host: int, side: Side) -> None:
        info = self.labs[host].conn_info(side.conn)
        if info is None or info["state"] in (TcpState.SYN_SENT, TcpState.SYN_RCVD):
            return  # there an ACK that fits nothing draws a RST
        r = self.attacker
        seq = r.getrandbits(32)
        if self.aim and info["rcv_wnd"] > 1:
            offset = r.choice([r.randrange(1, info["rcv_wnd"]), -r.randrange(1, 600)])
            seq = info["rcv_nxt"] + offset & MASK
        flags = r.choice([RST, RST | ACK, SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, FIN, URG | ACK, 0, 63])
        # Neither what is in flight nor what may still be acknowledged once more.
        ack = info["snd_nxt"] + r.randrange(2**30, 2**31) & MASK
        stamp = STAMP + struct.pack("!II", r.getrandbits(32), r.getrandbits(32))
        names = ADDRESSES[1 - host], ADDRESSES[host]
        body = tcp(
            info["remote"][1],
            info["local"][1],
            seq,
            ack,
            flags,
            r.randrange(65536),
            r.choice([b"", stamp]),
            r.choice([b"", b"forged", bytes(1000)]),
            source=names[0],
            destination=names[1],
        )
        frame = ethernet(ipv4(body, TCP, *names), source=MACS[1 - host], destination=MACS[host])
        self.labs[host].arrive_record(bytes(VNET.size) + frame)
        self.forged += 1


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("aim", [False, True], ids=["blind", "in-window"])
@pytest.mark.parametrize("ring", [4096, 1 << 16])
@pytest.mark.parametrize("weather", ["clear", "lossy"])
def test_forged_segments_change_nothing(weather, ring, aim, seed):
    run = Attacked(
        seed,
        WEATHERS[weather],
        sizes=(20_000, 60_000),
        aim=aim,
        most=500,
        rx_size=ring,
        tx_size=ring,
        time_wait_ms=240_000,
        data_retries=30,
    )
    run.run(600)
    assert run.forged > 20
    assert run.simulation.frames < 20_000, "they answered each other for ever"
