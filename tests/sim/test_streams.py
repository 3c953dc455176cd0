"""Every byte of random streams arrives, both ways, whatever the wire does short of silence."""

import pytest

from .streams import Exchange
from .wire import MILLISECOND, Weather

CSUM, TSO = 1, 2
SMALL = (0, 1, 1000, 20_000, 60_000)
LARGE = (200_000, 500_000)

WEATHERS = {
    "clear": Weather(),
    "lossy": Weather(loss=0.05, jitter=3 * MILLISECOND),
    "very-lossy": Weather(loss=0.25),
    "reordering": Weather(reorder=0.3, jitter=10 * MILLISECOND),
    "repeating": Weather(duplicate=0.3, reorder=0.1),
    "damaging": Weather(corrupt=0.1),
    "storm": Weather(loss=0.1, duplicate=0.1, reorder=0.2, corrupt=0.05, jitter=30 * MILLISECOND),
    "plain": Weather(plain=True, loss=0.03),
    "narrow": Weather(queue=4, delay=20 * MILLISECOND),
}


def exchange(seed: int, weather: Weather, *, limit: float = 3600, **settings) -> Exchange:
    """Run one exchange; its seed is in the message when it fails. Nobody gives up before the weather does."""
    settings = {
        "time_wait_ms": 240_000,
        "max_rto_ms": 10_000,
        "data_retries": 30,
        "syn_retries": 15,
    } | settings
    exchange = Exchange(seed, weather, **settings)
    try:
        exchange.run(limit)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, {weather}, {settings}: {error}") from error
    return exchange


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)
def test_every_byte_arrives(weather, seed):
    exchange(seed, weather, sizes=SMALL, connections=1 + seed % 3)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("weather", ["clear", "lossy", "storm"])
def test_tiny_windows(weather, seed):
    """Rings of 4 KiB: zero windows, probes, silly window avoidance."""
    exchange(seed, WEATHERS[weather], sizes=SMALL, rx_size=4096, tx_size=4096)


@pytest.mark.parametrize("weather", ["clear", "lossy", "reordering", "storm"])
@pytest.mark.parametrize("offloads", [0, CSUM, CSUM | TSO])
def test_offloads(weather, offloads):
    """What a network card would cut, the wire cuts."""
    exchange(11, WEATHERS[weather], sizes=LARGE, offloads=offloads)


@pytest.mark.parametrize("weather", ["clear", "lossy", "reordering"])
def test_large_frames_arrive_whole(weather):
    """As through a TAP device: segments up to 64 KiB with a checksum that nobody completed."""
    exchange(12, WEATHERS[weather], sizes=LARGE, offloads=CSUM | TSO, offload_wire=True)


@pytest.mark.parametrize("mtus", [(576, 576), (1500, 576), (576, 9000), (65521, 65521), (9000, 1500)])
@pytest.mark.parametrize("weather", ["clear", "lossy"])
def test_different_mss(weather, mtus):
    """RFC 9293 §3.7.1: each side keeps to the smaller of the two."""
    exchange(13, WEATHERS[weather], sizes=SMALL + LARGE, per_host=({"mtu": mtus[0]}, {"mtu": mtus[1]}))


def test_a_fast_long_path_fills_its_window():
    """Window scaling: more than 64 KiB is under way."""
    run = exchange(14, Weather(delay=50 * MILLISECOND), sizes=(3_000_000,), rx_size=1 << 20, tx_size=1 << 20)
    assert run.simulation.now - 1_000_000_000 < 4_000_000_000


def test_nothing_is_left():
    """After the streams, and TIME_WAIT, both engines hold no connection and no socket."""
    run = exchange(15, WEATHERS["lossy"], sizes=SMALL, connections=5)
    run.drained(limit=1000)
    assert [lab.users for lab in run.labs] == [0, 1]  # the listener
