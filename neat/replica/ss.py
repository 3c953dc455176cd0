"""The rows that `neat ss` shows of one replica, under the names and states of ss(8)."""

from typing import Any

from neat.replica.core import Core

# By Linux's numbers, which are those of neat/stack/tcp/state.
STATES = {
    1: "ESTAB",
    2: "SYN-SENT",
    3: "SYN-RECV",
    4: "FIN-WAIT-1",
    5: "FIN-WAIT-2",
    6: "TIME-WAIT",
    7: "CLOSED",
    8: "CLOSE-WAIT",
    9: "LAST-ACK",
    10: "LISTEN",
    11: "CLOSING",
}


class Listing:
    """An answer in several datagrams: a snapshot of which slots there are, each row made when it is sent."""

    def __init__(self, core: Core, pids: dict[int, int], seq: int) -> None:
        self.core, self.pids, self.seq = core, pids, seq
        self.shared = core.shared_sockets()
        self.next = 0  # connection slot
        self.after = 0
        self.more = False

    def datagram(self, most: int) -> dict[str, Any]:
        """The next piece, at most `most` rows. The same again until `advance`."""
        rows = [self._shared_row(*entry) for entry in self.shared]
        conn = self.next
        while conn < self.core.max_connections and len(rows) < max(most, len(self.shared) + 1):
            found = self.core.connection(conn)
            if found is not None:
                rows.append(self._connection_row(found))
            conn += 1
        self.after = conn
        self.more = conn < self.core.max_connections
        return {"seq": self.seq, "rows": rows, "more": self.more}

    def advance(self) -> bool:
        """On to the next piece; False when that was the last."""
        self.next, self.shared = self.after, []
        return self.more

    def _shared_row(
        self, kind: str, local: tuple[str, int], app: int, sock: int, backlog: int, blocked: bool
    ) -> dict[str, Any]:
        return {
            "protocol": kind,
            "state": "LISTEN" if kind == "tcp" else "UNCONN",
            "local": f"{local[0]}:{local[1]}",
            "remote": "*:*",
            "app": app,
            "pid": self.pids.get(app, 0),
            "sock": sock,
            "recv_q": 0,
            "send_q": backlog,
            "accept_queue_full": blocked,
        }

    def _connection_row(self, found: dict[str, Any]) -> dict[str, Any]:
        recv_q, send_q = found.pop("queues")
        state = found.pop("state")
        return found | {
            "protocol": "tcp",
            "state": STATES.get(state, str(state)),
            "local": "{}:{}".format(*found["local"]),
            "remote": "{}:{}".format(*found["remote"]),
            "pid": self.pids.get(found["app"], 0),
            "recv_q": recv_q,
            "send_q": send_q,
        }
