"""A replica that is killed, and a successor that goes on with its state: nothing that an application or a
peer can see is lost. What is left where there is none."""

import os
import select
import signal

import msgspec
import pytest

from neat.replica.sizes import holder_of
from neat.rundir import start_ticks
from tests.replica.conftest import CONFIG, DATAPATHS, PATIENCE_S, World, await_true, running_world
from tests.replica.test_replica import await_poll, established, poll


@pytest.fixture(params=DATAPATHS)
def world(request):
    with running_world(recovery="stateful", datapath=request.param) as made:
        yield made


def is_alive(holder):
    return start_ticks(holder[0]) == holder[1]


def goes_on(world, channel, message, peer):
    """Bytes both ways. The connection's other end hears of nothing."""
    seen = channel.get(message.sock, "rx_tail")
    peer.send("PA", b"question")
    await_true(lambda: channel.get(message.sock, "rx_tail") == seen + 8, "its bytes")
    assert channel.read(message.sock) == b"question"
    channel.write(message.sock, b"answer")
    peer.expect("its answer", lambda tcp: b"answer" in bytes(tcp.payload))
    peer.send("A")


def test_a_connection_outlives_its_process(world):
    channel, _listener, message, end, peer = established(world)
    peer.send("PA", b"before")
    world.await_counter("tcp_bytes_in", 6)
    world.kill()
    peer.send("PA", b"while")
    world.succeed()
    peer.send("PA", b"after")
    world.await_counter("tcp_bytes_in", 10)  # "while", too: the successor counts anew
    assert channel.read(message.sock) == b"beforewhileafter"
    channel.write(message.sock, b"answer")
    peer.expect("its answer", lambda tcp: b"answer" in bytes(tcp.payload))
    assert not poll(end) & (select.POLLHUP | select.POLLERR)


def test_it_outlives_many(world):
    channel, listener, message, end, peer = established(world)
    world.ends += [listener, end]
    holders = [holder_of(world.state_fd)]
    for incarnation in range(2, 6):
        world.kill()
        world.succeed(incarnation)
        goes_on(world, channel, message, peer)
        holders.append(holder_of(world.state_fd))
    assert len(set(holders)) == 5
    await_true(lambda: [is_alive(holder) for holder in holders] == [False] * 4 + [True], "one is left")


def test_a_holder_that_is_killed_alone_is_replaced(world):
    channel, listener, message, end, peer = established(world)
    world.ends += [listener, end]
    holder = holder_of(world.state_fd)
    os.kill(holder[0], signal.SIGKILL)
    await_true(lambda: holder_of(world.state_fd) not in (None, holder), "another one")
    goes_on(world, channel, message, peer)
    world.kill()
    world.succeed()
    goes_on(world, channel, message, peer)


def test_both_killed_is_a_reset_and_no_successor(world):
    *_rest, end, _peer = established(world)
    world.lose()
    assert await_poll(end, select.POLLHUP) & select.POLLERR
    world.start(2, state=1)
    told = msgspec.json.decode(world.ctl.recv(4096))
    assert told["event"] == "refused" and "holds" in told["why"]
    assert world.process.wait(PATIENCE_S) != 0


def test_an_orderly_end_ends_the_state(world):
    *_rest, end, _peer = established(world)
    holder = holder_of(world.state_fd)
    world.ctl.send(b'{"op": "stop"}')
    assert world.process.wait(PATIENCE_S) == 0
    assert await_poll(end, select.POLLHUP) & select.POLLERR
    assert not is_alive(holder) and holder_of(world.state_fd) is None


def test_one_that_is_to_stay_goes_on(world):
    channel, listener, message, end, peer = established(world)
    world.ends += [listener, end]
    world.ctl.send(b'{"op": "stop", "stay": true}')
    assert world.process.wait(PATIENCE_S) == 0
    world.succeed()
    goes_on(world, channel, message, peer)


def test_the_holder_goes_with_the_stack(world):
    holder = holder_of(world.state_fd)
    world.kill()
    os.close(world.guardian_end)
    world.guardian_end = os.dup(world.lifeline)
    await_true(lambda: not is_alive(holder), "it has gone")


def test_a_stateless_one_has_no_holder():
    world = World(msgspec.structs.replace(CONFIG, recovery="stateless"))
    try:
        world.start()
        world.welcome()
        assert holder_of(world.state_fd) is None
    finally:
        world.close()
