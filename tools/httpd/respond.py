"""From a request to a response: conditions, ranges, errors (RFC 9110). No sockets here."""

import html
import os
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

from neat.tools.httpd.files import File, Moved, Page, Site
from neat.tools.httpd.request import HttpError, Request, parse_date, parse_range

# A body up to this size is read at once and sent together with its head.
SMALL = 64 << 10

Extra = Callable[[], Page]


class FilePart(NamedTuple):
    """Bytes [offset, end) of an open file, still to be sent. Whoever gets it closes `fd`."""

    fd: int
    offset: int
    end: int


class Response(NamedTuple):
    status: int
    data: bytes  # the head, and the body if that is small
    rest: FilePart | None
    keep_alive: bool


class Responder:
    """Answers requests for a site. `extras` are paths that a function answers, before the site is asked."""

    def __init__(self, site: Site, server_name: str, extras: dict[bytes, Extra] | None = None) -> None:
        self.site = site
        self.extras = extras or {}
        self.server_name = server_name
        self.common = ""
        self.set_date(time.time())

    def set_date(self, now: float) -> None:
        """Every response from here on carries this Date. `now`: seconds since the epoch."""
        self.common = f"Server: {self.server_name}\r\nDate: {formatdate(now, usegmt=True)}\r\n"

    def answer(self, request: Request) -> Response:
        """The response to a well-formed request; never raises for what a client can ask."""
        try:
            if (extra := self.extras.get(request.path)) is not None:
                return self.page(request, extra())
            found = self.site.open(request.path)
        except Moved as moved:
            fields = f"Location: {moved.args[0]}\r\n"
            return self.error(HttpError(301, moved.args[0], close=False), request, fields)
        except HttpError as error:
            return self.error(error, request)
        if isinstance(found, Page):
            return self.page(request, found)
        try:
            response = self.file(request, found)
        except HttpError as error:
            os.close(found.fd)
            fields = f"Content-Range: bytes */{found.size}\r\n" if error.status == 416 else ""
            return self.error(error, request, fields)
        if response.rest is None:
            os.close(found.fd)
        return response

    def page(self, request: Request, page: Page) -> Response:
        fields = f"Content-Type: {page.content_type}\r\nCache-Control: no-cache\r\n"
        head = self.head(200, len(page.body), request.keep_alive, fields)
        body = b"" if request.method == "HEAD" else page.body
        return Response(200, head + body, None, request.keep_alive)

    def file(self, request: Request, file: File) -> Response:
        """200, 206 or 304 with an open file. HttpError 416."""
        fields = f"Last-Modified: {file.last_modified}\r\nETag: {file.etag}\r\n"
        if not_modified(request, file):
            return Response(304, self.head(304, None, request.keep_alive, fields), None, request.keep_alive)
        status, first, end = 200, 0, file.size
        wanted = request.fields.get("range")
        if wanted is not None and request.method == "GET" and range_applies(request, file):
            selected = parse_range(wanted, file.size)
            if selected is not None:
                status, (first, end) = 206, selected
                fields += f"Content-Range: bytes {first}-{end - 1}/{file.size}\r\n"
        fields += f"Content-Type: {file.content_type}\r\nAccept-Ranges: bytes\r\n"
        data = self.head(status, end - first, request.keep_alive, fields)
        if request.method == "HEAD" or first == end:
            return Response(status, data, None, request.keep_alive)
        if end - first > SMALL:
            return Response(status, data, FilePart(file.fd, first, end), request.keep_alive)
        body = os.pread(file.fd, end - first, first)
        if len(body) != end - first:
            raise HttpError(503, "the file is changing", close=False)
        return Response(status, data + body, None, request.keep_alive)

    def error(self, error: HttpError, request: Request | None = None, fields: str = "") -> Response:
        """An error (or redirection) as a small page."""
        keep_alive = not error.close and (request is None or request.keep_alive)
        if error.status == 405:
            fields += "Allow: GET, HEAD\r\n"
        phrase = HTTPStatus(error.status).phrase
        detail = html.escape(error.detail)
        body = f"<!doctype html><title>{phrase}</title><h1>{error.status} {phrase}</h1><p>{detail}\n".encode()
        head = self.head(
            error.status, len(body), keep_alive, fields + "Content-Type: text/html; charset=utf-8\r\n"
        )
        if request is not None and request.method == "HEAD":
            body = b""
        return Response(error.status, head + body, None, keep_alive)

    def head(self, status: int, length: int | None, keep_alive: bool, fields: str) -> bytes:
        size = "" if length is None else f"Content-Length: {length}\r\n"
        connection = "keep-alive" if keep_alive else "close"
        text = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{self.common}{size}{fields}"
            f"Connection: {connection}\r\n\r\n"
        )
        return text.encode("latin-1")


def not_modified(request: Request, file: File) -> bool:
    """RFC 9110 §13.2.2: If-None-Match decides if it is there, If-Modified-Since otherwise."""
    tags = request.fields.get("if-none-match")
    if tags is not None:
        return any(tag.strip().removeprefix("W/") in ("*", file.etag) for tag in tags.split(","))
    since = request.fields.get("if-modified-since")
    date = parse_date(since) if since is not None else None
    return date is not None and file.modified <= date


def range_applies(request: Request, file: File) -> bool:
    """RFC 9110 §13.1.5: with If-Range, a range counts only for the file as the client knows it."""
    condition = request.fields.get("if-range")
    return condition is None or condition in (file.etag, file.last_modified)
