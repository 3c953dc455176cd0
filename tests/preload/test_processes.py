"""fork, exec and the end of programs: sockets go where Linux would take them, and nothing stays behind."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.preload.conftest import PRELUDE, World
from tests.support import ROOT, wait_for

pytestmark = pytest.mark.netns

Compiled = Callable[[str], str]


def test_a_socket_is_standard_input_and_output_of_a_child(world: World) -> None:
    world.python("""
sock = dial()
sock.sendall(b"to the child\\n")
head = subprocess.run(["head", "-n1"], stdin=sock, stdout=subprocess.PIPE, timeout=10)
assert head.stdout == b"to the child\\n"
subprocess.run([sys.executable, "-c", "print('from the child')"], stdout=sock, timeout=10, check=True)
assert sock.recv(100) == b"from the child\\n"
for option in {"close_fds": False}, {"preexec_fn": lambda: None}, {"start_new_session": True}:
    subprocess.run(["printf", "again"], stdout=sock, timeout=10, check=True, **option)
    assert sock.recv(100) == b"again"
assert os.system(f"printf system >&{os.dup2(sock.fileno(), 9)}") == 0
assert sock.recv(100) == b"system"
ask(sock, b"the parent's still")
""")


def test_connections_of_a_parent_and_its_child(world: World) -> None:
    """One that the parent has works in the child, and one that the child accepts in the parent."""
    running = world.start_python("""
sock = dial()
listener = socket.create_server((ADDRESS, 8010))
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
print("ready", flush=True)
if not (child := os.fork()):
    ask(sock, b"in the child")
    ask(dial(), b"of the child")
    accepted, _ = listener.accept()
    assert accepted.recv(100) == b"first"
    socket.send_fds(theirs, [b"."], [accepted.fileno()])
    os._exit(0)
_, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
assert os.waitpid(child, 0)[1] == 0
accepted = socket.socket(fileno=fd)
accepted.sendall(b"of the parent")
assert accepted.recv(100) == b"second"
ask(sock, b"in the parent")
""")
    world.peer("""
with socket.create_connection((ADDRESS, 8010)) as sock:
    sock.sendall(b"first")
    assert sock.recv(100) == b"of the parent"
    sock.sendall(b"second")
    assert sock.recv(100) == b""
""")
    assert running.wait(20) == 0


def test_a_server_that_forks(world: World) -> None:
    running = world.start_python("""
import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
server = socketserver.ForkingTCPServer((ADDRESS, 8011), Handler, bind_and_activate=False)
server.allow_reuse_address = True
server.server_bind()
server.server_activate()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
server.serve_forever()
""")
    world.peer("""
def client():
    for _ in range(5):
        with socket.create_connection((ADDRESS, 8011)) as sock:
            ask(sock, os.urandom(100_000))
threads = [threading.Thread(target=client) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join(20)
assert not any(thread.is_alive() for thread in threads)
""")
    running.terminate()
    running.wait(20)


def test_workers_share_a_listener(world: World) -> None:
    """Four that accept; one is killed, one is stopped: the others serve all."""
    running = world.start_python("""
listener = socket.create_server((ADDRESS, 8012), backlog=64)
workers = []
for _ in range(4):
    if not (child := os.fork()):
        while True:
            sock, _ = listener.accept()
            sock.sendall(b"%d" % os.getpid())
            sock.close()
    workers.append(child)
os.kill(workers[0], signal.SIGKILL)
os.kill(workers[1], signal.SIGSTOP)
os.waitpid(workers[0], 0)
os.waitpid(workers[1], os.WUNTRACED)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
for worker in workers[1:]:
    os.kill(worker, signal.SIGKILL)
""")
    try:
        found = world.peer("""
seen = set()
for _ in range(60):
    with socket.create_connection((ADDRESS, 8012), 5) as sock:
        seen.add(sock.recv(100))
print(len(seen))
""")
    finally:
        running.terminate()
        running.wait(10)
    assert int(found) in (1, 2)


AFTER = """
listener, sock, udp, copy = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:])
assert listener.getsockname() == ("10.77.0.2", 8013) and sock.getpeername() == PEER
assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
assert sock.recv(100) == b"left unread"
ask(sock, b"after exec")
ask(copy, b"the copy, too")
sock.close()
ask(copy, b"which lives on")
ask(dial(), b"and a new one")
print("ready", flush=True)
accepted, _ = listener.accept()
ask(accepted, b"accepted after exec")
data, sender = udp.recvfrom(100)
udp.sendto(data, sender)
"""


def test_sockets_survive_exec(world: World) -> None:
    """A listener, a connection with its unread bytes and its copy, a UDP socket; in a cleaned environment."""
    running = world.start_python(
        """
listener = socket.create_server((ADDRESS, 8013))
sock, udp = dial(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((ADDRESS, 8014))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
copy = os.dup(sock.fileno())
dropped = dial()
sock.sendall(b"left unread")
import select
select.select([sock], [], [], 10)
left = [listener.fileno(), sock.fileno(), udp.fileno(), copy]
for fd in left:
    os.set_inheritable(fd, True)
os.execve(sys.executable, [sys.executable, "-c", sys.argv[1], *map(str, left)], {"PATH": os.environ["PATH"]})
""",
        PRELUDE + AFTER,
    )
    world.peer("""
with socket.create_connection((ADDRESS, 8013)) as sock:
    sock.sendall(sock.recv(100))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    udp.settimeout(10)
    udp.sendto(b"datagram", (ADDRESS, 8014))
    assert udp.recv(100) == b"datagram"
""")
    assert running.wait(20) == 0


def test_fork_and_exec_leave_nothing(world: World) -> None:
    world.python(
        """
sock = dial()
before = numbers_at_rest()
for turn in range(100):
    subprocess.run(["true"], stdin=sock, check=True)
    if not (child := os.fork()):
        os.execv("/bin/true", ["true"])
    assert os.waitpid(child, 0)[1] == 0
assert numbers() == before, (numbers(), before)
for turn in range(100):
    if not (child := os.fork()):
        if turn % 10 == 0:
            ask(dial(), b"in a child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
assert numbers() == before, (numbers(), before)
# A child of a child of a child.
depth = 0
while depth < 3 and not (child := os.fork()):
    depth += 1
if depth == 3:
    assert numbers() == before, (numbers(), before)
    ask(dial(), b"of the last")
    os._exit(0)
status = os.waitpid(child, 0)[1]
if depth:
    os._exit(status != 0)
assert status == 0
ask(sock, b"the parent's")
""",
        timeout=60,
    )


def test_fork_while_threads_are_in_calls(world: World) -> None:
    """Whatever they hold is free in the child, and what they keep open is closed there."""
    world.python("""
listener, sock = socket.create_server((ADDRESS, 8015)), dial()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((ADDRESS, 0))
for call in listener.accept, lambda: sock.recv(1), lambda: udp.recv(1):
    in_thread(call)
busy = True
def dialing():
    while busy:
        dial().close()
threads = [threading.Thread(target=dialing) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(30):
    if not (child := os.fork()):
        signal.alarm(10)
        for each in listener, sock, udp:
            os.close(each.fileno())
        ask(dial(), b"in the child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
busy = False
for thread in threads:
    thread.join()
os._exit(0)
""")


@pytest.mark.parametrize("how", ["loop", "range", "from", "daemon"])
def test_a_daemon_that_closes_all(world: World, compiled: Compiled, how: str) -> None:
    port = {"loop": 8020, "range": 8030, "from": 8040, "daemon": 8050}[how]
    world.start(compiled("daemonize.c"), how, str(port)).wait(10)
    world.peer(f"""
with socket.create_connection((ADDRESS, {port})) as sock:
    ask(sock, os.urandom(100_000))
""")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("restart", "data"),
        ("signal", "data"),
        ("plain", "interrupted"),
        ("siginterrupt", "interrupted"),
        ("timeout", "interrupted"),
    ],
)
def test_a_handler_interrupts_or_not(world: World, compiled: Compiled, how: str, expected: str) -> None:
    """signal(7): with SA_RESTART the receive goes on, unless it has a time limit."""
    assert world.run(compiled("interrupted.c"), how).strip() == expected


@pytest.mark.parametrize("how", ["return", "exit", "_exit", "abort", "kill"])
def test_the_end_of_a_process_with_threads_in_calls(world: World, compiled: Compiled, how: str) -> None:
    running = world.start(compiled("ends.c"), how)
    status = running.wait(10)
    assert status == {"abort": -signal.SIGABRT, "kill": -signal.SIGKILL}.get(how, 0)
    wait_for(lambda: "ends" not in world.stack.neat("ss", "-tn").stdout, 10, "its sockets are gone")


def test_a_program_whose_stack_is_gone(world: World) -> None:
    """It starts and works, but for its sockets on the stack."""
    done = subprocess.run(
        world.command(
            "env",
            "NEAT_RUN_DIR=/nonexistent",
            world.command()[0],
            "-c",
            """if True:
            import errno, socket, subprocess
            assert subprocess.run(["echo", "still"], capture_output=True).stdout == b"still\\n"
            with socket.create_server(("127.0.0.1", 0)) as local:
                socket.create_connection(local.getsockname()).close()
            try:
                socket.create_connection(("10.77.0.1", 7000))
            except OSError as error:
                assert error.errno == errno.ENETDOWN, error
                print("down")
            """,
        ),
        env=world.stack.env,
        cwd=ROOT,
        timeout=20,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "down\n", done.stderr


def test_a_program_that_gives_its_rights_up(world: World) -> None:
    """As nginx and redis do: it listens as root, forks, and works as nobody."""
    running = world.start_python("""
import encodings.idna
listener = socket.create_server((ADDRESS, 80))
if not os.fork():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    sock, _ = listener.accept()
    ask(sock, b"as nobody")
    ask(dial(), b"as nobody, too")
    os._exit(0)
print("ready", flush=True)
assert os.wait()[1] == 0
""")
    world.peer("""
with socket.create_connection((ADDRESS, 80)) as sock:
    sock.sendall(sock.recv(100))
    assert sock.recv(1) == b""
""")
    assert running.wait(20) == 0


def test_a_program_that_is_started_as_another_user(world: World, compiled: Compiled) -> None:
    """As runuser(1) does: the right to use the stack is the application's, not the user's."""
    world.stack.run_dir.parent.chmod(0o711)  # as /run/neat is
    running = world.start(compiled("steps_down.c"), "8060")
    world.peer("""
with socket.create_connection((ADDRESS, 8060)) as sock:
    ask(sock, b"as nobody")
""")
    assert running.wait(10) == 0


CLOSED = """
import sys
from pathlib import Path
from neat.cli import library
path = Path(sys.argv.pop(1))
library.built = lambda: path
from neat.cli.main import main
main()
"""
ASK = "exec 3<>/dev/tcp/10.77.0.1/7000 && echo as $(id -u) >&3 && read -r line <&3 && echo $line"


@pytest.mark.parametrize(
    "become",
    [["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], ["runuser", "-u", "nobody", "--"]],
    ids=["setpriv", "runuser"],
)
def test_another_user_reads_the_library_of_a_closed_installation(
    world: World, tmp_path: Path, become: list[str]
) -> None:
    """Below a home of mode 700, say. The linker opens it in each program, as whoever runs that."""
    world.stack.run_dir.parent.chmod(0o711)  # as /run/neat is
    tmp_path.chmod(0o700)
    shutil.copy(ROOT / "neat/shim/libneat.so", tmp_path)
    neat = [sys.executable, "-c", CLOSED, str(tmp_path / "libneat.so"), "run", "--name", world.stack.name]
    done = subprocess.run(
        [*neat, "--", *become, "bash", "-c", ASK],
        env=world.stack.env,
        cwd=ROOT,
        timeout=30,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "as 65534\n", "")


def test_an_ipv6_listener_is_one_after_exec(world: World) -> None:
    running = world.start_python(
        """
listener = socket.create_server(("::", 8061), family=socket.AF_INET6, dualstack_ipv6=True)
os.set_inheritable(listener.fileno(), True)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], str(listener.fileno())])
""",
        PRELUDE
        + """
listener = socket.socket(fileno=int(sys.argv[1]))
print(listener.family, listener.getsockname(), flush=True)
assert listener.family == socket.AF_INET6 and listener.getsockname()[:2] == ("::", 8061)
sock, peer = listener.accept()
assert peer[0] == "::ffff:10.77.0.1" and sock.getsockname()[0] == "::ffff:10.77.0.2", (peer, sock)
ask(sock, b"dual stack")
""",
    )
    world.peer("""
with socket.create_connection((ADDRESS, 8061)) as sock:
    sock.sendall(sock.recv(100))
""")
    assert running.wait(10) == 0


def test_flags_that_another_process_sets(world: World) -> None:
    """O_NONBLOCK is the open file's: what a child does to it, its parent sees."""
    world.python("""
sock = dial()
sock.settimeout(None)
child = "import os; os.set_blocking(0, False)"
subprocess.run([sys.executable, "-c", child], stdin=sock, check=True)
fails(errno.EAGAIN, os.read, sock.fileno(), 1)
if not (child := os.fork()):
    os.set_blocking(sock.fileno(), True)
    os._exit(0)
os.waitpid(child, 0)
os.write(sock.fileno(), b"echo")
assert os.read(sock.fileno(), 4) == b"echo"
""")


@pytest.mark.parametrize("call", ["recv", "accept", "poll", "epoll"])
def test_a_thread_is_cancelled_in_its_sleep(world: World, compiled: Callable[[str], str], call: str) -> None:
    """What it slept on is closed by the last close(), not kept for a call that is never over."""
    assert world.run(compiled("cancelled.c"), call).strip() == "0"
