"""Talks with servers that we did not write: every byte of an answer's content is known beforehand.

nginx has a set of files, each a stretch of the pattern. redis has values, which its clients set, each its own
keys, and get again: a lost or doubled command shows as a wrong answer.
"""

from collections import deque
from pathlib import Path

from neat.tools.drill.talk import PERIOD, WrongByte, pattern

FILES = 64
FILE_BYTES = 1021  # of the small ones: the number is added
BULK_BYTES = 1 << 18  # of the files that transfers ask for
KEYS = 4  # of each connection of redis
MOST_HEAD = 1 << 14
HEAD_END = b"\r\n\r\n"


def file_of(number: int) -> bytes:
    """The content of a small file."""
    return pattern(number * 4093 % PERIOD, FILE_BYTES + number)


def bulk_file() -> bytes:
    return pattern(0, BULK_BYTES)


def make_site(root: Path) -> None:
    root.mkdir()
    for number in range(FILES):
        (root / f"{number}").write_bytes(file_of(number))
    (root / "bulk").write_bytes(bulk_file())


class Answers:
    """What both have in common: requests that wait to be sent, answers that are owed, in order."""

    endless = False

    def __init__(self) -> None:
        self.unsent = bytearray()
        self.expected: deque[bytes] = deque()
        self.heard = bytearray()
        self.answered = 0

    def next(self) -> memoryview:
        return memoryview(bytes(self.unsent))

    def sent(self, size: int) -> None:
        del self.unsent[:size]

    def hear(self, data: memoryview) -> int:
        self.heard += data
        complete = 0
        while self.heard and self._take():
            complete += 1
        self.answered += complete
        return complete

    def _take(self) -> bool:
        """Check and forget the first answer, if all of it is there. WrongByte."""
        raise NotImplementedError

    def _compare(self, start: int, right: bytes) -> bool:
        """Whether `heard` has `right` from there on; False: not all of it yet. WrongByte."""
        found = self.heard[start : start + len(right)]
        if not right.startswith(found):
            at = next(i for i, (a, b) in enumerate(zip(found, right, strict=False)) if a != b)
            raise WrongByte(
                f"byte {at} of answer {self.answered} is {found[at]:#04x} instead of {right[at]:#04x}"
            )
        return len(found) == len(right)


class HttpTalk(Answers):
    """Requests for one file after the other; or for the same large one."""

    def __init__(self, number: int, host: str, *, bulk: bool) -> None:
        super().__init__()
        self.host = host
        self.file = number
        self.bulk = bulk

    def ask(self) -> None:
        name = "bulk" if self.bulk else str(self.file % FILES)
        self.unsent += f"GET /{name} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        self.expected.append(bulk_file() if self.bulk else file_of(self.file % FILES))
        self.file += 1

    def _take(self) -> bool:
        if not self.expected:
            raise WrongByte("an answer that nobody asked for")
        end = self.heard.find(HEAD_END, 0, MOST_HEAD)
        if end < 0:
            if len(self.heard) >= MOST_HEAD:
                raise WrongByte("a head without an end")
            return False
        head, right = bytes(self.heard[:end]), self.expected[0]
        if not head.startswith(b"HTTP/1.1 200 ") or f"\r\nContent-Length: {len(right)}".encode() not in head:
            raise WrongByte(f"the answer's head is {head[:60]!r}")
        if not self._compare(end + len(HEAD_END), right):
            return False
        del self.heard[: end + len(HEAD_END) + len(right)]
        self.expected.popleft()
        return True


class RedisTalk(Answers):
    """SET and GET in turn, each key again and again with another value of `size` bytes."""

    def __init__(self, number: int, size: int) -> None:
        super().__init__()
        self.number = number
        self.size = size
        self.asked = 0

    def ask(self) -> None:
        turn, is_get = divmod(self.asked, 2)
        self.asked += 1
        key = f"{self.number}:{turn % KEYS}".encode()
        value = pattern((self.number * 7919 + turn * 31) % PERIOD, self.size)
        if is_get:
            self.unsent += command(b"GET", key)
            self.expected.append(b"$%d\r\n%b\r\n" % (len(value), value))
        else:
            self.unsent += command(b"SET", key, value)
            self.expected.append(b"+OK\r\n")

    def _take(self) -> bool:
        if not self.expected:
            raise WrongByte("an answer that nobody asked for")
        if not self._compare(0, self.expected[0]):
            return False
        del self.heard[: len(self.expected.popleft())]
        return True


def command(*words: bytes) -> bytes:
    """As redis wants it: the number of words, and each with its length."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
