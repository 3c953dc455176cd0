"""What the benchmarks compute; and their Linux side, which needs no stack."""

import itertools
import os
import select
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from neat.tools.bench import churn, cpu, http, load, switches, thief
from neat.tools.bench.commands import bench
from neat.tools.bench.compare import interleaved, medians, ratio
from neat.tools.bench.http import HttpSettings, Load, Point, measure, run_client, shares
from neat.tools.bench.servers import SERVERS, Plan
from neat.tools.bench.sides import linux_world
from tests.support import wait_for

WRK = """Running 2s test @ http://127.0.0.1:8080/a.txt
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    70.01us   71.92us   2.33ms   97.68%
    Req/Sec   155.39k     8.23k  161.74k    90.48%
  Latency Distribution
     50%   60.00us
     75%   80.00us
     90%    1.10ms
     99%    2.00ms
  323812 requests in 2.10s, 83.38MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec: 154107.76
"""

HTTPERF = """
Total: connections 32 requests 32000 replies 31999 test-duration 1.500 s
Reply time [ms]: response 0.2 transfer 0.0
Reply status: 1xx=0 2xx=31990 3xx=0 4xx=9 5xx=0
Errors: total 1 client-timo 1 socket-timo 0 connrefused 0 connreset 0
"""


def test_what_wrk_says():
    result = load.parse_wrk(WRK, 1.5)
    assert result == load.HttpResult(323812, 2.1, 15, pytest.approx(60e-6), pytest.approx(2e-3), 1.5)
    with pytest.raises(load.LoadError, match="unable to connect"):
        load.parse_wrk("unable to connect to 10.0.0.1", 0.0)


def test_wrk_needs_no_names_of_services(monkeypatch):
    """Without a port in the URL it looks `http` up, which a small installation cannot tell."""
    commands = []
    monkeypatch.setattr(load, "run", lambda command, _seconds: commands.append(command) or (WRK, 0.0))
    side = SimpleNamespace(address="10.77.0.2", inside=list)
    run_client(side, Load(HttpSettings(client="wrk"), Point(1, 1, 20)))
    assert commands[0][-1] == "http://10.77.0.2:80/20.bin"


def test_what_httperf_says():
    result = load.parse_httperf(HTTPERF, 0.5)
    assert (result.requests, result.seconds, result.errors, result.latency_p50_s) == (31999, 1.5, 10, 0.0002)


def test_a_client_that_fails_is_no_result():
    with pytest.raises(load.LoadError, match="exit status 3: no luck"):
        load.run(["sh", "-c", "echo no luck; exit 3"], 1)


def test_cpu_seconds_of_a_client():
    _, seconds = load.run(["sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"], 5)
    assert 0.005 < seconds < 5


def test_rounds_take_turns():
    order = "".join(name for _, name in interleaved("AB", 3))
    assert order == "ABBAAB"


def test_medians_reach_into_dictionaries_and_add_errors():
    rounds = [{"rate": rate, "errors": 1, "cpu": {"driver": rate * 2}} for rate in (5, 1, 3)]
    assert medians(rounds) == {"rate": 3, "errors": 3, "cpu": {"driver": 6}}
    assert ratio(1, 4) == 0.25 and ratio(1, 0) is None


def test_shares_and_the_rest():
    assert shares({"driver": 1.0, "server": 2.0, "machine": 4.0}) == {
        "driver": 0.25,
        "server": 0.5,
        "rest": 0.25,
    }


def test_work_for_a_cpu_second():
    assert cpu.per_cpu_s(1000, {"driver": 1.0, "machine": 4.0}) == 250.0
    assert cpu.per_cpu_s(1000, {"machine": 0.0}) == 0.0


def test_what_is_stolen_is_not_busy(monkeypatch):
    """proc(5): user nice system idle iowait irq softirq steal, in ticks; a guest is counted as user too."""
    texts = iter(["cpu  1000 0 0 0 0 0 0 0 7 0\n", "cpu  1030 5 10 40 5 3 2 5 9 0\ncpu0 1 1 1 1 1 1 1 1\n"])
    monkeypatch.setattr(cpu.Path, "read_text", lambda _: next(texts))
    before = cpu.machine()
    meanwhile = cpu.machine().since(before)
    assert [round(seconds / cpu.TICK_S) for seconds in meanwhile] == [50, 5, 45]
    assert meanwhile.steal == 0.05


def test_own_figures():
    before = cpu.process_s(os.getpid())
    sum(range(3_000_000))
    assert cpu.process_s(os.getpid()) > before
    assert cpu.private_bytes(os.getpid()) > 1 << 20
    with open(os.devnull) as _:
        assert cpu.descriptors(os.getpid()) > 2
    assert cpu.process_s(1 << 30) == 0.0


def test_leaks_are_named():
    before = churn.Level(1, {"driver": 10, "server": 5}, {"driver": 1 << 20, "server": 1 << 20})
    assert churn.leaks(before, before) == []
    after = churn.Level(2, {"driver": 10, "server": 7}, {"driver": 1 << 20, "server": 9 << 20})
    assert churn.leaks(before, after) == [
        "sockets: 1, then 2",
        "server: 2 more descriptors",
        "server: 8192 KiB more memory",
    ]


def test_each_side_but_linux_is_compared(monkeypatch):
    """Two stacks and Linux take turns, A B C C B A; what comes from them are two rows with Linux's rounds."""
    turns = []

    def measure(side, _load):
        turns.append(side.name[0])
        rate = {"queues": 300.0, "driver": 200.0, "linux": 100.0}[side.name]
        some = {"requests_per_s": rate, "requests_per_cpu_s": rate / 4, "errors": 0}
        return some | {"latency_p50_us": 1.0, "latency_p99_us": 2.0}

    monkeypatch.setattr(http, "warm_up", lambda side, work, digest: work)
    monkeypatch.setattr(http, "measure", measure)
    sides = [
        SimpleNamespace(name=name, datapath=name, placement="") for name in ("queues", "driver", "linux")
    ]
    rows = http.compare(sides, HttpSettings(rounds=2), Point(1, 0, 20), "", lambda text: None)
    assert "".join(turns) == "qdlldq"
    assert [(row["datapath"], row["ratio"], row["cpu_ratio"]) for row in rows] == [
        ("queues", 3.0, 3.0),
        ("driver", 2.0, 2.0),
    ]
    assert len(rows[0]["rounds"]["neat"]) == len(rows[1]["rounds"]["linux"]) == 2


def test_switches_for_each_request():
    """A process that sleeps as often as it is asked; of a stack's components what they have counted, too."""
    echo = [sys.executable, "-c", "import os\nos.write(1, b'x')\nwhile os.read(0, 1): os.write(1, b'x')"]
    counted = iter([{"wakeups": 5, "doorbells": 1}, {"wakeups": 25, "doorbells": 11}])
    with subprocess.Popen(echo, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"x"
        side = SimpleNamespace(
            pids=lambda: {"driver": [process.pid]}, counters=lambda: {"driver": next(counted)}
        )
        counts = switches.Switches(side)
        for _ in range(20):
            process.stdin.write(b"x")
            process.stdin.flush()
            process.stdout.read(1)
        subprocess.run(["sleep", "0.001"], check=True)
        found = counts.per(20)
        process.stdin.close()
    assert found["driver"]["woken"] == 1.0 and found["driver"]["rang"] == 0.5
    assert found["driver"]["slept"] > 0 and found["client"]["slept"] > 0
    assert found["machine"]["all"] >= found["driver"]["slept"]
    assert switches.of_process(1 << 30) == (0, 0)


def test_what_a_switch_costs():
    found = switches.costs_here()
    assert found.keys() - {"wake_far"} == {"yield", "wake"}
    assert all(0.0 <= value < 1e6 for value in found.values())


def test_what_is_taken_is_the_same_each_time():
    first, again = (list(itertools.islice(thief.pieces(20, seed), 500)) for seed in (1, 1))
    assert first == again != list(itertools.islice(thief.pieces(20, 2), 500))
    for taken, left in first:
        assert thief.SHORTEST_S <= taken <= thief.LONGEST_S
        assert taken / (taken + left) == pytest.approx(0.2)


def test_a_thief_takes_and_ends():
    with thief.stealing(0, 1.0) as nobody:
        assert nobody == []
    try:
        with thief.stealing(10, 20.0) as thieves:
            ends = [os.pidfd_open(pid) for pid in thieves]
            assert len(thieves) == 1 + len(os.sched_getaffinity(0))
            assert all(os.sched_getscheduler(pid) == os.SCHED_FIFO for pid in thieves)
            assert wait_for(lambda: sum(map(cpu.process_s, thieves)) > 0.2, 20, "processor time taken")
    except load.LoadError as error:
        pytest.skip(str(error))
    for fd in ends:
        assert select.select([fd], [], [], 5)[0]
        os.close(fd)


@pytest.mark.netns
@pytest.mark.parametrize("server", ["demo", "lighttpd"])
@pytest.mark.parametrize("calls", [0, 1])
def test_the_linux_side(tmp_path, server, calls):
    if shutil.which(SERVERS[server].program) is None:
        pytest.skip(f"{server} is not installed")
    (tmp_path / "20.bin").write_bytes(b"x" * 20)
    plan = Plan(tmp_path, "")
    with linux_world() as world, world.serve(SERVERS[server], plan) as side:
        settings = HttpSettings(connections=(8,), duration=1)
        result = measure(side, Load(settings, Point(1, calls, 20, connections=8)))
        assert result["requests_per_s"] > 100 and result["errors"] == 0
        assert result["cpu_us_per_request"]["server"] > 0
        assert load.curl(side.inside, f"http://{side.address}/20.bin", 20).bytes == 20
        with pytest.raises(load.LoadError):
            load.curl(side.inside, f"http://{side.address}/none", 20)
        with pytest.raises(load.LoadError, match="not what was served"):
            load.verify(side.inside, f"http://{side.address}/20.bin", "0" * 64)
    assert not os.path.exists(f"/proc/{side.server.pid}")
    assert not os.path.exists(f"/proc/{side.client_pid}")


@pytest.mark.parametrize(
    ("text", "why"),
    [("spin_us", "must be key=value"), ("replicas=2", "by their option"), ("name=x", "by the benchmark")],
)
def test_settings_of_a_stack_that_are_none(text, why):
    done = CliRunner().invoke(bench, ["http", "--set", text])
    assert done.exit_code == 2
    assert "--set" in done.output and why in " ".join(done.output.split())
