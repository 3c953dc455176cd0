"""What is counted for the judge of a replica (neat/supervisor/judgement.py)."""

NAMES = ("TCP_HANDSHAKES", "TCP_ACKED", "TCP_SERVED", "TCP_SYN_RETRANSMITS")


def counted(conn) -> dict[str, int]:
    return {name: conn.counters[name] for name in NAMES if conn.counters.get(name)}


def test_handshake(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 win 65535 <mss 1460>
    """)
    assert counted(conn) == {}
    conn.run("+1 > S. 0:0(0) ack 1 win 65535 <mss 1460>")
    assert counted(conn) == {"TCP_SYN_RETRANSMITS": 1}
    assert conn.counters["TCP_TIMEOUTS"] == 1
    conn.run("+0 < . 1:1(0) ack 1 win 65535")
    assert conn.counters["TCP_HANDSHAKES"] == 1


def test_handshake_of_our_own(conn):
    conn.connected()
    assert counted(conn) == {"TCP_HANDSHAKES": 1}


def test_a_question_and_its_answer(conn):
    conn.established()
    for at in (1, 11):
        conn.run(f"+0 < P. {at}:{at + 10}(10) ack {at} win 65535")
        conn.recv()
        conn.send(10)
        conn.run(f"""
          +0 > P. {at}:{at + 10}(10) ack {at + 10}
          +0 < . {at + 10}:{at + 10}(0) ack {at + 10} win 65535
        """)
    assert counted(conn) == {"TCP_HANDSHAKES": 1, "TCP_ACKED": 2, "TCP_SERVED": 1}


def test_who_only_listens_serves_by_listening_to_the_end(conn):
    conn.established()
    conn.run("+0 < P. 1:11(10) ack 1 win 65535")
    conn.recv()
    assert counted(conn) == {"TCP_HANDSHAKES": 1}
    conn.close()
    assert counted(conn)["TCP_SERVED"] == 1


def test_who_closes_without_having_listened_serves_nobody(conn):
    conn.established()
    conn.run("+0 < P. 1:11(10) ack 1 win 65535")
    conn.close()
    assert "TCP_SERVED" not in counted(conn)
