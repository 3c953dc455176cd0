"""lighttpd, as Debian ships it."""

import pytest

from tests.programs.conftest import fetch

pytestmark = pytest.mark.netns

CONFIG = """
server.document-root = "{www}"
server.port = 80
server.bind = "{bind}"
server.max-keep-alive-requests = 1000
index-file.names = ("page.html")
mimetype.assign = (".txt" => "text/plain", ".html" => "text/html")
{more}
"""


@pytest.fixture
def configure(www, tmp_path):
    def write(bind="0.0.0.0", more=""):
        path = tmp_path / "site.conf"
        path.write_text(CONFIG.format(www=www, bind=bind, more=more))
        return str(path)

    return write


def check_content(stack, server, content):
    for path, data in content.items():
        assert fetch(stack, server.url(path)) == data
    assert fetch(stack, server.url("/")) == content["/page.html"]


@pytest.mark.parametrize("bind", ["0.0.0.0", "10.77.0.2"])
def test_files_of_all_sizes(stack, serve, configure, content, bind):
    with serve("lighttpd", "-D", "-f", configure(bind), port=80) as server:
        check_content(stack, server, content)
        assert server.end() == 0


@pytest.mark.parametrize("backend", ["writev", "sendfile"])
@pytest.mark.parametrize("handler", ["poll", "select", "linux-sysepoll"])
def test_every_way_to_wait_and_to_write(stack, serve, configure, content, handler, backend):
    more = f'server.event-handler = "{handler}"\nserver.network-backend = "{backend}"'
    with serve("lighttpd", "-D", "-f", configure(more=more), port=80) as server:
        check_content(stack, server, content)


def test_keep_alive(stack, serve, configure, content):
    with serve("lighttpd", "-D", "-f", configure(), port=80) as server:
        urls = [server.url("/small.txt")] * 20
        got = stack.peer("curl", "-sS", "-f", "-m", "30", "-w", "%{num_connects}\n", *urls).stdout
    assert got.count(content["/small.txt"].decode()) == 20
    assert got.count("1\n") == 1  # connections: one by the first request, none by the others
    assert got.count("0\n") == 19


def test_workers_share_the_listening_socket(stack, serve, configure, content):
    with serve("lighttpd", "-D", "-f", configure(more="server.max-worker = 2"), port=80) as server:
        for _ in range(10):
            assert fetch(stack, server.url("/small.txt")) == content["/small.txt"]
        check_content(stack, server, content)


def test_load(stack, serve, configure):
    with serve("lighttpd", "-D", "-f", configure(), port=80) as server:
        done = stack.peer("ab", "-q", "-k", "-n", "2000", "-c", "16", server.url("/small.txt"))
    assert "Complete requests:      2000" in done.stdout
    assert "Failed requests:        0" in done.stdout
