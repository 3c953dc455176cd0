"""The syscall server as applications, replicas and its successor see it."""

import errno
import os
import resource
import select
import socket
import struct

import pytest

from neat.abi import layout
from neat.abi.messages import PROTO_TCP, PROTO_UDP, Address, BindFlag, Message, Op
from tests.syscalls.conftest import PATIENCE_S, STACK, pair, receive


def await_counter(world, name, value):
    """The server counts before it goes on: an answered request proves that everything before it was
    handled."""
    client = world.client()
    client.hello()
    client.ask(Message(Op.PREFER))
    client.close()
    assert world.counter(name) >= value


def header_of(segment_fd, name):
    """A field of the segment's struct neat_channel."""
    return layout.neat_channel.get(os.pread(segment_fd, layout.neat_channel.size, 0), name)


def test_hello_names_the_stack(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    reply, _ = client.ask(Message(Op.HELLO))
    assert (reply.local.host, reply.prefix) == (STACK, 24)
    assert reply.app == client.app
    assert reply.token
    assert reply.u[:3] == (512, 1 << 21, 1 << 20)


def test_only_replicas_that_are_up_get_connections(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    assert client.ask(Message(Op.PREFER))[0].replica == 0b11
    world.tell(op="replica_down", replica=0)
    world.await_active(0, False)
    assert client.ask(Message(Op.PREFER))[0].replica == 0b10


def test_child_joins_with_its_token_only(world):
    parent, child = world.client(), world.client()
    parent.hello()
    assert child.ask(Message(Op.JOIN, app=parent.app, token=parent.token ^ 2))[0].error == errno.ESRCH
    reply, _ = child.ask(Message(Op.JOIN, app=parent.app, token=parent.token))
    assert (reply.error, reply.app) == (0, parent.app)


def test_strangers_may_only_register(world):
    client = world.client()
    reply, _ = client.ask(Message(Op.PREFER))
    assert reply.error == errno.ENOTCONN


def test_listen_waits_for_every_replica(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    bound, ours = client.bind(80)
    assert (bound.error, bound.local.port) == (0, 80)
    client.send(Message(Op.LISTEN, bind_id=bound.bind_id, backlog=16))
    ends = []
    for replica in world.replicas:
        message, fds = replica.take(Op.ADD_LISTENER, answer=False)
        assert (message.bind_id, message.backlog, message.local.port) == (bound.bind_id, 16, 80)
        ends.append((replica, message, fds[0]))
    world.replicas[0].answer(ends[0][1])
    assert not select.select([client.sock], [], [], 0.05)[0]
    world.replicas[1].answer(ends[1][1])
    reply, _ = client.answer()
    assert (reply.error, reply.sock) == (0, ends[0][1].sock)
    # Both replicas hold the same stack's end, with the canary in it.
    socket.socket(fileno=ends[0][2]).send(b"0")
    assert ours.recv(8) == b"0"
    os.close(ends[1][2])


def test_replica_that_dies_meanwhile_is_not_waited_for(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    bound, _ours = client.bind(80)
    client.send(Message(Op.LISTEN, bind_id=bound.bind_id, backlog=16))
    world.replicas[0].take(Op.ADD_LISTENER)
    world.replicas[1].take(Op.ADD_LISTENER, answer=False)
    world.tell(op="replica_down", replica=1)
    assert client.answer()[0].error == 0


def test_error_of_a_replica_reaches_the_application(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    bound, _ours = client.bind(80)
    client.send(Message(Op.LISTEN, bind_id=bound.bind_id))
    world.replicas[0].take(Op.ADD_LISTENER)
    world.replicas[1].take(Op.ADD_LISTENER, error=errno.ENOSPC)
    assert client.answer()[0].error == errno.ENOSPC


def test_new_replica_hears_of_all_sockets_before_its_welcome(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    bound, _ours = client.bind(80)
    client.send(Message(Op.LISTEN, bind_id=bound.bind_id, backlog=5))
    world.replicas[0].take(Op.ADD_LISTENER)
    listening, _ = client.answer()
    told = world.replicas[1].hello(incarnation=3)
    assert [message.op for message in told] == [Op.ATTACH, Op.ADD_LISTENER]
    assert (told[1].sock, told[1].bind_id) == (listening.sock, bound.bind_id)
    assert all(message.incarnation == 3 for message in told)
    # The next incarnation gets a segment of its own.
    world.tell(op="replica_down", replica=1)
    assert [message.op for message in world.replicas[1].hello(incarnation=4)] == [Op.ATTACH, Op.ADD_LISTENER]
    _reply, fds = client.ask(Message(Op.SEGMENT, replica=1))
    assert _reply.incarnation == 4
    assert _reply.u[:4] == (512, 1 << 21, 1 << 20, world.config.mtu)
    made = [header_of(fds[0], name) for name in ("magic", "app", "replica", "incarnation")]
    assert made == [layout.NEAT_CHANNEL_MAGIC, client.app, 1, 4]


def test_segment_is_attached_and_comes_with_the_doorbell(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    reply, fds = client.ask(Message(Op.SEGMENT, replica=1))
    assert (reply.error, len(fds)) == (0, 2)
    attach, segment_fds = receive(world.replicas[1].sock)
    assert (attach.op, attach.app) == (Op.ATTACH, client.app)
    assert attach.u[3] == os.getpid()
    assert os.fstat(segment_fds[0]).st_ino == os.fstat(fds[0]).st_ino
    os.eventfd_write(fds[1], 1)
    assert os.eventfd_read(segment_fds[1]) == 1
    assert client.ask(Message(Op.SEGMENT, replica=1, incarnation=9))[0].error == errno.ESTALE
    assert client.ask(Message(Op.SEGMENT, replica=7))[0].error == errno.ENXIO


def test_segments_of_other_applications_are_not_given_out(world):
    world.bring_up(0)
    one, other = world.client(), world.client()
    one.hello()
    other.hello()
    assert other.ask(Message(Op.SEGMENT, replica=0, app=one.app))[0].error == errno.EPERM


def test_connect_sends_the_end_to_the_chosen_replica(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    ours, theirs = pair()
    request = Message(Op.CONNECT, replica=1, remote=Address.ipv4("10.77.0.1", 8080, PROTO_TCP), u=(1,))
    assert client.ask(request, [theirs.fileno()])[0].error == 0
    theirs.close()
    message, fds = world.replicas[1].take(Op.CONNECT_VIA, answer=False)
    assert (message.local.port, message.remote.port, message.u[0]) == (0, 8080, 1)
    assert message.local.host == STACK
    os.close(fds[0])
    assert ours.recv(8) == b""  # nobody else holds it: the replica's death hangs up


def test_connect_through_a_bound_port_leaves_the_end_to_the_replica(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    bound, ours = client.bind(4000, flags=BindFlag.REUSEADDR)
    request = Message(Op.CONNECT, replica=0, bind_id=bound.bind_id, remote=Address.ipv4("10.77.0.1", 80))
    assert client.ask(request)[0].error == 0
    message, fds = world.replicas[0].take(Op.CONNECT_VIA, answer=False)
    assert message.local.port == 4000
    os.close(fds[0])
    with pytest.raises(ConnectionResetError):  # the canary was unread
        ours.recv(8)


def test_connect_to_a_replica_that_is_down(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    _ours, theirs = pair()
    request = Message(Op.CONNECT, replica=1, remote=Address.ipv4("10.77.0.1", 80))
    assert client.ask(request, [theirs.fileno()])[0].error == errno.ENETDOWN


def test_udp_bind_has_one_index_in_all_replicas(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    ours, theirs = pair()
    client.send(Message(Op.BIND, local=Address.ipv4("0.0.0.0", 0, PROTO_UDP)), [theirs.fileno()])
    seen = {replica.take(Op.ADD_UDP)[0].sock for replica in world.replicas}
    reply, _ = client.answer()
    assert reply.error == 0
    assert seen == {reply.sock}
    assert reply.local.port >= 61000
    assert reply.replica == 0b11


def test_port_is_free_again_when_its_socket_is_closed(world):
    client = world.client()
    client.hello()
    first, ours = client.bind(80)
    assert first.error == 0
    assert client.bind(80)[0].error == errno.EADDRINUSE
    ours.close()
    reply, _again = client.bind(80)
    assert reply.error == 0  # at once: Linux's close() and bind() are in order
    assert reply.bind_id != first.bind_id


@pytest.mark.parametrize(
    ("host", "protocol", "error"),
    [
        ("10.77.0.9", PROTO_TCP, errno.EADDRNOTAVAIL),
        ("127.0.0.1", PROTO_TCP, errno.EADDRNOTAVAIL),
        (STACK, 132, errno.EPROTONOSUPPORT),
    ],
)
def test_bind_refuses(world, host, protocol, error):
    client = world.client()
    client.hello()
    assert client.bind(80, host, protocol)[0].error == error


def test_bind_needs_the_end_of_a_pair(world):
    client = world.client()
    client.hello()
    request = Message(Op.BIND, local=Address.ipv4(STACK, 80, PROTO_TCP))
    assert client.ask(request)[0].error == errno.EBADF
    read_end, write_end = os.pipe()
    assert client.ask(request, [write_end])[0].error == errno.EBADF


def test_malformed_messages_are_counted_and_harm_nobody(world):
    world.bring_up(0)
    hostile = world.client()
    rubbish = [
        b"x",
        bytes(160),
        bytes(159),
        os.urandom(160),
        Message(9999).pack(),
        Message(Op.HELLO, 1).pack(),
    ]
    for data in rubbish:
        hostile.sock.send(data)
    socket.send_fds(hostile.sock, [b"?"], [hostile.sock.fileno()] * 3)
    hostile.hello()
    hostile.ask(Message(Op.LISTEN, bind_id=0xFFFFFFFF))
    await_counter(world, "drop_bad_message", len(rubbish) + 1)
    world.replicas[0].sock.send(b"nonsense")
    world.ctl_peer.send(b"[1, 2")
    world.ctl_peer.send(b'{"op": "replica_up", "replica": 99}')
    await_counter(world, "drop_bad_message", len(rubbish) + 1)
    assert world.process.poll() is None


def test_random_fields_are_refused_or_answered(world):
    import random

    world.bring_up(0)
    rng = random.Random(5)
    client = world.client()
    client.hello()
    for _ in range(300):
        message = bytearray(rng.randbytes(160))
        message[0:4] = Message(0).pack()[0:4]
        message[4:8] = struct.pack("<HH", rng.choice([1, 2, 3, 4, 5, 6, 7, 64]), 0)
        message[16:20] = bytes(4)
        client.sock.send(bytes(message))
        receive(client.sock) if message[4] < 8 else None
    assert world.process.poll() is None


def test_running_out_of_descriptors_refuses_and_recovers(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    limits = resource.prlimit(world.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(world.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    assert client.ask(Message(Op.SEGMENT, replica=0))[0].error == errno.EMFILE
    resource.prlimit(world.process.pid, resource.RLIMIT_NOFILE, limits)
    assert client.ask(Message(Op.SEGMENT, replica=0))[0].error == 0


def test_client_that_does_not_read_is_given_up(world):
    lazy = world.client()
    lazy.hello()
    lazy.sock.setblocking(False)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(100_000):
            select.select([], [lazy.sock], [], 5)
            lazy.sock.send(Message(Op.PREFER).pack())
    other = world.client()
    other.hello()


def test_one_process_cannot_take_all_registrations(world):
    clients = [world.client() for _ in range(40)]
    refused = 0
    for client in clients:
        try:
            client.hello()
        except (ConnectionError, AssertionError):
            refused += 1
    assert refused == 8
    for client in clients:
        client.close()
    # Once they are closed, their room is free again.
    for _ in range(50):
        again = world.client()
        try:
            again.hello()
            break
        except (ConnectionError, AssertionError):
            again.close()
    assert again.token


def test_replicas_learn_that_an_application_is_gone(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    client.ask(Message(Op.SEGMENT, replica=0))
    assert receive(world.replicas[0].sock)[0].op == Op.ATTACH
    assert f"app.{client.app}.0" in world.store.kept
    client.close()
    message, _ = world.replicas[0].take(Op.APP_GONE, answer=False)
    assert message.app == client.app
    world.client().hello()  # answered after the end of the one before was written down
    assert f"app.{client.app}.0" not in world.store.kept


def test_lifeline_ends_it(world):
    os.close(world.guardian_end)
    world.guardian_end = os.dup(world.lifeline)
    assert world.process.wait(5) == 0


def test_stop_ends_it(world):
    world.tell(op="stop")
    assert world.process.wait(5) == 0


def over(segment_fd):
    return header_of(segment_fd, "over")


def segment_of(client, replica):
    return client.ask(Message(Op.SEGMENT, replica=replica))[1][0]


def test_a_segment_says_that_its_replica_is_gone(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    dead, alive = (segment_of(client, k) for k in range(2))
    assert (over(dead), over(alive)) == (0, 0)
    world.tell(op="replica_down", replica=0, incarnation=1)
    world.await_active(0, False)
    assert (over(dead), over(alive)) == (1, 0)


def test_word_of_a_death_that_comes_late_is_not_about_the_successor(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    before = segment_of(client, 0)
    world.replicas[0].hello(incarnation=2)
    assert over(before) == 1  # its successor speaks
    after = segment_of(client, 0)
    world.tell(op="replica_down", replica=0, incarnation=1)
    world.await_active(0, False)
    assert over(after) == 0


def test_a_death_during_which_nobody_served_is_told_by_the_successor(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    segment_fd = segment_of(client, 0)
    world.kill()
    world.start()
    assert over(segment_fd) == 0
    world.tell(op="replica_up", replica=0, incarnation=2)
    world.await_active(0, True)
    assert over(segment_fd) == 1


@pytest.mark.parametrize("how", ["told", "lifeline"])
def test_all_segments_are_over_when_the_stack_is(world, how):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    segments = [segment_of(client, k) for k in range(2)]
    if how == "told":
        world.tell(op="stop", over=True)
    else:
        os.close(world.guardian_end)
        world.guardian_end = os.open(os.devnull, os.O_RDONLY)  # for the fixture to close
    assert world.process.wait(PATIENCE_S) == 0
    assert [over(fd) for fd in segments] == [1, 1]


def test_segments_go_on_when_only_the_server_ends(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    segment_fd = segment_of(client, 0)
    world.tell(op="stop", over=False)
    assert world.process.wait(PATIENCE_S) == 0
    assert over(segment_fd) == 0
