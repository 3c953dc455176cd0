"""A replica that is killed, and a successor that goes on with its state: nothing that an application or a
peer can see is lost."""

import msgspec
import pytest

from tests.replica.conftest import CONFIG, World
from tests.replica.test_replica import established


@pytest.fixture
def world():
    made = World(msgspec.structs.replace(CONFIG, recovery="stateful"))
    made.start()
    made.welcome()
    yield made
    made.close()


def test_a_connection_outlives_its_process(world):
    channel, listener, message, end, peer = established(world)
    peer.send("PA", b"before")
    world.await_counter("tcp_bytes_in", 6)
    world.kill()
    peer.send("PA", b"while")
    world.succeed()
    peer.send("PA", b"after")
    world.await_counter("tcp_bytes_in", 5)
    assert channel.read(message.sock) == b"beforewhileafter"
    channel.write(message.sock, b"answer")
    peer.expect("its answer", lambda tcp: b"answer" in bytes(tcp.payload))
