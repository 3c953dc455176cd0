"""The report of the papers' evaluation: pictures, page, model, and runs that are interrupted and go on."""

import json
import sys
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from neat.tools.bench.load import LoadError
from neat.tools.bench.spent import Used, shares, used
from neat.tools.paper import code, crash, faults, linux, preserved, published, scaling, setups, spent
from neat.tools.paper.chart import Axis, Series, bars, decades, lines, nice, number
from neat.tools.paper.commands import paper
from neat.tools.paper.figure import Ask, Cell, Figure, Key, Shown, Table
from neat.tools.paper.manycores import Costs, costs_of, expected, fullest, no_more_than
from neat.tools.paper.page import is_number
from neat.tools.paper.plan import FIGURES, REPORT, Settings, run
from neat.tools.paper.runs import MeasureError, Runs, call, name_of

SVG = "{http://www.w3.org/2000/svg}"
ABOUT = {"version": "1", "date": "today"}
# Stands in for `neat`: says what it was asked, and how often it ran.
FAKE = """
import json, os, sys
from pathlib import Path
count = Path(os.environ["FAKE_COUNT"])
ran = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(ran))
if sys.argv[1] == "fail":
    sys.exit("it cannot\\nbe done")
print(json.dumps({"arguments": sys.argv[1:], "ran": ran}))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_COUNT", str(tmp_path / "count"))
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    return [sys.executable, str(script)]


def runs(tmp_path, fake, *, resume=False, left_s=600.0):
    return Runs(tmp_path / "data", resume=resume, ends=time.monotonic() + left_s, start=fake)


def figure_of(*commands, name="fig0"):
    """A figure with a number from each command."""

    def measure(ask: Ask):
        found = [ask(" ".join(words), list(words), 30.0) for words in commands]
        return {"rows": [(number, result["ran"]) for number, result in found if result]}

    def show(data):
        if not data["rows"]:
            return Shown()
        rows = [[Cell(str(ran), number), "<&>"] for number, ran in data["rows"]]
        picture = lines("<a>", Axis("x"), Axis("y"), [Series("<b>", [(1.0, 2.0), (2.0, 3.0)])])
        return Shown((picture,), (Table(("ran", "text"), rows),), ("a <note>",), (Key("<k>", "1", "2"),))

    return Figure(name, f"Figure {name} <x>", "here", "nothing & all", measure, show)


class Page(HTMLParser):
    """Ids, links, and whether tags are balanced."""

    EMPTY = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.elsewhere = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        if "href" in found:
            self.links.append(found["href"])
        self.elsewhere += [value for key, value in attrs if key in ("src", "href") and "://" in (value or "")]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_published_numbers_are_the_papers():
    """§6.3 and §6.4: 34.8 % and 13.4 % more than Linux; Table 3 adds up."""
    three_x, linux = published.FIGURE_7
    assert three_x.krps / linux.krps == pytest.approx(1.348, abs=0.001)
    four_x, linux = published.FIGURE_11
    assert four_x.krps / linux.krps == pytest.approx(1.134, abs=0.001)
    assert sum(published.TABLE_3.values()) == pytest.approx(100)
    assert [row.krps for row in published.TABLE_1] == sorted(row.krps for row in published.TABLE_1)
    assert all(row.kernel + row.polling < 100 for row in published.TABLE_2)
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)


def test_ticks():
    assert nice(302) == [0, 100, 200, 300, 400]
    assert nice(0.9) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice(0) == [0.0, 1.0]
    assert decades(20, 10_000_000) == [10.0**n for n in range(1, 8)]
    assert [number(value) for value in (0.25, 1200, 10_000, 2_500_000, 20e6)] == [
        "0.25",
        "1,200",
        "10 k",
        "2.5 M",
        "20 M",
    ]


def test_lines_are_svg():
    """A higher value is higher up, a later one further right; text is text."""
    rising = Series("a <b> & c", [(1, 10.0), (2, 20.0)], around=[(9, 11), (18, 25)])
    told = Series("told", [(2, 30.0)], "published")
    text = lines("t", Axis("x", ticks=(1, 2)), Axis("y"), [rising, told, Series("none", [])], [(1.5, "k")])
    root = ET.fromstring(text)
    assert "a <b> & c" in [element.text for element in root.iter(f"{SVG}text")]
    assert "none" not in text
    (line,) = root.iter(f"{SVG}polyline")
    (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in line.get("points").split())
    assert x1 < x2 and y1 > y2
    marks = [e for e in root.iter(f"{SVG}path") if e.get("class") == "published"]
    assert len(marks) == 2  # in its place and in the legend
    assert [e for e in root.iter(f"{SVG}line") if e.get("class") == "fault"]


def test_bars_are_svg():
    """As high as their values; groups that have no bar stay empty."""
    pair = [Series("a", [(0, 1.0), (1, 2.0)]), Series("b", [(1, 4.0)], colour=1)]
    root = ET.fromstring(bars("t", Axis("x", words=("one", "two", "three")), Axis("y"), pair))
    shown = [float(e.get("height")) for e in root.iter(f"{SVG}rect") if e.find(f"{SVG}title") is not None]
    assert len(shown) == 3
    assert shown[1] == pytest.approx(2 * shown[0], rel=0.01)
    assert shown[2] == pytest.approx(4 * shown[0], rel=0.01)


USED = {"replica0": 2.0, "replica1": 3.0, "driver": 1.0, "server": 4.0, "client": 3.0, "machine": 14.0}


def test_costs_are_of_kinds():
    assert costs_of(USED) == Costs(5.0, 1.0, 4.0, 3.0, 1.0)
    assert costs_of({"server": 5.0, "client": 5.0, "machine": 9.0}).rest == 0.0


def test_a_replica_of_parts():
    """Each part has a core of its own, so the slowest limits; on shared ones all count."""
    costs = costs_of({"replica0": 3.0, "replica0.ip": 5.0, "replica1": 1.0, "server": 1.0, "machine": 10.0})
    assert (costs.replica, costs.slowest, costs.rest) == (9.0, 5.0, 0.0)
    assert expected(costs, 2, 8, "queues") == pytest.approx(2e6 / 5)
    assert fullest(costs, 1, 1, 1) == pytest.approx(10.0)
    assert fullest(costs, 1, 1, 2) == pytest.approx(5.0)
    assert no_more_than(2, "driver", 12, multi=True) == 5  # as the paper has it: Fig. 7


def test_the_scarcest_limits():
    """A core each, and the client elsewhere."""
    costs = Costs(replica=5.0, driver=2.0, server=4.0, client=3.0, rest=0.0)
    assert expected(costs, 2, 1, "queues") == pytest.approx(1e6 / 4)  # the server
    assert expected(costs, 2, 4, "queues") == pytest.approx(2e6 / 5)  # the replicas
    assert expected(costs, 4, 8, "driver") == pytest.approx(1e6 / 2)  # the driver, whoever else there is
    assert expected(costs, 0, 3, "") == pytest.approx(3e6 / 4)


def test_processors_that_are_shared():
    """Longest first, each to the emptiest: 5 | 4 + 3 + 1, and half of the rest on each."""
    costs = Costs(5.0, 1.0, 4.0, 3.0, 2.0)
    assert fullest(costs, 1, 1, 2) == pytest.approx(1 + 7)
    assert expected(costs, 1, 1, "queues", shared=2) == pytest.approx(1e6 / 8)
    assert fullest(costs, 0, 1, 2) == pytest.approx(1 + 4)  # Linux: 4 | 3 + 1


def test_room_for_servers():
    assert no_more_than(3, "driver", 12) == 6  # as the paper has it: Fig. 7
    assert no_more_than(3, "queues", 12) == 7
    assert no_more_than(0, "", 12) == 12
    assert no_more_than(15, "driver", 12) == 0


def test_a_command_is_run_once_and_kept(tmp_path, fake):
    first = runs(tmp_path, fake)
    kept = first.ask(["bench", "x"], 30.0)
    assert kept.result == {"arguments": ["bench", "x"], "ran": 1}
    assert first.ask(["bench", "x"], 30.0) is kept
    written = json.loads((tmp_path / "data" / kept.file).read_text())
    assert written["command"] == "neat bench x" and written["result"] == kept.result
    again = runs(tmp_path, fake, resume=True)
    assert again.ask(["bench", "x"], 30.0).result["ran"] == 1
    assert again.ask(["bench", "y"], 30.0).result["ran"] == 2
    assert runs(tmp_path, fake).ask(["bench", "x"], 30.0).result["ran"] == 3  # unless it is told to go on


def test_results_of_a_campaign_are_there_for_two_figures(tmp_path, fake):
    """Old ones go before it is run, and what it has written stays for who asks next."""
    mine = runs(tmp_path, fake)
    old = mine.folder / "inject-replica-stateful.jsonl"
    old.parent.mkdir()
    old.write_text("old")
    assert faults.measure(Ask(mine, True)) == {"campaigns": []}
    assert not old.exists()
    campaign(mine.folder, old.name, stack={"recovery": "stateful"})
    (found,) = faults.measure(Ask(mine, True))["campaigns"]
    assert found["name"] == "replica, stateful" and found["run"] == 2


def test_another_machines_numbers_are_not_taken(tmp_path, fake):
    kept = runs(tmp_path, fake).ask(["bench", "x"], 30.0)
    path = tmp_path / "data" / kept.file
    path.write_text(json.dumps(kept._asdict() | {"machine": {"cpus": 99}}))
    assert runs(tmp_path, fake, resume=True).ask(["bench", "x"], 30.0).result["ran"] == 2
    path.write_text("{")  # half a file
    assert runs(tmp_path, fake, resume=True).ask(["bench", "x"], 30.0).result["ran"] == 3


def test_what_fails_says_why(tmp_path, fake):
    with pytest.raises(MeasureError, match="neat fail ended with status 1: be done"):
        runs(tmp_path, fake).ask(["fail"], 30.0)
    with pytest.raises(MeasureError, match="no time was left"):
        runs(tmp_path, fake, left_s=29.0).ask(["bench"], 30.0)
    assert not (tmp_path / "count").exists() or (tmp_path / "count").read_text() == "1"


def test_a_command_that_hangs_is_ended():
    """And says that it was: its status is None."""
    text, _, status = call([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"], 0.5)
    assert status is None and text in ("1\n", "")


def test_names_of_files_differ():
    names = {name_of(["bench", "http", "--replicas", str(n)]) for n in range(50)}
    assert len(names) == 50 and all(name.startswith("bench-http-") for name in names)


def test_the_report_is_whole_after_each_figure(tmp_path, fake):
    """What is missing says why in its place; links lead somewhere, and nowhere else."""
    figures = (
        figure_of(("bench", "a"), ("fail",)),
        figure_of(("fail",), name="fig1"),
        figure_of(("bench", "b"), name="fig2")._replace(programs=("no-such-program",)),
        figure_of(("bench", "c"), name="fig3")._replace(show=lambda data: data["what"]),
    )
    said: list[str] = []
    settings = Settings(tmp_path, figures=figures, start=fake)
    entries = run(settings, ABOUT, lambda text: None, said.append)
    assert [entry.state for entry in entries] == ["in part", "missing", "missing", "missing"]
    text = (tmp_path / REPORT).read_text()
    assert "be done" in text and "please install no-such-program" in text and "KeyError" in text
    found = Page(text)
    assert found.elsewhere == []
    for link in found.links:
        if link.startswith("#"):
            assert link[1:] in found.ids
        else:
            assert (tmp_path / link).exists()
    assert len(said) == 4
    data = json.loads((tmp_path / "fig0.json").read_text())
    assert data["commands"][0]["command"] == "neat bench a" and len(data["missing"]) == 1
    picture = ET.parse(tmp_path / "fig0-1.svg").getroot()
    assert "--k0" in picture.find(f"{SVG}style").text


def test_a_run_goes_on(tmp_path, fake):
    first = Settings(tmp_path, figures=(figure_of(("bench", "a")),), start=fake)
    run(first, ABOUT, lambda text: None, lambda text: None)
    both = Settings(
        tmp_path,
        resume=True,
        figures=(figure_of(("bench", "a")), figure_of(("bench", "b"), name="fig1")),
        start=fake,
    )
    entries = run(both, ABOUT, lambda text: None, lambda text: None)
    assert [entry.state for entry in entries] == ["whole", "whole"]
    assert (tmp_path / "count").read_text() == "2"
    only = run(both._replace(only=("fig1",)), ABOUT, lambda text: None, lambda text: None)
    assert [entry.figure.name for entry in only] == ["fig1"]


def test_what_is_a_number():
    assert all(map(is_number, ("1", "+3%", "-4", "12.5", "")))
    assert not any(map(is_number, ("replica", "not", "NEaT 1x")))


def scaling_row(setup, servers, replicas, rate, cpu_us):
    return {
        "setup": setup,
        "servers": servers,
        "replicas": replicas,
        "datapath": "queues" if replicas else "",
        "rate": rate,
        "around": [rate * 0.9, rate * 1.1],
        "cpu_us": cpu_us,
        "steal": 0.01,
        "errors": 0,
        "run": 1,
    }


def test_scaling_shows_both_and_what_is_published():
    rows = [
        scaling_row("NEaT 1x", 1, 1, 100e3, USED),
        scaling_row("NEaT 1x", 2, 1, 120e3, USED),
        scaling_row("Linux", 1, 0, 150e3, {"server": 5.0, "client": 5.0, "machine": 10.0}),
    ]
    shown = scaling.show({"rows": rows, "cpus": 2}, published.FIGURE_7, 12, 12)
    (picture,) = map(ET.fromstring, shown.pictures)
    texts = {element.text for element in picture.iter(f"{SVG}text")}
    assert {"NEaT 1x, here", "NEaT 1x, model", "Linux, here", "NEaT 3x, published (§6.3)"} <= texts
    assert "Linux, model" not in texts
    assert "0.80 of Linux's best" in shown.notes[0]
    assert shown.keys == (
        ("the best of NEaT, to Linux's best", "1.35 (NEaT 3x)", "0.80 (NEaT 1x, 2 servers, queues)"),
    )
    assert len(shown.tables[0].rows) == 3
    assert scaling.show({"rows": [], "cpus": 2}, published.FIGURE_7, 12, 12) == Shown()


def test_setups_and_loads():
    row = {"latency_p50_us": 10.0, "errors": 1, "steal": 0.0, "around": [1e3, 3e3], "run": 1}
    rows = [
        row | {"setup": name, "replicas": n, "servers": 1, "connections": 8, "rate": 2e3}
        for n, name in enumerate(("Linux", "NEaT 1x", "NEaT 2x"))
    ]
    shown = setups.show({"rows": rows, "loads": [[8, 1], [64, 4]]})
    ET.fromstring(shown.pictures[0])
    assert [one[2] for one in shown.tables[0].rows] == ["Linux", "NEaT 1x", "NEaT 2x"]
    assert setups.loads(False) == list(published.FIGURE_12_LOADS)


def test_a_crash_is_drawn_with_what_was_around_it():
    case = {
        "what": "replica killed",
        "run": 1,
        "bucket_s": 0.01,
        "mb_per_s": [1000.0] * 200 + [0.0] * 2 + [1000.0] * 200,
        "faults": [
            {"at_s": 2.0, "gap_ms": 21.0, "back_ms": 7.0},
            {"at_s": 3.0, "gap_ms": 9.0, "back_ms": None},
        ],
        "lost": 0,
        "wrong": 0,
        "before": 1000.0,
        "steal": 0.0,
    }
    shown = crash.show({"cases": [case]})
    (picture,) = map(ET.fromstring, shown.pictures)
    line, mean = picture.iter(f"{SVG}polyline")
    assert len(mean.get("points").split()) == round((crash.BEFORE_S + crash.AFTER_S) / crash.MEAN_S)
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    assert len(points) == round((crash.BEFORE_S + crash.AFTER_S) / 0.01)
    assert len({y for _, y in points}) == 2  # all there, or nothing
    assert [row[2].text for row in shown.tables[0].rows] == ["7.0", "not"]
    assert "21.0 ms" in shown.notes[0]
    assert crash.means([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)], 2) == [(0.5, 2.0)]


def test_a_components_time():
    """Parts of its processor time; a turn that was interrupted is no more than all of it."""
    found = shares(Used(1.0, 0.5, 0.5, 2.0), Used(3.0, 1.0, 2.0, 3.5), 4.0)
    assert found == {"cpu": 0.5, "kernel": 0.75, "working": 0.75, "looking": 0.25}
    assert shares(Used(1.0, 0.5, 0.5, 2.0), Used(2.0, 1.0, 1.0, 9.0), 4.0)["working"] == 1.0
    assert shares(Used(0.0, 0.0, 0.0, None), Used(0.0, 0.0, 0.0, None), 1.0)["working"] is None
    with pytest.raises(LoadError, match="ended meanwhile"):
        used(2**22 + 1, {})


def test_time_beside_the_papers():
    part = {"cpu": 0.5, "kernel": 0.2, "looking": 0.4, "working": 0.6}
    point = {"datapath": "driver", "requests_per_s": 1e3, "errors": 0, "steal": 0.0}
    row = spent.row_of("replica", [part, part | {"cpu": 1.5, "looking": 0.8, "working": 0.2}], point, 1)
    assert row["cpu"] == 1.0 and row["looking"] == pytest.approx(0.7) and row["kernel"] == pytest.approx(0.2)
    unknown = spent.row_of("driver", [part | {"looking": None, "working": None}], point, 1)
    shown = spent.show({"rows": [row, unknown]})
    ET.fromstring(shown.pictures[0])
    assert len(shown.tables[1].rows) == len(published.TABLE_2)


def test_names_of_figures_are_checked(tmp_path):
    done = CliRunner().invoke(paper, ["--only", "fig7,fig99", "--out", str(tmp_path / "x")])
    assert done.exit_code == 2 and "'fig99' is none of table1" in done.output
    assert not (tmp_path / "x").exists()


def test_tuning_and_sizes():
    row = {"ratio": 1.0, "around": [1e3, 2e3], "errors": 0, "steal": 0.0, "run": 1, "rate": 1e3}
    rows = [
        row | {"options": name, "what": name}
        for name in ("defaults", "defaults+eth", "defaults+eth+rxAff+serv")
    ]
    shown = linux.show_tuning({"rows": rows, "servers": 2})
    picture = ET.fromstring(shown.pictures[0])
    marks = [e for e in picture.iter(f"{SVG}path") if e.get("class") == "published"]
    assert len(marks) == 3  # defaults, serv, and in the legend
    sizes = [
        row | {"setup": setup, "size": size, "latency_us": 100.0}
        for size in (20, 1_000_000)
        for setup in ("Linux", "NEaT 1x")
    ]
    data = {"rows": sizes, "servers": 2}
    assert linux.gbit(sizes[2]) == 8.0
    for shown in (linux.show_latency(data), linux.show_throughput(data)):
        assert all(map(ET.fromstring, shown.pictures))
        assert [one[0] for one in shown.tables[0].rows] == ["20 B", "20 B", "1 MB", "1 MB"]


def campaign(tmp_path, name="a.jsonl", **changes):
    """Four runs that had an effect: two are transparent, one loses ten of forty connections, one all."""
    run = {"class": "transparent", "crashed": True, "connections": 40, "lost": 0, "hung": 0, "refused": 0}
    rows = [
        run,
        run,
        run | {"class": "ignored", "crashed": False},
        run | {"class": "lost", "lost": 8, "hung": 2},
        run | {"class": "gone", "lost": 40, "hung": 40},
        run | {"class": "failed", "connections": None, "lost": None, "hung": None},
    ]
    head = {"campaign": {"component": "replica", "stack": {"recovery": "stateless"}} | changes}
    lines = [head, *(row | {"number": n, "component": "replica0"} for n, row in enumerate(rows))]
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"number": 9, "cla')  # it was broken off
    return path


def test_results_of_injected_faults(tmp_path):
    head, rows = faults.read(campaign(tmp_path))
    assert len(rows) == 6 and len(faults.effective(rows)) == 4
    assert faults.preserved(rows) == pytest.approx((1 + 1 + 0.75 + 0) / 4)
    assert faults.preserved([]) is None
    assert faults.name_of(head) == "replica, stateless"
    shown = faults.show({"campaigns": [{"name": "n", "rows": rows, "file": "a", "run": 0}]})
    table = shown.tables[0].rows
    assert [row[1].text[:5] for row in table] == ["4", "50.0%", "25.0%", "0.0% ", "25.0%", "0.0% "]
    assert table[4][1].kind == "bad" and table[1][2].text == "53.8%"
    ET.fromstring(shown.pictures[0])
    assert faults.read(tmp_path / "none") == (None, [])
    (tmp_path / "other").write_text('{"number": 1}\nnot JSON\n')
    assert faults.read(tmp_path / "other") == (None, [])


def test_campaigns_from_elsewhere_are_shown(tmp_path, fake):
    """And a file that is none is named."""
    table = next(figure for figure in FIGURES if figure.name == "table3")
    other = tmp_path / "other.txt"
    other.write_text("nothing")
    settings = Settings(tmp_path / "out", figures=(table,), start=fake)
    settings = settings._replace(results=(campaign(tmp_path), other))
    (entry,) = run(settings, ABOUT, lambda text: None, lambda text: None)
    assert entry.state == "in part" and "other.txt: no results" in entry.missing[0]
    text = (tmp_path / "out" / REPORT).read_text()
    assert "replica, stateless (a.jsonl)" in text and "53.8%" in text
    assert not (tmp_path / "count").exists()


def test_what_a_failure_leaves():
    """§6.6: a fault anywhere in the code, equally likely; a replica's share is lost where it hits TCP."""
    size = {"driver": 10, "ip": 20, "udp": 10, "tcp": 40, "filter": 5, "replica": 10, "shared": 5}
    assert preserved.lost_share(size, multi=False) == pytest.approx(90 / (90 + 15))
    parts = 20 + 5 + 10 + 40 + 3 * 15
    assert preserved.lost_share(size, multi=True) == pytest.approx(55 / (parts + 15))
    assert preserved.kept(0.8, 4) == pytest.approx(0.8)
    best = {"replicas": 2, "rate": 1e5, "run": 1}
    data = {
        "best": [best | {"setup": "NEaT 2x"}, best | {"setup": "Multi 2x"}],
        "sizes": size,
        "injected": [{"way": preserved.STATELESS, "multi": False, "loss": 0.5, "runs": 9, "run": 2}],
    }
    rows = preserved.lines_of(data)
    ways = [(row["setup"], row["way"]) for row in rows]
    assert ways == [
        ("NEaT 2x", preserved.CODE),
        ("NEaT 2x", preserved.STATELESS),
        ("Multi 2x", preserved.CODE),
    ]
    assert rows[1]["kept"] == pytest.approx(1 - 90 / 105 * 0.5 / 2)
    assert rows[2]["kept"] > rows[0]["kept"]
    ET.fromstring(preserved.show(data).pictures[0])


def test_what_injected_faults_cost(tmp_path):
    """A quarter and all of forty connections, of two runs of four: of three replicas' 31 %, of one's 94 %."""
    head, rows = faults.read(campaign(tmp_path, replicas=3))
    one = {"campaign": head, "rows": rows, "run": 4}
    found = preserved.injected(one)
    assert found["loss"] == pytest.approx(3 * 1.25 / 4)
    assert (found["way"], found["multi"], found["runs"]) == (preserved.STATELESS, False, 4)
    assert preserved.injected(one | {"campaign": head | {"component": "driver"}}) is None
    multi = preserved.injected(one | {"campaign": head | {"stack": {"components": "multi"}}})
    assert (multi["way"], multi["multi"]) == (preserved.STATEFUL, True)


def test_code_is_counted_by_part():
    assert code.part_of("stack.tcp.input") == "tcp"
    assert code.part_of("stack.udp_output") == "udp"
    assert code.part_of("stack.ipv4") == code.part_of("replica.ip_core") == "ip"
    assert code.part_of("drivers.loop") == "driver"
    assert code.part_of("stack.bench") == code.part_of("cli.up") == ""
    found = code.sizes()
    assert {"driver", "ip", "udp", "tcp", "replica", "shared"} <= set(found)
    assert found["tcp"] > found["udp"] > 1000
    assert list(code.functions(Path(__file__))) == []


def test_functions_are_found_by_their_names():
    path = next((code.ROOT / "stack" / "tcp").glob("input.*.so"))
    names = [name for name, _ in code.functions(path)]
    assert b"__pyx_f_4neat_5stack_3tcp_5input_tcp_input" in names
