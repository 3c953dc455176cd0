"""Python sockets on a NEaT stack, with the standard library's interface: `from neat import socket`.

Which stack: NEAT_RUN_DIR, a run directory; else NEAT_STACK, a name (default "default").
"""

import socket as _std

from neat.socket._core import stats
from neat.socket.sockets import ServerMixin, create_connection, create_server, fromfd, socket

# Everything that is not about a socket of ours: constants, errors, the resolver.
_OWN = {"socket", "create_connection", "create_server", "fromfd", "SocketType"}
_ABSENT = {"socketpair", "send_fds", "recv_fds", "has_dualstack_ipv6"}
for _name in dir(_std):
    if not _name.startswith("_") and _name not in _OWN | _ABSENT:
        globals()[_name] = getattr(_std, _name)

SocketType = socket

__all__ = [
    *(name for name in _std.__all__ if name not in _ABSENT),
    "ServerMixin",
    "create_connection",
    "create_server",
    "fromfd",
    "stats",
]
