"""Servers that hand their listening sockets to the next program: nginx by exec, haproxy by a message."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.preload.conftest import ADDRESS, World
from tests.support import ROOT, wait_for

pytestmark = pytest.mark.netns

NGINX = """
user root;
worker_processes 2;
pid {base}/nginx.pid;
error_log {base}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {base}/body; proxy_temp_path {base}/proxy; fastcgi_temp_path {base}/fastcgi;
  uwsgi_temp_path {base}/uwsgi; scgi_temp_path {base}/scgi;
  server {{ listen 80; location / {{ return 200 "answer"; }} }}
}}
"""

HAPROXY = """
global
  stats socket {base}/stats.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 2s
frontend front
  bind 10.77.0.2:8088
  http-request return status 200 content-type text/plain string answer
"""


def fetch(world: World, port: int) -> str:
    return world.stack.peer("curl", "-s", "-m", "5", f"http://{ADDRESS}:{port}/", check=False).stdout


def pid_in(path: Path) -> int:
    """0 while there is none."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(path.read_text())
    return 0


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextlib.contextmanager
def ended(path: Path, *, by: signal.Signals) -> Iterator[None]:
    """The daemons that wrote their pid there, or beside it, do not outlive the test."""
    try:
        yield
    finally:
        for each in path.parent.glob(path.name + "*"):
            pid = pid_in(each)
            if pid:
                os.kill(pid, by)
                wait_for(partial(gone, pid), 10, "the server's end")


def test_nginx_replaces_its_binary(world: World, tmp_path: Path) -> None:
    """USR2: the new master is exec'd with a cleaned environment, and serves the sockets that it was left."""
    config, pid_file = tmp_path / "nginx.conf", tmp_path / "nginx.pid"
    config.write_text(NGINX.format(base=tmp_path))
    with ended(pid_file, by=signal.SIGTERM):
        world.run(program("nginx"), "-c", str(config))
        old = wait_for(lambda: pid_in(pid_file), 10, "the pid")
        assert fetch(world, 80) == "answer"
        os.kill(old, signal.SIGUSR2)
        new = wait_for(lambda: (pid := pid_in(pid_file)) != old and pid, 10, "the new master")
        os.kill(old, signal.SIGQUIT)
        wait_for(partial(gone, old), 10, "the old master's end")
        assert not gone(new)
        assert [fetch(world, 80) for _ in range(8)] == ["answer"] * 8


def test_haproxy_reloads(world: World, tmp_path: Path) -> None:
    """The new worker asks the old one for its listeners (SCM_RIGHTS), so none is bound again."""
    config, pid_file = tmp_path / "haproxy.cfg", tmp_path / "haproxy.pid"
    config.write_text(HAPROXY.format(base=tmp_path))
    with ended(pid_file, by=signal.SIGTERM):
        running = subprocess.Popen(
            world.command(program("haproxy"), "-W", "-f", str(config), "-p", str(pid_file)),
            env=world.stack.env,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert running.stderr is not None
        for turn in range(3):
            if turn:
                os.kill(running.pid, signal.SIGUSR2)
            assert any("Loading success" in line for line in running.stderr)
            assert [fetch(world, 8088) for _ in range(3)] == ["answer"] * 3
        running.terminate()
        running.communicate(timeout=10)
        pid_file.unlink()
