"""What a path means in a directory: a file that is open for reading, or a listing. Nothing outside of it."""

import errno
import html
import itertools
import mimetypes
import os
import stat
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, quote_from_bytes

from neat.tools.httpd.request import HttpError

INDEX = b"index.html"
MAX_LISTED = 10_000


class Moved(Exception):
    """The path is a directory and must end with a slash; args[0] is where to go instead."""


class File(NamedTuple):
    """An open regular file. Whoever gets it closes `fd`."""

    fd: int
    size: int
    content_type: str
    last_modified: str
    modified: int  # whole seconds, as far as HTTP dates can say
    etag: str


class Page(NamedTuple):
    """Bytes that were made for this request."""

    body: bytes
    content_type: str = "text/html; charset=utf-8"


class Site:
    """A directory that is served."""

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root.resolve(strict=True))
        if not os.path.isdir(self.root):
            raise NotADirectoryError(f"{root} is not a directory")

    def open(self, path: bytes) -> File | Page:
        """The file or listing at `path` (as `request.parse_target` gives it). HttpError 403 or 404; Moved."""
        fd = self._open_inside(path)
        info = os.fstat(fd)
        if stat.S_ISDIR(info.st_mode):
            try:
                return self._open_directory(fd, path)
            finally:
                os.close(fd)
        if not stat.S_ISREG(info.st_mode) or path.endswith(b"/"):
            os.close(fd)
            raise HttpError(404, "no such file", close=False)
        modified = int(info.st_mtime)
        return File(
            fd,
            info.st_size,
            content_type(path),
            formatdate(modified, usegmt=True),
            modified,
            f'"{info.st_mtime_ns:x}-{info.st_size:x}"',
        )

    def _open_inside(self, path: bytes) -> int:
        """Open without blocking, then ask the kernel where that is: no link can race with the answer."""
        try:
            fd = os.open(self.root + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except PermissionError:
            raise HttpError(403, "not readable", close=False) from None
        except OSError as error:
            if error.errno in (errno.ENFILE, errno.EMFILE):
                raise HttpError(503, "too many open files", close=True) from None
            raise HttpError(404, "no such file", close=False) from None
        where = os.readlink(b"/proc/self/fd/%d" % fd)
        if where != self.root and not where.startswith(self.root.rstrip(b"/") + b"/"):
            os.close(fd)
            raise HttpError(404, "no such file", close=False)
        return fd

    def _open_directory(self, fd: int, path: bytes) -> File | Page:
        if not path.endswith(b"/"):
            raise Moved(quote_from_bytes(path) + "/")
        try:
            return self.open(path + INDEX)
        except HttpError as error:
            if error.status != 404:
                raise
        return listing(fd, path)


def listing(fd: int, path: bytes) -> Page:
    """The names in an open directory, directories first."""
    with os.scandir(fd) as entries:
        found = sorted((not entry.is_dir(), entry.name) for entry in itertools.islice(entries, MAX_LISTED))
    names = ["../"] if path != b"/" else []
    names += [name if is_file else name + "/" for is_file, name in found]
    rows = "".join(f'<li><a href="./{quote(os.fsencode(name))}">{html.escape(name)}</a>\n' for name in names)
    title = html.escape(os.fsdecode(path))
    text = f'<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><ul>\n{rows}</ul>\n'
    return Page(text.encode(errors="replace"))


def content_type(path: bytes) -> str:
    """By the name's ending; text is UTF-8. Compressed files are sent as what they are."""
    kind, encoding = mimetypes.guess_type(os.fsdecode(os.path.basename(path)), strict=False)
    if kind is None or encoding is not None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
