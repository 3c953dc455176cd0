"""The servers that are compared, each with the configuration of the paper's experiment, written by us.

Persistent connections, no access log, sendfile, one worker. The same for both sides, but for the address.
"""

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# lighttpd keeps server.max-keep-alive-requests in 16 bits.
LIGHTTPD_MOST = 65_535
UNLIMITED = 1_000_000_000
# Seconds that an idle connection is kept, long enough for every benchmark.
IDLE_S = 3600
# Descriptors that a server needs beside those of its connections.
SPARE = 512


class Plan(NamedTuple):
    """What a server shall do. `requests_per_connection` 0: it closes no connection by itself."""

    site: Path
    address: str
    requests_per_connection: int = 0
    connections: int = 1024
    workers: int = 1


class Server(NamedTuple):
    name: str
    # What Debian calls the program and its package.
    program: str
    package: str
    port: int
    # Writes the configuration into the folder, returns the command line.
    command: Callable[[Plan, Path], list[str]]
    # It can close a connection after so many requests.
    limits: bool = False
    # It speaks HTTP and serves `site`.
    http: bool = True
    # What it wants to have of them for each connection; lighttpd takes no more connections than half of them.
    descriptors: int = 1


def demo(plan: Plan, folder: Path) -> list[str]:
    return httpd(plan.site)


def httpd(site: Path, *options: str) -> list[str]:
    """Our own server, not preloaded: it uses `neat.socket`, or with --kernel the standard library's."""
    return [sys.executable, "-m", "neat.tools.httpd", *options, str(site)]


def lighttpd(plan: Plan, folder: Path) -> list[str]:
    limit = min(plan.requests_per_connection or LIGHTTPD_MOST, LIGHTTPD_MOST)
    lines = [
        f'server.document-root = "{plan.site}"',
        f'server.bind = "{plan.address}"',
        "server.port = 80",
        f"server.max-keep-alive-requests = {limit}",
        f"server.max-keep-alive-idle = {IDLE_S}",
        f"server.max-read-idle = {IDLE_S}",
        f"server.max-connections = {plan.connections + SPARE}",
        f"server.max-fds = {descriptors(2 * (plan.connections + SPARE))}",
        f"server.listen-backlog = {max(1024, plan.connections)}",
        'server.stat-cache-engine = "simple"',
    ]
    if plan.workers > 1:
        lines.append(f"server.max-worker = {plan.workers}")
    return ["lighttpd", "-D", "-f", write(folder / "lighttpd.conf", lines)]


def nginx(plan: Plan, folder: Path) -> list[str]:
    user = ["user root;"] if os.geteuid() == 0 else []  # the site is in a folder that is only ours
    temporary = [
        f"  {name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    lines = [
        *user,
        "daemon off;",
        f"worker_processes {plan.workers};",
        f"worker_rlimit_nofile {descriptors(2 * (plan.connections + SPARE))};",
        f"pid {folder}/nginx.pid;",
        "error_log stderr;",
        # Of the last sixteenth it frees some by closing connections that are idle (ngx_drain_connections).
        f"events {{ worker_connections {plan.connections * 9 // 8 + SPARE}; }}",
        "http {",
        *temporary,
        "  access_log off;",
        "  sendfile on;",
        f"  keepalive_requests {plan.requests_per_connection or UNLIMITED};",
        f"  keepalive_timeout {IDLE_S}s;",
        f"  server {{ listen {plan.address}:80 backlog={max(1024, plan.connections)}; root {plan.site}; }}",
        "}",
    ]
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", write(folder / "nginx.conf", lines)]


def redis(plan: Plan, folder: Path) -> list[str]:
    lines = [
        f"bind {plan.address}",
        "port 6379",
        "protected-mode no",
        'save ""',
        "appendonly no",
        f"dir {folder}",
        f"maxclients {plan.connections + SPARE}",
    ]
    return ["redis-server", write(folder / "redis.conf", lines)]


def iperf3(plan: Plan, folder: Path) -> list[str]:
    return ["iperf3", "--server", "--bind", plan.address, "--forceflush"]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def descriptors(wanted: int) -> int:
    """As many as are wanted, if the hard limit lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


SERVERS = {
    server.name: server
    for server in (
        Server("demo", sys.executable, "python3", 80, demo),
        Server("lighttpd", "lighttpd", "lighttpd", 80, lighttpd, limits=True, descriptors=2),
        Server("nginx", "nginx", "nginx", 80, nginx, limits=True),
        Server("redis", "redis-server", "redis-server", 6379, redis, http=False),
        Server("iperf3", "iperf3", "iperf3", 5201, iperf3, http=False),
    )
}
