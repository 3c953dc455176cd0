"""haproxy on the stack, as a proxy between its clients at the kernel's end and a server on the same stack."""

import sys

import pytest

from tests.programs.conftest import ADDRESS, fetch, program

pytestmark = pytest.mark.netns

CONFIG = """
global
  maxconn 200
  nbthread {threads}
defaults
  mode {mode}
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend front
  bind {bind}:8080
  default_backend back
backend back
  server one {server} {check}
"""


@pytest.fixture
def configure(tmp_path):
    def write(server, *, mode="http", threads=1, bind="0.0.0.0", check=""):
        path = tmp_path / "haproxy.cfg"
        path.write_text(CONFIG.format(server=server, mode=mode, threads=threads, bind=bind, check=check))
        return str(path)

    return write


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_towards_the_kernels_side(stack, serve, configure, kernel_server, content, mode, threads):
    config = configure(kernel_server.removeprefix("http://"), mode=mode, threads=threads)
    with serve("haproxy", "-db", "-f", config, port=8080) as server:
        for path, data in content.items():
            assert fetch(stack, server.url(path)) == data


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_between_two_listeners_of_the_stack(stack, serve, configure, content, www, mode):
    """Its server is on the same stack: the connection goes from the stack to its own address."""
    behind = [sys.executable, "-u", "-m", "http.server", "--bind", ADDRESS, "--directory", str(www), "8000"]
    with (
        serve(*behind, port=8000),
        serve(
            "haproxy",
            "-db",
            "-f",
            configure(f"{ADDRESS}:8000", mode=mode, check="check inter 200ms"),
            port=8080,
        ) as server,
    ):
        for path, data in content.items():
            assert fetch(stack, server.url(path)) == data


def test_load(stack, serve, configure, kernel_server, content):
    config = configure(kernel_server.removeprefix("http://"), threads=2)
    with serve("haproxy", "-db", "-f", config, port=8080) as server:
        done = stack.peer(program("ab"), "-q", "-k", "-n", "500", "-c", "8", server.url("/small.txt"))
    assert "Complete requests:      500" in done.stdout
    assert "Failed requests:        0" in done.stdout
