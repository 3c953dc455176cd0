"""`python -m neat.tools.httpd`: serve a directory."""

import argparse
import contextlib
import os
import resource
import signal
import socket as linux
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from neat.tools.httpd.files import Site
from neat.tools.httpd.respond import Responder
from neat.tools.httpd.server import Server
from neat.tools.httpd.statuspage import StatusPage

# Descriptors kept free for files, the epoll and the like.
SPARE_DESCRIPTORS = 128


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m neat.tools.httpd", description="Serve a directory over HTTP/1.1."
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kernel", action="store_true", help="Linux's own sockets instead of NEaT's")
    parser.add_argument("--bind", default="0.0.0.0", metavar="ADDR", help="default: every address")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--backlog", type=int, default=1024)
    parser.add_argument("--max-connections", type=int, default=16384)
    parser.add_argument("--name", help="the stack; default: $NEAT_STACK, or `default`")
    return parser.parse_args()


def sockets(kernel: bool) -> ModuleType:
    """The module whose sockets are used: that is the only difference between the two sides."""
    if kernel:
        return linux
    import neat.socket

    return neat.socket


def listen(module: ModuleType, address: tuple[str, int], backlog: int) -> Any:
    listener = module.socket(linux.AF_INET, linux.SOCK_STREAM)
    listener.setsockopt(linux.SOL_SOCKET, linux.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def connection_limit(wanted: int) -> int:
    """Raise the limit of descriptors as far as it goes; how many connections fit into it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(1, min(wanted, hard - SPARE_DESCRIPTORS)) if hard > 0 else wanted


def stop(_signum: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
    args = options()
    if args.name:
        os.environ["NEAT_STACK"] = args.name
    try:
        site = Site(args.directory)
        listener = listen(sockets(args.kernel), (args.bind, args.port), args.backlog)
    except OSError as error:
        sys.exit(f"httpd: {args.directory}, {args.bind}:{args.port}: {error.strerror or error}")
    side = "Linux" if args.kernel else "NEaT"
    page = StatusPage()
    responder = Responder(site, f"neat-httpd ({side})", page.paths())
    server = Server(listener, responder, connection_limit(args.max_connections))
    page.server = server
    signal.signal(signal.SIGTERM, stop)
    address, port = listener.getsockname()
    print(f"httpd: serving {args.directory} on http://{address}:{port}/ with {side} sockets", flush=True)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(listener):
        server.run()


if __name__ == "__main__":
    main()
