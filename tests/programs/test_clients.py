"""Clients on the stack, towards a server at the kernel's end."""

import functools
import http.server
import threading

import pytest

from tests.programs.conftest import run

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("path", ["/small.txt", "/page.html", "/big.bin", "/empty"])
def test_curl(stack, kernel_server, content, path):
    done = run(stack, "curl", "-sS", "-f", "-m", "30", kernel_server + path, text=False)
    assert done.stdout == content[path]


def test_curl_many_at_once_over_the_stack(stack, kernel_server, content, tmp_path):
    urls = [part for i in range(8) for part in ("-o", f"{tmp_path}/got{i}", f"{kernel_server}/page.html?{i}")]
    done = run(stack, "curl", "-sS", "-f", "-m", "30", "--parallel", "-v", *urls)
    assert "Connected to 10.77.0.1" in done.stderr
    for i in range(8):
        assert (tmp_path / f"got{i}").read_bytes() == content["/page.html"]


def test_curl_refused(stack):
    done = run(stack, "curl", "-sSv", "-m", "10", "http://10.77.0.1:9/", check=False)
    assert done.returncode == 7
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize("path", ["/small.txt", "/big.bin"])
def test_wget(stack, kernel_server, content, path, tmp_path):
    target = tmp_path / "got"
    run(stack, "wget", "-q", "-T", "30", "-t", "1", "-O", str(target), kernel_server + path)
    assert target.read_bytes() == content[path]


def test_verbose_says_where_the_socket_went(stack, kernel_server):
    done = run(stack, "curl", "-sS", "-m", "30", kernel_server + "/small.txt", options=("-v",))
    assert "10.77.0.1:8080 -> neat" in done.stderr


@pytest.fixture
def loopback_server(content, www):
    """The URL of a web server on the kernel's loopback address."""
    handler = functools.partial(SilentHandler, directory=str(www))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_what):
        pass


def test_loopback_is_the_kernels(stack, loopback_server, content):
    done = run(stack, "curl", "-sS", "-m", "30", loopback_server + "/small.txt", options=("-v",))
    assert done.stdout.encode() == content["/small.txt"]
    assert "-> kernel" in done.stderr


def test_a_route_changes_that(stack, loopback_server):
    options = ("-v", "--route", "127.0.0.0/8=neat")
    done = run(stack, "curl", "-sS", "-m", "2", loopback_server + "/", options=options, check=False)
    assert "-> neat (a rule)" in done.stderr
    assert done.returncode
