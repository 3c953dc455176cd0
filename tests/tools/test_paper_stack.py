"""The crash of Keep Net Working on a real stack: measured by commands, reported, and not measured twice."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.slow]


def neat_paper(*arguments):
    command = [sys.executable, "-m", "neat", "paper", "--quick", "--only=knw", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def test_a_crash_is_measured_and_reported(tmp_path):
    """Nothing is lost in it, and each number is of a command whose output is kept."""
    done = neat_paper(f"--out={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == str(tmp_path / "report.html")
    figure = json.loads((tmp_path / "knw.json").read_text())
    assert figure["missing"] == []
    for case, command in zip(figure["data"]["cases"], figure["commands"], strict=True):
        assert case["lost"] == case["wrong"] == 0
        assert len(case["faults"]) == 1 and case["faults"][0]["back_ms"] is not None
        assert any(case["mb_per_s"])
        kept = json.loads((tmp_path / "data" / command["file"]).read_text())
        assert kept["command"] == command["command"]
        assert kept["result"]["timeline"]["download"] == case["mb_per_s"]
    pictures = sorted(tmp_path.glob("knw-*.svg"))
    assert len(pictures) == len(figure["data"]["cases"]) == 2
    for picture in pictures:
        ET.parse(picture)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    again = neat_paper("--resume", f"--out={tmp_path}")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == written
