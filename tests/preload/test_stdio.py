"""Streams on sockets: what programs that were written for inetd, or for pipes, do with one."""

import pytest

from tests.preload.conftest import World

pytestmark = pytest.mark.netns

LIBC = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name in ("fdopen", "fopencookie"):
    getattr(libc, name).restype = ctypes.c_void_p
def stream(fd, mode):
    return ctypes.c_void_p(libc.fdopen(fd, mode))
"""


def test_a_stream_on_a_socket(world: World) -> None:
    world.python(
        LIBC
        + """
sock = dial()
out, into = stream(os.dup(sock.fileno()), b"w"), stream(os.dup(sock.fileno()), b"r")
number = libc.fileno(into)
assert number > sock.fileno()
buffer = ctypes.create_string_buffer(4096)
for i in range(100):
    assert libc.fprintf(out, b"line %d of them all\\n", i) > 0
    assert libc.fflush(out) == 0
    assert libc.fgets(buffer, 4096, into)
    assert buffer.value == b"line %d of them all\\n" % i
assert libc.fseek(into, 0, 0) == -1 and ctypes.get_errno() == errno.ESPIPE
assert libc.fclose(into) == 0 and libc.fclose(out) == 0
fails(errno.EBADF, os.fstat, number)
ask(sock, b"the socket goes on")
"""
    )


def test_dprintf(world: World) -> None:
    world.python(
        LIBC
        + """
sock = dial()
assert libc.dprintf(sock.fileno(), b"%d and %s", 7, b"eight") == 11
assert sock.recv(11, socket.MSG_WAITALL) == b"7 and eight"
sock.shutdown(socket.SHUT_WR)
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
assert libc.dprintf(sock.fileno(), b"more") == -1 and ctypes.get_errno() == errno.EPIPE
"""
    )


LOOP = "while read -r line; do echo $line; done"


@pytest.mark.parametrize("program", [["cat"], ["sed", "-u", "s/x/x/"], ["sh", "-c", LOOP]])
def test_programs_of_inetd(world: World, program: list[str]) -> None:
    """A socket as standard input and output of a program that knows nothing of sockets."""
    world.python(f"""
listener = socket.create_server((ADDRESS, 0))
caller = socket.create_connection(listener.getsockname())
served = listener.accept()[0]
child = subprocess.Popen({program!r}, stdin=served, stdout=served)
served.close()
for i in range(5):
    line = b"line %d\\n" % i
    caller.sendall(line)
    assert caller.recv(len(line), socket.MSG_WAITALL) == line
caller.shutdown(socket.SHUT_WR)
assert caller.recv(10) == b""
assert child.wait(10) == 0
""")


def test_standard_output_becomes_a_socket(world: World) -> None:
    """What was in its buffer goes where the rest goes, as on Linux."""
    world.python(
        LIBC
        + """
sock = dial()
room = ctypes.create_string_buffer(4096)
libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), room, 0, 4096)
libc.printf(b"before, ")
saved = os.dup(1)
os.dup2(sock.fileno(), 1)
libc.printf(b"and after")
libc.fflush(None)
os.dup2(saved, 1)
assert sock.recv(17, socket.MSG_WAITALL) == b"before, and after"
libc.printf(b"on the old one again")
libc.fflush(None)
"""
    )
