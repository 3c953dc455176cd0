"""The scripts' notation itself: what it reads, and what it refuses."""

import pytest

from .harness.frames import ACK, FIN, SYN, checksum, fold, ipv4, read_options, tcp, wire_frames
from .harness.notation import FOREVER, ScriptError, parse

SECOND = 1_000_000_000


def only(line: str):
    (step,) = parse(line)
    return step


def test_reads_a_syn():
    step = only("+0 < S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>")
    assert step.inbound and step.flags == SYN and step.window == 65535 and step.ack is None
    assert step.options == (("mss", 1460), ("sackOK",), ("TS", 100, 0), ("nop",), ("wscale", 7))


def test_reads_times():
    assert only("+.25 > . 1:1(0) ack 1").earliest == SECOND // 4
    assert only("* > . 1:1(0) ack 1").latest == FOREVER
    step = only("+1~+1.5 > F. 1:101(100) ack 1  # comment")
    assert (step.earliest, step.latest) == (SECOND, 3 * SECOND // 2)
    assert (step.flags, step.length) == (FIN | ACK, 100)


def test_reads_icmp():
    step = only("+0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]")
    assert step.icmp == (3, 4, 1200) and step.length == 1460


@pytest.mark.parametrize(
    "line",
    [
        "< S 0:0(0)",
        "+x < S 0:0(0)",
        "* < S 0:0(0)",
        "+0~+1 < S 0:0(0)",
        "+0 < S 0:5(4)",
        "+0 < . 0:0(0)",
        "+0 < S 0:0(0) ack 1",
        "+0 < S 0:0(0) <msss 1>",
        "+0 > icmp unreachable port [1:1(0)]",
        "+0 < icmp unreachable nowhere [1:1(0)]",
        "+0 = S 0:0(0)",
    ],
)
def test_refuses_what_it_does_not_understand(line):
    with pytest.raises(ScriptError):
        parse(line)


def test_checksum_of_the_rfc():
    """RFC 1071 §3: the example's sum is ddf2."""
    assert fold(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


def test_options_in_order():
    assert read_options(bytes.fromhex("020405b4 01 030307 0402 00".replace(" ", ""))) == [
        ("mss", 1460),
        ("nop",),
        ("wscale", 7),
        ("sackOK",),
        ("eol",),
    ]


def test_the_card_cuts_large_segments():
    packet = ipv4(tcp(1, 2, 2**32 - 100, 5, ACK | FIN, payload=bytes(range(256)) * 10), 6)
    record = bytes([1, 1, 54, 0, 232, 3, 34, 0, 16, 0]) + bytes(12) + b"\x08\x00" + packet
    frames = wire_frames(record)
    assert [len(frame) - 54 for frame in frames] == [1000, 1000, 560]
    assert [frame[47] for frame in frames] == [ACK, ACK, ACK | FIN]
    assert [int.from_bytes(frame[38:42], "big") for frame in frames] == [2**32 - 100, 900, 1900]
