"""Python's own servers."""

import sys

import pytest

from tests.programs.conftest import ADDRESS, fetch

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("bind", [ADDRESS, "0.0.0.0"])
def test_http_server(stack, serve, content, www, bind):
    command = [sys.executable, "-u", "-m", "http.server", "--bind", bind, "--directory", str(www), "8000"]
    with serve(*command, port=8000) as server:
        for path, data in content.items():
            assert fetch(stack, server.url(path)) == data
    assert server.output().count('"GET ') == len(content)
