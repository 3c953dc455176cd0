"""The steering program in the kernel against the driver's own steering: the same frames, the same tables."""

import os
import random
import struct
import threading
import time
from contextlib import suppress

import pytest

from neat.drivers import program
from neat.drivers.pysteer import FLOW_WINDOW, Steering, flow_key
from neat.shm import bpf, steering
from neat.shm.counters import DriverCounter
from tests.drivers.twins import (
    ACK,
    ACTIVE,
    CAPACITY,
    ENTRY,
    FADING,
    FIN,
    FREE,
    LIVE,
    NEW,
    PAGE,
    PEER,
    PROTO_TCP,
    PSH,
    REPLICA,
    RST,
    STATE,
    SYN,
    TERMINATING,
    Twins,
    flow,
    some_frame,
    tcp,
    text,
    udp,
)

SECOND = 10**9

pytestmark = pytest.mark.skipif(bool(program.usable()), reason=program.usable() or "")


@pytest.fixture
def net():
    return Twins()


@pytest.mark.parametrize("seed", range(4))
def test_random_frames_and_slots(net, seed):
    """Slots come and go, connections are lost, sources are kept out: driver and program agree."""
    chance = random.Random(seed)
    now = time.monotonic_ns()
    for number in range(4000):
        if number % 50 == 0:
            slot = chance.randrange(4)
            if chance.random() < 0.5:
                net.supervisor.set_state(slot, chance.choice([ACTIVE, ACTIVE, ACTIVE, *range(5)]))
                net.changed()
            else:
                net.supervisor.bump_epoch(slot)
                net.changed(epochs=True)
        if number % 500 == 250:
            until = chance.choice([now, now + 3600 * SECOND])
            source = text(PEER + 256 * chance.randrange(9))
            net.supervisor.quarantine(source, chance.choice([0, PROTO_TCP]), 1005, until)
            net.changed()
        net.pass_frame(some_frame(chance))
    assert sum(queue > 0 for queue in net.queues) > 1000
    assert len(set(net.queues)) >= 4


@pytest.mark.parametrize("seed", range(2))
def test_more_flows_than_places(seed):
    """Who makes room for whom: the same."""
    net, chance = Twins(), random.Random(seed)
    for _ in range(3000):
        port = chance.randrange(300)
        net.pass_frame(tcp(port, chance.choice([SYN, SYN, ACK, FIN | ACK])))
    counted = struct.unpack_from("=QQQ", net.memory, steering.layout()["learnt"])
    assert counted[0] > 100 and counted[1] > 100


def test_every_length(net):
    text = bytes(90)
    for whole in (tcp(7, SYN, data=text), tcp(8, ACK, data=text), udp(9, data=text), bytes(128)):
        for length in range(14, 129):
            net.pass_frame(whole[:length])
            cut = bytearray(whole[:length])
            if length >= 34:
                struct.pack_into("!H", cut, 16, length - 14)
                net.pass_frame(bytes(cut))
        # What is not even an Ethernet header no device sends; a program that says 0 would not mind.
        for length in range(14):
            with suppress(OSError):
                assert bpf.test_run(net.program, whole[:length])[0] == 0
    assert {0} < set(net.queues)


def by_queue(net, number):
    """A port that goes to a queue by hash."""
    return next(p for p in range(2000, 3000) if bpf.test_run(net.program, tcp(p, ACK))[0] == number)


def test_a_connection_is_followed(net):
    port = by_queue(net, 2)
    for flags, state in (
        (SYN, NEW), (SYN, NEW), (ACK, LIVE), (ACK | PSH, LIVE), (SYN, LIVE), (FIN | ACK, FADING),
        (ACK, FADING), (SYN, NEW), (RST, FADING),
    ):  # fmt: skip
        assert net.pass_frame(tcp(port, flags))[0] == 2
        assert net.find(port) == (1, state)
    net.supervisor.set_state(1, TERMINATING)
    net.changed()
    assert net.pass_frame(tcp(port, ACK))[0] == 2
    assert net.pass_frame(tcp(port + 1, SYN))[0] not in (0, 2)


def test_what_the_driver_wrote_the_program_finds():
    net = Twins(1024)  # in a smaller table a window may be full of live flows, by the key
    for number in range(40):
        key = flow(5000 + number)
        assert net.behind.add(key, number % 4) and net.alone.add(key, number % 4)
        net.twin[PAGE:] = net.memory[PAGE:]
        assert net.pass_frame(tcp(5000 + number, ACK))[0] == number % 4 + 1


@pytest.mark.parametrize("capacity", [64, 1024])
def test_windows_at_the_end_of_the_table(capacity):
    """A window goes on at the table's start."""
    net = Twins(capacity)
    end = PAGE + capacity * ENTRY
    last = [at + STATE for at in range(end - 4 * ENTRY, end, ENTRY)]
    ports = []
    for port in range(1, 60000):
        net.behind.learn(flow(port), 3, LIVE)
        if any(net.memory[at] for at in last):
            ports.append(port)
        net.behind.delete(flow(port), 3)
        if len(ports) == 12:
            break
    for number, port in enumerate(ports):
        net.behind.learn(flow(port), number % 4, LIVE)
    assert sum(net.memory[PAGE + at * ENTRY + STATE] for at in range(FLOW_WINDOW)) > 0
    for number, port in enumerate(ports):
        assert bpf.test_run(net.program, tcp(port, ACK))[0] == number % 4 + 1


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes_in_the_tables(net, seed):
    """A table of any contents: a queue that exists, the one that the driver finds, and nothing else."""
    chance = random.Random(seed)
    whole = range(PAGE, PAGE + CAPACITY * ENTRY, ENTRY)
    for number in range(3000):
        if number % 20 == 0:
            for at in chance.sample(whole, 20):
                net.memory[at + 40 : at + REPLICA] = chance.randbytes(REPLICA - 40)
                state = chance.choice([*range(7), 0xFFFFFFFF])
                struct.pack_into("=II", net.memory, at + STATE, state, chance.randrange(2))
                net.memory[at + REPLICA] = chance.choice([*range(18), 255])
            if number % 100 == 0:
                net.memory[64:448] = chance.randbytes(384)
                for slot in range(16):
                    struct.pack_into("=II", net.memory, 192 + 16 * slot, chance.randrange(6), 0)
            net.twin[:] = net.memory
            net.changed()
        net.pass_frame(some_frame(chance))
    assert max(net.queues) > 4


@pytest.mark.parametrize("seed", range(2))
def test_any_bytes_everywhere(net, seed):
    chance = random.Random(seed)
    for _ in range(300):
        net.memory[16:PAGE] = chance.randbytes(PAGE - 16)
        net.memory[PAGE:] = chance.randbytes(CAPACITY * ENTRY)
        for _ in range(10):
            assert 0 <= bpf.test_run(net.program, some_frame(chance))[0] <= 16


def test_a_quarantined_source_is_the_drivers(net):
    net.supervisor.quarantine(text(PEER), PROTO_TCP, 4000, time.monotonic_ns() + 3600 * SECOND)
    net.changed()
    other = PEER + 256
    assert net.pass_frame(tcp(4000, SYN)) == (0, "drop")
    queue, got = net.pass_frame(tcp(4001, SYN))
    assert queue == 0 and got in range(4)
    assert net.pass_frame(tcp(4000, SYN, source=other))[0] > 0
    net.supervisor.quarantine(text(PEER), PROTO_TCP, 4000, time.monotonic_ns() - SECOND)
    net.changed()
    assert net.pass_frame(tcp(4000, SYN))[0] > 0


def test_the_peer_of_a_lost_connection_speaks(net):
    """Its entry is freed, and its segment goes where a RST comes from."""
    port = by_queue(net, 3)
    net.pass_frame(tcp(port, SYN))
    at = net.entry(net.behind, tcp(port, ACK))
    net.supervisor.bump_epoch(2)
    assert net.find(port) is None and net.state(net.memory, at) == NEW
    queue, _ = bpf.test_run(net.program, tcp(port, ACK))
    assert queue == 3 and net.state(net.memory, at) == FREE
    assert bpf.test_run(net.program, tcp(port, SYN))[0] == 3
    assert net.find(port) == (2, NEW)


def test_lost_connections_make_room_first(net):
    """Nobody is pushed out for it, and nobody is counted."""
    for port in range(1, 400):
        bpf.test_run(net.program, tcp(port, SYN))
        bpf.test_run(net.program, tcp(port, ACK))
    for slot in range(4):
        net.supervisor.bump_epoch(slot)
    net.changed()
    for port in range(1000, 1010):
        assert bpf.test_run(net.program, tcp(port, SYN))[0] == net.find(port)[0] + 1
    net.behind.take_counts()
    assert net.behind.count(DriverCounter.DRV_FLOWS_EVICTED) == 0


@pytest.mark.parametrize("byte", [0, 7, 12, 23, 28, 39])
def test_a_key_of_another_kind_is_another_flow(net, byte):
    port = by_queue(net, 3)
    net.behind.learn(flow(port), 0, LIVE)
    at = net.entry(net.behind, tcp(port, ACK))
    assert bpf.test_run(net.program, tcp(port, ACK))[0] == 1
    net.memory[at + byte] ^= 1
    assert bpf.test_run(net.program, tcp(port, ACK))[0] == 3


def test_what_the_program_counts_is_the_drivers(net):
    counters = ("DRV_FLOWS_LEARNT", "DRV_FLOWS_EVICTED", "DRV_FLOW_TABLE_FULL")
    net.behind.learn(flow(1), 2, LIVE)
    for port in range(1000, 1400):
        bpf.test_run(net.program, tcp(port, SYN))
        if port % 2:
            bpf.test_run(net.program, tcp(port, ACK))
    for _again in range(2):
        net.behind.take_counts()
        learnt, evicted, full = (net.behind.count(DriverCounter[name]) for name in counters)
        assert learnt + full == 401 and evicted > 0 and full > 0
        assert learnt - evicted == sum(net.supervisor.flow_counts())
        assert [net.behind.flows(slot) for slot in range(16)] == net.supervisor.flow_counts()
        net.behind.check()


def test_a_clock_that_lags_pushes_out_nobody(net):
    """The driver's clock is ahead of the program's: what it has just seen is not idle."""
    for port in range(1, 200):
        net.behind.clock(time.monotonic_ns() + SECOND)
        net.behind.learn(flow(port), 1, LIVE)
    known = [port for port in range(1, 200) if net.find(port)]
    for port in range(1000, 1400):
        bpf.test_run(net.program, tcp(port, SYN))
    assert [port for port in range(1, 200) if net.find(port)] == known


def test_program_and_driver_at_the_same_time():
    """On any CPU, in the same windows: each entry is whole, was claimed by one, and is counted once."""
    net = Twins()
    done = threading.Event()
    failed = []

    def passes(start):
        try:
            for port in range(start, start + 40):
                bpf.test_run(net.program, tcp(port, SYN), repeat=300)
                bpf.test_run(net.program, tcp(port, ACK), repeat=300)
        except BaseException as error:
            failed.append(error)

    def watches():
        threads = [threading.Thread(target=passes, args=(start,)) for start in (1000, 2000, 3000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()

    threading.Thread(target=watches, daemon=True).start()
    chance = random.Random(1)
    while not done.is_set():
        port = chance.choice([1000, 2000, 3000, 4000]) + chance.randrange(40)
        owner = net.behind.find(flow(port))
        if owner and chance.random() < 0.5:
            net.behind.delete(flow(port), owner[0])
        else:
            net.behind.add(flow(port), owner[0] if owner else 1)
    assert not failed

    states = [net.state(net.memory, at) for at in range(PAGE, PAGE + CAPACITY * ENTRY, ENTRY)]
    assert set(states) <= {FREE, FADING, NEW, LIVE}
    net.behind.take_counts()
    counted = [net.behind.flows(slot) for slot in range(16)]
    assert counted == net.supervisor.flow_counts()
    # A successor finds nothing that nobody can have written.
    assert Steering(net.memory, CAPACITY).count(DriverCounter.DRV_FLOWS_INVALID) == 0


def test_what_a_killed_driver_had_claimed_is_freed():
    """What the program has claimed is left to it: it cannot be killed."""
    net = Twins()
    busy, taken = 4, 5
    for place, state in ((3, busy), (5, taken), (7, LIVE), (9, 6)):
        at = PAGE + place * ENTRY
        net.memory[at : at + 40] = flow_key(*flow(4000 + place))
        struct.pack_into("=I", net.memory, at + STATE, state)
    successor = Steering(net.memory, CAPACITY)
    states = [net.state(net.memory, PAGE + place * ENTRY) for place in (3, 5, 9)]
    assert states == [busy, FREE, FREE]
    assert successor.count(DriverCounter.DRV_FLOWS_INVALID) in (
        1,
        2,
    )  # the third one may lie where it would be found


def test_who_may_not_is_told_in_one_line():
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 65534, 65534)
        why = program.usable()
        os._exit(0 if why and "\n" not in why else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
