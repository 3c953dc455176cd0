"""The drill's parts: what its load finds in a server that does wrong, on loopback; its schedule; its sums."""

import json
import os
import random
import socket
import sys
import threading
import time
import xml.etree.ElementTree as ET
from datetime import datetime

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from neat.tools.bench.processes import end, start_server
from neat.tools.drill import picture, records, report, tables
from neat.tools.drill.commands import drill
from neat.tools.drill.faults import Fault, Schedule, Striker, open_component
from neat.tools.drill.plan import Beat, Plan, kinds_of
from neat.tools.drill.programs import HttpTalk, RedisTalk, bulk_file, command, file_of
from neat.tools.drill.records import Connection, Records
from neat.tools.drill.server import Session
from neat.tools.drill.talk import CHUNK, DOWN, HELLO, MAGIC, PERIOD, UP, PatternTalk, Stream, WrongByte
from neat.tools.driven import Client
from neat.tools.stack import StackError

VICTIM = 3  # the connection that a bad server treats badly

# What a bad server does instead of answering the victim.
WRONG = "guest.owed -= guest.sock.send(bytes([guest.down.next(1)[0] ^ 1]))"
SILENT = "guest.owed = 0"
LOST = "raise ConnectionAbortedError"
TWICE = "[guest.sock.send(guest.down.next(guest.owed)) for _ in range(2)]; guest.owed = 0"


@pytest.fixture
def serve(tmp_path):
    """Starts the checking server on loopback, with a statement that it runs instead of an answer to the
    victim; gives its port and a function that ends it and returns its report."""
    started = []

    def start(statement=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        bad = f"""
from neat.tools.drill import server
class Bad(server.Server):
    def _send(self, guest):
        if guest.number != {VICTIM} or not guest.owed:
            super()._send(guest)
        else:
            {statement or "super()._send(guest)"}
server.Server = Bad
server.main()
"""
        seen = tmp_path / "server.json"
        process = start_server(
            [sys.executable, "-c", bad, "127.0.0.1", str(port), str(seen)], dict(os.environ)
        )
        started.append(process)

        def finish():
            end(process)
            return json.loads(seen.read_text())

        return port, finish

    yield start
    for process in started:
        end(process)


def load(port, path, **settings):
    plan = {"connections": 8, "rate": 400.0, "bulk": 2, "bulk_rate": 4e6, "hang_s": 30.0, "most_s": 120.0}
    plan |= {"records": str(path)} | settings
    arguments = ["127.0.0.1", str(port), json.dumps(plan)]
    return Client(list, dict(os.environ), *arguments, patience=60, module="neat.tools.drill.load")


def seen_by(port, path, **settings):
    """The records of a load that was told to stop once it had begun."""
    with load(port, path, **settings) as client:
        for _ in range(5):
            threading.Event().wait(0.05)
            client.ask("ports -1")
        client.ask("stop")
    return records.read(path)


@pytest.mark.parametrize("bulk_rate", [4e6, 0.0])
def test_a_server_that_does_right(serve, tmp_path, bulk_rate):
    port, finish = serve()
    seen = seen_by(port, tmp_path / "records", bulk_rate=bulk_rate)
    assert {c.outcome for c in seen.connections} == {"closed"} and len(seen.connections) == 10
    assert {c.kind for c in seen.connections} == {"requests", "download", "upload"}
    assert all(c.opened and c.ended > c.opened and not c.owed for c in seen.connections)
    assert set(seen.who) == set(range(10)) and min(seen.latency) >= 0
    server = finish()
    assert (server["connections"], server["closed"]) == (10, 10)
    assert not server["lost"] and not server["wrong_total"]
    moved = sum(seen.sizes[seen.connections[who].kind] for who in seen.who)
    over = server["bytes_up"] + server["bytes_down"] - moved - 10 * HELLO.size
    # Of a download without an end, some comes after the last part that counts.
    assert over == 0 if bulk_rate else over >= 0


def test_short_connections(serve, tmp_path):
    """Each has its answer, counted from when it was planned, and is closed."""
    port, finish = serve()
    seen = seen_by(port, tmp_path / "records", churn=200.0)
    short = {c.number for c in seen.connections if c.kind == "short"}
    assert short and {c.outcome for c in seen.connections} == {"closed"}
    answered = [who for who in seen.who if who in short]
    opened = {c.number for c in seen.connections if c.port}
    assert len(answered) == len(set(answered)) and set(answered) == opened & short
    assert finish()["closed"] == len(opened)


@pytest.mark.parametrize(
    ("statement", "outcome", "detail"),
    [
        (WRONG, "wrong", "byte 0 of the stream down is"),
        (TWICE, "wrong", ""),
        (LOST, "lost", ""),
    ],
)
def test_a_connection_that_a_server_spoils(serve, tmp_path, statement, outcome, detail):
    """It is found, nothing else is, and the place gets another connection, which works."""
    port, _ = serve(statement)
    seen = seen_by(port, tmp_path / "records")
    (spoilt,) = [c for c in seen.connections if c.outcome != "closed"]
    assert (spoilt.number, spoilt.outcome) == (VICTIM, outcome) and detail in spoilt.detail
    (after,) = [c for c in seen.connections if c.place == spoilt.place and c is not spoilt]
    # The first of two answers is right, if it comes alone.
    assert after.number in seen.who and list(seen.who).count(VICTIM) <= (statement == TWICE)


def test_a_connection_that_hangs(serve, tmp_path):
    """One that no answer comes on. Others may look so for a moment, on a machine that is busy."""
    port, _ = serve(SILENT)
    seen = seen_by(port, tmp_path / "records", hang_s=1.0)
    victim = seen.connections[VICTIM]
    assert (victim.outcome, victim.owed) == ("hung", 1) and VICTIM not in seen.who
    silence = seen.silent_for[list(seen.silent_who).index(VICTIM)]
    assert silence >= 1.0
    assert {c.outcome for c in seen.connections} <= {"closed", "hung"}


def test_nobody_there(tmp_path):
    """Refused connections are tried again, and counted."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plan = json.dumps({"connections": 1, "bulk": 0, "most_s": 0.3, "records": str(tmp_path / "records")})
    arguments = ["127.0.0.1", str(port), plan]
    Client(list, dict(os.environ), *arguments, module="neat.tools.drill.load").close()
    outcomes = {c.outcome for c in records.read(tmp_path / "records").connections}
    assert "refused" in outcomes


def test_the_server_finds_a_wrong_byte(serve):
    port, finish = serve()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        right = bytes(Stream(7, UP).next(64))
        sock.sendall(HELLO.pack(MAGIC, 7, 64, 1) + right[:40] + bytes([right[40] ^ 1]) + right[41:])
        assert not sock.recv(1)
    report = finish()
    assert report["wrong_total"] == 1 and "connection 7: byte 40 of the stream up" in report["wrong"][0]


def test_the_server_takes_a_connection_that_ends_within_a_request_as_lost(serve):
    port, finish = serve()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(HELLO.pack(MAGIC, 7, 64, 1) + Stream(7, UP).next(63))
        sock.shutdown(socket.SHUT_WR)
        assert not sock.recv(1)
    assert finish()["lost"] == {"ended within a request": 1}


def test_streams():
    """Any piece is checked, at any place; neighbours, directions and laps of a ring differ."""
    dice = random.Random(1)
    sent, heard = Stream(5, DOWN), Stream(5, DOWN)
    while sent.offset < 3 * PERIOD:
        piece = sent.next(dice.randrange(1, CHUNK + 1))
        heard.check(piece)
        sent.take(len(piece))
    assert heard.offset == sent.offset
    assert bytes(Stream(5, UP).next(64)) != bytes(Stream(5, DOWN).next(64)) != bytes(Stream(6, UP).next(64))
    for lap in (1 << 16, 1 << 20, 1 << 21):
        late = Stream(5, DOWN)
        late.take(lap)
        with pytest.raises(WrongByte, match="byte 0 of the stream down"):
            Stream(5, DOWN).check(late.next(16))


@pytest.mark.parametrize(("request_bytes", "answer_bytes"), [(64, 512), (16, 1 << 16), (1 << 16, 16)])
def test_client_and_session_agree(request_bytes, answer_bytes):
    """Whatever the pieces are in which the bytes come."""
    dice = random.Random(2)
    talk, session = PatternTalk(9, request_bytes, answer_bytes), Session()
    for _ in range(5):
        talk.ask()
    while data := talk.next():
        piece = data[: dice.randrange(1, len(data) + 1)]
        session.hear(piece)
        talk.sent(len(piece))
    assert (session.number, session.requests, session.owed) == (9, 5, 5 * answer_bytes)
    answers = 0
    while session.owed:
        piece = session.down.next(dice.randrange(1, min(session.owed, CHUNK) + 1))
        answers += talk.hear(piece)
        session.down.take(len(piece))
        session.owed -= len(piece)
    assert answers == 5 and not session.in_the_middle()


def heard(talk, data, sizes=(1, 7, 4096)):
    """How many answers a talk hears, in pieces of any size."""
    dice, answers = random.Random(3), 0
    view = memoryview(data)
    while view:
        size = dice.choice(sizes)
        answers += talk.hear(view[:size])
        view = view[size:]
    return answers


def answer_of(body, head=b"HTTP/1.1 200 OK\r\nServer: x\r\n"):
    return head + b"Content-Length: %d\r\nx: y\r\n\r\n" % len(body) + body


def test_http_answers():
    talk = HttpTalk(62, "h", bulk=False)
    for _ in range(3):
        talk.ask()
    requests = bytes(talk.next())
    assert [line.split()[1] for line in requests.splitlines() if line[:3] == b"GET"] == [
        b"/62",
        b"/63",
        b"/0",
    ]
    talk.sent(len(requests))
    assert not talk.next()
    assert heard(talk, b"".join(answer_of(file_of(number)) for number in (62, 63, 0))) == 3
    big = HttpTalk(0, "h", bulk=True)
    big.ask()
    assert heard(big, answer_of(bulk_file()), sizes=(1000, 60_000)) == 1


@pytest.mark.parametrize(
    "data",
    [
        answer_of(file_of(1)),
        answer_of(file_of(0)[:-1] + b"\0\0"),
        answer_of(file_of(0), b"HTTP/1.1 502 Bad Gateway\r\n"),
        answer_of(file_of(0)) * 2,
        bytes(1 << 15),
    ],
)
def test_wrong_http_answers(data):
    talk = HttpTalk(0, "h", bulk=False)
    talk.ask()
    with pytest.raises(WrongByte):
        heard(talk, data)


def test_redis_answers():
    talk = RedisTalk(4, 100)
    for _ in range(4):
        talk.ask()
    store, answers = {}, []
    words = bytes(talk.next()).split(b"\r\n")
    while words[0]:
        count = int(words[0][1:])
        name, key, *value = words[2 : 2 * count + 1 : 2]
        store |= dict.fromkeys([key], value[0]) if value else {}
        answers.append(b"+OK\r\n" if value else b"$100\r\n%b\r\n" % store[key])
        words = words[2 * count + 1 :]
    assert heard(talk, b"".join(answers)) == 4
    talk.ask()
    with pytest.raises(WrongByte):
        heard(talk, b"-ERR\r\n")
    assert command(b"GET", b"a") == b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"


def test_a_beat_keeps_its_rate():
    """However late one looks, everything that was planned is due, from each place in turn."""
    beat = Beat(range(2, 5), 10.0, 100.0)
    found = list(beat.due(100.35))
    assert [place for place, _ in found] == [2, 3, 4, 2]
    assert [round(planned, 6) for _, planned in found] == [100.0, 100.1, 100.2, 100.3]
    assert not list(beat.due(100.39)) and round(beat.next(), 6) == 100.4


def test_places():
    kinds = [kind.name for kind in kinds_of(Plan(connections=2, bulk=3), "h")]
    assert kinds == ["requests", "requests", "download", "upload", "download"]


COMPONENTS = ["driver", "replica0", "replica1", "replica2", "supervisor", "syscall"]


def test_victims_in_turn():
    schedule = Schedule(("replica", "driver"), 1.0, None)
    found = [schedule.victims(COMPONENTS) for _ in range(6)]
    assert found == [["replica0"], ["driver"], ["replica1"], ["driver"], ["replica2"], ["driver"]]
    assert schedule.interval() == 1.0
    assert Schedule(("all",), 1.0, None).victims(COMPONENTS) == COMPONENTS
    assert Schedule(("replica2",), 1.0, None).victims(COMPONENTS) == ["replica2"]


def test_parts_of_replicas():
    """An IP part may hold up the connections of its replica, and no others; a UDP part has none."""
    components = ["driver", *(f"replica{k}{part}" for k in (0, 1) for part in ("", ".udp", ".ip"))]
    schedule = Schedule(("ip", "replica", "udp"), 1.0, None)
    found = [name for _ in range(4) for name in schedule.victims(components)]
    assert found == ["replica0.ip", "replica0", "replica0.udp", "replica1.ip"]
    assert Schedule(("ip",), 1.0, None).victims(COMPONENTS) == []
    for names, concerned in (
        (["replica1.ip"], {"replica1"}),
        (["replica1.udp"], set()),
        (["replica0", "replica1.ip"], {"replica0", "replica1"}),
        (["driver"], {"replica0", "replica1", None}),
    ):
        fault = Fault(0.0, 0.0, "SIGKILL", dict.fromkeys(names, 1))
        assert {name for name in ("replica0", "replica1", None) if fault.concerns(name)} == concerned


def test_random_victims_are_those_of_the_seed():
    def course(seed):
        schedule = Schedule(("random", "replica"), 2.0, seed)
        return [(schedule.victims(COMPONENTS), schedule.interval()) for _ in range(50)]

    assert course(1) == course(1) != course(2)
    assert {name for names, _ in course(1) for name in names} == set(COMPONENTS)
    assert all(1.0 <= interval <= 3.0 for _, interval in course(1))


class Told:
    """A stack that says what it is told to."""

    def __init__(self, *events):
        self.events = list(events)
        self.components = []

    def status(self):
        return {"events": self.events, "ready": True, "components": self.components}


def event(component, at, what="is back"):
    return {"time": datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds"),
            "component": component, "what": what, "detail": ""}  # fmt: skip


def test_when_a_component_was_back():
    stack = Told(event("replica0", 999.5), event("replica1", 1000.01), event("replica0", 1000.005, "died"))
    striker = Striker(stack, "SIGKILL")
    fault = Fault(50.0, 1000.0, "SIGKILL", {"replica0": 1})
    striker.faults.append(fault)
    striker.look()
    assert fault.missing() == ["replica0"]
    stack.events += [event("replica0", 1000.04), event("replica0", 1003.0)]
    striker.look()
    assert fault.back_ms == {"replica0": 40.0} and not fault.missing()


def test_when_a_component_was_back_that_no_event_tells_of():
    stack, now = Told(), time.monotonic()
    striker = Striker(stack, "SIGKILL")
    fault = Fault(now - 9.0, time.time() - 9.0, "SIGKILL", {"driver": 1})
    striker.faults.append(fault)
    stack.components = [{"name": "driver", "state": "running", "pid": 1, "uptime_s": 20.0}]
    assert not striker.all_back()
    stack.components[0] |= {"pid": 2, "uptime_s": 5.0}
    assert striker.all_back()
    assert fault.back_ms["driver"] >= 4000.0


def test_only_processes_of_the_stack_are_struck():
    with pytest.raises(ProcessLookupError, match="not a component"):
        open_component(os.getpid(), os.getppid())
    striker = Striker(Told(), "SIGKILL")
    striker.stack.guardian = os.getpid()
    with pytest.raises(StackError, match="not a component"):
        striker.strike(["driver"], {"driver": os.getppid()})
    assert not striker.faults


def test_spread():
    assert report.spread([]) is None
    assert report.spread(range(1, 201)) == {"p50": 100, "p90": 180, "p99": 198, "max": 200, "count": 200}
    assert report.spread([7.0]) == {"p50": 7.0, "p90": 7.0, "p99": 7.0, "max": 7.0, "count": 1}


def a_drill():
    """Two faults, at 12 and 15 s of a clock that is 10 s ahead; four connections, of which one is lost, one
    takes its place, and one gets a wrong byte."""
    seen = Records(began=10.0, sizes={"requests": 100, "download": 1_000_000})
    seen.connections = [
        Connection(0, 0, "requests", 1000, 9.0, 12.02, "lost", "ConnectionResetError", 2),
        Connection(1, 1, "requests", 1001, 9.0, 20.0, "closed"),
        Connection(2, 2, "download", 1002, 9.0, 17.0, "wrong", "byte 5"),
        Connection(3, 0, "requests", 1003, 12.1, 20.0, "closed"),
    ]
    for at in range(10):
        seen.answered(10.0 + at, 10.0 + at + 0.01, 1)
        seen.answered(10.0 + at, 10.0 + at + 0.5, 2)
    seen.silent(10.6, 10.603, 2)
    seen.silent(11.99, 12.02, 0)
    seen.silent(12.1, 12.6, 3)  # it came after the fault
    seen.silent(12.2, 12.25, 1)
    seen.silent(14.99, 15.1, 1)
    seen.silent(17.5, 19.0, 1)  # long after
    faults = [
        Fault(12.0, 1000.0, "SIGKILL", {"replica0": 5}, 3, [0, 2], {"replica0": 30.0}),
        Fault(15.0, 1003.0, "SIGKILL", {"driver": 6}, 3, [1, 2, 3], {"driver": 60.0}),
    ]
    return report.make(
        settings={"kill": ["replica", "driver"]},
        records=seen,
        faults=faults,
        owners={0: "replica0", 1: "replica1"},
        stopped=20.0,
        server={"wrong_total": 1, "lost": {"reset": 2}},
        replicas=3,
        steal=0.01,
    )


def test_the_report():
    result = a_drill()
    first, second = result["faults"]
    assert (first["at_s"], first["affected"], first["lost"], first["gap_ms"]) == (2.0, 2, 1, 30.0)
    assert (first["gap_others_ms"], second["gap_others_ms"]) == (50.0, None)
    assert (second["affected"], second["lost"], second["gap_ms"]) == (3, 0, 110.0)
    assert result["gap_ms"]["clients"] == {"p50": 0.0, "p90": 110.0, "p99": 110.0, "max": 110.0, "count": 5}
    assert result["gap_ms"]["quiet"]["max"] == 30.0
    assert result["recovery_ms"]["replica"]["p50"] == 30.0 and result["recovery_ms"]["driver"]["max"] == 60.0
    found = result["connections"]
    assert (found["opened"], found["lost"], found["hung"], found["wrong"]) == (4, 1, 0, 1)
    assert found["affected_share"] == round(2 / 3, 4)
    assert [row["number"] for row in found["ended"]] == [0, 2] and found["ended"][0]["replica"] == "replica0"
    before, during, after = result["phases"].values()
    assert (before["seconds"], before["requests_per_s"], before["download_mb_per_s"]) == (2.0, 1.0, 1.0)
    assert before["latency_ms"]["p50"] == 10.0
    assert during["seconds"] == 4.0 and after["seconds"] == 4.0
    assert result["timeline"]["requests"][0] == 20.0 and sum(result["timeline"]["download"]) == 10 / 0.05
    assert result["failures"] == [
        "1 connections lost",
        "2 requests without an answer",
        "1 answers with a wrong byte",
        "1 requests with a wrong byte",
        "2 connections lost, as the server sees it",
    ]


def test_a_drill_that_nobody_noticed_has_no_failures():
    seen = Records([Connection(0, 0, "requests", 1, 1.0, 9.0, "closed")], 2.0, {"requests": 1})
    faults = [Fault(5.0, 5.0, "SIGKILL", {"replica0": 5}, 1, [0], {"replica0": 3.0})]
    options = {"settings": {}, "records": seen, "owners": {}, "stopped": 9.0, "replicas": 1, "steal": 0.0}
    assert report.make(faults=faults, server=None, **options)["failures"] == []
    faults[0].back_ms.clear()
    result = report.make(faults=faults, server=None, **options)
    assert result["failures"] == ["1 components that did not come back"]


def test_records_are_kept(tmp_path):
    seen = Records([Connection(0, 0, "requests", 7)], 1.0, {"requests": 5})
    seen.answered(1.0, 1.5, 0)
    seen.silent(1.0, 1.5, 0)
    seen.silent(1.0, 1.0001, 0)
    seen.unsent.append(2.0)
    seen.write(tmp_path / "r")
    assert records.read(tmp_path / "r") == seen and len(seen.silent_for) == 1


def test_what_people_see():
    console = Console(width=150, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    tables.show(console, a_drill())
    text = console.export_text()
    assert (
        "replica0" in text and "1 lost, 0 hung, 1 with a wrong byte" in text and "66.7% of all (1/3)" in text
    )


def test_the_picture():
    """Well-formed, a panel for requests and one for transfers, a line and a label for each fault."""
    root = ET.fromstring(picture.svg(a_drill()))
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert (names.count("polyline"), names.count("line"), names.count("title")) == (2, 2, 2)
    texts = [element.text for element in root.iter() if element.text]
    assert "requests/s" in texts and "MB/s" in texts and "driver" in texts


def test_where_a_picture_cannot_be_written(tmp_path):
    with pytest.raises(click.ClickException, match=r"must end in \.svg"):
        picture.check(tmp_path / "a.png")
    with pytest.raises(click.ClickException, match="there is no folder"):
        picture.check(tmp_path / "none" / "a.svg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kill", "nobody"], "'nobody'"),
        (["--kill", "replica99"], "'replica99'"),
        (["--kill", "none,driver"], "none goes alone"),
        (["--scale", "0,2"], "numbers of 1 to 16"),
        (["--scale", "1", "--scale-every", "0s"], "'0s' is not a time"),
        (["--every", "soon"], "'soon' is not a time"),
        (["--every", "0s"], "'0s' is not a time"),
        (["--for", "2d"], "'2d' is not a time"),
        (["--count", "0"], "--count"),
        (["--rate", "0"], "--rate"),
        (["--connections", "0", "--bulk", "0"], "there must be a connection"),
        (["--recovery", "perhaps"], "--recovery"),
        (["--program", "emacs"], "--program"),
        (["--name", "default", "--standby", "0"], "--name goes without"),
        (["--name", "NO"], "must be up to 32"),
        (["--plot", "a.gif"], "must end in .svg"),
        (["--set", "replicas"], "must be key=value"),
    ],
)
def test_options_that_are_wrong(arguments, words):
    """A line that names what is wrong, and no drill."""
    done = CliRunner().invoke(drill, arguments)
    assert done.exit_code != 0 and words in done.output
    errors = [line for line in done.output.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
