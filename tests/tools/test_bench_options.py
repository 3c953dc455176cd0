"""What the benchmarks read from their options, write for servers, and hear from programs; no network."""

import json
import os
import select
import shutil
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from neat.tools.bench import http, idle, load, options, plot, processes, syscalls, tables
from neat.tools.bench import table as bench_table
from neat.tools.bench.commands import bench
from neat.tools.bench.compare import spread
from neat.tools.bench.servers import IDLE_S, SERVERS, Plan

REDIS = """"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p99_latency_ms","max"
"GET","50000.00","0.5","0.1","0.400","1.500","3.0"
"""

PERF = """# started on Fri Nov 20 19:50:25 2026

16,,raw_syscalls:sys_enter,164732142,100.00,,
10,,syscalls:sys_enter_read,164732142,100.00,,
0,,syscalls:sys_enter_poll,164732142,100.00,,
<not counted>,,syscalls:sys_enter_write,0,100.00,,
"""

STRACE = """    calls syscall
--------- ----------------
      247 wait4
     3943 openat
--------- ----------------
     4190 total
"""


def side(rate, **more):
    return {
        "requests_per_s": rate,
        "requests_per_cpu_s": rate / 2,
        "steal": 0.001,
        "errors": 0,
        "latency_p50_us": 100.0,
        "latency_p99_us": 200.0,
        "cpu_us_per_request": {"server": 5.0, "machine": 10.0},
        "cpu_share": {"server": 0.5, "rest": 0.5},
    } | more


def row(size=20, replicas=1, **more):
    return {
        "size": size,
        "replicas": replicas,
        "requests_per_connection": 0,
        "connections": 32,
        "datapath": "driver",
        "neat": side(2000.0),
        "linux": side(1000.0),
        "ratio": 2.0,
        "cpu_ratio": 2.0,
        "latency_ratio": {"latency_p50_us": 1.0, "latency_p99_us": None},
        "spread": {"neat": [1900.0, 2100.0], "linux": [900.0, 1100.0], "ratio": [1.8, 2.2]},
        "rounds": {"neat": [side(1900.0), side(2100.0, steal=0.123)], "linux": [side(900.0), side(1100.0)]},
    } | more


def result(*points):
    settings = {"server": "lighttpd", "client": "wrk", "connections": [32], "rounds": 3}
    return {"bench": "http", "settings": settings, "points": list(points)}


def shown(show, value):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(console, value)
    return console.export_text()


@pytest.mark.parametrize("text, value", [("20", 20), ("1K", 1000), ("10mb", 10_000_000), ("0", 0)])
def test_sizes(text, value):
    assert options.size(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1G", "K", "1.5K", "9999M", "1 0"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="is not a size"):
        options.size(text)


def test_lists():
    assert options.Sizes().convert("20,1K,1M", None, None) == (20, 1000, 1_000_000)
    assert options.Numbers(1, 4).convert("1,2,3,4", None, None) == (1, 2, 3, 4)
    for wrong in ("0", "5", "1,,2", "x", ""):
        with pytest.raises(click.BadParameter):
            options.Numbers(1, 4).convert(wrong, None, None)
    assert options.Names("a", "b").convert("b,a,b", None, None) == ("b", "a")
    with pytest.raises(click.BadParameter):
        options.Names("a", "b").convert("a,", None, None)
    assert [options.size_text(size) for size in (20, 1000, 1500, 10_000_000)] == [
        *("20 B", "1 KB", "1500 B", "10 MB")
    ]


def test_lighttpd_is_configured(tmp_path):
    plan = Plan(tmp_path, "10.0.0.1", 100, 32, workers=2)
    command = SERVERS["lighttpd"].command(plan, tmp_path)
    assert command == ["lighttpd", "-D", "-f", str(tmp_path / "lighttpd.conf")]
    text = (tmp_path / "lighttpd.conf").read_text()
    assert 'server.bind = "10.0.0.1"' in text and "server.max-worker = 2" in text
    assert "server.max-keep-alive-requests = 100\n" in text
    SERVERS["lighttpd"].command(plan._replace(requests_per_connection=0, workers=1), tmp_path)
    text = (tmp_path / "lighttpd.conf").read_text()
    assert "server.max-keep-alive-requests = 65535\n" in text and "max-worker" not in text
    assert "accesslog" not in text and f"server.max-keep-alive-idle = {IDLE_S}" in text


def test_nginx_is_configured(tmp_path):
    SERVERS["nginx"].command(Plan(tmp_path, "10.0.0.1", 100, 32, workers=2), tmp_path)
    text = (tmp_path / "nginx.conf").read_text()
    for part in ("worker_processes 2;", "keepalive_requests 100;", "access_log off;", "sendfile on;"):
        assert part in text
    assert text.count("{") == text.count("}")


def test_redis_keeps_nothing(tmp_path):
    command = SERVERS["redis"].command(Plan(tmp_path, "10.0.0.1"), tmp_path)
    assert command[0] == "redis-server"
    text = (tmp_path / "redis.conf").read_text()
    assert 'save ""' in text and "appendonly no" in text and "bind 10.0.0.1" in text


@pytest.mark.parametrize(
    "name, check", [("lighttpd", ["-tt", "-f"]), ("nginx", ["-t", "-e", "stderr", "-c"])]
)
def test_servers_understand_their_configuration(name, check, tmp_path):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    *_, path = SERVERS[name].command(Plan(tmp_path, "127.0.0.1", 100, 32), tmp_path)
    done = subprocess.run([name, *check, path], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()


def test_what_redis_benchmark_says():
    assert load.parse_redis(REDIS, 1000, 0.5) == load.HttpResult(1000, 0.02, 0, 0.0004, 0.0015, 0.5)
    with pytest.raises(load.LoadError, match="refused"):
        load.parse_redis("Could not connect: Connection refused", 1000, 0.0)


def test_what_iperf3_says(monkeypatch):
    text = json.dumps({"end": {"sum_received": {"bytes": 1000, "seconds": 2.0}}})
    monkeypatch.setattr(load, "run", lambda command, seconds: (text, 0.5))
    assert load.iperf3(list, "10.0.0.1", 5201, 2, reverse=True) == load.BulkResult(1000, 2.0, 0.5)
    monkeypatch.setattr(load, "run", lambda command, seconds: ('{"error": "refused"}', 0.5))
    with pytest.raises(load.LoadError, match="refused"):
        load.iperf3(list, "10.0.0.1", 5201, 2, reverse=False)


def test_what_perf_and_strace_say():
    assert syscalls.parse_perf(PERF) == {"": 16, "read": 10}
    assert syscalls.parse_strace(STRACE) == {"wait4": 247, "openat": 3943}


def test_calls_are_counted():
    """One write for each byte that we ask for, however they are counted."""
    code = "import os\nwhile os.read(0, 1): os.write(1, b'x')"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            with syscalls.counting([process.pid]) as counts:
                for _ in range(50):
                    process.stdin.write(b"x")
                    process.stdin.flush()
                    assert process.stdout.read(1) == b"x"
        except load.LoadError as error:
            pytest.skip(str(error))
        process.stdin.close()
    # The first read had begun before, and the last may not have begun yet.
    assert counts.by_name["write"] == 50 and counts.total >= 99


def test_the_highest_rate_is_found():
    """A server that answers 10,000 a second, and shows errors beyond that."""
    offers = []

    def run(offer):
        offers.append(offer)
        errors = int(offer > 10_000)
        return {"requests": offer, "requests_per_s": min(offer, 10_000.0), "seconds": 1.0, "errors": errors}

    best = http.highest(run, 2000.0)
    assert 9000 <= best["requests_per_s"] <= 10_000 and len(offers) < 12
    with pytest.raises(load.LoadError, match="not even"):
        http.highest(lambda offer: run(offer) | {"errors": 1}, 2000.0)
    with pytest.raises(load.LoadError, match="not even"):
        http.highest(lambda offer: run(offer) | {"seconds": 2.0}, 2000.0)


def test_what_does_not_fit_together():
    for settings, reason in (
        (http.HttpSettings(server="redis", client="wrk"), "does not speak"),
        (http.HttpSettings(server="lighttpd", client="redis-benchmark"), "does not speak"),
        (http.HttpSettings(server="demo", requests_per_connection=(100,)), "does not count"),
    ):
        with pytest.raises(load.LoadError, match=reason):
            http.check(settings)


def test_a_missing_program_is_one_line():
    with pytest.raises(click.ClickException, match="apt-get install no-such-program redis-tools") as failure:
        load.PACKAGES["no-such-benchmark"] = "redis-tools"
        try:
            load.need("no-such-program", "no-such-benchmark")
        finally:
            del load.PACKAGES["no-such-benchmark"]
    assert "\n" not in failure.value.message


def test_a_server_that_fails_shows_its_last_lines(tmp_path):
    command = ["sh", "-c", "echo one; echo no luck; exit 3"]
    with (
        pytest.raises(processes.SideError, match="status 3\n  one\n  no luck$"),
        processes.running(command, {}, tmp_path / "log", 0, ("127.0.0.1", 1)),
    ):
        pass


def test_a_server_ends_with_its_children(tmp_path):
    """Also when what is done with it fails, and its child does not listen to SIGTERM."""
    code = (
        "import os, signal, socket, time\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "if os.fork() == 0:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(600)\n"
        "print(s.getsockname()[1], flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None and int(process.stdout.readline())
    found = processes.tree(process.pid)
    assert len(found) == 2
    ends = [os.pidfd_open(pid) for pid in found]
    processes.end_session(process)
    process.stdout.close()
    for fd in ends:
        assert select.select([fd], [], [], 5)[0]
        os.close(fd)


def test_room_for_idle_connections():
    assert idle.capacity(10_000) == {"sockets_per_app": "10560", "max_connections": "10560"}
    assert idle.capacity(16_000)["sockets_per_app"] == "16384"
    with pytest.raises(load.LoadError, match="descriptors"):
        idle.check_descriptors(SERVERS["lighttpd"], 1 << 40)


def test_spread():
    rounds = {"neat": [{"r": 2}, {"r": 6}], "linux": [{"r": 1}, {"r": 4}]}
    assert spread(rounds, "r") == {"neat": [2, 6], "linux": [1, 4], "ratio": [1.5, 2.0]}
    assert spread({"neat": [{"r": 2}], "linux": [{"r": 0}]}, "r")["ratio"] == [None, None]


def test_the_tables():
    calls = {
        "neat": {"per_request": 0.05, "without_files": 0.02, "by_name": {"epoll_wait": 0.05, "rare": 0.0001}},
        "linux": {"per_request": 2.0, "without_files": 1.0, "by_name": {"read": 1.0, "writev": 1.0}},
        "share": 0.025,
        "share_without_files": 0.02,
    }
    one = shown(tables.http, result(row(syscalls=calls)))
    for part in (
        "2,000",
        "1,900–2,100",
        "2.5%",
        "2.0%",
        "writev",
        "connections are kept",
        "server",
        "0.1% 12.3%",
    ):
        assert part in one
    assert "rare" not in one
    assert "20 B, 32 connections, connections are kept, 1 replica, driver" in one
    slept = {
        "driver": {"slept": 0.25, "gave_way": 1.5, "woken": 0.125, "rang": 0.0},
        "machine": {"all": 3.125},
    }
    linux = {"server": {"slept": 0.75, "gave_way": 0.0}, "machine": {"all": 2.0}}
    ours, theirs = side(1.0, switches_per_request=slept), side(1.0, switches_per_request=linux)
    two = result(row(neat=ours, linux=theirs), row(datapath="queues"))
    two = shown(tables.http, two | {"switch_us": {"yield": 0.4375, "wake": 0.75, "wake_far": 25.0}})
    for part in (
        "giving way 0.44, waking 0.75, waking on another processor 25.00",
        "0.125",
        "1.500",
        "NEaT 3.125, Linux 2.000",
        "queues",
        "1 replica",
    ):
        assert part in two
    many = shown(tables.http, result(row(20), row(1_000_000, ratio=None)))
    assert "1 MB" in many and "1.80–2.20" in many and "–" in many and "0.1–12.3%" in many


def test_what_is_not_installed_is_left_out_of_the_table(monkeypatch):
    monkeypatch.setattr(load.shutil, "which", lambda program: None if program == "nginx" else f"/{program}")
    rows, left_out = bench_table.wanted(bench_table.TableSettings())
    assert [entry["work"] for entry in left_out] == ["nginx, 32 connections"]
    assert "apt-get install nginx" in left_out[0]["why"] and not left_out[0]["failed"]
    assert len(rows) == len(bench_table.ROWS) - 1
    rows, left_out = bench_table.wanted(bench_table.TableSettings(only=["redis", "each"]))
    assert [str(work) for work in rows] == [
        "lighttpd, 32 connections, one request each",
        "redis GET, 32 connections",
    ]
    assert not left_out
    assert len({str(work) for work in bench_table.ROWS}) == len(bench_table.ROWS)


def test_a_table_knows_how_long_it_takes():
    settings = bench_table.TableSettings(rounds=8, seconds=2, datapaths=("queues", "driver"))
    assert 3 * 8 * 2 < bench_table.planned_s(bench_table.ROWS[0], settings) < 2 * 3 * 8 * 2


def test_the_whole_table():
    stream = side(1.0, gbit_per_s=4.25), side(1.0, gbit_per_s=2.5)
    points = [
        row(work="lighttpd, 1 connection", latency_ratio={"latency_p50_us": 0.75, "latency_p99_us": 1.0}),
        row(work="iperf3", direction="send", neat=stream[0], linux=stream[1], datapath="queues"),
    ]
    left = [{"work": "nginx, 32 connections", "why": "please install nginx", "failed": False}]
    settings = {"rounds": 8, "seconds": 2}
    text = shown(tables.table, {"settings": settings, "points": points, "left_out": left})
    for part in ("0.75", "4.25", "queues", "2,000", "left out: nginx", "8 rounds of 2 s"):
        assert part in text


def test_the_points_of_a_picture():
    points = [row(size, replicas) for size in (1000, 20) for replicas in (1, 2)]
    assert plot.axis(points) == "size" and plot.axis([row(20, 1), row(20, 2)]) == "replicas"
    lines = plot.series(points)
    assert {label: [point["size"] for point in line] for label, line in lines.items()} == {
        "replicas 1": [20, 1000],
        "replicas 2": [20, 1000],
    }
    points = [row(20, 1, datapath=name, connections=n) for name in ("queues", "driver") for n in (1, 8)]
    assert plot.axis(points) == "connections"
    assert list(plot.series(points)) == ["datapath queues", "datapath driver"]


def test_a_picture_that_cannot_be_drawn(tmp_path, monkeypatch):
    with pytest.raises(click.ClickException, match="must end in"):
        plot.check(tmp_path / "picture.jpg")
    with pytest.raises(click.ClickException, match="no folder"):
        plot.check(tmp_path / "none" / "picture.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(click.ClickException, match=r"neat-stack\[plot\]"):
        plot.check(tmp_path / "picture.png")


@pytest.mark.parametrize("suffix, magic", [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_picture(tmp_path, suffix, magic):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"picture{suffix}"
    plot.check(path)
    plot.draw(path, result(row(20), row(1000), row(10_000_000)))
    assert path.read_bytes().startswith(magic)
    plot.draw(path, result(row(20, 1), row(20, 2)))


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["http", "--size", "5X"], "is not a size"),
        (["http", "--replicas", "0"], "numbers of 1 to 16"),
        (["http", "--server", "redis", "--client", "wrk"], "wrk does not speak to redis"),
        (["http", "--plot", "picture.jpg"], "must end in"),
        (["http", "--datapaths", "cable"], "is none of queues, driver"),
        (["http", "--stolen", "90"], "not in the range"),
        (["idle", "--server", "redis"], "Invalid value for '--server'"),
    ],
)
def test_wrong_options_are_refused_at_once(arguments, reason):
    outcome = CliRunner().invoke(bench, arguments)
    assert outcome.exit_code != 0 and reason in outcome.output
