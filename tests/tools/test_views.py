"""What people see: the status page, the demo's view, the tour's lines."""

import json
import socket

import pytest
from rich.console import Console

from neat.tools.demo import rates, view
from neat.tools.httpd.files import Site
from neat.tools.httpd.respond import Responder
from neat.tools.httpd.server import Server
from neat.tools.httpd.statuspage import StatusPage, stack_tables
from neat.tools.tour import Tour, how


def status(packets=0):
    replica = {
        "name": "replica0",
        "slot": 0,
        "slot_state": "active",
        "share": 128,
        "connections": 7,
        "packets_in": packets,
        "packets_out": 2 * packets,
        "drops": {"bad_checksum": 3},
        "counters": {},
    }
    part = {"name": "driver", "state": "running", "pid": 5, "uptime_s": 3.0, "restarts": 1, "load": 0.25}
    event = {
        "time": "2026-01-01T00:00:00.000+00:00",
        "component": "driver",
        "what": "is back",
        "detail": "",
        "ms": 9,
    }
    return {"ready": True, "components": [part], "replicas": [replica], "events": [event], "name": "<x>"}


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setenv("NEAT_RUN_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("NEAT_STACK", "<nobody>")
    page = StatusPage()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        page.server = Server(listener, Responder(Site(tmp_path), "test"))
        page.server.stats.count(200)
        yield page
        page.server.epoll.close()


def test_the_status_page_without_a_stack(page):
    text = page.as_html().body.decode()
    assert "no stack called" in text and "<nobody>" not in text and "&lt;nobody&gt;" in text
    found = json.loads(page.as_json().body)
    assert "no stack called" in found["stack"]["error"]
    assert (found["server"]["requests"], found["server"]["responses"]) == (1, {"200": 1})


def test_the_status_page_shows_every_list():
    text = "".join(stack_tables(status()))
    for expected in ("replica0", "bad_checksum 3", "driver", "is back", "&lt;x&gt;"):
        assert expected in text


def test_the_view_and_its_rates():
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(view(status(200), status(100), 0.5))
    text = console.export_text()
    assert "replica0" in text and "driver is back in 9 ms" in text
    assert "200 packets in/s, 400 packets out/s; 7 connections" in text
    assert rates(status(0), status(100), 1.0).startswith("Rates: 0 packets in/s")
    assert rates(status(), None, 1.0) == "Rates: –"


def test_outcomes_in_words():
    assert how({}) == ""
    assert how({"80": "timeout", "81": "timeout"}) == " (2 × timeout)"
    assert how({"ConnectionResetError": 3}) == " (3 × ConnectionResetError)"


def test_a_tour_fails_when_one_claim_is_wrong():
    tour = Tour(Console(file=open("/dev/null", "w")))  # noqa: SIM115
    assert tour.failed
    tour.note("a", "b")
    assert not tour.failed
    tour.note("c", "d", ok=False)
    assert tour.failed
