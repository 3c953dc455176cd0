"""memcached: threads, TCP and UDP."""

import sys

import pytest

from tests.programs.conftest import ADDRESS

pytestmark = pytest.mark.netns

PORT = 11211

TCP = """
import socket, sys
value = b"v" * 200_000
for i in range(8):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as sock:
        file = sock.makefile("rwb")
        file.write(b"set key%d 0 0 %d\\r\\n%s\\r\\n" % (i, len(value), value))
        file.flush()
        assert file.readline() == b"STORED\\r\\n"
        file.write(b"get key%d\\r\\n" % i)
        file.flush()
        assert file.readline() == b"VALUE key%d 0 %d\\r\\n" % (i, len(value))
        assert file.read(len(value)) == value
        assert file.readline() + file.readline() == b"\\r\\nEND\\r\\n"
print("good")
"""

UDP = """
import socket, struct, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(10)
sock.connect((sys.argv[1], int(sys.argv[2])))
for i in range(20):
    header = struct.pack(">HHHH", i, 0, 1, 0)
    sock.send(header + b"set k%d 0 0 5\\r\\nvalue\\r\\n" % i)
    assert sock.recv(1400) == header + b"STORED\\r\\n"
    sock.send(header + b"get k%d\\r\\n" % i)
    assert sock.recv(1400) == header + b"VALUE k%d 0 5\\r\\nvalue\\r\\nEND\\r\\n" % i
print("good")
"""


def client(stack, code):
    return stack.peer(sys.executable, "-S", "-c", code, ADDRESS, str(PORT)).stdout


@pytest.mark.parametrize("listen", [ADDRESS, "0.0.0.0"])
def test_values_over_tcp(stack, serve, listen):
    with serve("memcached", "-u", "root", "-l", listen, "-p", str(PORT), "-t", "4", port=PORT):
        assert client(stack, TCP) == "good\n"


def test_as_another_user(stack, serve):
    """It gives up root before it serves."""
    with serve("memcached", "-u", "nobody", "-l", ADDRESS, "-p", str(PORT), "-t", "2", port=PORT):
        assert client(stack, TCP) == "good\n"


def test_values_over_udp(stack, serve):
    options = ["-u", "root", "-l", ADDRESS, "-p", str(PORT), "-U", str(PORT), "-t", "2"]
    with serve("memcached", *options, port=PORT):
        assert client(stack, UDP) == "good\n"
        assert client(stack, TCP) == "good\n"
