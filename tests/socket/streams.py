"""What the tests of connections share."""

import select
import socket
import struct

BIG = 3_000_000
RESET = struct.pack("ii", 1, 0)


def poll(sock, mask=select.POLLIN | select.POLLOUT | select.POLLRDHUP, timeout=0):
    poller = select.poll()
    poller.register(sock, mask)
    ready = poller.poll(timeout)
    return ready[0][1] if ready else 0


def await_events(sock, events, mask=select.POLLIN | select.POLLRDHUP):
    """Until poll() says all of these; what it says then."""
    poller = select.poll()
    poller.register(sock, mask & events)
    assert poller.poll(10_000), f"not within 10 s: {events}"
    return poll(sock)


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()


def receive_all(sock, count=None):
    parts = []
    while count is None or sum(map(len, parts)) < count:
        data = sock.recv(65536)
        if not data:
            break
        parts.append(data)
    return b"".join(parts)


def fill(sock):
    """Send until there is no more room; how much that was."""
    sent = 0
    while True:
        try:
            sent += sock.send(bytes(100_000))
        except BlockingIOError:
            # The peer's acknowledgements may still make room.
            if not poll(sock, select.POLLOUT, 50):
                return sent
