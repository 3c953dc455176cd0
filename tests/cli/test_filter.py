"""`neat filter`: what the shell leaves of a rule's quotation marks."""

import pytest
from click.testing import CliRunner

from neat.cli import filter as commands


@pytest.fixture
def sent(monkeypatch):
    lines = []

    def request(_name, what):
        lines.extend(what["lines"])
        return {"rules": [{"chain": "input", "handle": 1, "rule": "x"}]}

    monkeypatch.setattr(commands, "request", request)
    return lines


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["log", "prefix", "a b: ", "drop"], 'input log prefix "a b: " drop'),
        (["log", "prefix", "", "accept"], 'input log prefix "" accept'),
        (["log", "prefix", "#1,{", "accept"], 'input log prefix "#1,{" accept'),
        (["drop", "comment", "web"], 'input drop comment "web"'),
        (['log prefix "a b" drop'], 'input log prefix "a b" drop'),
        (["tcp dport 80", "accept"], "input tcp dport 80 accept"),
    ],
)
def test_a_text_is_quoted_again(sent, words, line):
    assert CliRunner().invoke(commands.filter_, ["add", "input", *words]).exit_code == 0
    assert sent == [line]


@pytest.mark.parametrize("words", [["policy", "drop"], ["policy drop"]])
def test_a_policy_is_no_rule(sent, words):
    result = CliRunner().invoke(commands.filter_, ["add", "input", *words])
    assert result.exit_code == 1
    assert "neat filter policy input" in result.output
    assert not sent
