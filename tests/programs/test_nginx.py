"""nginx with a master and two workers, as Debian ships it."""

import signal
import subprocess
from functools import partial

import pytest

from tests.programs.conftest import fetch, run
from tests.support import wait_for

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("sendfile", ["on", "off"])
@pytest.mark.parametrize(
    "listen, events",
    [("80", ""), ("10.77.0.2:80 reuseport", ""), ("80", "accept_mutex on;")],
)
def test_files_of_all_sizes(stack, serve, nginx_config, content, sendfile, listen, events):
    with serve("nginx", "-c", nginx_config(listen, sendfile, events), port=80) as server:
        for path, data in content.items():
            assert fetch(stack, server.url(path)) == data
        assert server.end(signal.SIGQUIT) == 0


def test_both_workers_serve(stack, serve, nginx_config):
    with serve("nginx", "-c", nginx_config("80 reuseport"), port=80) as server:
        pids = {fetch(stack, server.url("/worker")) for _ in range(40)}
        assert len(pids) == 2


def answers(stack, server, version):
    return fetch(stack, server.url("/version")) == version


def test_reload_under_load(stack, serve, nginx_config, content):
    """No request fails, and new workers answer afterwards."""
    with serve("nginx", "-c", nginx_config(), port=80) as server:
        assert fetch(stack, server.url("/version")) == b"one"
        load = stack.popen_peer(
            "ab", "-q", "-n", "6000", "-c", "8", server.url("/small.txt"), stdout=subprocess.PIPE, text=True
        )
        try:
            for version in ("two", "three", "four"):
                run(stack, "nginx", "-c", nginx_config(version=version), "-s", "reload", timeout=20)
                wait_for(partial(answers, stack, server, version.encode()), 10, "new workers")
            said, _ = load.communicate(timeout=60)
        finally:
            load.kill()
            load.wait()
        assert "Complete requests:      6000" in said
        assert "Failed requests:        0" in said
        assert fetch(stack, server.url("/big.bin")) == content["/big.bin"]
