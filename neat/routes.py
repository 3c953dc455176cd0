"""Rules that say which sockets are the stack's: `CIDR=neat` or `CIDR=kernel`, the first that matches wins.

| rule                 | matches                                                          |
|----------------------|------------------------------------------------------------------|
| `10.0.0.0/8=neat`    | connect() and datagrams to an address in that network            |
| `bind:0.0.0.0=kernel`| bind() to an address in that network (a bare address: that one)  |
| `default=kernel`     | connect() and datagrams that no other rule matched               |
| `bind:default=kernel`| bind() likewise                                                  |

The preload library reads the same rules, separated by commas, from $NEAT_ROUTES (neat/shim/preload/route.c).
"""

import ipaddress

TARGETS = ("neat", "kernel")
BIND = "bind:"
DEFAULT = "default"


class RouteError(ValueError):
    """Not a rule; the text says what is wrong with it."""


def check(rule: str) -> str:
    """The rule as the preload library wants it: networks written out, no spaces."""
    where, equals, target = (part.strip() for part in rule.rpartition("="))
    if not equals or not where:
        raise RouteError(f"{rule!r}: must be NETWORK=neat or NETWORK=kernel, like 10.0.0.0/8=neat")
    if target not in TARGETS:
        raise RouteError(f"{rule!r}: {target!r} must be neat or kernel")
    prefix = BIND if where.startswith(BIND) else ""
    where = where.removeprefix(BIND)
    if where == DEFAULT:
        return f"{prefix}{DEFAULT}={target}"
    try:
        network = ipaddress.ip_network(where)
    except ValueError as error:
        raise RouteError(f"{rule!r}: {error}") from None
    return f"{prefix}{network}={target}"
