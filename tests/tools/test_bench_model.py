"""The model of many cores: from the costs of a request to requests a second."""

import json
import math

import pytest
from click.testing import CliRunner
from rich.console import Console

from neat.tools.bench import model, plot, tables
from neat.tools.bench.commands import bench
from neat.tools.bench.load import LoadError
from neat.tools.bench.model import Costs, Limits, ModelSettings

NO_LIMITS = Limits(math.inf, math.inf)
DEVICE = {
    "contention": {"alone_ns": 400.0, "devices_ns": 500.0, "queues_ns": 525.0},
    "memory": {"processors": 2, "one_gb_per_s": 5.0, "all_gb_per_s": 8.0},
}


def side(rate, **costs):
    return {"requests_per_s": rate, "cpu_us_per_request": costs}


def row(datapath, replicas, rate, connections=128, **costs):
    linux = side(200e3, server=4.0, client=5.0, machine=10.0)
    return {
        "datapath": datapath,
        "replicas": replicas,
        "connections": connections,
        "requests_per_connection": 0,
        "neat": side(rate, **costs),
        "linux": linux,
    }


QUEUES = {"replica0": 4.0, "driver": 0.0, "server": 1.0, "client": 3.0, "supervisor": 0.5, "machine": 10.0}
DRIVER = {"replica0": 2.0, "driver": 4.0, "server": 1.0, "client": 3.0, "supervisor": 0.5, "machine": 10.0}
POINTS = [
    row("queues", 1, 190e3, **QUEUES),
    row("queues", 2, 160e3, **QUEUES),
    row("queues", 1, 1.0, connections=8, **QUEUES),
    row("driver", 1, 200e3, **DRIVER),
]


def test_costs_of_a_side():
    """What several replicas take adds up; the rest is the machine's that is none of theirs."""
    found = model.costs_of(
        side(1.0, replica0=1.0, replica1=0.5, driver=3.0, server=1.0, client=2.0, machine=9.0)
    )
    assert found == Costs(replica=1.5, driver=3.0, server=1.0, client=2.0, rest=1.5)
    assert found.machine == 9.0
    assert model.costs_of(side(1.0, server=1.0, client=2.0, machine=2.5)) == (0.0, 0.0, 1.0, 2.0, 0.0)


def test_the_scarcest_component_decides():
    driver = Costs(replica=2.0, driver=4.0, server=1.0, client=3.0, rest=0.0)
    assert [model.bottleneck(driver, n, NO_LIMITS) for n in (1, 4)] == [(250_000, "driver")] * 2
    queues = driver._replace(replica=5.0, driver=0.0)
    assert [model.bottleneck(queues, n, NO_LIMITS) for n in (1, 3)] == [
        (200_000, "replicas"),
        (600_000, "replicas"),
    ]
    assert model.bottleneck(queues, 9, Limits(1_000_000, math.inf)) == (1_000_000, "device")
    assert model.bottleneck(queues, 9, Limits(1_000_000, 900_000)) == (900_000, "memory")


def test_programs_have_what_replicas_leave():
    queues = Costs(replica=5.0, driver=0.0, server=1.0, client=3.0, rest=1.0)
    found = model.on_machine(queues, NO_LIMITS, 4, "queues")
    assert [(row["replicas"], row["requests_per_s"], row["limit"]) for row in found] == [
        (1, 200_000, "replicas"),
        (2, 400_000, "replicas"),
        (3, 200_000, "programs"),
    ]
    with_driver = model.on_machine(queues._replace(replica=1.0, driver=4.0), NO_LIMITS, 4, "driver")
    assert [(row["replicas"], row["limit"]) for row in with_driver] == [(1, "driver"), (2, "programs")]


def test_a_process_is_on_one_processor_at_a_time():
    queues = Costs(replica=3.5, driver=0.0, server=1.5, client=3.0, rest=0.5)
    assert model.fullest(queues, 1, 2) == 4.75  # client and server share one, though the sum allows 4.25
    assert model.fullest(queues, 2, 2) == 4.75
    assert model.fullest(queues, 1, 3) == 3.5 + 0.5 / 3
    assert model.fullest(queues._replace(replica=6.0), 3, 2) == 5.75


def test_what_two_queues_cost_more_is_serial():
    """s = sqrt(25 x 400) = 100 ns, for a read and for a write."""
    assert model.limits_of(DEVICE) == Limits(5_000_000, 4_000_000)
    faster = DEVICE | {"contention": DEVICE["contention"] | {"queues_ns": 450.0}}
    assert model.limits_of(faster).device == math.inf


def test_the_model_of_what_was_measured():
    result = model.model(ModelSettings(most=3), {"measured": {"points": POINTS, "limit": DEVICE}}, print)
    queues, driver = result["datapaths"]["queues"], result["datapaths"]["driver"]
    assert [entry["requests_per_s"] for entry in queues["curve"]] == [250_000, 500_000, 750_000]
    assert {entry["limit"] for entry in driver["curve"]} == {"driver"}
    assert [(entry["replicas"], entry["model"], entry["error"]) for entry in queues["check"]] == [
        (1, 200_000, 0.053),
        (2, 200_000, 0.25),
    ]
    assert driver["check"] == [{"replicas": 1, "model": 200_000, "measured": 200e3, "error": 0.0}]
    assert result["machines"]["12"]["linux"] == 1_200_000
    assert json.loads(json.dumps(result))["limits"] == {"device": 5_000_000, "memory": 4_000_000}


def test_a_model_needs_costs():
    for points in (
        [POINTS[0] | {"stolen": 20}],
        [POINTS[0] | {"requests_per_connection": 1}],
        [{"direction": ""}],
    ):
        with pytest.raises(LoadError, match="kept connections"):
            model.kept(points)


def test_the_model_is_printed_and_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    known, picture = tmp_path / "known.json", tmp_path / "picture.svg"
    known.write_text(json.dumps({"measured": {"points": POINTS, "limit": DEVICE}}))
    done = CliRunner().invoke(bench, ["model", "--from", str(known), "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    assert "others used up to 20% of the busy time" in done.output
    for part in ("+25.0%", "memory", "302,000", "Fig. 11", "Assumed:", "replicas, and cores to spare"):
        assert part in done.output
    assert picture.read_bytes().startswith(b"<?xml")
    known.write_text("none")
    done = CliRunner().invoke(bench, ["model", "--from", str(known)])
    assert done.exit_code == 1 and len(done.output.splitlines()) == 1


def test_others_that_disturb_are_seen():
    known = {"measured": {"points": POINTS, "limit": DEVICE}}
    assert model.model(ModelSettings(), known, print)["others"] == 0.2  # 2 of 10 µs, with queues
    quiet = row("driver", 1, 200e3, **DRIVER | {"machine": 10.5})
    quiet["linux"]["cpu_us_per_request"]["machine"] = 9.5
    known["measured"]["points"] = [quiet]
    assert model.model(ModelSettings(), known, print)["others"] == pytest.approx(0.053, abs=0.001)


def test_a_limit_that_there_is_not(tmp_path):
    pytest.importorskip("matplotlib")
    faster = DEVICE | {"contention": DEVICE["contention"] | {"queues_ns": 1.0}}
    result = model.model(ModelSettings(), {"measured": {"points": POINTS[3:], "limit": faster}}, print)
    assert result["limits"]["device"] is None
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    tables.model(console, result)
    assert "nothing serial was found" in console.export_text()
    plot.draw_model(tmp_path / "picture.svg", result)
