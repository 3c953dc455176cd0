"""Request heads as bytes: which are accepted, what they mean, and how the others are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neat.tools.httpd.request import HttpError, find_head, parse, parse_range, parse_target


def status_of(function, *args):
    with pytest.raises(HttpError) as caught:
        function(*args)
    return caught.value.status


def get(*lines, request_line="GET / HTTP/1.1", host=True):
    fields = [*(["Host: x"] if host else []), *lines]
    return "\r\n".join([request_line, *fields, "", ""]).encode("latin-1")


def test_a_plain_get():
    request = parse(get("Accept: */*", request_line="GET /a%20b?q#f HTTP/1.1"))
    assert (request.method, request.path, request.keep_alive, request.body_bytes) == ("GET", b"/a b", True, 0)
    assert request.fields["accept"] == "*/*"


@pytest.mark.parametrize(
    ("line", "field", "keep_alive"),
    [
        ("GET / HTTP/1.1", "Connection: close", False),
        ("GET / HTTP/1.1", "Connection: x, Close", False),
        ("GET / HTTP/1.0", "X: y", False),
        ("GET / HTTP/1.0", "Connection: Keep-Alive", True),
        ("GET / HTTP/1.3", "X: y", True),
    ],
)
def test_keep_alive(line, field, keep_alive):
    assert parse(get(field, request_line=line)).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (get(host=False), 400),
        (get("Host: y"), 400),
        (get("A : b"), 400),
        (get("A: b", " folded"), 400),
        (get("A: \x01"), 400),
        (get("A: b\x00c"), 400),
        (get("no colon"), 400),
        (get(": empty"), 400),
        (get(request_line="GET  / HTTP/1.1"), 400),
        (get(request_line="GET /"), 400),
        (get(request_line="GET / HTTP/11"), 400),
        (get(request_line="GET / http/1.1"), 400),
        (get(request_line="GET x HTTP/1.1"), 400),
        (get(request_line="GET https://a/ HTTP/1.1"), 400),
        (get(request_line="GET / HTTP/2.0"), 505),
        (get(request_line="BREW / HTTP/1.1"), 501),
        (get(request_line="POST / HTTP/1.1"), 405),
        (get("Content-Length: 1e3"), 400),
        (get("Content-Length: -1"), 400),
        (get("Content-Length: 5, 5"), 400),
        (get("Content-Length: 1048577"), 413),
        (get("Transfer-Encoding: chunked"), 411),
        (get("Transfer-Encoding: gzip"), 501),
        (get("Transfer-Encoding: chunked", "Content-Length: 3"), 400),
        (get("Content-Length: 3", "Expect: 100-continue"), 417),
        (get(*[f"A{n}: b" for n in range(101)]), 431),
        (get(request_line="GET /../x HTTP/1.1"), 400),
        (get(request_line="GET /a/%2e%2e/%2E./x HTTP/1.1"), 400),
        (get(request_line="GET /%00 HTTP/1.1"), 400),
    ],
)
def test_what_is_refused(head, status):
    assert status_of(parse, head) == status


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", b"/"),
        (b"/a/./b//c", b"/a/b/c"),
        (b"/a/b/..", b"/a/"),
        (b"/a/../", b"/"),
        (b"/a/%2e%2e/b", b"/b"),
        (b"/a%2fb", b"/a/b"),
        (b"http://h/a?b", b"/a"),
        (b"http://h", b"/"),
        (b"/a\\..\\b", b"/a\\..\\b"),
    ],
)
def test_paths(target, path):
    assert parse_target(target) == path


@given(st.binary(min_size=1))
def test_no_target_climbs_out(target):
    """Whatever is asked for, the answer is an error or an absolute path without dot segments and NUL."""
    try:
        path = parse_target(target)
    except HttpError:
        return
    assert path.startswith(b"/") and b"\0" not in path
    assert not {b"..", b"."} & set(path.split(b"/"))


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data):
    try:
        size = find_head(data + b"\r\n\r\n")
        assert parse((data + b"\r\n\r\n")[:size]).path.startswith(b"/")
    except HttpError as error:
        assert 400 <= error.status < 600


def test_heads_arrive_in_pieces():
    head = get("A: b")
    assert [find_head(head[:n]) for n in range(len(head))] == [0] * len(head)
    assert find_head(head + b"GET") == len(head)


def test_endless_heads_end():
    assert status_of(find_head, b"GET /" + b"a" * 20000) == 414
    assert status_of(find_head, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000) == 431
    assert status_of(find_head, b"GET / HTTP/1.1\n\n") == 400
    assert status_of(find_head, b"GET / HTTP/1.1\r\nHost: x\n\n") == 400


@pytest.mark.parametrize(
    ("value", "selected"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=9-3", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("lines=0-1", None),
        ("bytes=99999999999999999999-", None),
    ],
)
def test_ranges(value, selected):
    assert parse_range(value, 100) == selected


@pytest.mark.parametrize("value", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_that_select_nothing(value):
    assert status_of(parse_range, value, 100) == 416
