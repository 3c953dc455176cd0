"""Rules as text: what they mean, their one spelling, and what is said of those that are wrong."""

import random
import re

import pytest

from neat.config import Config, ConfigError
from neat.filter import (
    ANY,
    CHAINS,
    MAX_RANGES,
    MAX_RULES,
    FilterError,
    Limit,
    Match,
    parse,
    parse_line,
    parse_lines,
)

WORDS = re.findall(
    r"\S+",
    """tcp udp icmp ip meta ct iif oif limit log counter comment accept drop reject saddr daddr protocol dport
    sport type state rate over with prefix burst packets != { } , - 80 1-3 10.0.0.0/8 10.0.0.1-10.0.0.9
    5/second new established echo-request reset "x" " input output policy # é \0""",
)


def test_what_a_rule_says():
    rule = parse("tcp dport { 22, 80,8000-8080 } ip saddr 10.0.0.0/8 ip daddr != 10.77.0.2 counter accept")
    assert rule.verdict == "accept"
    assert rule.protocol == Match(((6, 6),))
    assert rule.destination_port == Match(((22, 22), (80, 80), (8000, 8080)))
    assert rule.source == Match(((0x0A000000, 0x0AFFFFFF),))
    assert rule.destination == Match(((0x0A4D0002, 0x0A4D0002),), negated=True)
    assert (rule.source_port, rule.icmp_type, rule.limit, rule.log) == (ANY, ANY, None, None)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("limit rate 10/second", Limit(100_000_000, 5)),
        ("limit rate over 6/minute burst 1 packets", Limit(10_000_000_000, 1, over=True)),
        ("limit rate 1/day burst 9", Limit(86_400_000_000_000, 9)),
    ],
)
def test_rates(text, limit):
    assert parse(f"{text} accept").limit == limit


@pytest.mark.parametrize(
    "text",
    [
        "accept",
        "ct state established,related accept",
        "tcp dport { 22, 80, 8000-8080 } accept",
        'udp sport 53 log prefix "a, # b" drop',
        "icmp type { echo-request, 13 } limit rate 10/second burst 5 packets accept",
        "ip protocol { tcp, udp } reject with icmp type admin-prohibited",
        "tcp dport != 80 reject with tcp reset",
        "iif lo accept",
        "log",
    ],
)
@pytest.mark.parametrize("chain", CHAINS)
def test_one_spelling_means_the_same(chain, text):
    rule = parse_line(f"  {chain}  {text} ").rule
    assert rule.text == text
    again = parse(rule.text)
    assert (again, again.text) == (rule, text)


def test_spaces_do_not_matter():
    assert parse("ct state { new , invalid }").states == parse("ct  state new,invalid").states
    assert parse("tcp dport {1,2}").text == "tcp dport { 1, 2 }"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tcp dport 65536 accept", "'65536' is no port: 0 to 65535"),
        ("tcp dport 9-3 accept", "ends before it begins"),
        ("tcp dport { 1, 2 accept", "'accept': } is expected"),
        ("tcp dport", "port is missing"),
        ("ip saddr 10.0.0.1/8 accept", "host bits set"),
        ("ip saddr ::1 accept", "no IPv4 address"),
        ("ip saddr 1.2.3.4 ip saddr 1.2.3.4 accept", "matched twice"),
        ("udp dport 53 tcp sport 1 accept", "contradicts"),
        ("ct state open accept", "no connection state"),
        ("iif eth0 accept", "there are lo and tap"),
        ("limit rate 0/second accept", "no rate that can be kept"),
        ("limit rate 5/fortnight accept", "no rate"),
        ("limit rate 5/second burst 0 packets accept", "burst 0"),
        ('log prefix "x accept', "quotation mark is missing"),
        (f"log prefix {'x' * 65} accept", "up to 64 characters"),
        ("accept drop", "comes after the verdict"),
        ("reject with tcp reset", "needs a match of TCP"),
        ("ip protocol != tcp reject with tcp reset", "needs a match of TCP"),
        ("reject with icmp type no-such-thing", "is expected"),
        ("jump elsewhere", "'jump' is not known"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_is_said(text, says):
    with pytest.raises(FilterError) as error:
        parse(text)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "line", ["forward accept", "input policy reject", "output policy", "accept", "input"]
)
def test_what_is_no_line(line):
    with pytest.raises(FilterError):
        parse_line(line)


@pytest.mark.parametrize(
    "text",
    [
        "tcp dport 80 ip protocol tcp accept",
        "tcp dport 80 meta l4proto { tcp, udp } accept",
        "meta l4proto { tcp, udp } tcp dport 80 accept",
        "ip protocol != udp tcp dport 80 accept",
        "tcp dport 80 ip protocol != udp accept",
    ],
)
def test_a_match_of_ports_is_one_of_its_protocol_in_any_order(text):
    assert parse(text).protocol == Match(((6, 6),))


@pytest.mark.parametrize(
    "text",
    [
        "tcp dport 80 ip protocol udp accept",
        "tcp dport 80 ip protocol != tcp accept",
        "ip protocol != tcp tcp dport 80 accept",
        "meta l4proto { icmp, udp } tcp dport 80 accept",
    ],
)
def test_what_no_packet_can_be_is_no_rule(text):
    with pytest.raises(FilterError, match="contradicts"):
        parse(text)


@pytest.mark.parametrize(
    "form", ["tcp dport {}", "limit rate {}/second", "limit rate 1/day burst {} packets"]
)
def test_numbers_that_are_too_long_are_wrong_rules(form):
    for number in ("9" * 5000, "9" * 11):
        with pytest.raises(FilterError):
            parse(form.format(number))


def test_a_burst_fits_into_a_clock():
    with pytest.raises(FilterError, match="more than can be kept"):
        parse("limit rate 1/day burst 1000000 packets accept")


def test_texts_are_kept_as_they_are():
    rule = parse('log prefix "a , b" comment web drop')
    assert (rule.log, rule.text) == ("a , b", 'log prefix "a , b" comment web drop')
    assert parse(rule.text) == rule
    assert parse('drop comment "at the end"').text == 'drop comment "at the end"'
    for text in ("a\nb", "\x1b[2J", "x" * 129):
        with pytest.raises(FilterError, match="printed"):
            parse(f'comment "{text}" drop')


def test_a_tab_comes_after_a_chain_too():
    assert parse_line("input\ttcp dport 80 drop") == parse_line("input tcp dport 80 drop")
    for line in ("", " ", "input"):
        with pytest.raises(FilterError):
            parse_line(line)


def test_lines_with_comments():
    lines = ["# a comment", "", 'input log prefix "#1" # and another', "input policy drop", "   "]
    found = parse_lines(lines)
    assert [(line.chain, line.policy) for line in found] == [("input", ""), ("input", "drop")]
    assert found[0].rule.log == "#1"


def test_there_is_an_end_of_room():
    parse_lines(["input accept"] * MAX_RULES)
    with pytest.raises(FilterError, match="there can be 512"):
        parse_lines(["input accept"] * (MAX_RULES + 1))
    ports = ", ".join(str(port) for port in range(MAX_RANGES // 2))
    parse_lines([f"input udp dport {{ {ports} }}"])
    with pytest.raises(FilterError, match="there can be 4096"):
        parse_lines([f"input udp dport {{ {ports} }}"] * 2)


def test_any_words_are_a_rule_or_an_error():
    chance = random.Random(7)
    rules = 0
    for _ in range(20_000):
        text = " ".join(chance.choices(WORDS, k=chance.randrange(1, 8)))
        try:
            rule = parse(text)
        except FilterError:
            continue
        rules += 1
        assert parse(rule.text) == rule
    assert rules > 100


def test_settings_are_checked():
    assert Config(filter=["input policy drop"]).filter == ["input policy drop"]
    with pytest.raises(ConfigError, match="filter: .*no port"):
        Config(filter=["input tcp dport http accept"])
