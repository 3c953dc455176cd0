"""Clients at the other end of the wire, under control: many kept connections, a constant rate, a download."""

import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from neat.tools.site import sha256_of

REPORT_S = 20.0
END_S = 5.0
POLL_S = 0.01

# Makes the command line that runs a program at the other end of the wire.
Peer = Callable[[Sequence[str]], list[str]]


class ClientError(Exception):
    """A client did not do what it was told; the text says what happened."""


class Client:
    """A process that runs `module`. `first` is its first report: it is ready. `patience`: seconds that a
    report may take."""

    def __init__(
        self,
        peer: Peer,
        env: dict[str, str],
        *arguments: str,
        patience: float = REPORT_S,
        module: str = "neat.tools.clients",
    ) -> None:
        self.patience = patience
        self.process = subprocess.Popen(
            peer([sys.executable, "-m", module, *arguments]),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self.first = self.report()
        except BaseException:
            self.close()
            raise

    def ask(self, command: str) -> dict[str, Any]:
        """Send one line, and wait for the report."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise ClientError(f"the client is gone: {error}") from None
        return self.report()

    def report(self) -> dict[str, Any]:
        """The next report. ClientError for none, and for one that says that the client gave up."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            raise ClientError(
                f"no report from the client within {self.patience:g} s" if not ready else "the client ended"
            )
        report = json.loads(line)
        if report["event"] == "error":
            raise ClientError(f"the client gave up: {report['error']}")
        return report

    def close(self) -> None:
        """End its input, and hear it out."""
        try:
            self.process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Download:
    """A download with curl into a file; at most `rate` MiB/s, to have a middle. curl's own --limit-rate is a
    mean: it first takes what is there, and that may be all."""

    def __init__(
        self, peer: Peer, env: dict[str, str], url: str, target: Path, rate: int | None = None
    ) -> None:
        self.target = target
        self.copier: threading.Thread | None = None
        output = str(target) if rate is None else "-"
        command = ["curl", "-sS", "--fail", "--max-time", "60", "-o", output, url]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            peer(command),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=None if rate is None else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if rate is not None:
            self.copier = threading.Thread(target=self._copy, args=(rate << 20,))
            self.copier.start()

    def _copy(self, rate: int) -> None:
        """What curl writes, in equal parts with equal pauses: after a stall, nothing is caught up."""
        assert self.process.stdout is not None
        with self.process.stdout as source, self.target.open("wb", buffering=0) as target:
            while part := source.read(int(rate * POLL_S)):
                target.write(part)
                time.sleep(POLL_S)

    def wait_until(self, size: int) -> None:
        """Until that many bytes are there. ClientError when it ended before, or takes too long."""
        deadline = time.monotonic() + REPORT_S
        while self.received() < size:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ClientError(f"the download has {self.received()} bytes, and not {size}")
            time.sleep(POLL_S)

    def received(self) -> int:
        return self.target.stat().st_size if self.target.exists() else 0

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def finish(self) -> tuple[str, float]:
        """Wait for its end: the SHA-256 of what came, and the seconds. ClientError when curl failed."""
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode(errors="replace").strip()
        status = self.process.wait()
        if self.copier is not None:
            self.copier.join()
        seconds = time.monotonic() - self.started
        self.process.stderr.close()
        if status != 0:
            raise ClientError(f"{said or 'curl'} (status {status}, {self.received()} bytes)")
        return sha256_of(self.target), seconds

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.copier is not None:
            self.copier.join()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.target.unlink(missing_ok=True)
