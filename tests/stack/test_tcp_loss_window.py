"""The congestion window after a loss, and who is told of a hole (RFC 5681)."""

import pytest

MSS = 1460


def test_one_ack_for_all_does_not_bring_the_window_back(conn):
    """RFC 5681 §3.1: after a timeout slow start ends at ssthresh, half of what was in flight."""
    conn.established()
    conn.send(10 * MSS)
    conn.run(
        "\n".join(f"+0 > . {1 + i * MSS}:{1 + (i + 1) * MSS}({MSS}) ack 1" for i in range(10))
        + f"""
      +.2 > . 1:1461(1460) ack 1
      +0  < . 1:1(0) ack {1 + 10 * MSS} win 65535
    """
    )
    assert conn.info["ssthresh"] == 5 * MSS
    assert MSS < conn.info["cwnd"] <= 5 * MSS


@pytest.mark.parametrize("text", [0, 100])
def test_fin_behind_a_hole_draws_a_duplicate(conn, text):
    """RFC 5681 §4.2: "immediate duplicate ACK when an out-of-order segment arrives", with text or without."""
    conn.established()
    conn.run(f"""
      +0 < F. 101:{101 + text}({text}) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 1:101(100) ack 1
      +0 > . 1:1(0) ack {102 + text}
    """)
