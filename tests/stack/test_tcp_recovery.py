"""A successor goes on with what an engine left in its segments, in every state; what it does not believe."""

import struct
from errno import ECONNABORTED, ECONNREFUSED, ECONNRESET

import pytest

from neat.abi import layout
from neat.stack.tcp.state import TcpState

from .harness.conn import LISTENER_SOCK, Conn, pattern
from .harness.frames import ACK, RST
from .harness.host import (
    EV_ACCEPT,
    EV_CLOSED,
    EV_CONNECTED,
    EV_RDHUP,
    EV_READABLE,
    EV_RESET,
    EV_WRITABLE,
    RECORD_FLOW_ADD,
    RECORD_FLOW_DELETE,
)

# neat/stack/state.pxd: the first ConnSlot, and fields in it
SLOT = 4096
FIELDS = {
    "remote port": (4, "H"),
    "remote": (24, "B"),
    "state": (40, "I"),
    "flags": (44, "I"),
    "rx_tail": (64, "Q"),
    "tx_head": (72, "Q"),
    "rcv_adv": (92, "I"),
    "snd_max": (100, "I"),
    "app": (128, "I"),
    "sock": (132, "I"),
    "generation": (136, "I"),
    "listener": (140, "I"),
    "snd_mss": (172, "H"),
    "rcv_wscale": (177, "B"),
}


def corrupt(conn: Conn, field: str, value: int) -> None:
    offset, kind = FIELDS[field]
    struct.pack_into("<" + kind, conn.lab.state, SLOT + offset, value)


def field(conn: Conn, name: str) -> int:
    offset, kind = FIELDS[name]
    return struct.unpack_from("<" + kind, conn.lab.state, SLOT + offset)[0]


def test_idle_connection(conn):
    conn.established()
    conn.host.take_events()
    conn.host.flows.clear()
    conn.run("""
      crash
      +0 > . 1:1(0) ack 1
    """)
    assert conn.state == TcpState.ESTABLISHED and conn.info["accepted"]
    assert conn.counters["RECOVER_CONNECTIONS"] == conn.counters["TCP_CONNECTIONS"] == 1
    assert [kind for kind, _ in conn.host.flows] == [RECORD_FLOW_ADD]
    assert conn.event_kinds & EV_WRITABLE
    conn.send(10)
    conn.run("""
      +0 > P. 1:11(10) ack 1
      +0 < P. 1:11(10) ack 11
      +0 > . 11:11(0) ack 11
    """)
    assert conn.recv() == pattern(0, 10)


def test_handshake_of_a_listener(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1000>
      +0 > S. 0:0(0) ack 1 <...>
      crash
      +0 > S. 0:0(0) ack 1 <...>
      +0 < . 1:1(0) ack 1 win 65535
    """)
    conn.accept()
    assert conn.state == TcpState.ESTABLISHED and conn.info["mss"] == 1000


def test_connect(conn):
    conn.connect()
    conn.run("""
      +0 > S 0:0(0) <mss 1460,...>
      crash
      +0 > S 0:0(0) <mss 1460,...>
      +0 < S. 0:0(0) ack 1 win 65535 <mss 1460>
      +0 > . 1:1(0) ack 1
    """)
    assert conn.event_kinds & EV_CONNECTED
    assert not conn.lab.peek(conn.sock, "status") & layout.NEAT_ST_CONNECTING


def test_connect_that_is_refused_after_it(conn):
    conn.connect()
    conn.run("""
      +0 > S 0:0(0) <...>
      crash
      +0 > S 0:0(0) <...>
      +0 < R. 0:0(0) ack 1
    """)
    assert conn.lab.peek(conn.sock, "error") == ECONNREFUSED


def test_connecting_socket_is_not_writable(conn):
    conn.connect()
    conn.run("+0 > S 0:0(0) <...>\ncrash\n+0 > S 0:0(0) <...>")
    assert not conn.event_kinds & (EV_WRITABLE | EV_CONNECTED)


def test_connection_that_nobody_accepted_yet(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 <...>
      +0 < . 1:1(0) ack 1 win 65535
      crash
      +0 > . 1:1(0) ack 1
    """)
    assert [bool(e.kinds & EV_ACCEPT) for e in conn.host.events] == [True, True], "said once more"
    conn.accept()
    conn.host.events.clear()
    conn.run("crash\n+0 > . 1:1(0) ack 1")
    assert not conn.event_kinds & EV_ACCEPT


def test_backlog_still_counts(conn):
    conn.listen(backlog=0)
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 <...>
      +0 < . 1:1(0) ack 1 win 65535
      crash
      +0 > . 1:1(0) ack 1
    """)
    other = Conn(9000, host=conn.host, port=41000)
    other.run("+0 < S 0:0(0) win 65535 <mss 1460>")
    assert conn.counters["TCP_BACKLOG_FULL"] == 1
    conn.accept()
    other.run("+0 < S 0:0(0) win 65535 <mss 1460>\n+0 > S. 0:0(0) ack 1 <...>")


def test_deferred_accept(conn):
    conn.listen()
    conn.lab.set_defer(LISTENER_SOCK, 3)
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 <...>
      +0 < . 1:1(0) ack 1 win 65535
      crash
    """)
    conn.quiet(2.9)
    conn.run("+.1~+.2 > S. 0:0(0) ack 1 <...>")


def test_unacknowledged_text_is_sent_again_at_once(conn):
    conn.established()
    conn.send(3000)
    conn.run("""
      +0 > . 1:1461(1460) ack 1
      +0 > . 1461:2921(1460) ack 1
      +0 > P. 2921:3001(80) ack 1
      +0 < . 1:1(0) ack 1461
      crash
      +0 > . 1461:2921(1460) ack 1
      +0 > P. 2921:3001(80) ack 1
      +0 < . 1:1(0) ack 3001
    """)
    conn.quiet(5)
    assert conn.info["retransmits"] == 2


def test_peer_may_acknowledge_what_the_predecessor_sent(conn):
    conn.established()
    conn.send(1000)
    conn.run("+0 > P. 1:1001(1000) ack 1")
    conn.lab.crash()
    conn.run("+0 < . 1:1(0) ack 1001\n+0 > . 1001:1001(0) ack 1")
    assert conn.counters.get("TCP_BAD_ACK", 0) == 0


def test_text_that_nobody_has_read_yet(conn):
    conn.established()
    conn.run("""
      +0 < P. 1:501(500) ack 1
      crash
      +0 > . 1:1(0) ack 501
    """)
    assert conn.event_kinds & EV_READABLE
    assert conn.recv() == pattern(0, 500)


def test_what_the_application_wrote_without_a_bell(conn):
    """The dirty bit was taken, and then nothing came of it."""
    conn.established()
    conn.lab.send(conn.sock, pattern(0, 100))
    conn.written += pattern(0, 100)
    conn.lab.channel[layout.NEAT_DIRTY_OFFSET : layout.NEAT_DIRTY_OFFSET + 4096] = bytes(4096)
    conn.run("crash\n+0 > P. 1:101(100) ack 1")


def test_text_out_of_order(conn):
    conn.established()
    conn.run("""
      +0 < . 1001:2001(1000) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 3001:4001(1000) ack 1
      +0 > . 1:1(0) ack 1
      crash
      +0 > . 1:1(0) ack 1
      +0 < . 1:1001(1000) ack 1
      +0 > . 1:1(0) ack 2001
      +0 < . 2001:3001(1000) ack 1
      +0 > . 1:1(0) ack 4001
    """)
    assert conn.recv() == pattern(0, 4000)


def test_fin_that_came_early(conn):
    conn.established()
    conn.run("""
      +0 < F. 101:201(100) ack 1
      +0 > . 1:1(0) ack 1
      crash
      +0 > . 1:1(0) ack 1
      +0 < . 1:101(100) ack 1
      +0 > . 1:1(0) ack 202
    """)
    assert conn.state == TcpState.CLOSE_WAIT
    assert conn.event_kinds & EV_RDHUP


def test_first_text_is_acknowledged_at_once(conn):
    conn.established()
    conn.run("""
      crash
      +0 > . 1:1(0) ack 1
      +0 < P. 1:11(10) ack 1
      +0 > . 1:1(0) ack 11
      +0 < P. 11:21(10) ack 1
      +.04 > . 1:1(0) ack 21
    """)


def test_window_that_was_promised_stays(conn):
    conn.established()
    edge = field(conn, "rcv_adv")
    conn.run("+0 < P. 1:1001(1000) ack 1")
    conn.run("crash\n+0 > . 1:1(0) ack 1001")
    assert field(conn, "rcv_adv") == edge


def test_closed_window_of_the_peer_is_probed(conn):
    conn.established()
    conn.send(100)
    conn.run("""
      +0 > P. 1:101(100) ack 1
      +0 < . 1:1(0) ack 101 win 0
    """)
    conn.send(50)
    conn.run("""
      crash
      +0 > . 101:101(0) ack 1
      +.2~+1.1 > . 101:102(1) ack 1
      +0 < . 1:1(0) ack 102 win 1000
      +0 > P. 102:151(49) ack 1
    """)


def test_timestamps_and_estimate(conn):
    conn.established(options="mss 1460,nop,nop,TS val 100 ecr 0")
    conn.send(10)
    conn.run("""
      +0 > P. 1:11(10) ack 1 <nop,nop,TS val * ecr 100>
      +.05 < . 1:1(0) ack 11 <nop,nop,TS val 150 ecr last>
    """)
    srtt = conn.info["srtt_us"]
    assert srtt
    conn.run("""
      crash
      +0 > . 11:11(0) ack 1 <nop,nop,TS val * ecr 150>
      +0 < P. 1:11(10) ack 11 <nop,nop,TS val 99 ecr last>
      +0 > . 11:11(0) ack 1
    """)
    assert conn.info["srtt_us"] == srtt
    assert conn.counters["TCP_PAWS"] == 1


def test_keepalive_goes_on(conn):
    conn.established()
    conn.lab.poke(conn.sock, "keep_idle_s", 10)
    conn.set_options(layout.NEAT_OPT_KEEPALIVE)
    conn.run("""
      crash
      +0 > . 1:1(0) ack 1
      +10 > . 0:0(0) ack 1
    """)


CLOSING = {
    TcpState.FIN_WAIT_1: ("+0 > F. 1:1(0) ack 1", "crash\n+0 > F. 1:1(0) ack 1"),
    TcpState.FIN_WAIT_2: ("+0 > F. 1:1(0) ack 1\n+0 < . 1:1(0) ack 2", "crash\n+0 > . 2:2(0) ack 1"),
    TcpState.CLOSING: (
        "+0 > F. 1:1(0) ack 1\n+0 < F. 1:1(0) ack 1\n+0 > . 2:2(0) ack 2",
        "crash\n+0 > F. 1:1(0) ack 2\n+0 < . 2:2(0) ack 2",
    ),
    TcpState.TIME_WAIT: (
        "+0 > F. 1:1(0) ack 1\n+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2",
        "crash\n+0 > . 2:2(0) ack 2\n+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2",
    ),
}


@pytest.mark.parametrize("state", CLOSING)
def test_closing(conn, state):
    before, after = CLOSING[state]
    conn.established()
    conn.shutdown()
    conn.run(before)
    assert conn.state == state
    conn.run(after)
    if state != TcpState.CLOSING:
        assert conn.state == state
    if state == TcpState.FIN_WAIT_1:
        conn.run("+0 < . 1:1(0) ack 2")
    if state in (TcpState.FIN_WAIT_1, TcpState.FIN_WAIT_2):
        conn.run("+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2")
    assert conn.state == TcpState.TIME_WAIT
    assert conn.event_kinds & EV_CLOSED
    assert conn.lab.peek(conn.sock, "status") & layout.NEAT_ST_CLOSED
    conn.close()
    conn.quiet(1)
    conn.run("crash")  # its last ACK left long ago
    conn.quiet(60.1)
    assert conn.state == TcpState.FREE and conn.lab.users == 1
    assert conn.host.flows[-1][0] == RECORD_FLOW_DELETE


def test_last_ack_of_an_orphan(conn):
    conn.established()
    conn.run("+0 < F. 1:1(0) ack 1\n+0 > . 1:1(0) ack 2")
    conn.send(10)
    conn.close()
    conn.run("""
      +0 > P. 1:11(10) ack 2
      +0 > F. 11:11(0) ack 2
      crash
      +0 > FP. 1:11(10) ack 2
      +0 < . 2:2(0) ack 12
    """)
    assert conn.state == TcpState.FREE and conn.lab.users == 1


def test_orphan_in_fin_wait_2(conn):
    conn.established()
    conn.close()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < . 1:1(0) ack 2
      crash
      +0 > . 2:2(0) ack 1
      +0 < F. 1:1(0) ack 2
      +0 > . 2:2(0) ack 2
    """)
    assert conn.state == TcpState.TIME_WAIT


def test_time_waits_end_in_their_order(conn):
    conn.listen()
    others = [Conn(5000 * n, host=conn.host, port=42000 + n) for n in range(4)]
    for n, other in enumerate(others):
        other.run("""
          +0 < S 0:0(0) win 65535 <mss 1460>
          +0 > S. 0:0(0) ack 1 <...>
          +0 < . 1:1(0) ack 1 win 65535
        """)
        other.accept()
        other.close()
        other.run("+0 > F. 1:1(0) ack 1\n+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2")
        conn.host.run_for(1)
        if n == 1:
            others[0].run("+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2")  # it waits anew: the order changes
            conn.host.run_for(1)
    conn.lab.crash()
    conn.host.turn()
    gone = []
    while conn.lab.waiting():
        before = {remote for _, _, remote in conn.lab.waiting()}
        conn.host.run_for(0.5)
        gone += [port - 42000 for _, port in before - {remote for _, _, remote in conn.lab.waiting()}]
    assert gone == [1, 0, 2, 3]


def test_reset_that_the_application_has_not_read(conn):
    conn.established()
    conn.run("+0 < R 1:1(0)\ncrash")
    assert conn.event_kinds & EV_RESET
    assert conn.lab.peek(conn.sock, "error") == ECONNRESET
    assert conn.lab.peek(conn.sock, "error_count") == 1
    conn.close()
    assert conn.lab.users == 1


def test_many_crashes(conn):
    conn.established()
    for n in range(20):
        conn.send(100)
        conn.run(f"""
          +0 > P. {100 * n + 1}:{100 * n + 101}(100) ack {n * 50 + 1}
          crash
          +0 > P. {100 * n + 1}:{100 * n + 101}(100) ack {n * 50 + 1}
          +0 < P. {50 * n + 1}:{50 * n + 51}(50) ack {100 * n + 101}
          +0 > . {100 * n + 101}:{100 * n + 101}(0) ack {50 * n + 51}
        """)
        assert conn.recv() == pattern(50 * n, 50)


# --- what is not believed


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("state", 99, "BAD_STATE"),
        ("state", TcpState.LISTEN, "BAD_STATE"),
        ("state", TcpState.CLOSE_WAIT, "BAD_STATE"),
        ("rx_tail", 1 << 40, "BAD_OFFSETS"),
        ("tx_head", 1, "BAD_OFFSETS"),
        ("rcv_adv", "+", "BAD_OFFSETS"),
        ("snd_max", "+", "BAD_OFFSETS"),
        ("snd_mss", 3, "BAD_OPTIONS"),
        ("rcv_wscale", 15, "BAD_OPTIONS"),
    ],
)
def test_nonsense_resets_this_connection_only(conn, name, value, reason):
    conn.established()
    other = Conn(9000, host=conn.host, port=41000)
    other.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < . 1:1(0) ack 1 win 65535
    """)
    other.accept()
    conn.host.take_events()
    corrupt(conn, name, field(conn, name) ^ 1 << 30 if value == "+" else value)
    conn.lab.crash()
    conn.settle()
    resets = [s for s in conn.host.take_sent() if s.packet.segment.dport == conn.port]
    assert len(resets) == 1 and resets[0].packet.segment.flags & 4
    assert conn.counters[f"RECOVER_{reason}"] == 1
    assert conn.counters["RECOVER_CONNECTIONS"] == 1
    assert conn.state == TcpState.CLOSED
    assert conn.lab.peek(conn.sock, "error") == ECONNABORTED
    other.send(10)
    other.run("+0 > P. 1:11(10) ack 1\n+0 < . 1:1(0) ack 11")
    conn.close()
    assert conn.lab.users == 2


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("app", 77, "NO_CHANNEL"),
        ("sock", 5000, "BAD_SOCK"),
        ("sock", 3, "BAD_SOCK"),
        ("generation", 2, "BAD_SOCK"),
        ("flags", 0x502, "BAD_SOCK"),
    ],
)
def test_connection_whose_socket_is_not_there(conn, name, value, reason):
    conn.established()
    if name == "flags":
        value = field(conn, "flags") & ~1024  # SLOT_HAS_SOCK
    corrupt(conn, name, value)
    conn.run("crash\n+0 > R. 1:1(0) ack 1")
    assert conn.counters[f"RECOVER_{reason}"] == 1
    assert conn.counters.get("TCP_CONNECTIONS", 0) == 0 and conn.lab.users == 1


@pytest.mark.parametrize(("name", "value"), [("remote port", 0), ("remote", 255), ("remote", 0)])
def test_connection_with_nobody(conn, name, value):
    conn.established()
    corrupt(conn, name, value)
    conn.run("crash")
    assert conn.counters["RECOVER_BAD_KEY"] == 1
    assert conn.counters.get("TCP_CONNECTIONS", 0) == 0


def test_listener_that_is_not_there(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 <...>
      +0 < . 1:1(0) ack 1 win 65535
    """)
    corrupt(conn, "listener", 4000)
    conn.run("crash\n+0 > R. 1:1(0) ack 1")
    assert conn.counters["RECOVER_NO_LISTENER"] == 1


def test_two_with_one_key(conn):
    conn.established()
    state = conn.lab.state
    state[SLOT + 320 : SLOT + 640] = state[SLOT : SLOT + 320]
    struct.pack_into("<I", state, SLOT + 320 + 132, 300)  # another socket
    struct.pack_into("<I", state, 92, 2)  # slots_used
    conn.lab.crash()
    conn.settle()
    assert conn.counters["RECOVER_DUPLICATE"] == 1
    assert conn.state == TcpState.ESTABLISHED


def test_application_that_lies_about_its_offsets(conn):
    conn.established()
    conn.run("+0 < P. 1:101(100) ack 1\n+.04 > . 1:1(0) ack 101")
    conn.lab.poke(conn.sock, "rx_head", 1 << 50)
    conn.run("crash\n+0 > R. 1:1(0) ack 101")
    assert conn.counters["RECOVER_BAD_OFFSETS"] == 1


def test_state_of_another_version_is_refused(conn):
    conn.established()
    before = bytes(conn.lab.state)
    struct.pack_into("<I", conn.lab.state, 4, 1)
    with pytest.raises(ValueError):
        conn.lab.crash()
    assert bytes(conn.lab.state)[8:] == before[8:]


def test_channel_that_is_gone(conn):
    conn.established()
    conn.lab.crash(attach=False)
    conn.host.turn()
    conn.run("+0 > R. 1:1(0) ack 1")
    assert conn.counters["RECOVER_NO_CHANNEL"] == conn.counters["RECOVER_BAD_LISTENER"] == 1


def test_three_strikes(conn):
    """What kills a replica three times at one connection is reset before it is looked at once more."""
    conn.established()
    for guilty in (conn.index, conn.index, None):
        conn.lab.crash(guilty=guilty)
        conn.settle()
        conn.host.take_sent()
        assert conn.state == TcpState.ESTABLISHED, "who is killed from outside is not to blame"
    conn.lab.crash(guilty=conn.index)
    conn.settle()
    assert [s.packet.segment.flags for s in conn.host.take_sent()] == [RST | ACK]
    assert conn.counters["TCP_STRUCK_OUT"] == 1
    assert conn.lab.peek(conn.sock, "error") == ECONNABORTED


def test_text_behind_the_acknowledgment_of_a_predecessors_handshake(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 <...>
      crash
      +0 > S. 0:0(0) ack 1 <...>
      +0 < . 1:1(0) ack 1 win 65535
      +0 < P. 1:101(100) ack 1 win 65535
      +0~+.05 > . 1:1(0) ack 101
    """)


def test_settings_that_have_changed_meanwhile(conn):
    """A smaller MTU: segments fit it from now on."""
    conn.established()
    corrupt(conn, "snd_mss", 9000)
    conn.run("crash\n+0 > . 1:1(0) ack 1")
    conn.send(2000)
    conn.run("+0 > . 1:1461(1460) ack 1\n+0 > P. 1461:2001(540) ack 1")
