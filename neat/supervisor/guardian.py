"""The guardian: it holds the stack's descriptors and starts the supervisor again. It does nothing else, so
that it has nothing to fail at: no parsing but of the store's requests, no state but the descriptors.

`python -m neat.supervisor.guardian guardian@FD`, by `neat up`. Its descriptors: `lock` (of the run
directory), `report` (a pipe: one JSON line, {"ready": true} or {"error": "..."}), and `owner` (the read end
of a pipe into which nobody writes, or a pidfd; when it becomes readable, the owner is gone and the stack
ends), which a stack on its own does not have. The run directory is $NEAT_RUN_DIR.
"""

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from neat import rundir
from neat.boot import Boot, from_argv
from neat.store import StoreServer
from neat.supervisor import caretaker, device, netns, process
from neat.supervisor.policy import RestartPolicy

# Datagrams between guardian and supervisor; plain bytes, so that the guardian need not parse.
SAYS_STOP = b"stop"
SAYS_READY = b"ready"
SAYS_FAILED = b"failed: "

STOP_GRACE_S = 4.0
FAILED_STARTS = 3  # of the supervisor, before the stack was ever ready
DESCRIPTORS = 1 << 18


class Guardian:
    def __init__(self, boot: Boot) -> None:
        self.boot = boot
        self.directory = Path(os.environ["NEAT_RUN_DIR"])
        self.store = StoreServer()
        self.selector = selectors.DefaultSelector()
        self.policy = RestartPolicy()
        self.env = process.environment()
        self.incarnation = 0
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.ctl: socket.socket | None = None
        self.start_at: float | None = 0.0  # when to start the supervisor; None while it runs
        self.stop_by: float | None = None  # set once the stack is to end
        self.failed = False
        self.lifeline, write_end = os.pipe()
        self.lifeline_writer = write_end  # never handed down: it ends with this process, whatever ends it

    def set_up(self) -> None:
        """Namespace, signals, supervisor, device. Raises OSError with a text for the user."""
        config = self.boot.config
        raise_descriptor_limit()
        process.become_subreaper()
        netns.enter(config.netns, self.directory)
        rundir.write_guardian(self.directory, os.getpid())
        self._listen()
        caretaker.inherit(self.directory, self.store)
        queues, config, no_queues = device.attach(config)
        self.boot = msgspec.structs.replace(self.boot, config=config, no_queues=no_queues)
        self._start_supervisor()  # it waits for the first answer of the store; both take a while to come up
        device.configure(queues[0], config)
        for name, fd in zip(device.NAMES, queues, strict=False):
            self.store.keep(name, fd)

    def _listen(self) -> None:
        """Signals, and the owner of a stack in the foreground."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self.signals = (reader, writer)  # both must stay referenced
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._watch(reader, lambda: self._on_signal(reader.recv(64)))
        if "owner" in self.boot.fds:
            self._watch(self.boot.fds["owner"], self._on_owner)

    def _watch(self, fileobj: socket.socket | int, callback: Callable[[], None]) -> None:
        self.selector.register(fileobj, selectors.EVENT_READ, callback)

    def run(self) -> int:
        """Until the stack ended; the exit status of this process."""
        while self.supervisor is not None or self.stop_by is None:
            now = time.monotonic()
            if self.stop_by is not None and now >= self.stop_by:
                break
            if self.supervisor is None and self.start_at is not None and now >= self.start_at:
                self._try_to_start()
            deadlines = [t for t in (self.start_at, self.stop_by) if t is not None]
            for key, _mask in self.selector.select(max(0.0, min(deadlines) - now) if deadlines else None):
                key.data()
            for client in self.store.new_clients:
                self._add_store_client(client)
            self.store.new_clients.clear()
        self.end_everything()
        return 1 if self.failed else 0

    # The supervisor's life

    def _try_to_start(self) -> None:
        """Out of descriptors, memory or processes: again, later."""
        try:
            self._start_supervisor()
        except OSError as error:
            self.policy.started(time.monotonic())
            self._not_running(f"the supervisor cannot be started: {error.strerror}")

    def _start_supervisor(self) -> None:
        self.incarnation += 1
        self.start_at = None
        store, store_peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ctl, ctl_peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with store_peer, ctl_peer:
            boot = Boot(
                component="supervisor",
                incarnation=self.incarnation,
                config=self.boot.config,
                fds={"store": store_peer.fileno(), "ctl": ctl_peer.fileno(), "lifeline": self.lifeline},
                secret=self.boot.secret,
                no_queues=self.boot.no_queues,
            )
            self.supervisor = process.start("neat.supervisor", boot, self.env, sys.stderr.fileno())
        store.setblocking(False)
        ctl.setblocking(False)
        self.ctl = ctl
        self._add_store_client(store)
        self._watch(ctl, lambda: self._on_ctl(ctl))
        self.policy.started(time.monotonic())

    def _on_signal(self, numbers: bytes) -> None:
        if set(numbers) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            self.stop()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.supervisor is None or pid != self.supervisor.pid:
                continue
            if os.WIFSTOPPED(status):
                os.kill(pid, signal.SIGKILL)  # it can't watch anything while it is stopped
                continue
            self._supervisor_ended(os.waitstatus_to_exitcode(status))

    def _supervisor_ended(self, status: int) -> None:
        assert self.supervisor is not None
        self.supervisor.returncode = status
        self.supervisor = None
        if self.stop_by is None:
            # Who left, or was killed from outside, says nothing of what the next one will do.
            own = status not in (0, -signal.SIGKILL)
            self._not_running(f"the supervisor {process.describe_exit(status)}", own)

    def _not_running(self, words: str, own: bool = True) -> None:
        now = time.monotonic()
        self.start_at = now + (self.policy.died(now) if own else 0.0)
        print(f"guardian: {words}", file=sys.stderr, flush=True)
        if "report" in self.boot.fds and self.incarnation >= FAILED_STARTS:
            self._give_up(f"{words}, {self.incarnation} times before the stack was ready")

    def _give_up(self, why: str) -> None:
        """The stack does not come up."""
        self.failed = True
        self.report({"error": why})
        self.stop()

    def _on_ctl(self, ctl: socket.socket) -> None:
        """What the supervisor says while the stack comes up: that it is ready, or why it can't be."""
        try:
            data = ctl.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(ctl)
            ctl.close()
            return
        if data == SAYS_READY:
            self.report({"ready": True})
        elif data.startswith(SAYS_FAILED):
            self._give_up(data.removeprefix(SAYS_FAILED).decode(errors="replace"))

    def report(self, message: dict[str, object]) -> None:
        """Tell who waits for the stack to come up, once."""
        fd = self.boot.fds.pop("report", None)
        if fd is None:
            return
        try:
            os.write(fd, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            pass
        finally:
            os.close(fd)

    # The end

    def stop(self) -> None:
        """Ask the supervisor to end the stack; what is left after the grace time is killed."""
        if self.stop_by is not None:
            return
        self.stop_by = time.monotonic() + STOP_GRACE_S
        self.start_at = None
        if self.supervisor is not None and self.ctl is not None:
            try:
                self.ctl.send(SAYS_STOP)
            except OSError:
                self.stop_by = time.monotonic()

    def end_everything(self) -> None:
        """Kill every descendant (each orphan becomes our child), then leave no file behind."""
        os.close(self.lifeline_writer)
        deadline = time.monotonic() + STOP_GRACE_S
        while (left := process.children(os.getpid())) and time.monotonic() < deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            for pid in left:
                os.waitpid(pid, 0)
        netns.clean(self.directory)
        keep = rundir.CARETAKER if caretaker.leave(self.boot, self.store, self.env, self.directory) else ()
        self.store.close()
        rundir.remove(self.directory, keep)

    # Clients of the store

    def _add_store_client(self, sock: socket.socket) -> None:
        self._watch(sock, lambda: self._on_store(sock))

    def _on_store(self, sock: socket.socket) -> None:
        if not self.store.handle(sock):
            self.selector.unregister(sock)
            sock.close()

    def _on_owner(self) -> None:
        self.selector.unregister(self.boot.fds["owner"])
        self.stop()


def raise_descriptor_limit() -> None:
    """Every connection has a descriptor in its replica: allow as many as the system lets us, within
    reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(limit, DESCRIPTORS)), limit))
        except (OSError, ValueError):
            continue
        return


def main() -> None:
    boot = from_argv()
    guardian = Guardian(boot)
    try:
        guardian.set_up()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        guardian.report({"error": f"{where}{error.strerror or error}"})
        guardian.end_everything()
        sys.exit(1)
    status = guardian.run()
    guardian.report({"error": "the stack was stopped before it was ready"})
    sys.exit(status)


if __name__ == "__main__":
    main()
