"""The other end of the wire: does with kernel sockets what a scenario tells it, in its namespace.

`python peer.py PATH` serves a unix socket; each connection is one scenario, with names for its sockets.
A command is a line; the answer is a line: a number and perhaps a text, or the name of an errno.
"""

import contextlib
import errno
import itertools
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable

HOST, SUBJECT = "10.77.0.1", "10.77.0.2"
PATIENCE_S = 10
LINGER_RESET = struct.pack("ii", 1, 0)


def pattern(length: int) -> bytes:
    """Bytes of which every place is recognised."""
    return bytes(itertools.islice(itertools.cycle(b"abcdefghijklmnopqrstuvwxy0123456789"), length))


class Scenario:
    """One scenario's sockets, by name."""

    def __init__(self) -> None:
        self.sockets: dict[str, socket.socket] = {}
        self.nameless: list[socket.socket] = []

    def name(self, name: str, sock: socket.socket) -> socket.socket:
        """The one that had the name stays open."""
        if name in self.sockets:
            self.nameless.append(self.sockets[name])
        sock.settimeout(PATIENCE_S)
        self.sockets[name] = sock
        return sock

    def new(self, name: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
        return self.name(name, socket.socket(socket.AF_INET, kind))

    def do_listen(self, name: str, backlog: str = "5") -> int:
        """The port; it does not complete more connections than `backlog` + 1."""
        sock = self.new(name)
        sock.bind((HOST, 0))
        sock.listen(int(backlog))
        return sock.getsockname()[1]

    def do_accept(self, name: str, listener: str) -> int:
        self.name(name, self.sockets[listener].accept()[0])
        return 0

    def do_connect(self, name: str, port: str) -> int:
        self.new(name).connect((SUBJECT, int(port)))
        return 0

    def do_connect_from(self, name: str, port: str) -> int:
        """Connect, and say from which port."""
        self.do_connect(name, port)
        return self.sockets[name].getsockname()[1]

    def do_connect_again(self, name: str, port: str, own: str) -> int:
        """Connect from a port that was used before."""
        sock = self.new(name)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, int(own)))
        sock.connect((SUBJECT, int(port)))
        return 0

    def do_begin(self, name: str, port: str) -> int:
        """Connect, but do not wait for it."""
        sock = self.new(name)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect((SUBJECT, int(port)))
        sock.settimeout(PATIENCE_S)
        return 0

    def do_unused(self) -> int:
        """A port at which nobody is."""
        with socket.socket() as sock:
            sock.bind((HOST, 0))
            return sock.getsockname()[1]

    def do_send(self, name: str, *words: str) -> int:
        return self.sockets[name].send(" ".join(words).encode())

    def do_push(self, name: str, length: str) -> int:
        self.sockets[name].sendall(pattern(int(length)))
        return int(length)

    def do_recv(self, name: str, length: str) -> tuple[int, str]:
        """That many bytes, or up to the end of the stream."""
        data = b""
        while len(data) < int(length) and (more := self.sockets[name].recv(int(length) - len(data))):
            data += more
        return len(data), repr(data[:200])[1:]

    def do_drain(self, name: str) -> tuple[int, str]:
        """All bytes up to the end: how many, whether they are the pattern, and how it ended."""
        total, right, end = 0, True, "end"
        expected = pattern(35) * 2000
        try:
            while data := self.sockets[name].recv(65536 // 35 * 35):
                at = total % 35
                right = right and data == expected[at : at + len(data)]
                total += len(data)
        except TimeoutError:
            end = "ETIMEDOUT"
        except OSError as error:
            end = errno.errorcode[error.errno or 0]
        return total, f"{'right' if right else 'wrong'} bytes, {end}"

    def do_take(self, name: str, length: str) -> int:
        """That many bytes, or up to the end of the stream: how many."""
        left = int(length)
        while left and (data := self.sockets[name].recv(min(left, 1 << 20))):
            left -= len(data)
        return int(length) - left

    def do_shut(self, name: str, how: str) -> int:
        self.sockets[name].shutdown({"r": socket.SHUT_RD, "w": socket.SHUT_WR, "rw": socket.SHUT_RDWR}[how])
        return 0

    def do_close(self, name: str) -> int:
        self.sockets.pop(name).close()
        return 0

    def do_reset(self, name: str) -> int:
        self.sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        return self.do_close(name)

    def do_maxseg(self, name: str) -> int:
        return self.sockets[name].getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)

    def do_rcvbuf(self, name: str, length: str) -> int:
        self.sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(length))
        return 0

    def do_await(self, name: str) -> tuple[int, str]:
        """Until something arrives there: what the next recv says."""
        if not select.select([self.sockets[name]], [], [], PATIENCE_S)[0]:
            raise OSError(errno.ETIMEDOUT, "")
        data = self.sockets[name].recv(1, socket.MSG_PEEK)
        return len(data), "data" if data else "end"

    def do_gone(self, name: str) -> tuple[int, str]:
        """Until it is over, by a reset or by an end: which."""
        try:
            while self.sockets[name].recv(65536):
                pass
        except ConnectionResetError:
            return 0, "reset"
        return 0, "end"

    def do_udp(self, name: str) -> int:
        sock = self.new(name, socket.SOCK_DGRAM)
        sock.bind((HOST, 0))
        return sock.getsockname()[1]

    def do_sendto(self, name: str, port: str, *words: str) -> int:
        return self.sockets[name].sendto(" ".join(words).encode(), (SUBJECT, int(port)))

    def do_pushto(self, name: str, port: str, length: str) -> int:
        return self.sockets[name].sendto(pattern(int(length)), (SUBJECT, int(port)))

    def do_recvfrom(self, name: str) -> tuple[int, str]:
        data, (host, _port) = self.sockets[name].recvfrom(65536)
        return len(data), f"{data[:100]!r} from {host}"[1:]

    def run(self, line: str) -> str:
        name, *arguments = line.split(" ")
        command: Callable[..., int | tuple[int, str]] = getattr(self, f"do_{name}")
        try:
            answer = command(*arguments)
        except TimeoutError:
            return "ETIMEDOUT"
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, "EUNKNOWN")
        return str(answer) if isinstance(answer, int) else f"{answer[0]} {answer[1]}"

    def serve(self, control: socket.socket) -> None:
        with control, contextlib.suppress(OSError):
            for line in control.makefile("r", newline="\n"):
                control.sendall(self.run(line.rstrip("\n")).encode() + b"\n")
        for sock in [*self.sockets.values(), *self.nameless]:
            sock.close()


def main(path: str) -> None:
    """Until standard input ends."""
    with contextlib.suppress(OSError), open("/proc/sys/net/ipv4/icmp_ratelimit", "w") as limit:
        limit.write("0")  # of this namespace: each closed port is told of
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(16)
    print("ready", flush=True)
    while sys.stdin not in (ready := select.select([sys.stdin, listening], [], [])[0]):
        if ready:
            control = listening.accept()[0]
            threading.Thread(target=Scenario().serve, args=(control,), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
