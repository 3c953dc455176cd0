"""lighttpd, as Debian ships it."""

import pytest

from tests.programs.conftest import fetch

pytestmark = pytest.mark.netns


def check_content(stack, server, content):
    for path, data in content.items():
        assert fetch(stack, server.url(path)) == data
    assert fetch(stack, server.url("/")) == content["/page.html"]


@pytest.mark.parametrize("bind", ["0.0.0.0", "10.77.0.2"])
def test_files_of_all_sizes(stack, serve, lighttpd_config, content, bind):
    with serve("lighttpd", "-D", "-f", lighttpd_config(bind), port=80) as server:
        check_content(stack, server, content)
        server.wait_idle()  # its exit status says whether there were connections
        assert server.end() == 0


@pytest.mark.parametrize("backend", ["writev", "sendfile"])
@pytest.mark.parametrize("handler", ["poll", "select", "linux-sysepoll"])
def test_every_way_to_wait_and_to_write(stack, serve, lighttpd_config, content, handler, backend):
    more = f'server.event-handler = "{handler}"\nserver.network-backend = "{backend}"'
    with serve("lighttpd", "-D", "-f", lighttpd_config(more=more), port=80) as server:
        check_content(stack, server, content)


def test_keep_alive(stack, serve, lighttpd_config, content):
    with serve("lighttpd", "-D", "-f", lighttpd_config(), port=80) as server:
        urls = [server.url("/small.txt")] * 20
        got = stack.peer("curl", "-sS", "-f", "-m", "30", "-w", "%{num_connects}\n", *urls).stdout
    assert got.count(content["/small.txt"].decode()) == 20
    assert got.count("1\n") == 1  # connections: one by the first request, none by the others
    assert got.count("0\n") == 19


def test_workers_share_the_listening_socket(stack, serve, lighttpd_config, content):
    with serve("lighttpd", "-D", "-f", lighttpd_config(more="server.max-worker = 2"), port=80) as server:
        for _ in range(10):
            assert fetch(stack, server.url("/small.txt")) == content["/small.txt"]
        check_content(stack, server, content)


def test_load(stack, serve, lighttpd_config):
    with serve("lighttpd", "-D", "-f", lighttpd_config(), port=80) as server:
        done = stack.peer("ab", "-q", "-k", "-n", "2000", "-c", "16", server.url("/small.txt"))
    assert "Complete requests:      2000" in done.stdout
    assert "Failed requests:        0" in done.stdout
