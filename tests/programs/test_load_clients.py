"""ab and wrk on the stack, towards lighttpd at the kernel's end."""

import re
import subprocess
import sys

import pytest

from tests.programs.conftest import CONNECT, PEER, START_S, program, run
from tests.support import wait_for

pytestmark = pytest.mark.netns

CONFIG = """
server.document-root = "{www}"
server.bind = "{peer}"
server.port = 8081
server.max-keep-alive-requests = 100000
"""


@pytest.fixture
def url(stack, www, tmp_path):
    config = tmp_path / "site.conf"
    config.write_text(CONFIG.format(www=www, peer=PEER))
    process = stack.popen_peer(program("lighttpd"), "-D", "-f", str(config), stderr=subprocess.DEVNULL)
    try:
        wait_for(
            lambda: (
                stack.peer(sys.executable, "-S", "-c", CONNECT, PEER, "8081", check=False).returncode == 0
            ),
            START_S,
            "lighttpd at the other end",
        )
        yield f"http://{PEER}:8081"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("keep_alive", [("-k",), ()], ids=["kept", "short"])
def test_ab(stack, url, keep_alive, content):
    done = run(stack, "ab", "-q", *keep_alive, "-n", "1000", "-c", "10", f"{url}/page.html")
    assert "Complete requests:      1000" in done.stdout
    assert "Failed requests:        0" in done.stdout
    assert f"HTML transferred:       {1000 * len(content['/page.html'])} bytes" in done.stdout


def test_wrk(stack, url):
    done = run(stack, "wrk", "-t", "2", "-c", "16", "-d", "1s", f"{url}/small.txt")
    assert "Socket errors" not in done.stdout
    assert "Non-2xx" not in done.stdout
    assert int(re.search(r"(\d+) requests in", done.stdout)[1]) > 100
