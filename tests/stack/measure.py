"""What a request-response pair costs in the engine: `python -m tests.stack.measure`.

One request frame in, the response frame out with the ACK on it; the application (a copy, a dirty bit) is
inside. No driver, no wake-ups, no system calls. Prints the median of some runs, in ns of CPU time.
"""

import statistics

from .harness.conn import LISTENER_SOCK, STACK_PORT, Conn
from .harness.frames import ACK, PSH, TCP, ethernet, ipv4, tcp
from .harness.host import Host

CSUM, TSO = 1, 2
ROUNDS = 200_000
RUNS = 5


def pairs(connections: int, request: int, response: int) -> float:
    """ns for one pair, over that many connections in turn."""
    host = Host(offloads=CSUM | TSO, max_connections=1024, nsock=2048)
    host.lab.listen(LISTENER_SOCK, STACK_PORT, backlog=1024)
    conns, headers = [], []
    for i in range(connections):
        conn = Conn(irs=1000 + i, host=host, port=20_000 + i)
        conn.run("""
            +0 < S 0:0(0) win 65535 <mss 1460>
            +0 > S. 0:0(0) ack 1 <...>
            +0 < . 1:1(0) ack 1 win 65535
        """)
        conn.accept()
        conns.append(conn.index)
        segment = tcp(conn.port, STACK_PORT, 0, 0, ACK | PSH, payload=bytes(request))
        headers.append(ethernet(ipv4(segment, TCP))[:54])
    rounds = ROUNDS // connections
    times = [host.lab.serve(conns, headers, bytes(request), bytes(response), rounds) for _ in range(RUNS)]
    return statistics.median(times) / (rounds * connections)


def main() -> None:
    print("connections  request  response  ns/pair")
    for connections, request, response in (
        (1, 100, 200),
        (32, 100, 200),
        (500, 100, 200),
        (1, 100, 1400),
        (32, 1, 1),
    ):
        print(f"{connections:11}  {request:7}  {response:8}  {pairs(connections, request, response):7.0f}")


if __name__ == "__main__":
    main()
