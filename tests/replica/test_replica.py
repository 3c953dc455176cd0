"""One replica process: connections, descriptors, hostile neighbours, and what it costs when nothing
happens."""

import errno
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys

import msgspec
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP

from neat.abi.layout import NEAT_DIRTY_OFFSET, NEAT_SUMMARY_OFFSET, channel_bytes, neat_sock, sock_offset
from neat.abi.messages import PROTO_TCP, PROTO_UDP, Address, Message, Op
from neat.shm import doorbell, segment
from tests.replica.conftest import (
    GEOMETRY,
    PEER,
    REQ_ACCEPTED,
    REQ_SHUT_WR,
    ST_CONNECTED,
    ST_RDHUP,
    STACK,
    Peer,
    World,
    await_true,
    pair,
    payload_length,
    receive,
)


def established(world, app=1, sport=40000):
    """(channel, listener, accept message, connection's end, peer)."""
    channel = world.attach(app)
    listener = world.listen(app)
    peer = Peer(world, sport)
    peer.connect()
    message, end = world.accept(listener)
    return channel, listener, message, end, peer


def poll(end, wanted=select.POLLIN | select.POLLOUT | select.POLLRDHUP):
    poller = select.poll()
    poller.register(end, wanted)
    return dict(poller.poll(0)).get(end.fileno(), 0)


def await_poll(end, event):
    poller = select.poll()
    poller.register(end, event)
    assert poller.poll(20_000), "nothing happened on the descriptor"
    return poll(end)


def test_an_application_that_was_killed_before_it_rang(world):
    """It has taken `sleeping` away, so that no relative rings either: the replica looks by itself."""
    channel, listener, message, end, peer = established(world)
    world.ends += [listener, end]
    channel.write(message.sock, b"late", ring=False)
    assert peer.expect("its text", payload_length).flags == "PA"


@pytest.fixture
def world(each_world):
    return each_world


def test_hello_is_repeated_until_a_welcome():
    world = World()
    try:
        world.start()
        first, _ = receive(world.sys)
        again, _ = receive(world.sys)
        assert (first.op, again.op) == (Op.REPLICA_HELLO, Op.REPLICA_HELLO)
        world.sys.send(Message(Op.WELCOME, seq=first.seq, incarnation=9).pack())  # to another one
        third, _ = receive(world.sys)
        assert third.seq > again.seq
        world.sys.send(Message(Op.WELCOME, seq=again.seq, incarnation=third.incarnation).pack())
        assert msgspec.json.decode(world.ctl.recv(4096)) == {"event": "ready"}
        assert world.board.read("replica0").state_name == "running"
    finally:
        world.close()


def test_echo_request_is_answered(world):
    world.inject(IP(src=PEER, dst=STACK) / ICMP(id=7, seq=3) / b"abc")
    reply = world.expect(lambda frame: ICMP in frame, "echo reply")
    assert (reply[ICMP].type, bytes(reply[ICMP].payload)) == (0, b"abc")


def test_connection_from_handshake_to_orderly_end(world):
    channel, _listener, message, end, peer = established(world)
    sock = message.sock
    assert (message.local.host, message.local.port) == (STACK, 80)
    assert (message.remote.host, message.remote.port) == (PEER, 40000)
    assert channel.get(sock, "generation") == message.generation
    assert channel.get(sock, "status") & ST_CONNECTED
    channel.put(sock, "request", REQ_ACCEPTED)
    channel.touch(sock)
    assert not poll(end) & select.POLLIN
    peer.send("PA", b"GET /")
    assert await_poll(end, select.POLLIN) & select.POLLIN
    assert end.recv(8) == b"t"
    channel.put(sock, "in_token", 0)
    assert channel.read(sock) == b"GET /"
    channel.write(sock, b"200 OK")
    assert bytes(peer.expect("response", lambda tcp: len(tcp.payload)).payload)[:6] == b"200 OK"
    peer.send("FA")
    events = await_poll(end, select.POLLRDHUP)
    assert events & select.POLLIN
    assert not events & (select.POLLHUP | select.POLLERR)
    assert channel.get(sock, "status") & ST_RDHUP
    end.close()
    peer.expect("FIN", lambda tcp: "F" in tcp.flags)
    peer.send("A")
    await_true(lambda: world.counters()["descriptors"] == 0, "its descriptor is closed")


def test_one_token_however_much_arrives(world):
    _channel, _listener, _message, end, peer = established(world)
    for _ in range(5):
        peer.send("PA", b"x" * 100)
    await_poll(end, select.POLLIN)
    world.await_counter("tcp_bytes_in", 500)
    assert end.recv(8) == b"t"
    with pytest.raises(BlockingIOError):
        end.setblocking(False)
        end.recv(8)


def test_hang_up_when_both_directions_are_over_and_close_after_it(world):
    channel, _listener, message, end, peer = established(world)
    channel.put(message.sock, "request", REQ_SHUT_WR)
    channel.touch(message.sock)
    peer.expect("FIN", lambda tcp: "F" in tcp.flags)
    peer.send("FA")
    events = await_poll(end, select.POLLHUP)
    assert events & select.POLLHUP
    assert not events & select.POLLERR
    assert end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert world.counters()["descriptors"] == 1
    end.close()
    await_true(lambda: world.counters()["descriptors"] == 0, "its descriptor is closed")


def test_reset_is_an_error_and_what_came_before_can_be_read(world):
    channel, _listener, message, end, peer = established(world)
    peer.send("PA", b"last words")
    await_poll(end, select.POLLIN)
    peer.send("R")
    events = await_poll(end, select.POLLHUP)
    assert events & select.POLLERR
    assert end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert channel.get(message.sock, "error") == errno.ECONNRESET
    assert channel.get(message.sock, "generation") == message.generation
    assert channel.read(message.sock) == b"last words"
    end.close()
    await_true(lambda: channel.get(message.sock, "generation") != message.generation, "the socket is freed")
    assert world.counters()["descriptors"] == 0


def test_crash_of_the_replica_is_a_reset(world):
    _channel, _listener, _message, end, _peer = established(world)
    world.lose()
    events = await_poll(end, select.POLLHUP)
    assert events & select.POLLERR
    with pytest.raises(ConnectionResetError):
        end.recv(8)


def test_killed_application_leaves_nothing_open(world):
    channel = world.attach()
    listener = world.listen()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"], pass_fds=[listener.fileno()]
    )
    listener.close()
    peer = Peer(world)
    peer.connect()
    await_true(lambda: world.counters()["accepts_sent"] == 1, "handed over")
    holder.send_signal(signal.SIGKILL)
    holder.wait(20)
    peer.expect("the end of the connection", lambda tcp: "F" in tcp.flags or "R" in tcp.flags)
    await_true(lambda: world.counters()["listeners"] == 0, "the listener is closed")
    world.say(Message(Op.APP_GONE, app=1))
    peer.send("FA")
    await_true(lambda: world.counters()["channels"] == 0, "its channel is detached")
    other = Peer(world, 40001)
    other.send("S")
    other.expect("RST", lambda tcp: "R" in tcp.flags)
    del channel


def test_full_accept_queue_delays_and_loses_nothing(world):
    world.attach()
    listener = world.listen(backlog=200)
    world.ends[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    peers = [Peer(world, 41000 + i) for i in range(60)]
    for peer in peers:
        peer.connect()
    world.await_counter("accept_queue_full", 1)
    seen = set()
    ends = []
    for _ in peers:
        message, end = world.accept(listener)
        seen.add(message.remote.port)
        ends.append(end)
    assert seen == {peer.sport for peer in peers}
    await_true(lambda: world.counters()["descriptors"] == len(peers), "a descriptor for each")


def test_connections_reset_while_they_wait_leave_the_queue(world):
    world.attach()
    listener = world.listen(backlog=200)
    world.ends[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    peers = [Peer(world, 42000 + i) for i in range(40)]
    for peer in peers:
        peer.connect()
    world.await_counter("accept_queue_full", 1)
    gone = peers[20:]
    for peer in gone:
        peer.send("R")
    world.await_counter("tcp_rst_in", len(gone))
    again = [Peer(world, 43000 + i) for i in range(10)]
    for peer in again:
        peer.connect()
    wanted = {peer.sport for peer in peers[:20] + again}
    ends = []
    while wanted:
        message, end = world.accept(listener)
        ends.append(end)
        wanted.discard(message.remote.port)
    listener.close()
    await_true(lambda: world.counters()["listeners"] == 0, "the listener is closed")


def test_a_connection_that_is_reset_at_once_is_accepted(world):
    """As on Linux: the application is told of the reset by what it does with it."""
    world.attach()
    listener = world.listen()
    peer = Peer(world, 41000)
    peer.send("S", options=[("MSS", 1460)])
    peer.expect("SYN-ACK", lambda tcp: tcp.flags == "SA")
    world.inject(peer.segment("A"), peer.segment("R"))
    _message, end = world.accept(listener)
    await_true(lambda: poll(end) & select.POLLERR, "a reset")


def test_connections_beyond_the_descriptors_are_reset(world):
    world.attach()
    listener = world.listen(backlog=200)
    soft = len(os.listdir(f"/proc/{world.process.pid}/fd")) + 12
    resource.prlimit(world.process.pid, resource.RLIMIT_NOFILE, (soft, soft))
    peers = [Peer(world, 44000 + i) for i in range(30)]
    for peer in peers:
        peer.connect()
    ends = [world.accept(listener)[1] for _ in peers]
    world.await_counter("accept_no_fd", 1)
    peers[-1].expect("RST", lambda tcp: "R" in tcp.flags)
    assert await_poll(ends[-1], select.POLLIN) & select.POLLERR
    assert 5 < world.counters()["descriptors"] < 15
    for end in ends:
        end.close()
    await_true(lambda: world.counters()["descriptors"] == 0, "all are closed")
    late = Peer(world, 45000)
    late.connect()
    world.accept(listener)


def test_reset_after_the_peers_fin_leaves_what_came_before(world):
    channel, _listener, message, end, peer = established(world)
    peer.send("PA", b"last words")
    peer.send("FA")
    await_poll(end, select.POLLRDHUP)
    peer.expect("ACK", lambda tcp: tcp.flags == "A")
    peer.send("R")
    assert await_poll(end, select.POLLHUP) & select.POLLHUP
    assert channel.get(message.sock, "error") == errno.EPIPE  # as on Linux
    assert channel.read(message.sock) == b"last words"
    end.close()
    await_true(lambda: world.counters()["descriptors"] == 0, "its descriptor is closed")


def test_active_open(world):
    channel = world.attach()
    ours, theirs = pair()
    ours.send(b"c")
    ours.send(b"x")
    remote = Address.ipv4(PEER, 8080, PROTO_TCP)
    world.say(
        Message(Op.CONNECT_VIA, app=1, remote=remote, local=Address.ipv4(STACK, 0), u=(1,)), theirs.fileno()
    )
    theirs.close()
    told, _ = receive(ours)
    assert told.op == Op.CONNECTING
    assert 32768 <= told.local.port <= 60999
    assert channel.get(told.sock, "out_block") == 1
    peer = Peer(world, 8080, told.local.port)
    peer.expect("SYN", lambda tcp: tcp.flags == "S")
    peer.send("SA")
    peer.expect("ACK", lambda tcp: tcp.flags == "A")
    await_true(lambda: channel.get(told.sock, "out_block") == 0, "the fill was taken")
    peer.send("PA", b"hello")
    await_poll(ours, select.POLLIN)
    assert channel.read(told.sock) == b"hello"


def test_refused_connect_tells_why(world):
    world.attach()
    ours, theirs = pair()
    ours.send(b"c")
    remote = Address.ipv4(PEER, 8080, PROTO_TCP)
    world.say(Message(Op.CONNECT_VIA, app=1, remote=remote, local=Address.ipv4(STACK, 0)), theirs.fileno())
    theirs.close()
    told, _ = receive(ours)
    peer = Peer(world, 8080, told.local.port)
    peer.expect("SYN", lambda tcp: tcp.flags == "S")
    peer.send("RA")
    events = await_poll(ours, select.POLLHUP)
    assert events & select.POLLERR
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    failed, _ = receive(ours)
    assert (failed.op, failed.error) == (Op.FAILED, errno.ECONNREFUSED)


def test_datagram_makes_the_socket_readable(world):
    channel = world.attach()
    end = world.udp()
    assert not poll(end) & select.POLLIN
    world.inject(IP(src=PEER, dst=STACK) / UDP(sport=5000, dport=53) / b"query")
    await_poll(end, select.POLLIN)
    assert end.recv(8) == b"t"
    assert channel.read(4)[32:37] == b"query"
    end.close()
    await_true(lambda: world.counters()["udp_sockets"] == 0, "the socket is unbound")


def test_new_replica_announces_itself_on_datagram_sockets(world):
    world.attach()
    ours, theirs = pair()
    local = Address.ipv4(STACK, 53, PROTO_UDP)
    told = Message(Op.ADD_UDP, app=1, sock=4, bind_id=9, local=local)  # no seq: part of a briefing
    socket.send_fds(world.sys, [told.pack()], [theirs.fileno()])
    message, _ = receive(ours)
    assert (message.op, message.replica, message.incarnation, message.sock) == (Op.REPLICA, 0, 1, 4)


def test_port_can_be_taken_again_at_once(world):
    world.attach()
    for sock in range(3, 23):
        end = world.listen(sock=sock)
        end.close()
    world.await_counter("listeners", 0)


def test_random_bytes_in_a_channel_end_sockets_not_the_process(world):
    channel, listener, message, _end, peer = established(world)
    rng = random.Random(7)
    for _ in range(100):
        start = rng.choice([NEAT_DIRTY_OFFSET, NEAT_SUMMARY_OFFSET, sock_offset(message.sock)])
        channel.memory[start : start + neat_sock.size] = rng.randbytes(neat_sock.size)
        doorbell.ring(world.bell)
        peer.send("PA", b"y")
        world.inject(rng.randbytes(60))
    loops = world.board.read("replica0").loops
    await_true(lambda: world.board.read("replica0").loops > loops + 20, "it still turns")
    # Others are served.
    world.attach(2)
    other = world.listen(2, port=81)
    guest = Peer(world, 50000, 81)
    guest.connect()
    world.accept(other)
    assert world.process.poll() is None
    listener.close()


def test_application_that_misuses_its_doorbell_stops_nobody(world):
    channel = world.attach()
    os.set_blocking(channel.bell, True)
    for n in range(50):
        os.eventfd_write(channel.bell, 2**64 - 2)
        os.eventfd_read(channel.bell)
        world.inject(IP(src=PEER, dst=STACK) / ICMP(id=9, seq=n))
        world.expect(lambda frame: ICMP in frame and frame[ICMP].type == 0, "echo reply")


def test_random_frames_and_records(world):
    rng = random.Random(11)
    for _ in range(40):
        frames = [rng.randbytes(rng.randrange(0, 200)) for _ in range(50)]
        for frame in frames:
            world.rx.push(frame, rng.choice([0xFFFF, 1, 1, 1, 2]))
        if world.rx.publish():
            doorbell.ring(world.bell)
    world.inject(IP(src=PEER, dst=STACK) / ICMP() / b"still there")
    world.expect(lambda frame: ICMP in frame and frame[ICMP].type == 0, "echo reply")
    assert world.counters()["rx_unknown_record"] > 0


def test_broken_receive_ring_is_noted_once_and_survived(world):
    struct.pack_into("<Q", world.link.segment.view, 4096, 12345)
    doorbell.ring(world.bell)
    world.await_counter("rx_ring_broken", 1)
    world.attach()
    world.listen()
    assert world.process.poll() is None


def test_malformed_control_messages_are_counted(world):
    hostile = [b"", b"x", bytes(160), os.urandom(160), Message(77).pack(), Message(Op.ATTACH).pack()]
    for data in hostile[1:]:
        world.sys.send(data)
    world.await_counter("drop_control", len(hostile) - 1)
    world.ctl.send(b"[}")
    world.ctl.send(b"[]")
    world.ctl.send(b'{"op": 5}')
    world.attach()
    world.listen()


@pytest.mark.parametrize("size", [4096, channel_bytes(*GEOMETRY) + 4096])
def test_segment_of_the_wrong_size_is_not_mapped(world, size):
    fd = segment.create("small", size)
    world.say(Message(Op.ATTACH, app=1, u=GEOMETRY), fd, world.bell)
    world.await_counter("channels_refused", 1)
    os.close(fd)


def test_unsealed_segment_is_not_mapped(world):
    fd = os.memfd_create("unsealed", os.MFD_CLOEXEC)
    os.ftruncate(fd, channel_bytes(*GEOMETRY))
    world.say(Message(Op.ATTACH, app=1, u=GEOMETRY), fd, world.bell)
    world.await_counter("channels_refused", 1)
    os.close(fd)


def test_memory_is_given_back(world):
    """What a socket's ring holds beyond the part that is kept is punched out when the socket is freed."""
    channel, _listener, message, end, peer = established(world)
    for _ in range(40):
        peer.send("PA", b"z" * 1400)
        await_true(lambda: channel.get(message.sock, "rx_tail") == peer.seq - 1001, "received")
        channel.read(message.sock)
        channel.touch(message.sock)
    before = os.fstat(channel.fd).st_blocks
    end.close()
    peer.send("R")
    world.await_counter("rings_punched", 1)
    assert os.fstat(channel.fd).st_blocks < before


def test_ss_rows(world):
    _channel, _listener, message, _end, _peer = established(world)
    world.ctl.send(b'{"op": "ss", "seq": 4}')
    rows, more = [], True
    while more:
        answer = msgspec.json.decode(world.ctl.recv(1 << 18))
        assert answer["seq"] == 4
        rows += answer["rows"]
        more = answer["more"]
    by_state = {row["state"]: row for row in rows}
    assert by_state["LISTEN"]["local"] == f"{STACK}:80"
    assert by_state["ESTAB"]["remote"] == f"{PEER}:40000"
    assert by_state["ESTAB"]["sock"] == message.sock
    assert by_state["ESTAB"]["pid"] == os.getpid()


def test_idle_replica_wakes_for_heartbeats_only(world):
    world.attach()
    world.listen()
    page = world.board.read("replica0")
    loops, heartbeat = page.loops, page.heartbeat
    await_true(lambda: world.board.read("replica0").heartbeat > heartbeat + 1_000_000_000, "a second passes")
    # 12.5 heartbeats a second, two turns each: one to see that there is nothing, one after waking.
    assert world.board.read("replica0").loops - loops <= 60


def test_stop_and_lifeline_end_it(world):
    world.ctl.send(b'{"op": "stop"}')
    assert world.process.wait(20) == 0
    world.start(2)
    os.close(world.guardian_end)
    world.guardian_end = os.dup(world.lifeline)
    assert world.process.wait(20) == 0


def test_sigterm_ends_it(world):
    world.process.terminate()
    assert world.process.wait(20) == 0


def test_an_application_that_is_full_gets_no_connections(world):
    """NEAT_OP_FULL: what connects to it is reset, until it has room again."""
    world.attach(1)
    world.attach(2)
    ends = [world.listen(1, port=80), world.listen(2, port=81)]
    world.say(Message(Op.FULL, app=1, u=(1,)))
    ends.append(world.listen(1, sock=5, port=82))  # answered after what was said before

    def is_reset(port, sport):
        peer = Peer(world, sport, port)
        peer.connect()
        found = world.expect(lambda frame: TCP in frame and frame[TCP].dport == sport, "an answer")
        return "R" in found[TCP].flags

    assert is_reset(80, 40000)
    assert world.counters()["accept_no_memory"] == 1
    other = Peer(world, 40001, 81)
    other.connect()
    other.send("PA", b"text")
    other.expect("an ACK", lambda tcp: tcp.flags == "A")
    world.say(Message(Op.FULL, app=1, u=(0,)))
    ends.append(world.listen(1, sock=6, port=83))
    again = Peer(world, 40002, 80)
    again.connect()
    again.send("PA", b"text")
    again.expect("an ACK", lambda tcp: tcp.flags == "A")


def test_descriptors_in_its_queues_are_nobodys(world):
    """NEAT_OP_SWEEP: a connection that holds itself hangs up, and its peer hears of that."""
    _channel, listener, _message, end, peer = established(world)
    socket.send_fds(end, [b"!"], [end.fileno()])
    end.close()
    assert not select.select([world.driver_bell], [], [], 0)[0] or not world.frames()
    world.say(Message(Op.SWEEP, app=1))
    peer.expect("an end", lambda tcp: "F" in tcp.flags or "R" in tcp.flags)
    listener.close()
