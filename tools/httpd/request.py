"""Request heads, from bytes: whether they are well-formed (RFC 9112), then what they ask for (RFC 9110)."""

import re
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

MAX_LINE = 8 << 10
MAX_HEAD = 16 << 10
MAX_FIELDS = 100
MAX_BODY = 1 << 20

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
# RFC 9110 §5.5: visible characters, obs-text, and spaces or tabs between them.
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
TARGET = re.compile(rb"[\x21-\x7e]+")
LENGTH = re.compile(rb"[0-9]{1,18}")
RANGE = re.compile(r"bytes=\s*([0-9]*)-([0-9]*)\s*", re.IGNORECASE)


class HttpError(Exception):
    """A request that cannot be served; `close` when what follows it on the connection cannot be trusted."""

    def __init__(self, status: int, detail: str, *, close: bool = True) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.close = close


class Request(NamedTuple):
    method: str
    path: bytes  # decoded, starts with a slash, no dot segments, no NUL
    fields: dict[str, str]  # names in lower case; repeated fields joined with commas
    keep_alive: bool
    body_bytes: int  # Content-Length: what follows the head and is to be skipped


def find_head(data: bytes) -> int:
    """Length of the request head at the start of `data`, its empty line included; 0 if more is needed.

    HttpError when no continuation could make it a head that is served."""
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end >= 0:
        return end + 4
    line_end = data.find(b"\n", 0, MAX_LINE)
    if line_end < 0 and len(data) >= MAX_LINE:
        raise HttpError(414, "the request line is too long")
    if len(data) >= MAX_HEAD:
        raise HttpError(431, "the request head is too long")
    # RFC 9112 §2.2 lets a recipient take a bare LF for a line end; we refuse it, and at once, not by timeout.
    if line_end == 0 or (line_end > 0 and data[line_end - 1] != 0x0D) or b"\n\n" in data:
        raise HttpError(400, "lines must end with CR LF")
    return 0


def parse(head: bytes) -> Request:
    """The request that `head` (as `find_head` measured it) asks for. HttpError when it is not acceptable."""
    line, *field_lines = head[:-4].split(b"\r\n")
    if len(line) > MAX_LINE:
        raise HttpError(414, "the request line is too long")
    method, target, minor = parse_line(line)
    fields = parse_fields(field_lines)
    host = fields.get("host")
    # RFC 9112 §3.2: 400 to any HTTP/1.1 request that lacks a Host or has more than one.
    if (minor >= 1 and host is None) or (host is not None and "," in host):
        raise HttpError(400, "one Host field is required")
    body_bytes = parse_length(fields)
    options = {item.strip().lower() for item in fields.get("connection", "").split(",")}
    keep_alive = "close" not in options and (minor >= 1 or "keep-alive" in options)
    path = parse_target(target)
    if method not in ("GET", "HEAD"):
        status, detail = (
            (405, "only GET and HEAD are served") if method in KNOWN_METHODS else (501, "unknown method")
        )
        raise HttpError(status, detail, close=bool(body_bytes) or not keep_alive)
    if body_bytes and "expect" in fields:
        raise HttpError(417, "no request body is wanted")
    return Request(method, path, fields, keep_alive, body_bytes)


def parse_line(line: bytes) -> tuple[str, bytes, int]:
    """Method, target and minor version of a request line (RFC 9112 §3)."""
    parts = line.split(b" ")
    if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or not TARGET.fullmatch(parts[1]):
        raise HttpError(400, "not a request line")
    version = VERSION.fullmatch(parts[2])
    if version is None:
        raise HttpError(400, "not an HTTP version")
    if version[1] != b"1":
        raise HttpError(505, "only HTTP/1.0 and HTTP/1.1 are served")
    return parts[0].decode(), parts[1], int(version[2])


def parse_fields(lines: list[bytes]) -> dict[str, str]:
    """Field lines as a dict; a name that comes again is joined with a comma (RFC 9110 §5.3)."""
    if len(lines) > MAX_FIELDS:
        raise HttpError(431, "too many header fields")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        # RFC 9112 §5.1: no whitespace before the colon; §5.2: a folded line has no name, so it fails too.
        if not colon or not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
            raise HttpError(400, "not a header field")
        key, text = name.decode().lower(), value.strip(b" \t").decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def parse_length(fields: dict[str, str]) -> int:
    """Bytes of body after the head (RFC 9112 §6.3). HttpError where its end is unknown or too far."""
    length = fields.get("content-length")
    coding = fields.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise HttpError(400, "both Transfer-Encoding and Content-Length")
        if coding.lower() != "chunked":
            raise HttpError(501, "unknown transfer coding")
        raise HttpError(411, "a body needs a Content-Length")
    if length is None:
        return 0
    if not LENGTH.fullmatch(length.encode("latin-1")):
        raise HttpError(400, "not a Content-Length")
    if int(length) > MAX_BODY:
        raise HttpError(413, "the request body is too large")
    return int(length)


def parse_target(target: bytes) -> bytes:
    """The decoded path of a request target, origin or absolute form (RFC 9112 §3.2), without dot segments.

    Segments are resolved after decoding, so `%2e%2e` is no way around; a path that climbs out is refused."""
    if not target.startswith(b"/"):
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() != b"http":
            raise HttpError(400, "not a path")
        target = b"/" + rest.partition(b"/")[2]
    path = unquote_to_bytes(target.partition(b"?")[0].partition(b"#")[0])
    if b"\0" in path:
        raise HttpError(400, "NUL in the path")
    segments: list[bytes] = []
    for segment in path.split(b"/")[1:]:
        if segment == b"..":
            if not segments:
                raise HttpError(400, "the path leads out of the site")
            segments.pop()
        elif segment not in (b"", b"."):
            segments.append(segment)
    slash = b"/" if segments and path.endswith((b"/", b"/.", b"/..")) else b""
    return b"/" + b"/".join(segments) + slash


def parse_range(value: str, size: int) -> tuple[int, int] | None:
    """First byte and end (exclusive) that a Range field selects of `size` bytes; None: serve everything.

    Several ranges, other units and nonsense are served in full (RFC 9110 §14.2: "MAY ignore"). HttpError 416
    when a valid range selects nothing."""
    match = RANGE.fullmatch(value)
    if match is None or not (match[1] or match[2]) or max(len(match[1]), len(match[2])) > 18:
        return None
    if not match[1]:
        first, end = max(0, size - int(match[2])), size
    else:
        first, end = int(match[1]), size
        if match[2]:
            if int(match[2]) < first:
                return None
            end = min(size, int(match[2]) + 1)
    if first >= end:
        raise HttpError(416, "the range selects nothing", close=False)
    return first, end


def parse_date(value: str) -> float | None:
    """Seconds since the epoch that an HTTP date means; None when it is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
