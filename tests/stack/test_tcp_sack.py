"""Selective acknowledgments that we send (RFC 2018), and reports of what came twice (RFC 2883)."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .harness.conn import Conn, pattern
from .harness.notation import parse

SACK = "mss 1460,sackOK"
STAMPED = "mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7"


def test_who_has_not_offered_gets_none(conn):
    conn.established()
    conn.run("""
      +0 < . 1001:2001(1000) ack 1
      +0 > . 1:1(0) ack 1 <>
    """)


def test_first_segment_is_lost(conn):
    """RFC 2018 §7, case 2: "the first block of [...] the SACK option [...] left edge [...] right edge"."""
    conn.established(options=SACK)
    conn.run("""
      +0 < . 501:1001(500) ack 1
      +0 > . 1:1(0) ack 1 <nop,nop,sack 501:1001>
      +0 < . 1001:1501(500) ack 1
      +0 > . 1:1(0) ack 1 <nop,nop,sack 501:1501>
      +0 < . 1501:2001(500) ack 1
      +0 > . 1:1(0) ack 1 <nop,nop,sack 501:2001>
      +0 < . 1:501(500) ack 1
      +0 > . 1:1(0) ack 2001 <>
    """)
    assert conn.recv() == pattern(0, 2000)


def test_the_latest_block_is_first(conn):
    """RFC 2018 §7, case 3: 2nd, 4th, 6th and 8th of eight are lost; then the 4th comes, and the 2nd."""
    conn.established(options=SACK)
    conn.run("""
      +0 < . 1:501(500) ack 1
      +.04 > . 1:1(0) ack 501 <>
      +0 < . 1001:1501(500) ack 1
      +0 > . 1:1(0) ack 501 <nop,nop,sack 1001:1501>
      +0 < . 2001:2501(500) ack 1
      +0 > . 1:1(0) ack 501 <nop,nop,sack 2001:2501 1001:1501>
      +0 < . 3001:3501(500) ack 1
      +0 > . 1:1(0) ack 501 <nop,nop,sack 3001:3501 2001:2501 1001:1501>
      +0 < . 1501:2001(500) ack 1
      +0 > . 1:1(0) ack 501 <nop,nop,sack 1001:2501 3001:3501>
      +0 < . 501:1001(500) ack 1
      +0 > . 1:1(0) ack 2501 <nop,nop,sack 3001:3501>
    """)


@pytest.mark.parametrize(("options", "most"), [(SACK, 4), (STAMPED, 3)])
def test_as_many_as_there_is_room_for(conn, options, most):
    conn.established(options=options)
    stamp = "<nop,nop,TS val 200 ecr last>" if options is STAMPED else ""
    told = []
    for at in range(1001, 12001, 2000):
        told.insert(0, f"{at}:{at + 1000}")
        sack = " ".join(told[:most])
        wanted = f"nop,nop,TS val * ecr 100,nop,nop,sack {sack}" if stamp else f"nop,nop,sack {sack}"
        conn.run(f"""
          +0 < . {at}:{at + 1000}(1000) ack 1 {stamp}
          +0 > . 1:1(0) ack 1 <{wanted}>
        """)


def test_a_duplicate_below_the_cumulative_ack(conn):
    """RFC 2883 §4.1.1: "the first SACK block [...] duplicate [...] segment"; said once."""
    conn.established(options=SACK)
    conn.run("""
      +0 < . 1:501(500) ack 1
      +.04 > . 1:1(0) ack 501
      +0 < . 1:501(500) ack 1
      +0 > . 1:1(0) ack 501 <nop,nop,sack 1:501>
      +0 < . 1001:1501(500) ack 1
      +0 > . 1:1(0) ack 501 <nop,nop,sack 1001:1501>
    """)


def test_a_duplicate_of_what_was_out_of_order(conn):
    """RFC 2883 §4.1.2: the second block is the larger one that it belongs to."""
    conn.established(options=SACK)
    conn.run("""
      +0 < . 1001:1501(500) ack 1
      +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:1501>
      +0 < . 1501:2001(500) ack 1
      +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001>
      +0 < . 1501:2001(500) ack 1
      +0 > . 1:1(0) ack 1 <nop,nop,sack 1501:2001 1001:2001>
    """)


def test_a_duplicate_in_part(conn):
    """RFC 2883 §4.2.1: only the part that was here already."""
    conn.established(options=SACK)
    conn.run("""
      +0 < . 1:501(500) ack 1
      +.04 > . 1:1(0) ack 501
      +0 < . 1501:2501(1000) ack 1
      +0 > . 1:1(0) ack 501 <nop,nop,sack 1501:2501>
      +0 < . 2001:3001(1000) ack 1
      +0 > . 1:1(0) ack 501 <nop,nop,sack 2001:2501 1501:3001>
      +0 < . 1:1001(1000) ack 1
      +0 > . 1:1(0) ack 1001 <nop,nop,sack 1:501 1501:3001>
    """)


def test_a_duplicate_that_is_all_that_there_is(conn):
    conn.established(options=STAMPED)
    conn.run("""
      +0 < . 1:501(500) ack 1 <nop,nop,TS val 200 ecr last>
      +.04 > . 1:1(0) ack 501
      +0 < . 1:501(500) ack 1 <nop,nop,TS val 300 ecr last>
      +0 > . 1:1(0) ack 501 <nop,nop,TS val * ecr 200,nop,nop,sack 1:501>
    """)


def test_a_successor_reports_what_was_reported(conn):
    """RFC 2018 §8 allows to go back on it; then the peer has to send it again."""
    conn.established(options=SACK)
    conn.run("""
      +0 < . 1001:1501(500) ack 1
      +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:1501>
    """)
    conn.crash()
    conn.settle()
    conn.host.sent.clear()
    conn.run("""
      +0 < . 2001:2501(500) ack 1
      +0 > . 1:1(0) ack 1 <nop,nop,sack 2001:2501 1001:1501>
      +0 < . 1:1001(1000) ack 1
      +0 > . 1:1(0) ack 1501 <nop,nop,sack 2001:2501>
    """)
    assert conn.recv() == pattern(0, 1500)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 8)), min_size=1, max_size=40))
def test_any_order(pieces):
    """What is reported is here: nothing else, nothing twice, and the latest first but for duplicates."""
    conn = Conn()
    conn.established(options=SACK)
    have: set[int] = set()
    twice = False
    for start, count in pieces:
        new = set(range(start, start + count)) - have
        first, end = 1 + 100 * start, 1 + 100 * (start + count)
        conn.inject(parse(f"+0 < . {first}:{end}({end - first}) ack 1")[0])
        have |= set(range(start, start + count))
        conn.settle()
        acks = [sent.packet.segment for sent in conn.host.sent]
        conn.host.sent.clear()
        reached = next(at for at in range(99) if at not in have)
        twice = twice or len(new) < count
        for ack in acks:
            edges = [
                tuple((edge - conn.irs - 1) % 2**32 for edge in block)
                for option in ack.options
                if option[0] == "sack"
                for block in option[1:]
            ]
            if twice:
                left, right = edges.pop(0)
                assert set(range(left // 100, right // 100)) <= have - new
                twice = False
            told = [set(range(left // 100, right // 100)) for left, right in edges]
            assert all(one and one <= have and min(one) > reached for one in told)
            assert sum(map(len, told)) == len(set().union(*told))
            assert start < reached or told[0] >= set(range(start, start + count))
        assert acks or start < reached
